// A block of dilated causal convolution over whole windows, forward and backward:
//
//     y[t] = skip·x[t] + scale · a(bias + sum_j x[t - j·dilation] W[taps-1-j])
//
// A tap that would look before the window is left out of the sums, not multiplied by zero, so
// long dilations cost less. Here taps are numbered by their lag j. Sums run over register
// tiles: some time steps by a few vectors of output channels.
#include <immintrin.h>

#include <algorithm>
#include <type_traits>

#include "kernels.h"
#include "matrix.h"

namespace kernels {
namespace convolution {

// ---- products on register tiles ----

constexpr Index WIDEST = REGISTERS == 32 ? 3 : 2;  // vectors in a tile
constexpr Index TALLEST = 12;                      // rows of a tile
// Rows of a tile that is `vectors` wide: its sums fill the registers.
constexpr Index tallest(Index vectors) {
  if (REGISTERS == 16) return vectors == 1 ? 12 : 6;
  return vectors == 3 ? 8 : 12;
}

// Rows of a matrix.
template <class Number>
struct Rows {
  Number* first;
  Index stride;
  Number* operator[](Index i) const { return first + i * stride; }
};

// out[i][V·W] = start[i][V·W] + sum_j sum_c in[i + j·lag][c] panel[j][c][V·W], over `taps` lags.
template <int R, int V>
static void row_tile(const float* in, Index stride, Index lag, Index taps, Index channels,
                     const float* panel, Rows<const float> start, Rows<float> out) {
  Vector sum[R][V];
  UNROLLED(i, R) UNROLLED(v, V) sum[i][v] = load(start[i] + v * W);
  for (Index j = 0; j < taps; j++, in += lag, panel += channels * V * W)
    multiply<R, V>(sum, in, stride, panel, channels);
  UNROLLED(i, R) UNROLLED(v, V) store(out[i] + v * W, sum[i][v]);
}

// out[R][V·W] += sum_t x[t][i] dz[t][V·W], over `length` time steps.
template <int R, int V>
static void weight_tile(const float* x, Index x_stride, const float* dz, Index stride,
                        Index length, float* out) {
  Vector sum[R][V];
  UNROLLED(i, R) UNROLLED(v, V) sum[i][v] = Vector{};
  multiply_transposed<R, V>(sum, x, x_stride, dz, stride, length);
  UNROLLED(i, R) UNROLLED(v, V) {
    float* o = out + i * stride + v * W;
    store(o, load(o) + sum[i][v]);
  }
}

struct Tiles {  // by vectors and rows
  decltype(&row_tile<1, 1>) row[WIDEST + 1][TALLEST + 1] = {};
  decltype(&weight_tile<1, 1>) weight[WIDEST + 1][TALLEST + 1] = {};
};

template <int V, int R>
static constexpr void fill(Tiles& tiles) {
  tiles.row[V][R] = row_tile<R, V>;
  tiles.weight[V][R] = weight_tile<R, V>;
  if constexpr (R > 1) {
    fill<V, R - 1>(tiles);
  } else if constexpr (V > 1) {
    fill<V - 1, tallest(V - 1)>(tiles);
  }
}

static constexpr Tiles make_tiles() {
  Tiles tiles;
  fill<WIDEST, tallest(WIDEST)>(tiles);
  return tiles;
}
constexpr Index TILE = 36 * W;  // floats; no tile is larger
static constexpr Tiles TILES = make_tiles();

// Cut `total` into parts of nearly equal size, at most `most`: f(first, size).
template <class F>
static inline void cut(Index total, Index most, F f) {
  const Index parts = (total + most - 1) / most;
  for (Index p = 0, first = 0; p < parts; p++) {
    const Index size = (total - first + parts - p - 1) / (parts - p);
    f(first, size);
    first += size;
  }
}

// The channels as blocks that a tile covers: f(first channel, vectors).
template <class F>
static inline void blocks(Index channels, F f) {
  cut(round_up(channels, W) / W, WIDEST, [&](Index first, Index count) { f(first * W, count); });
}

// Weights as one panel per block, [lag][in][vectors·W], zeros beyond `out`.
template <class F>
static void pack(Index taps, Index in, Index out, F weight, float* panel) {
  blocks(out, [&](Index first, Index count) {
    const Index used = std::min(count * W, out - first);
    for (Index j = 0; j < taps; j++)
      for (Index c = 0; c < in; c++, panel += count * W)
        for (Index o = 0; o < used; o++) panel[o] = weight(j, c, first + o);
  });
}

// The sums of one window; a `lag` below zero looks back, one above zero ahead (time steps).
// `tile(t, rows, first channel, vectors, product)` says where they go: product(start, out).
template <class F>
static void convolve(const Sizes& s, const float* in, Index stride, Index lag, Index channels,
                     Index out, const float* panels, F tile) {
  blocks(out, [&](Index first, Index count) {
    for (Index seen = 1; seen <= s.taps; seen++) {  // the time steps that see so many taps
      const Index begin = std::min(s.T, (seen - 1) * s.dilation);
      const Index end = seen < s.taps ? std::min(s.T, seen * s.dilation) : s.T;
      const Index offset = lag < 0 ? begin : s.T - end;
      cut(end - begin, tallest(count), [&](Index t, Index rows) {
        t += offset;
        tile(t, rows, first, count, [&](Rows<const float> start, Rows<float> to) {
          TILES.row[count][rows](in + t * stride, stride, lag * stride, seen, channels, panels,
                                 start, to);
        });
      });
    }
    panels += s.taps * channels * count * W;
  });
}

// ---- activations ----

template <Activation A>
static inline void activate(Vector z, Vector& value, Vector& slope) {
  if constexpr (A == Activation::relu) {
    value = z <= 0.f ? Vector{} : z;  // NaN stays NaN
  } else if constexpr (A == Activation::tanh) {
    value = hyperbolic_tangent(z);
    slope = 1.f - value * value;
  } else if constexpr (A == Activation::mish) {
    // With e = exp z and n = e (e + 2): tanh(log(1 + e)) = n / (n + 2); 1 beyond 20.
    const Vector c = z > 20.f ? all(20.f) : z;
    const Vector e = exponential(c), n = e * (e + 2.f), r = 1.f / (n + 2.f);
    value = z * (n * r);
    slope = (n + 4.f * c * e * (1.f + e) * r) * r;
  } else {  // in its form with a tanh: (1 + tanh u) / 2 = sigmoid 2u; 0 or 1 beyond 10
    constexpr float a = 1.5957691216057308f, b = 0.044715f;  // a = 2 sqrt(2 / pi)
    const Vector c = clamp(z, 10.f), q = c * c;
    const Vector h = 1.f / (1.f + exponential(-a * c * (1.f + b * q)));
    value = z * h;
    slope = h + c * h * (1.f - h) * (a * (1.f + 3.f * b * q));
  }
}

// What backward needs of an activation is its slope; of relu that is one bit.
static inline Index sign_bytes(Index channels) { return round_up(channels, 16) / 8; }

template <Activation A>
static inline Index saved_bytes(Index channels) {
  return A == Activation::relu ? sign_bytes(channels) : channels * Index(sizeof(float));
}

template <Activation A>  // of a channel that begins a vector
static inline Index saved_offset(Index channel) {
  return A == Activation::relu ? channel / 8 : channel * Index(sizeof(float));
}

static inline void store_signs(std::uint8_t* p, Vector v) {
#if VECTOR_BYTES == 64
  const __mmask16 bits = _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_GT_OQ);
  std::memcpy(p, &bits, 2);
#else
  *p = _mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_setzero_ps(), _CMP_GT_OQ));
