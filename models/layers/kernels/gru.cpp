// A gated recurrent unit over whole sequences, forward and backward.
//
// Time-major arrays, BLOCK sequences at a time. One panel holds W hidden channels of the gates
// r, z, n; a tile of the recurrent product ends with the nonlinearities of the very channels
// it has in registers. For every step are saved, per panel and sequence: r, z, n and the
// recurrent part of n.
#include "recurrent.h"

namespace kernels {

namespace gru {

struct Panels {
  const float *hidden, *input, *bias;  // [H][3W], [I][3W], [4W]: r, z, n, recurrent n
};

template <int R>
INLINED void forward_tile(const Sizes& s, const Panels& p, const float* x, const float* before,
                          float* after, Index j, Index rows, float* states, float* saved) {
  const Index P = padded(s), count = s.H - j * W;
  Vector tile[R][3], given[R];
  UNROLLED(i, R) UNROLLED(g, 3) tile[i][g] = load(p.bias + g * W);
  multiply<R, 3>(tile, x, s.I, p.input, s.I);
  UNROLLED(i, R) {
    given[i] = tile[i][2];
    tile[i][2] = load(p.bias + 3 * W);
  }
  multiply<R, 3>(tile, before, P, p.hidden, s.H);
  UNROLLED(i, R) {
    const Vector inner = tile[i][2];
    Vector r, z;
    divide(logistic(tile[i][0]), logistic(tile[i][1]), r, z);
    const Vector n = hyperbolic_tangent(given[i] + r * inner);
    const Vector h = n + z * (load(before + i * P + j * W) - n);
    store(after + i * P + j * W, h);
    if (i < rows) {
      store_part(states + i * s.H + j * W, h, count);
      if (saved != nullptr) {
        float* q = saved + i * 4 * W;
        store(q, r);
        store(q + W, z);
        store(q + 2 * W, n);
        store(q + 3 * W, inner);
      }
    }
  }
}

bool forward(const Sizes& s, const float* x, const float* wi, const float* bi, const float* wh,
             const float* bh, const float* initial, float* states, float* final, float* saved) {
  const Index P = padded(s), J = panels(s);
  const Index sizes[] = {s.H * 3 * P, s.I * 3 * P, 4 * P, BLOCK * P, BLOCK * P, BLOCK * s.I};
  Workspace space(sizes);
  if (space.failed()) return false;
  float *hidden = space.take(), *input = space.take();
  float *bias = space.take(), *before = space.take();
  float *after = space.take(), *own = space.take();
  pack_gates<3>(hidden, wh, s.H, s.H);
  pack_gates<3>(input, wi, s.I, s.H);
  for (Index h = 0; h < s.H; h++) {
    float* b = bias + h / W * 4 * W + h % W;
    for (int g = 0; g < 3; g++) b[g * W] = bi[g * s.H + h];
    b[3 * W] = bh[h];
  }
  for (Index b0 = 0; b0 < s.B; b0 += BLOCK) {
    const Index nb = lesser(BLOCK, s.B - b0);
    for (Index i = 0; i < BLOCK * P; i++) before[i] = 0;
    copy_rows(before, P, initial + b0 * s.H, s.H, nb, s.H);
    for (Index t = 0; t < s.T; t++) {
      const float* xt = x + (t * s.B + b0) * s.I;
      if (nb % LOW) {  // a tile reads whole rows of LOW
        std::memcpy(own, xt, nb * s.I * sizeof(float));
        xt = own;
      }
      for (Index j = 0; j < J; j++) {
        const Panels p{hidden + j * s.H * 3 * W, input + j * s.I * 3 * W, bias + j * 4 * W};
        for (Index i = 0; i < nb;) {
          const bool tall = nb - i >= TALL;
          float* to = states + (t * s.B + b0 + i) * s.H;
          float* keep = saved;
          if (saved != nullptr) keep += ((b0 * s.T + t * nb) * J + j * nb + i) * 4 * W;
          if (tall)
            forward_tile<TALL>(s, p, xt + i * s.I, before + i * P, after + i * P, j, nb - i,
                               to, keep);
          else
            forward_tile<LOW>(s, p, xt + i * s.I, before + i * P, after + i * P, j, nb - i,
                              to, keep);
          i += tall ? TALL : LOW;
        }
      }
      float* swap = before;
      before = after;
      after = swap;
    }
    copy_rows(final + b0 * s.H, s.H, before, P, nb, s.H);
  }
  return true;
}

// The gradients of one step's gates, in the layout [J][rows][r, z, recurrent n, given n].
// ONE: a single input channel, whose weight gradient is summed here.
template <bool ONE>
static void step_gates(const Sizes& s, Index nb, const float* saved, const float* before,
                       const float* x, const float* dstates, float* dh, float* gates,
                       Index pitch, float* dbias, float* dinput) {
  const Index P = padded(s), J = panels(s);
  for (Index j = 0; j < J; j++) {
    const Index count = s.H - j * W;
    Vector sums[4], products[3];
    UNROLLED(g, 4) sums[g] = Vector{};
    UNROLLED(g, 3) products[g] = Vector{};
    for (Index b = 0; b < nb; b++) {
      const float* q = saved + (j * nb + b) * 4 * W;
      const Vector r = load(q), z = load(q + W), n = load(q + 2 * W), inner = load(q + 3 * W);
      const Vector h = load(before + b * P + j * W);
      float* carried = dh + b * P + j * W;
      const Vector d = load(carried) + load_part(dstates + b * s.H + j * W, count);
      const Vector dn = d * (1.f - z) * (1.f - n * n);
      const Vector dr = dn * inner * r * (1.f - r), dz = d * (h - n) * z * (1.f - z);
      const Vector dinner = dn * r;
      float* g = gates + j * pitch + b * 4 * W;
      store(g, dr);
      store(g + W, dz);
      store(g + 2 * W, dinner);
      store(g + 3 * W, dn);
      store(carried, d * z);
      sums[0] += dr;
      sums[1] += dz;
      sums[2] += dn;
      sums[3] += dinner;
      if (ONE) {
        products[0] += x[b] * dr;
        products[1] += x[b] * dz;
        products[2] += x[b] * dn;
      }
    }
    UNROLLED(g, 4) add_to(dbias + (j * 4 + g) * W, sums[g]);
    if (ONE) UNROLLED(g, 3) add_to(dinput + (j * LOW * 3 + g) * W, products[g]);
  }
}

bool backward(const Sizes& s, const float* x, const float* wi, const float* wh,
              const float* initial, const float* states, const float* saved,
              const float* dstates, const float* dfinal, float* dx, float* dwi, float* dbi,
              float* dwh, float* dbh, float* dinitial) {
  const Index P = padded(s), J = panels(s), C = round_up(s.I, LOW);
  const Index N = round_up(s.I, W), rows = CHUNK + TALL, pitch = rows * 4 * W;
  const Index sizes[] = {3 * P * P, dx != nullptr ? 3 * P * N : 0, J * pitch, rows * P,
                         rows * C, BLOCK * P, 3 * P * P, 3 * P * C, 4 * P};
  Workspace space(sizes);
  if (space.failed()) return false;
  float *hidden = space.take(), *input = space.take();
  float *gates = space.take(), *before = space.take();
  float *given = space.take(), *dh = space.take();
  float *dhidden = space.take(), *dinput = space.take();
  float* dbias = space.take();
  pack_transposed<3>(hidden, wh, s.H, s.H);
  if (dx != nullptr) pack_transposed<3>(input, wi, s.I, s.H);
  for (Index b0 = 0; b0 < s.B; b0 += BLOCK) {
    const Index nb = lesser(BLOCK, s.B - b0), steps = CHUNK / nb;
    for (Index i = 0; i < BLOCK * P; i++) dh[i] = 0;
    copy_rows(dh, P, dfinal + b0 * s.H, s.H, nb, s.H);
    Index done = 0;  // rows in the chunk
    for (Index t = s.T - 1; t >= 0; t--) {
      const Index row = t * s.B + b0;
      const float* last = t ? states + (row - s.B) * s.H : initial + b0 * s.H;
      const float* xt = x + row * s.I;
      float *h = before + done * P, *g = gates + done * 4 * W;
      copy_rows(h, P, last, s.H, nb, s.H);
      if (s.I > 1) copy_rows(given + done * C, C, xt, s.I, nb, s.I);
      const float* q = saved + (b0 * s.T + t * nb) * J * 4 * W;
      const float* dt = dstates + row * s.H;
      if (s.I == 1)
        step_gates<true>(s, nb, q, h, xt, dt, dh, g, pitch, dbias, dinput);
      else
        step_gates<false>(s, nb, q, h, xt, dt, dh, g, pitch, dbias, dinput);
      if (dx != nullptr) multiply_gates<3, true>(dx + row * s.I, s.I, s.I, g, pitch, J, input, false, nb);
      multiply_gates<3, false>(dh, P, P, g, pitch, J, hidden, true, nb);
      done += nb;
      if (t == 0 || done / nb == steps) {
        for (Index j = 0; j < J; j++) {
          const float* panel = gates + j * pitch;
          add_gradient<3>(dhidden + j * P * 3 * W, before, P, panel, 4 * W, done);
          if (s.I == 1) continue;
          add_gradient<2>(dinput + j * C * 3 * W, given, C, panel, 4 * W, done);
          add_gradient<1>(dinput + j * C * 3 * W + C * 2 * W, given, C, panel + 3 * W, 4 * W,
                          done);
        }
        done = 0;
      }
    }
    copy_rows(dinitial + b0 * s.H, s.H, dh, P, nb, s.H);
  }
  unpack_gates<3>(dwh, dhidden, s.H, P, s.H);
  for (Index h = 0; h < s.H; h++) {
    const float* b = dbias + h / W * 4 * W + h % W;
    for (int g = 0; g < 3; g++) dbi[g * s.H + h] = b[g * W];
    dbh[h] = b[3 * W];
  }
  for (Index i = 0; i < s.I; i++)  // r and z in one piece, n in another
    for (Index h = 0; h < s.H; h++) {
      const float* panel = dinput + h / W * C * 3 * W + h % W;
      const bool one = s.I == 1;
      dwi[i * 3 * s.H + h] = panel[i * 2 * W];
      dwi[i * 3 * s.H + s.H + h] = panel[i * 2 * W + W];
      dwi[i * 3 * s.H + 2 * s.H + h] = panel[one ? 2 * W : C * 2 * W + i * W];
    }
  return true;
}

}  // namespace gru
}  // namespace kernels
