// Rows of strided tensors to and from the packed layout [channel][column][lane]; lane = one (image, head) plane.
//
// Where columns (NCHW) or channels (channels-last) are adjacent in memory, runs of 16, 8 or 4 of them go through
// register transposes; any other strides go element by element.
#pragma once

#include "exchange.h"

namespace {

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
  return std::is_same<S, float>::value && !std::is_same<T, double>::value;
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
