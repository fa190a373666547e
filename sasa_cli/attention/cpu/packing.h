// Rows of strided tensors to and from the packed layout [channel][column][lane]; lane = one (image, head) plane.
//
// Where columns (NCHW) or channels (channels-last) are adjacent in memory, runs of 16, 8 or 4 of them go through
// register transposes; any other strides go element by element.
#pragma once

#include "vectors.h"

namespace {

struct BFloat16 {
  uint16_t bits;
};

// One row of every plane of a lane group. `lane[l]` is where lane l's row begins; strides are in elements.
template <class T>
struct RowView {
  T* data;
  const int64_t* lane;
  int64_t channel_stride;
  int64_t column_stride;
  int channels;
  int columns;
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

#if defined(SASA_HAS_SHUFFLEVECTOR)
constexpr bool kHasShuffles = true;

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

SASA_INLINE TwoQuads join(Quad a, Quad b) { return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7); }
SASA_INLINE FourQuads join(TwoQuads a, TwoQuads b) {
  return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
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
    return __builtin_shufflevector(a, b, source(Lane)...);
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
    return __builtin_shufflevector(v, v, 4 * q * s + Element...);
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
    return __builtin_shufflevector(a, b, source<kGather, which>(Lane)...);
  }

  // Quad p of each of four vectors, in two steps because a shuffle has two sources.
  template <int p>
  static SASA_INLINE FourQuads quad_column(FourQuads a, FourQuads b, FourQuads c, FourQuads d) {
    constexpr int h = p / 2 * 8, k = p % 2 * 4;
    const FourQuads ab = __builtin_shufflevector(a, b, h, h + 1, h + 2, h + 3, h + 4, h + 5, h + 6, h + 7, 16 + h,
                                                 17 + h, 18 + h, 19 + h, 20 + h, 21 + h, 22 + h, 23 + h);
    const FourQuads cd = __builtin_shufflevector(c, d, h, h + 1, h + 2, h + 3, h + 4, h + 5, h + 6, h + 7, 16 + h,
                                                 17 + h, 18 + h, 19 + h, 20 + h, 21 + h, 22 + h, 23 + h);
    return __builtin_shufflevector(ab, cd, k, k + 1, k + 2, k + 3, k + 8, k + 9, k + 10, k + 11, k + 16, k + 17, k + 18,
                                   k + 19, k + 24, k + 25, k + 26, k + 27);
  }
};
#else
constexpr bool kHasShuffles = false;
#endif

// f(channel, column, step) for each run of `length` adjacent elements; the last may overlap the one before it.
template <class T, class F>
SASA_INLINE void each_run(const RowView<T>& view, bool along_columns, int length, int pitch, F&& f) {
  if (along_columns) {
    for (int c = 0; c < view.channels; ++c) {
      for (int w = 0; w < view.columns; w += length) f(c, w + length <= view.columns ? w : view.columns - length, 1);
    }
  } else {
    for (int w = 0; w < view.columns; ++w) {
      for (int c = 0; c < view.channels; c += length) {
        f(c + length <= view.channels ? c : view.channels - length, w, pitch);
      }
    }
  }
}

// f(number of quads in a run, whether it lies along columns), the longest runs that the row has; false where there
// are none.
template <class T, class F>
SASA_INLINE bool with_run(const RowView<T>& view, F&& f) {
  const bool along_columns = view.column_stride == 1 && view.columns >= 4;
  if (!along_columns && (view.channel_stride != 1 || view.channels < 4)) return false;
  const int adjacent = along_columns ? view.columns : view.channels;
  if constexpr (kQuads >= 4) {
    if (adjacent >= 16) return f(std::integral_constant<int, 4>{}, along_columns), true;
  }
  if constexpr (kQuads >= 2) {
    if (adjacent >= 8) return f(std::integral_constant<int, 2>{}, along_columns), true;
  }
  return f(std::integral_constant<int, 1>{}, along_columns), true;
}

template <class S, class T>
constexpr bool runs_possible() {
  return kHasShuffles && std::is_same<S, float>::value && !std::is_same<T, double>::value;
}

// How far memory is asked in advance, as it does not foresee strides this wide; along columns it is one channel.
constexpr int kPixelsAhead = 8;

template <class S, class T>
void pack_row(const RowView<const T>& view, int pitch, Vector<S>* packed) {
  if constexpr (runs_possible<S, T>()) {
    const bool done = with_run(view, [&](auto quads, bool along_columns) SASA_INLINE_LAMBDA {
      each_run(view, along_columns, 4 * quads, pitch, [&](int channel, int column, int step) SASA_INLINE_LAMBDA {
        const T* data = view.data + channel * view.channel_stride + column * view.column_stride;
        const T* later = data + (along_columns ? view.channel_stride : kPixelsAhead * view.column_stride);
        unroll<Vectors<S>::kLanes>([&](auto l) SASA_INLINE_LAMBDA { __builtin_prefetch(later + view.lane[l]); });
        Exchange<quads>::pack(data, view.lane, packed + channel * pitch + column, step);
      });
    });
    if (done) return;
  }
  for (int c = 0; c < view.channels; ++c) {
    for (int w = 0; w < view.columns; ++w) {
      const T* data = view.data + c * view.channel_stride + w * view.column_stride;
      for (int l = 0; l < Vectors<S>::kLanes; ++l) packed[c * pitch + w][l] = load_scalar(data + view.lane[l]);
    }
  }
}

template <class S, class T>
void unpack_row(const Vector<S>* packed, int pitch, int live_lanes, const RowView<T>& view) {
  if constexpr (runs_possible<S, T>()) {
    const bool done = with_run(view, [&](auto quads, bool along_columns) SASA_INLINE_LAMBDA {
      each_run(view, along_columns, 4 * quads, pitch, [&](int channel, int column, int step) SASA_INLINE_LAMBDA {
        T* data = view.data + channel * view.channel_stride + column * view.column_stride;
        const Vector<S>* first = packed + channel * pitch + column;
        // Runs along columns seldom fill whole cache lines.
        if (along_columns) {
          Exchange<quads>::template unpack<false>(first, step, view.lane, live_lanes, data);
        } else {
          Exchange<quads>::template unpack<true>(first, step, view.lane, live_lanes, data);
        }
      });
    });
    if (done) return;
  }
  for (int c = 0; c < view.channels; ++c) {
    for (int w = 0; w < view.columns; ++w) {
      T* data = view.data + c * view.channel_stride + w * view.column_stride;
      for (int l = 0; l < live_lanes; ++l) store_scalar(packed[c * pitch + w][l], data + view.lane[l]);
    }
  }
}

}  // namespace
