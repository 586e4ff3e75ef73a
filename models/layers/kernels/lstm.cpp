// A long short-term memory layer over whole sequences, forward and backward.
//
// As in gru.cpp, with the gates i, f, g, o and the cell state c. For every step are saved, per
// panel and sequence: i, f, g, o, c; tanh(c) is computed again on the way back.
#include "recurrent.h"

namespace kernels {
namespace lstm {

constexpr int SAVED = 5;
constexpr int ROWS = REGISTERS == 32 ? 4 : 2;  // four gates fill the registers sooner

struct Panels {
  const float *hidden, *input, *bias;  // [H][4W], [I][4W], [4W]
};

template <int R>
INLINED void forward_tile(const Sizes& s, const Panels& p, const float* x, const float* before,
                          float* after, float* cells, Index j, Index rows, float* states,
                          float* saved) {
  const Index P = padded(s), count = s.H - j * W;
  Vector tile[R][4];
  UNROLLED(i, R) UNROLLED(g, 4) tile[i][g] = load(p.bias + g * W);
  multiply<R, 4>(tile, x, s.I, p.input, s.I);
  multiply<R, 4>(tile, before, P, p.hidden, s.H);
  UNROLLED(i, R) {
    Vector in, forget, update, out;
    divide(logistic(tile[i][0]), logistic(tile[i][1]), in, forget);
    divide(tangent(tile[i][2]), logistic(tile[i][3]), update, out);
    float* cell = cells + i * P + j * W;
    const Vector c = forget * load(cell) + in * update;
    const Vector h = out * hyperbolic_tangent(c);
    store(cell, c);
    store(after + i * P + j * W, h);
    if (i < rows) {
      store_part(states + i * s.H + j * W, h, count);
      if (saved != nullptr) {
        float* q = saved + i * SAVED * W;
        store(q, in);
        store(q + W, forget);
        store(q + 2 * W, update);
        store(q + 3 * W, out);
        store(q + 4 * W, c);
      }
    }
  }
}

bool forward(const Sizes& s, const float* x, const float* wi, const float* bi, const float* wh,
             const float* initial_h, const float* initial_c, float* states, float* final_h,
             float* final_c, float* saved) {
  const Index P = padded(s), J = panels(s);
  const Index sizes[] = {s.H * 4 * P, s.I * 4 * P, 4 * P,      BLOCK * P,
                         BLOCK * P,   BLOCK * P,   BLOCK * s.I};
  Workspace space(sizes);
  if (space.failed()) return false;
  float *hidden = space.take(), *input = space.take();
  float *bias = space.take(), *before = space.take();
  float *after = space.take(), *cells = space.take();
  float* own = space.take();
  pack_gates<4>(hidden, wh, s.H, s.H);
  pack_gates<4>(input, wi, s.I, s.H);
  pack_gates<4>(bias, bi, 1, s.H);
  for (Index b0 = 0; b0 < s.B; b0 += BLOCK) {
    const Index nb = lesser(BLOCK, s.B - b0);
    for (Index i = 0; i < BLOCK * P; i++) before[i] = cells[i] = 0;
    copy_rows(before, P, initial_h + b0 * s.H, s.H, nb, s.H);
    copy_rows(cells, P, initial_c + b0 * s.H, s.H, nb, s.H);
    for (Index t = 0; t < s.T; t++) {
      const float* xt = x + (t * s.B + b0) * s.I;
      if (nb % ROWS) {  // a tile reads whole rows
        std::memcpy(own, xt, nb * s.I * sizeof(float));
        xt = own;
      }
      for (Index j = 0; j < J; j++) {
        const Panels p{hidden + j * s.H * 4 * W, input + j * s.I * 4 * W, bias + j * 4 * W};
        for (Index i = 0; i < nb; i += ROWS) {
          float* to = states + (t * s.B + b0 + i) * s.H;
          float* keep = saved;
          if (saved != nullptr) keep += ((b0 * s.T + t * nb) * J + j * nb + i) * SAVED * W;
          forward_tile<ROWS>(s, p, xt + i * s.I, before + i * P, after + i * P, cells + i * P,
                             j, nb - i, to, keep);
        }
      }
      float* swap = before;
      before = after;
      after = swap;
    }
    copy_rows(final_h + b0 * s.H, s.H, before, P, nb, s.H);
    copy_rows(final_c + b0 * s.H, s.H, cells, P, nb, s.H);
  }
  return true;
}

// Where the cell states before a step lie: row b of panel j at cells + j·pitch + b·stride.
struct Before {
  const float* cells;
  Index pitch, stride;
};

// The gradients of one step's gates, in the layout [J][rows][i, f, g, o].
// ONE: a single input channel, whose weight gradient is summed here.
template <bool ONE>
static void step_gates(const Sizes& s, Index nb, const float* saved, const Before& past,
                       const float* x, const float* dstates, const float* dh, float* dc,
                       float* gates, Index pitch, float* dbias, float* dinput) {
  const Index P = padded(s), J = panels(s);
  for (Index j = 0; j < J; j++) {
    const Index count = s.H - j * W;
    Vector sums[4], products[4];
    UNROLLED(g, 4) sums[g] = Vector{};
    UNROLLED(g, 4) products[g] = Vector{};
    for (Index b = 0; b < nb; b++) {
      const float* q = saved + (j * nb + b) * SAVED * W;
      const Vector in = load(q), forget = load(q + W), update = load(q + 2 * W);
      const Vector out = load(q + 3 * W), squashed = hyperbolic_tangent(load(q + 4 * W));
      float* carried = dc + b * P + j * W;
      const Vector d = load(dh + b * P + j * W) + load_part(dstates + b * s.H + j * W, count);
      const Vector c = load(carried) + d * out * (1.f - squashed * squashed);
      const Vector before = load(past.cells + j * past.pitch + b * past.stride);
      const Vector grad[4] = {c * update * in * (1.f - in),
                              c * before * forget * (1.f - forget),
                              c * in * (1.f - update * update), d * squashed * out * (1.f - out)};
      store(carried, c * forget);
      UNROLLED(g, 4) {
        store(gates + j * pitch + (b * 4 + g) * W, grad[g]);
        sums[g] += grad[g];
        if (ONE) products[g] += x[b] * grad[g];
      }
    }
    UNROLLED(g, 4) add_to(dbias + (j * 4 + g) * W, sums[g]);
    if (ONE) UNROLLED(g, 4) add_to(dinput + (j * LOW * 4 + g) * W, products[g]);
  }
}

// Weights [K][4H] from panels [H/W][2][K, `rows` of them][2W], two gates in each.
static void unpack_halves(float* weights, const float* panels, Index K, Index rows, Index H) {
  for (Index h = 0; h < H; h += W)
    for (int g = 0; g < 4; g++)
      for (Index k = 0; k < K; k++) {
        const float* from = panels + ((h / W * 2 + g / 2) * rows + k) * 2 * W + g % 2 * W;
        std::memcpy(weights + (k * 4 + g) * H + h, from, lesser(W, H - h) * sizeof(float));
      }
}

bool backward(const Sizes& s, const float* x, const float* wi, const float* wh,
              const float* initial_h, const float* initial_c, const float* states,
              const float* saved, const float* dstates, const float* dfinal_h,
              const float* dfinal_c, float* dx, float* dwi, float* dbi, float* dwh,
              float* dinitial_h, float* dinitial_c) {
  const Index P = padded(s), J = panels(s), C = round_up(s.I, LOW);
  const Index N = round_up(s.I, W), rows = CHUNK + TALL, pitch = rows * 4 * W;
  const Index sizes[] = {4 * P * P, dx != nullptr ? 4 * P * N : 0,
                         J * pitch, rows * P,
                         rows * C,  BLOCK * P,
                         BLOCK * P, BLOCK * P,
                         4 * P * P, 4 * P * C,
                         4 * P};
  Workspace space(sizes);
  if (space.failed()) return false;
  float *hidden = space.take(), *input = space.take();
  float *gates = space.take(), *before = space.take();
  float *given = space.take(), *dh = space.take();
  float *dc = space.take(), *first = space.take();
  float *dhidden = space.take(), *dinput = space.take();
  float* dbias = space.take();
  pack_transposed<4>(hidden, wh, s.H, s.H);
  if (dx != nullptr) pack_transposed<4>(input, wi, s.I, s.H);
  for (Index b0 = 0; b0 < s.B; b0 += BLOCK) {
    const Index nb = lesser(BLOCK, s.B - b0), steps = CHUNK / nb;
    for (Index i = 0; i < BLOCK * P; i++) dh[i] = dc[i] = 0;
    copy_rows(dh, P, dfinal_h + b0 * s.H, s.H, nb, s.H);
    copy_rows(dc, P, dfinal_c + b0 * s.H, s.H, nb, s.H);
    copy_rows(first, P, initial_c + b0 * s.H, s.H, nb, s.H);
    Index done = 0;  // rows in the chunk
    for (Index t = s.T - 1; t >= 0; t--) {
      const Index row = t * s.B + b0;
      const float* last = t ? states + (row - s.B) * s.H : initial_h + b0 * s.H;
      const float* xt = x + row * s.I;
      float* g = gates + done * 4 * W;
      copy_rows(before + done * P, P, last, s.H, nb, s.H);
      if (s.I > 1) copy_rows(given + done * C, C, xt, s.I, nb, s.I);
      const float* q = saved + (b0 * s.T + t * nb) * J * SAVED * W;
      const Before past = t ? Before{q - nb * J * SAVED * W + 4 * W, nb * SAVED * W, SAVED * W}
                            : Before{first, W, P};
      const float* dt = dstates + row * s.H;
      if (s.I == 1)
        step_gates<true>(s, nb, q, past, xt, dt, dh, dc, g, pitch, dbias, dinput);
      else
        step_gates<false>(s, nb, q, past, xt, dt, dh, dc, g, pitch, dbias, dinput);
      if (dx != nullptr)
        multiply_gates<4, false>(dx + row * s.I, s.I, s.I, g, pitch, J, input, false, nb);
      multiply_gates<4, false>(dh, P, P, g, pitch, J, hidden, false, nb);
      done += nb;
      if (t == 0 || done / nb == steps) {
        for (Index j = 0; j < J; j++)
          for (int half = 0; half < 2; half++) {  // two gates at a time fill the registers
            const float* panel = gates + j * pitch + half * 2 * W;
            add_gradient<2>(dhidden + (j * 2 + half) * P * 2 * W, before, P, panel, 4 * W, done);
            if (s.I == 1) continue;
            add_gradient<2>(dinput + (j * 2 + half) * C * 2 * W, given, C, panel, 4 * W, done);
          }
        done = 0;
      }
    }
    copy_rows(dinitial_h + b0 * s.H, s.H, dh, P, nb, s.H);
    copy_rows(dinitial_c + b0 * s.H, s.H, dc, P, nb, s.H);
  }
  unpack_gates<4>(dbi, dbias, 1, 1, s.H);
  unpack_halves(dwh, dhidden, s.H, P, s.H);
  if (s.I == 1)
    unpack_gates<4>(dwi, dinput, 1, LOW, s.H);
  else
    unpack_halves(dwi, dinput, s.I, C, s.H);
  return true;
}

}  // namespace lstm
}  // namespace kernels
