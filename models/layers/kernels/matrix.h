// Small matrix products in register tiles, over operands packed in panels.
//
// A panel holds, for every row k of the right-hand matrix, N vectors side by side: [K][N·W].
// Reading it is one contiguous stream, whatever the matrix's own shape was.
#pragma once

#include "vector.h"

namespace kernels {

constexpr int BLOCK = 16;                        // sequences that advance together
constexpr int TALL = REGISTERS == 32 ? 8 : 4;    // rows of a tile; BLOCK is a multiple of it
constexpr int LOW = 4;                           // rows of a tile where fewer are left
constexpr Index CHUNK = 64;                      // rows that enter one weight gradient product

#define INLINED static inline __attribute__((always_inline))

// tile[R][N] += a[R][K] · panel[K][N·W]; rows of a are `stride` floats apart.
template <int R, int N>
INLINED void multiply(Vector (&tile)[R][N], const float* a, Index stride, const float* panel,
                      Index K) {
  for (Index k = 0; k < K; k++) {
    Vector b[N];
    UNROLLED(j, N) b[j] = load(panel + (k * N + j) * W);
    UNROLLED(i, R) {
      const float s = a[i * stride + k];
      UNROLLED(j, N) tile[i][j] += s * b[j];
    }
  }
}

// The same with a transposed: tile[R][N] += a[K][R]ᵀ · b[K][N·W], rows of b `width` apart.
template <int R, int N>
INLINED void multiply_transposed(Vector (&tile)[R][N], const float* a, Index stride,
                                 const float* b, Index width, Index K) {
  for (Index k = 0; k < K; k++) {
    Vector v[N];
    UNROLLED(j, N) v[j] = load(b + k * width + j * W);
    UNROLLED(i, R) {
      const float s = a[k * stride + i];
      UNROLLED(j, N) tile[i][j] += s * v[j];
    }
  }
}

// sums[M][N·W] += a[K][M]ᵀ · b[K][N·W]; M is a multiple of LOW. The product is summed on its own
// first: one chain of additions through all rows would cost a digit.
template <int N>
static void add_gradient(float* sums, const float* a, Index M, const float* b, Index width,
                         Index K) {
  for (Index m = 0; m < M; m += LOW) {
    Vector tile[LOW][N];
    UNROLLED(i, LOW) UNROLLED(j, N) tile[i][j] = Vector{};
    multiply_transposed<LOW, N>(tile, a + m, M, b, width, K);
    UNROLLED(i, LOW) UNROLLED(j, N) add_to(sums + ((m + i) * N + j) * W, tile[i][j]);
  }
}

// Copy the first `count` floats of rows of `from` to rows of `to`.
static inline void copy_rows(float* to, Index to_stride, const float* from, Index from_stride,
                             Index rows, Index count) {
  if (to_stride == count && from_stride == count) {
    std::memcpy(to, from, rows * count * sizeof(float));
    return;
  }
  for (Index i = 0; i < rows; i++)
    std::memcpy(to + i * to_stride, from + i * from_stride, count * sizeof(float));
}

static inline Index lesser(Index a, Index b) { return a < b ? a : b; }

// Weights [K][G·H] as one panel per W hidden channels: [H/W][K][G·W], zeros beyond H.
template <int G>
static void pack_gates(float* panels, const float* weights, Index K, Index H) {
  const Index panel_count = round_up(H, W) / W;
  for (Index j = 0; j < panel_count; j++)
    for (Index k = 0; k < K; k++)
      for (int g = 0; g < G; g++) {
        const Index count = lesser(W, H - j * W);
        const float* from = weights + (k * G + g) * H + j * W;
        std::memcpy(panels + ((j * K + k) * G + g) * W, from, count * sizeof(float));
      }
}

// The way back: panels [H/W][K, `rows` of them][G·W] to weights [K][G·H].
template <int G>
static void unpack_gates(float* weights, const float* panels, Index K, Index rows, Index H) {
  const Index panel_count = round_up(H, W) / W;
  for (Index j = 0; j < panel_count; j++)
    for (Index k = 0; k < K; k++)
      for (int g = 0; g < G; g++) {
        const Index count = lesser(W, H - j * W);
        const float* from = panels + ((j * rows + k) * G + g) * W;
        std::memcpy(weights + (k * G + g) * H + j * W, from, count * sizeof(float));
      }
}

// Vectors in a panel of a product whose result has `vectors` of them.
static inline Index panel_width(Index vectors) { return vectors % 2 == 0 ? 2 : 1; }

// Weights [N][G·H] transposed: panels [N/(V·W)][H/W][G·W][V·W] with V = panel_width, whose
// rows are in the order in which `pack_gates` has its columns.
template <int G>
static void pack_transposed(float* panels, const float* weights, Index N, Index H) {
  const Index vectors = round_up(N, W) / W, width = panel_width(vectors) * W;
  const Index rows = round_up(H, W) * G;
  for (Index n = 0; n < N; n++)
    for (int g = 0; g < G; g++)
      for (Index h = 0; h < H; h++) {
        const Index row = (h / W * G + g) * W + h % W;
        panels[(n / width * rows + row) * width + n % width] = weights[(n * G + g) * H + h];
      }
}

}  // namespace kernels
