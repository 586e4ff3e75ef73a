// The kernels, as the handlers call them. Arrays are dense, of single precision, row by row; each
// kernel returns false where there is no memory for its workspace.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kernels {

typedef std::ptrdiff_t Index;

// Of a recurrent layer: time, batch, input channels, hidden channels.
struct Sizes {
  Index T, B, I, H;
};

namespace gru {
// x [T][B][I], wi [I][3H], bi [3H], wh [H][3H], bh [H], initial [B][H] to
// states [T][B][H], final [B][H], saved (may be null) T·B·4·padded floats.
bool forward(const Sizes& s, const float* x, const float* wi, const float* bi, const float* wh,
             const float* bh, const float* initial, float* states, float* final, float* saved);
// What `forward` got and gave, and the cotangents of states and final state, to the gradients
// of everything; dx may be null.
bool backward(const Sizes& s, const float* x, const float* wi, const float* wh,
              const float* initial, const float* states, const float* saved,
              const float* dstates, const float* dfinal, float* dx, float* dwi, float* dbi,
              float* dwh, float* dbh, float* dinitial);
}  // namespace gru

namespace lstm {
// x [T][B][I], wi [I][4H], bi [4H], wh [H][4H], initial h and c [B][H] to states [T][B][H],
// final h and c [B][H], saved (may be null) T·B·5·padded floats.
bool forward(const Sizes& s, const float* x, const float* wi, const float* bi, const float* wh,
             const float* initial_h, const float* initial_c, float* states, float* final_h,
             float* final_c, float* saved);
// What `forward` got and gave, and the cotangents of states and final states, to the
// gradients of everything; dx may be null.
bool backward(const Sizes& s, const float* x, const float* wi, const float* wh,
              const float* initial_h, const float* initial_c, const float* states,
              const float* saved, const float* dstates, const float* dfinal_h,
              const float* dfinal_c, float* dx, float* dwi, float* dbi, float* dwh,
              float* dinitial_h, float* dinitial_c);
}  // namespace lstm

namespace convolution {

// Batch, time, input channels, output channels.
struct Sizes {
  Index B, T, I, O, taps, dilation;
};

enum class Activation : std::int64_t { relu = 0, tanh = 1, mish = 2, gelu = 3 };

// x [B][T][I], w [taps][I][O], bias [O], scale [B][O] to y [B][T][O] and `saved` (may be null):
// what `backward` needs of each output, a bit for relu and a float for the others. `skip` needs
// I = O.
bool forward(const Sizes& s, Activation activation, bool skip, const float* x, const float* w,
             const float* bias, const float* scale, float* y, void* saved);
// The gradients of x (dx may be null), w and bias; `saved` as `forward` left it.
bool backward(const Sizes& s, bool relu, bool skip, const float* x, const float* w,
              const float* scale, const void* saved, const float* dy, float* dx, float* dw,
              float* db);

}  // namespace convolution
}  // namespace kernels
