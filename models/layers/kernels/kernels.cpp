// The one translation unit: every kernel, and its handler for XLA's foreign function interface.
#include "xla/ffi/api/ffi.h"

#include "convolution.h"

// A kernel lives in a header of its own and knows nothing of XLA; its handler is defined here
// with XLA_FFI_DEFINE_HANDLER_SYMBOL, and its name is added to TARGETS in compiled.py.
namespace ffi = xla::ffi;
using Input = ffi::Buffer<ffi::F32>;
using Output = ffi::ResultBuffer<ffi::F32>;
#define IN Arg<Input>()
#define OUT Ret<ffi::Buffer<ffi::F32>>()

static ffi::Error outcome(bool done) {
  if (done) return ffi::Error::Success();
  return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for a kernel's workspace");
}

static float* floats(Output& b) { return b->typed_data(); }
// Empty results are not wanted.
static float* wanted(Output& b) { return b->element_count() ? b->typed_data() : nullptr; }

static kernels::convolution::Sizes sizes_of(const Input& x, const Input& w, std::int64_t dilation) {
  const auto d = x.dimensions(), k = w.dimensions();
  return {d[0], d[1], d[2], k[2], k[0], dilation};
}

static ffi::Error ConvolutionForward(Input x, Input w, Input bias, Input scale, Output y,
                                     ffi::Result<ffi::AnyBuffer> saved, std::int64_t dilation,
                                     std::int64_t activation, bool skip) {
  using kernels::convolution::Activation;
  const auto run = [&](auto a) {
    void* keep = saved->element_count() ? saved->untyped_data() : nullptr;
    return outcome(kernels::convolution::forward<a()>(
        sizes_of(x, w, dilation), skip, x.typed_data(), w.typed_data(), bias.typed_data(),
        scale.typed_data(), floats(y), keep));
  };
  switch (static_cast<Activation>(activation)) {
    case Activation::relu:
      return run(std::integral_constant<Activation, Activation::relu>());
    case Activation::tanh:
      return run(std::integral_constant<Activation, Activation::tanh>());
    case Activation::mish:
      return run(std::integral_constant<Activation, Activation::mish>());
    case Activation::gelu:
      return run(std::integral_constant<Activation, Activation::gelu>());
  }
  return ffi::Error::InvalidArgument("no such activation");
}

static ffi::Error ConvolutionBackward(Input x, Input w, Input scale, ffi::AnyBuffer saved,
                                      Input dy, Output dx, Output dw, Output db,
                                      std::int64_t dilation, bool skip) {
  const bool relu = saved.element_type() == ffi::U8;
  const auto run = relu ? kernels::convolution::backward<true> : kernels::convolution::backward<false>;
  return outcome(run(sizes_of(x, w, dilation), skip, x.typed_data(), w.typed_data(),
                     scale.typed_data(), saved.untyped_data(), dy.typed_data(), wanted(dx),
                     floats(dw), floats(db)));
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(convolution_forward, ConvolutionForward,
                              ffi::Ffi::Bind()
                                  .IN.IN.IN.IN.OUT.Ret<ffi::AnyBuffer>()
                                  .Attr<std::int64_t>("dilation")
                                  .Attr<std::int64_t>("activation")
                                  .Attr<bool>("skip"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(convolution_backward, ConvolutionBackward,
                              ffi::Ffi::Bind()
                                  .IN.IN.IN.Arg<ffi::AnyBuffer>()
                                  .IN.OUT.OUT.OUT.Attr<std::int64_t>("dilation")
                                  .Attr<bool>("skip"));
