// Elements to and from lanes: one at a time, or runs of 16, 8 or 4 adjacent ones through register transposes.
#pragma once

#include "vectors.h"

namespace {

struct BFloat16 {
  uint16_t bits;
};

SASA_INLINE float load_scalar(const float* p) { return *p; }
SASA_INLINE double load_scalar(const double* p) { return *p; }
SASA_INLINE float load_scalar(const BFloat16* p) {
  const uint32_t bits = uint32_t(p->bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

SASA_INLINE void store_scalar(float x, float* p) { *p = x; }
SASA_INLINE void store_scalar(double x, double* p) { *p = x; }
SASA_INLINE void store_scalar(float x, BFloat16* p) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t nearest_even = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  p->bits = uint16_t(x != x ? 0x7fc0 : nearest_even);
}

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SASA_HAS_SHUFFLEVECTOR 1
#endif
#endif

template <int kFloats>
struct VectorOf {
  typedef float Type __attribute__((vector_size(4 * kFloats)));
};

// The elements with these indices: from 0 on those of a, then those of b.
template <int... Index, class V>
SASA_INLINE typename VectorOf<sizeof...(Index)>::Type elements(V a, V b) {
#if defined(SASA_HAS_SHUFFLEVECTOR)
  return __builtin_shufflevector(a, b, Index...);
#else  // GCC before 12
  constexpr int n = sizeof(V) / sizeof(float);
  typename VectorOf<sizeof...(Index)>::Type result;
  int place = 0;
  ((result[place++] = Index < n ? a[Index % n] : b[Index % n]), ...);
  return result;
#endif
}

typedef float Quad __attribute__((vector_size(16)));
using Floats = Vector<float>;
constexpr int kQuads = Vectors<float>::kLanes / 4;

SASA_INLINE Quad load_quad(const float* p) {
  Quad quad;
  std::memcpy(&quad, p, sizeof quad);
  return quad;
}
SASA_INLINE void store_quad(Quad quad, float* p) { std::memcpy(p, &quad, sizeof quad); }

typedef uint16_t HalfWords __attribute__((vector_size(8)));
typedef uint32_t Words __attribute__((vector_size(16)));

SASA_INLINE Quad load_quad(const BFloat16* p) {
  HalfWords bits;
  std::memcpy(&bits, p, sizeof bits);
  return (Quad)(__builtin_convertvector(bits, Words) << 16);
}
SASA_INLINE void store_quad(Quad quad, BFloat16* p) {
  const Words bits = (Words)quad;
  const Words nearest_even = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Words quiet_nan = Words{} + 0x7fc0;
  const HalfWords rounded = __builtin_convertvector(quad != quad ? quiet_nan : nearest_even, HalfWords);
  std::memcpy(p, &rounded, sizeof rounded);
}

// 8 and 16 floats.
typedef float TwoQuads __attribute__((vector_size(32)));
typedef float FourQuads __attribute__((vector_size(64)));

SASA_INLINE TwoQuads join(Quad a, Quad b) { return elements<0, 1, 2, 3, 4, 5, 6, 7>(a, b); }
SASA_INLINE FourQuads join(TwoQuads a, TwoQuads b) {
  return elements<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>(a, b);
}

// The same shuffle of every quad: 0 to 3 name elements of a's quad, 4 to 7 of b's.
template <int... Index>
struct QuadShuffle {
  static constexpr int source(int lane) {
    constexpr int indices[] = {Index...};
    const int index = indices[lane % 4];
    return lane / 4 * 4 + (index < 4 ? index : 4 * kQuads + index - 4);
  }
  template <int... Lane>
  static SASA_INLINE Floats apply(Floats a, Floats b, std::integer_sequence<int, Lane...>) {
    return elements<source(Lane)...>(a, b);
  }
};
template <int... Index>
SASA_INLINE Floats shuffle_quads(Floats a, Floats b) {
  return QuadShuffle<Index...>::apply(a, b, std::make_integer_sequence<int, 4 * kQuads>{});
}

// Quad q of v[i], element j <-> quad q of v[j], element i.
SASA_INLINE void transpose_quads(Floats (&v)[4]) {
  const Floats low01 = shuffle_quads<0, 4, 1, 5>(v[0], v[1]);
  const Floats high01 = shuffle_quads<2, 6, 3, 7>(v[0], v[1]);
  const Floats low23 = shuffle_quads<0, 4, 1, 5>(v[2], v[3]);
  const Floats high23 = shuffle_quads<2, 6, 3, 7>(v[2], v[3]);
  v[0] = shuffle_quads<0, 1, 4, 5>(low01, low23);
  v[1] = shuffle_quads<2, 3, 6, 7>(low01, low23);
  v[2] = shuffle_quads<0, 1, 4, 5>(high01, high23);
  v[3] = shuffle_quads<2, 3, 6, 7>(high01, high23);
}

// Run<q>: q quads that are adjacent in memory, one lane's share of a vector.
template <int q>
struct Run;
template <>
struct Run<1> {
  using Value = Quad;
  template <class T>
  static SASA_INLINE Quad load(const T* p) {
    return load_quad(p);
  }
  template <bool, class T>
  static SASA_INLINE void store(Quad value, T* p) {
    store_quad(value, p);
  }
};
template <int q>
struct Run {
  using Half = Run<q / 2>;
  using Value = decltype(join(typename Half::Value{}, typename Half::Value{}));
  template <class T>
  static SASA_INLINE Value load(const T* p) {
    if constexpr (std::is_same<T, float>::value) {
      Value value;
      std::memcpy(&value, p, sizeof value);
      return value;
    } else {
      return join(Half::load(p), Half::load(p + 2 * q));
    }
  }
  template <bool kStream, class T>
  static SASA_INLINE void store(Value value, T* p) {
    if constexpr (std::is_same<T, float>::value) {
      if (kStream) return stream(value, p);
      std::memcpy(p, &value, sizeof value);
    } else {
      typename Half::Value halves[2];
      std::memcpy(halves, &value, sizeof value);
      Half::template store<false>(halves[0], p);
      Half::template store<false>(halves[1], p + 2 * q);
    }
  }
};

// 4 q adjacent elements of every lane <-> 4 q vectors, one for each element.
//
// In between stand vectors that hold whole runs: vector 4 g + m those of the lanes 4 (g * kShare + s) + m for s in
// 0..kShare-1. Transposing the quads of each four of them brings lanes together; what is left is to move whole quads.
template <int q>
struct Exchange {
  static constexpr int kShare = kQuads / q;  // lanes whose runs share a vector
  static constexpr int kVectors = 4 * q;
  using Share = Run<q>;

  static constexpr int lane(int vector, int s) { return 4 * (vector / 4 * kShare + s) + vector % 4; }

  template <class T>
  static SASA_INLINE void pack(const T* data, const int64_t* lanes, Floats* packed, int step) {
    Floats v[kVectors];
    unroll<kVectors>([&](auto i) SASA_INLINE_LAMBDA {
      typename Share::Value runs[kShare];
      unroll<kShare>([&](auto s) SASA_INLINE_LAMBDA { runs[s] = Share::load(data + lanes[lane(i, s)]); });
      v[i] = joined(runs);
    });
    unroll<q>([&](auto g) SASA_INLINE_LAMBDA { transpose_quads(*reinterpret_cast<Floats(*)[4]>(v + 4 * g)); });
    unroll<4>([&](auto j) SASA_INLINE_LAMBDA {
      unroll<q>([&](auto p) SASA_INLINE_LAMBDA { packed[(4 * p + j) * step] = gathered<j, p>(v); });
    });
  }

  template <bool kStream, class T>
  static SASA_INLINE void unpack(const Floats* packed, int step, const int64_t* lanes, int live_lanes, T* data) {
    Floats in[kVectors], v[kVectors];
    unroll<kVectors>([&](auto i) SASA_INLINE_LAMBDA { in[i] = packed[i * step]; });
    unroll<4>([&](auto j) SASA_INLINE_LAMBDA {
      unroll<q>([&](auto g) SASA_INLINE_LAMBDA { v[4 * g + j] = scattered<j, g>(in); });
    });
    unroll<q>([&](auto g) SASA_INLINE_LAMBDA { transpose_quads(*reinterpret_cast<Floats(*)[4]>(v + 4 * g)); });
    unroll<kVectors>([&](auto i) SASA_INLINE_LAMBDA {
      unroll<kShare>([&](auto s) SASA_INLINE_LAMBDA {
        constexpr auto elements = std::make_integer_sequence<int, 4 * q>{};
        if (lane(i, s) < live_lanes) Share::template store<kStream>(share<s>(v[i], elements), data + lanes[lane(i, s)]);
      });
    });
  }

 private:
  // In registers: through memory, a vector would wait for the stores of its parts.
  static SASA_INLINE Floats joined(const typename Share::Value (&runs)[kShare]) {
    if constexpr (kShare == 1) return runs[0];
    if constexpr (kShare == 2) return join(runs[0], runs[1]);
    if constexpr (kShare == 4) return join(join(runs[0], runs[1]), join(runs[2], runs[3]));
  }
  template <int s, int... Element>
  static SASA_INLINE typename Share::Value share(Floats v, std::integer_sequence<int, Element...>) {
    return elements<4 * q * s + Element...>(v, v);
  }

  // Quad g * kShare + s of the result is quad s * q + p of v[4 g + j].
  template <int j, int p>
  static SASA_INLINE Floats gathered(const Floats* v) {
    if constexpr (q == 1) return v[j];
    if constexpr (q == 2) return move_quads<true, p>(v[j], v[4 + j], std::make_integer_sequence<int, 4 * kQuads>{});
    if constexpr (q == 4) return quad_column<p>(v[j], v[4 + j], v[8 + j], v[12 + j]);
  }
  // Quad s * q + p of the result is quad g * kShare + s of in[4 p + j].
  template <int j, int g>
  static SASA_INLINE Floats scattered(const Floats* in) {
    if constexpr (q == 1) return in[j];
    if constexpr (q == 2) return move_quads<false, g>(in[j], in[4 + j], std::make_integer_sequence<int, 4 * kQuads>{});
    if constexpr (q == 4) return quad_column<g>(in[j], in[4 + j], in[8 + j], in[12 + j]);
  }

  template <bool kGather, int which>
  static constexpr int source(int lane) {
    const int quad = lane / 4;
    const int vector = kGather ? quad / kShare : quad % 2;
    const int from = kGather ? quad % kShare * 2 + which : which * kShare + quad / 2;
    return vector * 4 * kQuads + from * 4 + lane % 4;
  }
  template <bool kGather, int which, int... Lane>
  static SASA_INLINE Floats move_quads(Floats a, Floats b, std::integer_sequence<int, Lane...>) {
    return elements<source<kGather, which>(Lane)...>(a, b);
  }

  // Elements h..h+7 of both.
  template <int h>
  static SASA_INLINE FourQuads halves(FourQuads a, FourQuads b) {
    return elements<h, h + 1, h + 2, h + 3, h + 4, h + 5, h + 6, h + 7, 16 + h, 17 + h, 18 + h, 19 + h, 20 + h, 21 + h,
                    22 + h, 23 + h>(a, b);
  }
  // Quad p of each of four vectors, in two steps because a shuffle has two sources.
  template <int p>
  static SASA_INLINE FourQuads quad_column(FourQuads a, FourQuads b, FourQuads c, FourQuads d) {
    constexpr int h = p / 2 * 8, k = p % 2 * 4;
    const FourQuads ab = halves<h>(a, b), cd = halves<h>(c, d);
    return elements<k, k + 1, k + 2, k + 3, k + 8, k + 9, k + 10, k + 11, k + 16, k + 17, k + 18, k + 19, k + 24,
                    k + 25, k + 26, k + 27>(ab, cd);
  }
};

}  // namespace