#endif
}

static inline Vector where_signs(const std::uint8_t* p, Vector v) {
#if VECTOR_BYTES == 64
  __mmask16 bits;
  std::memcpy(&bits, p, 2);
  return (Vector)_mm512_maskz_mov_ps(bits, (__m512)v);
#else
  const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_and_si256(_mm256_set1_epi32(*p), each);
  return (Vector)_mm256_and_ps((__m256)v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, each)));
#endif
}

static inline Vector where(Integers condition, Vector v) {
  return (Vector)((Integers)v & condition);
}

// ---- the block ----

// What follows the sums of one vector of channels; arrays begin at its first time step.
template <Activation A>
INLINED void finish(Rows<const float> tile, Index rows, Vector scale, Rows<const float> x,
                    Rows<float> y, Index left, Rows<char> saved) {
  const Integers kept = scale != 0.f;
  const auto each = [&](auto whole) {
    const Index count = whole() ? W : left;
    for (Index i = 0; i < rows; i++) {
      const Vector z = load(tile[i]);
      Vector value, slope{};
      activate<A>(z, value, slope);
      if (saved.first != nullptr) {
        if constexpr (A == Activation::relu) {
          store_signs(reinterpret_cast<std::uint8_t*>(saved[i]), z);
        } else {
          store_part(reinterpret_cast<float*>(saved[i]), slope, count);
        }
      }
      value = where(kept, value * scale);
      if (x.first != nullptr) value += load_part(x[i], count);
      store_part(y[i], value, count);
    }
  };
  if (left >= W) {
    each(std::true_type());
  } else {
    each(std::false_type());
  }
}

