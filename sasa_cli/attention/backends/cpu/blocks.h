// The arithmetic of local attention on one register block: T neighbouring queries of a row against K neighbouring
// columns of one row of their windows. Query t meets column x = t + j of the T + K - 1 columns for j in 0..K-1, so a
// column that is loaded once serves every query that sees it, and all T * K sums stay in registers.
//
// Packed rows are [channel][column][lane], columns of one channel `pitch` vectors apart from the next channel's, so
// that inside a channel all offsets are constants. Weights of a block are [query][window column], per lane.
#pragma once

#include "vectors.h"

namespace {

// The columns of a block that lie inside the map: first <= x < last.
struct Columns {
  int first;
  int last;
};

// Of a packed row.
struct Layout {
  int channels;  // a multiple of kChunk; channels beyond the head dimension are zero
  int pitch;
};

template <class S, int T, int K>
struct Block {
  using V = Vector<S>;

  // f(true_type) for a block whose columns all lie inside the map, which spares it the tests; else f(false_type).
  template <class F>
  static SASA_INLINE void with_border(Columns columns, F&& f) {
    if (sizeof(S) == sizeof(float) && columns.first == 0 && columns.last == T + K - 1) {
      f(std::true_type{});
    } else {
      f(std::false_type{});
    }
  }

  template <bool kWhole>
  static SASA_INLINE bool inside(int x, Columns columns) {
    return kWhole || (x >= columns.first && x < columns.last);
  }

  // f(x, t, j) for each query t that meets column x as its window column j.
  template <int x, class F>
  static SASA_INLINE void each_query(F&& f) {
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      if constexpr (x - t >= 0 && x - t < K) f(t, std::integral_constant<int, x - t>{});
    });
  }

  // sums[t][j] += sum_c left[c][t] * right[c][t + j]
  template <bool kWhole>
  static SASA_INLINE void dot_products(const V* left, const V* right, Layout layout, Columns columns, V (&sums)[T][K]) {
    for (int c = 0; c < layout.channels; ++c, left += layout.pitch, right += layout.pitch) {
      V queries[T];
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA { queries[t] = left[t]; });
      unroll<T + K - 1>([&](auto x) SASA_INLINE_LAMBDA {
        if (!inside<kWhole>(x, columns)) return;
        V key = right[x];
        hold_in_register(key);
        each_query<x>([&](auto t, auto j) SASA_INLINE_LAMBDA { sums[t][j] += queries[t] * key; });
      });
    }
  }

  // Where kChunk successive channels of packed rows begin.
  template <class P>
  static SASA_INLINE void channel_rows(P* first, int64_t pitch, P* (&rows)[kChunk]) {
    unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { rows[i] = first + i * pitch; });
  }

  // target[c][t] += sum_j weights[t][j] * source[c][t + j]
  template <bool kWhole>
  static SASA_INLINE void gather(const V* weights, const V* source, Layout layout, Columns columns, V* target) {
    const int64_t pitch = layout.pitch;
    for (int c = 0; c < layout.channels; c += kChunk, source += kChunk * pitch, target += kChunk * pitch) {
      const V* from[kChunk];
      V *to[kChunk], sums[T][kChunk];
      channel_rows(source, pitch, from);
      channel_rows(target, pitch, to);
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { sums[t][i] = to[i][t]; });
      });
      unroll<T + K - 1>([&](auto x) SASA_INLINE_LAMBDA {
        if (!inside<kWhole>(x, columns)) return;
        V column[kChunk];
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA {
          column[i] = from[i][x];
          hold_in_register(column[i]);
        });
        each_query<x>([&](auto t, auto j) SASA_INLINE_LAMBDA {
          V weight = weights[t * K + j];
          hold_in_register(weight);
          unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { sums[t][i] += weight * column[i]; });
        });
      });
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { to[i][t] = sums[t][i]; });
      });
    }
  }

  // target[c][t + j] += weights[t][j] * source[c][t]
  template <bool kWhole>
  static SASA_INLINE void scatter(const V* weights, const V* source, Layout layout, Columns columns, V* target) {
    const int64_t pitch = layout.pitch;
    for (int c = 0; c < layout.channels; c += kChunk, source += kChunk * pitch, target += kChunk * pitch) {
      const V* from[kChunk];
      V *to[kChunk], queries[T][kChunk];
      channel_rows(source, pitch, from);
      channel_rows(target, pitch, to);
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { queries[t][i] = from[i][t]; });
      });
      unroll<T + K - 1>([&](auto x) SASA_INLINE_LAMBDA {
        if (!inside<kWhole>(x, columns)) return;
        V sums[kChunk];
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { sums[i] = to[i][x]; });
        each_query<x>([&](auto t, auto j) SASA_INLINE_LAMBDA {
          V weight = weights[t * K + j];
          hold_in_register(weight);
          unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { sums[i] += weight * queries[t][i]; });
        });
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { to[i][x] = sums[i]; });
      });
    }
  }

  // sums[t][j] = the logit of query t and window column j.
  template <bool kWhole>
  static SASA_INLINE void all_logits(const V* query, const V* key, const V* row, const V* column, Layout layout,
                                     Columns columns, V (&sums)[T][K]) {
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA { sums[t][j] = row[t] + column[j * T + t]; });
    });
    if (key != nullptr && columns.first < columns.last) dot_products<kWhole>(query, key, layout, columns, sums);
  }
};

}  // namespace
