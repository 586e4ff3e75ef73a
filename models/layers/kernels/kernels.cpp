// The one translation unit: every kernel, and its handler for XLA's foreign function interface.
#include "xla/ffi/api/ffi.h"

#include "vector.h"

// A kernel lives in a header of its own and knows nothing of XLA; its handler is defined here
// with XLA_FFI_DEFINE_HANDLER_SYMBOL, and its name is added to TARGETS in compiled.py.
namespace ffi = xla::ffi;
using Input = ffi::Buffer<ffi::F32>;
using Output = ffi::ResultBuffer<ffi::F32>;
