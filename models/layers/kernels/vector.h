// Vectors of floats, the exponential functions on them, and small matrix products.
//
// VECTOR_BYTES is 64 (AVX-512) or 32 (AVX2) and must match the instruction set that is compiled
// for: vectors wider than the registers are 30 to 50 times slower. Never compile this with
// -ffast-math, which may simplify the rounding in `exponential` away.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "kernels.h"

namespace kernels {

typedef float Vector __attribute__((vector_size(VECTOR_BYTES), aligned(4)));
typedef int32_t Integers __attribute__((vector_size(VECTOR_BYTES), aligned(4)));

constexpr Index W = VECTOR_BYTES / 4;  // floats in a vector
constexpr int REGISTERS = VECTOR_BYTES == 64 ? 32 : 16;

#define UNROLLED(i, n) _Pragma("GCC unroll 32") for (int i = 0; i < n; i++)

static inline Vector load(const float* p) { return *(const Vector*)p; }
static inline void store(float* p, Vector v) { *(Vector*)p = v; }
static inline Vector all(float x) { return Vector{} + x; }

// The first `count` (1 … W) floats at p, zeros after them.
static inline Vector load_part(const float* p, Index count) {
  if (count >= W) return load(p);
  Vector v{};
  for (Index i = 0; i < count; i++) v[i] = p[i];
  return v;
}

static inline void add_to(float* p, Vector v) { store(p, load(p) + v); }

static inline void store_part(float* p, Vector v, Index count) {
  if (count >= W) return store(p, v);
  for (Index i = 0; i < count; i++) p[i] = v[i];
}

#if VECTOR_BYTES == 64
#define EACH(f, a, b) ((Vector)_mm512_##f##_ps((__m512)(a), (__m512)(b)))
#else
#define EACH(f, a, b) ((Vector)_mm256_##f##_ps((__m256)(a), (__m256)(b)))
#endif

// NaN stays NaN: of two operands these instructions give the second where one is NaN.
static inline Vector clamp(Vector x, float limit) {
  return EACH(max, all(-limit), EACH(min, all(limit), x));
}

// About 1 unit in the last place; arguments beyond ±87 count as ±87 (Cephes' expf).
static inline Vector exponential(Vector x) {
  x = clamp(x, 87.f);
  Vector r = x * 1.44269504088896341f + 12582912.f;  // rounds to an integer, in the low bits
  Integers n = (Integers)r - 0x4B400000;
  r = r - 12582912.f;
  x = x - r * 0.693359375f;
  x = x - r * -2.12194440e-4f;
  Vector y = all(1.9875691500E-4f);
  y = y * x + 1.3981999507E-3f;
  y = y * x + 8.3334519073E-3f;
  y = y * x + 4.1665795894E-2f;
  y = y * x + 1.6666665459E-1f;
  y = y * x + 5.0000001201E-1f;
  y = y * x * x + x + 1.f;
  return y * (Vector)((n + 127) << 23);
}

// A function as a fraction. Dividing is the slow part, so that is left to the caller.
struct Fraction {
  Vector p, q;
};

// tanh, ±1 beyond ±8 (the rational function of Eigen and XLA).
static inline Fraction tangent(Vector x) {
  x = clamp(x, 7.99881172180175781f);
  const Vector s = x * x;
  Vector p = all(-2.76076847742355e-16f);
  p = p * s + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  Vector q = all(1.19825839466702e-06f);
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return {p * x, q};
}

// The logistic function, (1 + tanh(x/2)) / 2.
static inline Fraction logistic(Vector x) {
  const Fraction t = tangent(0.5f * x);
  return {0.5f * (t.q + t.p), t.q};
}

static inline Vector hyperbolic_tangent(Vector x) {
  const Fraction t = tangent(x);
  return t.p / t.q;
}

// Both quotients for the price of one division.
static inline void divide(const Fraction& a, const Fraction& b, Vector& x, Vector& y) {
  const Vector inverse = 1.f / (a.q * b.q);
  x = a.p * b.q * inverse;
  y = b.p * a.q * inverse;
}

static inline Index round_up(Index n, Index multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// One block of zeroed memory for a whole call, cut into aligned pieces of these sizes.
class Workspace {
 public:
  template <std::size_t N>
  explicit Workspace(const Index (&sizes)[N]) : next_(sizes) {
    Index floats = 0;
    for (Index size : sizes) floats += aligned(size);
    const std::size_t bytes = round_up(floats * 4, 64) + 64;
    memory_ = static_cast<char*>(std::aligned_alloc(64, bytes));
    if (memory_ != nullptr) std::memset(memory_, 0, bytes);
  }
  ~Workspace() { std::free(memory_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  bool failed() const { return memory_ == nullptr; }
  // The pieces in their order, one at a time.
  float* take() {
    float* piece = reinterpret_cast<float*>(memory_) + used_;
    used_ += aligned(*next_++);
    return piece;
  }

 private:
  static Index aligned(Index floats) { return round_up(floats, 16); }

  const Index* next_;
  char* memory_;
  Index used_ = 0;
};

}  // namespace kernels