template <Activation A>
static bool forward_with(const Sizes& s, bool skip, const float* x, const float* w,
                         const float* bias, const float* scale, float* y, void* saved) {
  const Index P = round_up(s.O, W), sizes[] = {s.taps * s.I * P, P, P};
  Workspace space(sizes);
  if (space.failed()) return false;
  float *panels = space.take(), *start = space.take(), *factor = space.take();
  std::copy_n(bias, s.O, start);
  const auto weight = [&](Index j, Index c, Index o) {
    return w[((s.taps - 1 - j) * s.I + c) * s.O + o];
  };
  pack(s.taps, s.I, s.O, weight, panels);
  alignas(64) float sums[TILE];
  for (Index b = 0; b < s.B; b++) {
    std::copy_n(scale + b * s.O, s.O, factor);
    const auto tile = [&](Index t, Index rows, Index first, Index count, auto product) {
      const Rows<float> z{sums, count * W};
      product(Rows<const float>{start + first, 0}, z);
      const Index place = b * s.T + t;
      for (Index v = 0; v < count; v++) {
        const Index o = first + v * W, at = place * s.O + o;
        char* save = static_cast<char*>(saved);
        if (save != nullptr) save += place * saved_bytes<A>(s.O) + saved_offset<A>(o);
        finish<A>({sums + v * W, z.stride}, rows, load(factor + o),
                  {skip ? x + at : nullptr, s.O}, {y + at, s.O}, s.O - o,
                  {save, saved_bytes<A>(s.O)});
      }
    };
    convolve(s, x + b * s.T * s.I, s.I, -s.dilation, s.I, s.O, panels, tile);
  }
  return true;
}

bool forward(const Sizes& s, Activation activation, bool skip, const float* x, const float* w,
             const float* bias, const float* scale, float* y, void* saved) {
  const auto run = [&](auto a) {
    return forward_with<a()>(s, skip, x, w, bias, scale, y, saved);
  };
  switch (activation) {
    case Activation::relu:
      return run(std::integral_constant<Activation, Activation::relu>());
    case Activation::tanh:
      return run(std::integral_constant<Activation, Activation::tanh>());
    case Activation::mish:
      return run(std::integral_constant<Activation, Activation::mish>());
    default:
      return run(std::integral_constant<Activation, Activation::gelu>());
  }
}

// One window's dz = dy · scale · a'(z) in whole vectors; adds its sum over time to `db`.
template <bool relu>
static void through_activation(const Sizes& s, const float* dy, const void* saved,
                               const float* scale, float* dz, float* db) {
  const Index P = round_up(s.O, W);
  for (Index o = 0; o < P; o += W) {
    const Index left = s.O - o;
    const Vector f = load_part(scale + o, left);
    const Integers kept = f != 0.f;
    Vector sum{};
    for (Index t = 0; t < s.T; t++) {
      Vector d = load_part(dy + t * s.O + o, left) * f;
      if constexpr (relu) {
        const auto* signs = static_cast<const std::uint8_t*>(saved);
        d = where_signs(signs + t * sign_bytes(s.O) + o / 8, d);
      } else {
        d *= load_part(static_cast<const float*>(saved) + t * s.O + o, left);
      }
      d = where(kept, d);
      store(dz + t * P + o, d);
      sum += d;
    }
    store(db + o, load(db + o) + sum);
  }
}

