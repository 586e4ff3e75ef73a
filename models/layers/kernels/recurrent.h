// What the gated layers share: padded sizes, and the way back from gates to states and inputs.
#pragma once

#include "kernels.h"
#include "matrix.h"

namespace kernels {

static inline Index padded(const Sizes& s) { return round_up(s.H, W); }
static inline Index panels(const Sizes& s) { return padded(s) / W; }

// to[rows][N] (+)= gates · panels, summed over the J panels of gates, which are `pitch` apart;
// of the 4W floats in a row the first G·W count, with SPLIT the first two W and the last.
template <int R, int V, int G, bool SPLIT>
INLINED void back_tile(float* to, Index stride, const float* gates, Index pitch, Index J,
                       const float* panel, bool add, Index rows, Index count) {
  Vector tile[R][V];
  UNROLLED(i, R) UNROLLED(v, V) tile[i][v] = add ? load(to + i * stride + v * W) : Vector{};
  for (Index j = 0; j < J; j++) {
    const float *a = gates + j * pitch, *b = panel + j * G * W * V * W;
    multiply<R, V>(tile, a, 4 * W, b, SPLIT ? 2 * W : G * W);
    if (SPLIT) multiply<R, V>(tile, a + 3 * W, 4 * W, b + 2 * W * V * W, W);
  }
  UNROLLED(i, R) if (i < rows) UNROLLED(v, V) {
    if (count > v * W) store_part(to + i * stride + v * W, tile[i][v], count - v * W);
  }
}

template <int G, bool SPLIT>
static void multiply_gates(float* to, Index stride, Index N, const float* gates, Index pitch,
                           Index J, const float* panels, bool add, Index rows) {
  const Index vectors = round_up(N, W) / W, width = panel_width(vectors);
  for (Index v = 0; v < vectors; v += width) {
    const float* panel = panels + v * W * J * G * W;
    for (Index i = 0; i < rows;) {
      const Index left = rows - i, count = N - v * W;
      float* here = to + i * stride + v * W;
      const float* a = gates + i * 4 * W;
#define TILE(R, V) \
  back_tile<R, V, G, SPLIT>(here, stride, a, pitch, J, panel, add, left, count)
      if (left >= TALL) {
        width == 2 ? TILE(TALL, 2) : TILE(TALL, 1);
        i += TALL;
      } else {
        width == 2 ? TILE(LOW, 2) : TILE(LOW, 1);
        i += LOW;
      }
#undef TILE
    }
  }
}

}  // namespace kernels
