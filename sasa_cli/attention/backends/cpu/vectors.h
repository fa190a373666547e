// Vectors of independent lanes, and the arithmetic on them that C++ does not bring along.
//
// A vector is as wide as the widest register of the instruction set this file is compiled for. Nothing here
// is written for one machine: the compiler's vector extension maps to AVX-512, AVX2, SSE2 or NEON.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define SASA_INLINE inline __attribute__((always_inline))
#define SASA_INLINE_LAMBDA __attribute__((always_inline))

#if defined(__AVX512F__)
#define SASA_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define SASA_VECTOR_BYTES 32
#else
#define SASA_VECTOR_BYTES 16
#endif

namespace {

constexpr int kChunk = 4;  // channels that are handled together outside the dot products

// Calls f(integral_constant<int, 0>), ..., f(integral_constant<int, N - 1>): indices of register arrays must be
// constants before the optimiser starts, or the arrays stay in memory.
template <int... I, class F>
SASA_INLINE void unroll_indices(std::integer_sequence<int, I...>, F&& f) {
  (f(std::integral_constant<int, I>{}), ...);
}
template <int N, class F>
SASA_INLINE void unroll(F&& f) {
  unroll_indices(std::make_integer_sequence<int, N>{}, static_cast<F&&>(f));
}

template <class S>
struct Vectors;

template <>
struct Vectors<float> {
  typedef float V __attribute__((vector_size(SASA_VECTOR_BYTES)));
  typedef int32_t I __attribute__((vector_size(SASA_VECTOR_BYTES)));
  static constexpr int kLanes = SASA_VECTOR_BYTES / 4;
// A register block is at most kTileQueries queries by kBlockColumns window columns.
#if defined(__AVX512F__) || defined(__aarch64__)
  static constexpr int kTileQueries = 4;  // of 32 registers: 28 sums, the queries and a key
  static constexpr int kBlockColumns = 7;
#else
  static constexpr int kTileQueries = 3;  // of 16 registers: 12 sums, 3 queries and a key
  static constexpr int kBlockColumns = 4;
#endif
  static constexpr int kMantissaBits = 23;
  static constexpr float kRound = 12582912.0f + 127.0f;  // 1.5 * 2^23 + exponent bias
  static constexpr float kSmallestExponent = -126.0f;
  static constexpr int32_t kSqrtHalfBits = 0x3f3504f3;
  // 2^f on [-1/2, 1/2], relative error 1.0e-7 (interpolation in the Chebyshev nodes).
  static constexpr float kExp2[] = {1.0000000754548972f,   0.6931471880262273f,   0.2402210748530968f,
                                    0.05550357114222094f, 0.009676031918255982f, 0.001339086336353527f};
  static constexpr int kLogTerms = 5;
};

template <>
struct Vectors<double> {
  typedef double V __attribute__((vector_size(SASA_VECTOR_BYTES)));
  typedef int64_t I __attribute__((vector_size(SASA_VECTOR_BYTES)));
  static constexpr int kLanes = SASA_VECTOR_BYTES / 8;
  static constexpr int kTileQueries = 2;  // for exactness, not for speed: small blocks compile faster
  static constexpr int kBlockColumns = 4;
  static constexpr int kMantissaBits = 52;
  static constexpr double kRound = 6755399441055744.0 + 1023.0;  // 1.5 * 2^52 + exponent bias
  static constexpr double kSmallestExponent = -1022.0;
  static constexpr int64_t kSqrtHalfBits = 0x3fe6a09e667f3bcd;
  // 2^f on [-1/2, 1/2]: ln(2)^n / n!, relative error 2e-16.
  static constexpr double kExp2[] = {1.0,
                                     0.6931471805599453,
                                     0.24022650695910072,
                                     0.05550410866482158,
                                     0.009618129107628477,
                                     0.0013333558146428443,
                                     0.0001540353039338161,
                                     1.5252733804059841e-05,
                                     1.3215486790144307e-06,
                                     1.0178086009239696e-07,
                                     7.054911620801121e-09,
                                     4.4455382718708115e-10,
                                     2.5678435993488202e-11,
                                     1.3691488853904128e-12};
  static constexpr int kLogTerms = 12;
};

constexpr double kLog2E = 1.4426950408889634;

template <class S>
using Vector = typename Vectors<S>::V;

template <class S>
SASA_INLINE Vector<S> splat(S value) {
  return Vector<S>{} + value;
}

// Keeps the compiler from loading a vector again in every instruction that uses it.
template <class V>
SASA_INLINE void hold_in_register([[maybe_unused]] V& v) {
#if defined(__x86_64__)
  asm("" : "+v"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
}

// a < b ? b : a, and so a where either is NaN; the one instruction for it, which GCC does not find for vectors.
template <class V>
SASA_INLINE V maximum(V a, V b) {
#if defined(__AVX512F__)
  if constexpr (std::is_same<V, Vector<float>>::value) return (V)_mm512_max_ps((__m512)b, (__m512)a);
#elif defined(__AVX2__)
  if constexpr (std::is_same<V, Vector<float>>::value) return (V)_mm256_max_ps((__m256)b, (__m256)a);
#endif
  return a < b ? b : a;
}

// Past the caches where the instruction set can: a result is not read again before much else has been.
template <class V>
SASA_INLINE void stream(V value, float* p) {
  [[maybe_unused]] const bool aligned = reinterpret_cast<uintptr_t>(p) % sizeof(V) == 0;
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) {
    if (aligned) return _mm512_stream_ps(p, (__m512)value);
  }
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(V) == 32) {
    if (aligned) return _mm256_stream_ps(p, (__m256)value);
  }
#endif
  std::memcpy(p, &value, sizeof value);
}
// Makes what this thread has streamed visible to the others.
SASA_INLINE void finish_streams() {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// Largest error: 3.0 ulp in float32, 1.1 ulp in float64 (tests/attention/backends/cpu/parts.cpp).
// 2^x for x <= 1; at least 2^-126 (2^-1022), so that a place that weighs nothing costs no denormal. NaN stays NaN.
template <class S>
SASA_INLINE Vector<S> exp2_lanes(Vector<S> x) {
  using T = Vectors<S>;
  constexpr int degree = sizeof(T::kExp2) / sizeof(S) - 1;
  x = maximum(x, splat<S>(T::kSmallestExponent));
  const Vector<S> rounded = x + T::kRound;  // the integer part sits in the low bits, biased
  const Vector<S> fraction = x - (rounded - T::kRound);
  Vector<S> series = splat<S>(T::kExp2[degree]);
  unroll<degree>([&](auto i) SASA_INLINE_LAMBDA { series = series * fraction + T::kExp2[degree - 1 - i]; });
  return series * (Vector<S>)((typename T::I)rounded << T::kMantissaBits);
}

// Largest error, in ulp of the larger of |log2(x)| and 1: 1.3 ulp in float32, 1.1 ulp in float64.
// log2(x) for normal x > 0: x = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = 2 artanh((m - 1) / (m + 1)). NaN for NaN,
// whose bits alone would pass for a number's.
template <class S>
SASA_INLINE Vector<S> log2_lanes(Vector<S> x) {
  using T = Vectors<S>;
  using I = typename T::I;
  const I exponent = ((I)x - T::kSqrtHalfBits) >> T::kMantissaBits;
  const Vector<S> mantissa = (Vector<S>)((I)x - (exponent << T::kMantissaBits));
  const Vector<S> ratio = (mantissa - S(1)) / (mantissa + S(1));
  const Vector<S> square = ratio * ratio;
  Vector<S> series = splat<S>(S(1) / S(2 * T::kLogTerms - 1));
  unroll<T::kLogTerms - 1>([&](auto i) SASA_INLINE_LAMBDA {
    series = series * square + S(1) / S(2 * (T::kLogTerms - 2 - i) + 1);
  });
  return __builtin_convertvector(exponent, Vector<S>) + series * ratio * S(2 * kLog2E) + (x - x);
}

}  // namespace