// dw[lag][I][P] += sum_t x[t - lag·dilation] dz[t]: a stretch of time whose x and dz stay in
// the first cache, then the next.
static void add_weight_gradient(const Sizes& s, const float* x, const float* dz, float* dw) {
  constexpr Index cached = 4096;  // floats of each of the two
  const Index P = round_up(s.O, W), most = std::max<Index>(32, cached / std::max(s.I, P));
  cut(s.T, most, [&](Index begin, Index length) {
    blocks(s.O, [&](Index first, Index count) {
      for (Index j = 0; j < s.taps; j++) {
        const Index t = std::max(begin, j * s.dilation), steps = begin + length - t;
        if (steps <= 0) break;
        cut(s.I, tallest(count), [&](Index c, Index rows) {
          TILES.weight[count][rows](x + (t - j * s.dilation) * s.I + c, s.I, dz + t * P + first,
                                    P, steps, dw + (j * s.I + c) * P + first);
        });
      }
    });
  });
}

template <bool relu>
static bool backward_with(const Sizes& s, bool skip, const float* x, const float* w,
                          const float* scale, const void* saved, const float* dy, float* dx,
                          float* dw, float* db) {
  const Index P = round_up(s.O, W), Q = round_up(s.I, W);
  const Index sizes[] = {s.taps * s.O * Q, s.taps * s.I * P, s.T * P, P, Q};
  Workspace space(sizes);
  if (space.failed()) return false;
  float *panels = space.take(), *weights = space.take();
  float *dz = space.take(), *bias = space.take(), *zero = space.take();
  const auto weight = [&](Index j, Index o, Index c) {
    return w[((s.taps - 1 - j) * s.I + c) * s.O + o];
  };
  if (dx != nullptr) pack(s.taps, s.O, s.I, weight, panels);
  alignas(64) float sums[TILE] = {};
  const Index bytes = s.T * (relu ? sign_bytes(s.O) : s.O * Index(sizeof(float)));
  for (Index b = 0; b < s.B; b++) {
    const float *own = x + b * s.T * s.I, *from = dy + b * s.T * s.O;
    through_activation<relu>(s, from, static_cast<const char*>(saved) + b * bytes,
                             scale + b * s.O, dz, bias);
    add_weight_gradient(s, own, dz, weights);
    if (dx == nullptr) continue;
    float* to = dx + b * s.T * s.I;
    const auto tile = [&](Index t, Index rows, Index first, Index count, auto product) {
      const Rows<const float> start = {skip ? from + t * s.I + first : zero, skip ? s.I : 0};
      const Rows<float> out = {to + t * s.I + first, s.I};
      if (first + count * W <= s.I) return product(start, out);
      const Index used = s.I - first, width = count * W;
      const Rows<float> part = {sums, width};
      for (Index i = 0; i < rows; i++) std::copy_n(start[i], used, part[i]);
      product({sums, width}, part);
      for (Index i = 0; i < rows; i++) std::copy_n(part[i], used, out[i]);
    };
    convolve(s, dz, P, s.dilation, s.O, s.I, panels, tile);
  }
  std::copy_n(bias, s.O, db);
  for (Index j = 0; j < s.taps; j++)
    for (Index c = 0; c < s.I; c++)
      std::copy_n(weights + (j * s.I + c) * P, s.O, dw + ((s.taps - 1 - j) * s.I + c) * s.O);
  return true;
}

bool backward(const Sizes& s, bool relu, bool skip, const float* x, const float* w,
              const float* scale, const void* saved, const float* dy, float* dx, float* dw,
              float* db) {
  const auto run = relu ? backward_with<true> : backward_with<false>;
  return run(s, skip, x, w, scale, saved, dy, dx, dw, db);
}

}  // namespace convolution
}  // namespace kernels
