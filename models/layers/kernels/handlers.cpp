// The handlers of the kernels for XLA's foreign function interface.
//
// A kernel lives in a file of its own and knows nothing of XLA; it is declared in kernels.h, its
// handler is defined here with XLA_FFI_DEFINE_HANDLER_SYMBOL, and its name is added to TARGETS in
// compiled.py. Files are compiled side by side: the headers of XLA are read here only.
#include "kernels.h"
#include "xla/ffi/api/ffi.h"

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

static kernels::Sizes sizes_of(const Input& x, const Input& initial) {
  const auto d = x.dimensions();
  return {d[0], d[1], d[2], initial.dimensions()[1]};
}

static ffi::Error GruForward(Input x, Input wi, Input bi, Input wh, Input bh, Input initial,
                             Output states, Output final, Output saved) {
  return outcome(kernels::gru::forward(
      sizes_of(x, initial), x.typed_data(), wi.typed_data(), bi.typed_data(), wh.typed_data(),
      bh.typed_data(), initial.typed_data(), floats(states), floats(final), wanted(saved)));
}

static ffi::Error GruBackward(Input x, Input wi, Input wh, Input initial, Input states,
                              Input saved, Input dstates, Input dfinal, Output dx, Output dwi,
                              Output dbi, Output dwh, Output dbh, Output dinitial) {
  return outcome(kernels::gru::backward(
      sizes_of(x, initial), x.typed_data(), wi.typed_data(), wh.typed_data(),
      initial.typed_data(), states.typed_data(), saved.typed_data(), dstates.typed_data(),
      dfinal.typed_data(), wanted(dx), floats(dwi), floats(dbi), floats(dwh), floats(dbh),
      floats(dinitial)));
}

static ffi::Error LstmForward(Input x, Input wi, Input bi, Input wh, Input h, Input c,
                              Output states, Output final_h, Output final_c, Output saved) {
  return outcome(kernels::lstm::forward(
      sizes_of(x, h), x.typed_data(), wi.typed_data(), bi.typed_data(), wh.typed_data(),
      h.typed_data(), c.typed_data(), floats(states), floats(final_h), floats(final_c),
      wanted(saved)));
}

static ffi::Error LstmBackward(Input x, Input wi, Input wh, Input h, Input c, Input states,
                               Input saved, Input dstates, Input dfinal_h, Input dfinal_c,
                               Output dx, Output dwi, Output dbi, Output dwh, Output dh,
                               Output dc) {
  return outcome(kernels::lstm::backward(
      sizes_of(x, h), x.typed_data(), wi.typed_data(), wh.typed_data(), h.typed_data(),
      c.typed_data(), states.typed_data(), saved.typed_data(), dstates.typed_data(),
      dfinal_h.typed_data(), dfinal_c.typed_data(), wanted(dx), floats(dwi), floats(dbi),
      floats(dwh), floats(dh), floats(dc)));
}

static kernels::convolution::Sizes sizes_of(const Input& x, const Input& w, std::int64_t dilation) {
  const auto d = x.dimensions(), k = w.dimensions();
  return {d[0], d[1], d[2], k[2], k[0], dilation};
}

static ffi::Error ConvolutionForward(Input x, Input w, Input bias, Input scale, Output y,
                                     ffi::Result<ffi::AnyBuffer> saved, std::int64_t dilation,
                                     std::int64_t activation, bool skip) {
  using kernels::convolution::Activation;
  if (activation < 0 || activation > static_cast<std::int64_t>(Activation::gelu))
    return ffi::Error::InvalidArgument("no such activation");
  void* keep = saved->element_count() ? saved->untyped_data() : nullptr;
  return outcome(kernels::convolution::forward(
      sizes_of(x, w, dilation), static_cast<Activation>(activation), skip, x.typed_data(),
      w.typed_data(), bias.typed_data(), scale.typed_data(), floats(y), keep));
}

static ffi::Error ConvolutionBackward(Input x, Input w, Input scale, ffi::AnyBuffer saved,
                                      Input dy, Output dx, Output dw, Output db,
                                      std::int64_t dilation, bool skip) {
  const bool relu = saved.element_type() == ffi::U8;
  return outcome(kernels::convolution::backward(
      sizes_of(x, w, dilation), relu, skip, x.typed_data(), w.typed_data(), scale.typed_data(),
      saved.untyped_data(), dy.typed_data(), wanted(dx), floats(dw), floats(db)));
}

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(gru_forward, GruForward,
                              ffi::Ffi::Bind().IN.IN.IN.IN.IN.IN.OUT.OUT.OUT);
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    gru_backward, GruBackward,
    ffi::Ffi::Bind().IN.IN.IN.IN.IN.IN.IN.IN.OUT.OUT.OUT.OUT.OUT.OUT);
XLA_FFI_DEFINE_HANDLER_SYMBOL(lstm_forward, LstmForward,
                              ffi::Ffi::Bind().IN.IN.IN.IN.IN.IN.OUT.OUT.OUT.OUT);
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    lstm_backward, LstmBackward,
    ffi::Ffi::Bind().IN.IN.IN.IN.IN.IN.IN.IN.IN.IN.OUT.OUT.OUT.OUT.OUT.OUT);
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
#pragma GCC visibility pop
