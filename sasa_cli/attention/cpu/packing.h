// Rows of strided tensors to and from the packed layout [channel][column][lane]; lane = one (image, head) plane.
//
// Where columns (NCHW) or channels (channels-last) are adjacent in memory, four of them at a time go through 4 x 4
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

// One vector from its quads; the overload that fits the register size is used.
typedef float TwoQuads __attribute__((vector_size(32)));
typedef float FourQuads __attribute__((vector_size(64)));

SASA_INLINE Quad join(const Quad (&quads)[1]) { return quads[0]; }
SASA_INLINE TwoQuads join(const Quad (&quads)[2]) {
  return __builtin_shufflevector(quads[0], quads[1], 0, 1, 2, 3, 4, 5, 6, 7);
}
SASA_INLINE FourQuads join(const Quad (&quads)[4]) {
  const TwoQuads low = __builtin_shufflevector(quads[0], quads[1], 0, 1, 2, 3, 4, 5, 6, 7);
  const TwoQuads high = __builtin_shufflevector(quads[2], quads[3], 0, 1, 2, 3, 4, 5, 6, 7);
  return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

template <int q>
SASA_INLINE Quad quad_of(Floats v) {
  return __builtin_shufflevector(v, v, 4 * q, 4 * q + 1, 4 * q + 2, 4 * q + 3);
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

// Four adjacent elements of every lane become four vectors, `step` vectors apart.
template <class T>
SASA_INLINE void pack_four(const T* data, const int64_t* lane, Floats* packed, int step) {
  Floats v[4];
  unroll<4>([&](auto i) SASA_INLINE_LAMBDA {
    Quad quads[kQuads];
    unroll<kQuads>([&](auto q) SASA_INLINE_LAMBDA { quads[q] = load_quad(data + lane[4 * q + i]); });
    v[i] = join(quads);
  });
  transpose_quads(v);
  unroll<4>([&](auto i) SASA_INLINE_LAMBDA { packed[i * step] = v[i]; });
}

template <class T>
SASA_INLINE void unpack_four(const Floats* packed, int step, const int64_t* lane, int live_lanes, T* data) {
  Floats v[4];
  unroll<4>([&](auto i) SASA_INLINE_LAMBDA { v[i] = packed[i * step]; });
  transpose_quads(v);
  unroll<4>([&](auto i) SASA_INLINE_LAMBDA {
    unroll<kQuads>([&](auto q) SASA_INLINE_LAMBDA {
      if (4 * q + i < live_lanes) store_quad(quad_of<q>(v[i]), data + lane[4 * q + i]);
    });
  });
}
#else
constexpr bool kHasShuffles = false;
#endif

// f(channel, column, step) for each group of four adjacent elements; the last group may overlap the one before it.
template <class F>
SASA_INLINE void each_four_along_columns(int channels, int columns, F&& f) {
  for (int c = 0; c < channels; ++c) {
    for (int w = 0; w < columns; w += 4) f(c, w + 4 <= columns ? w : columns - 4, 1);
  }
}
template <class F>
SASA_INLINE void each_four_along_channels(int channels, int columns, int pitch, F&& f) {
  for (int w = 0; w < columns; ++w) {
    for (int c = 0; c < channels; c += 4) f(c + 4 <= channels ? c : channels - 4, w, pitch);
  }
}
template <class T, class F>
SASA_INLINE void each_four(const RowView<T>& view, int pitch, F&& f) {
  if (view.column_stride == 1 && view.columns >= 4) {
    each_four_along_columns(view.channels, view.columns, f);
  } else {
    each_four_along_channels(view.channels, view.columns, pitch, f);
  }
}

template <class S, class T>
constexpr bool fours_possible() {
  return kHasShuffles && std::is_same<S, float>::value && !std::is_same<T, double>::value;
}

template <class T>
bool adjacent_fours(const RowView<T>& view) {
  return (view.column_stride == 1 && view.columns >= 4) || (view.channel_stride == 1 && view.channels >= 4);
}

template <class S, class T>
void pack_row(const RowView<const T>& view, int pitch, Vector<S>* packed) {
  if constexpr (fours_possible<S, T>()) {
    if (adjacent_fours(view)) {
      each_four(view, pitch, [&](int channel, int column, int step) SASA_INLINE_LAMBDA {
        const T* data = view.data + channel * view.channel_stride + column * view.column_stride;
        pack_four(data, view.lane, packed + channel * pitch + column, step);
      });
      return;
    }
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
  if constexpr (fours_possible<S, T>()) {
    if (adjacent_fours(view)) {
      each_four(view, pitch, [&](int channel, int column, int step) SASA_INLINE_LAMBDA {
        T* data = view.data + channel * view.channel_stride + column * view.column_stride;
        unpack_four(packed + channel * pitch + column, step, view.lane, live_lanes, data);
      });
      return;
    }
  }
  for (int c = 0; c < view.channels; ++c) {
    for (int w = 0; w < view.columns; ++w) {
      T* data = view.data + c * view.channel_stride + w * view.column_stride;
      for (int l = 0; l < live_lanes; ++l) store_scalar(packed[c * pitch + w][l], data + view.lane[l]);
    }
  }
}

}  // namespace
