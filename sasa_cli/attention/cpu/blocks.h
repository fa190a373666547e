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

struct Extent {
  int channels;  // a multiple of kChunk; channels beyond the head dimension are zero
  int pitch;
};

template <class S>
struct ForwardBlock {
  const Vector<S>* query;   // [channel][t]
  const Vector<S>* key;     // [channel][x], null where there is no q.k
  const Vector<S>* row;     // [t]: q.r of this window row
  const Vector<S>* column;  // [j][t]: q.r of these window columns
  Extent extent;
  Columns columns;
  bool mask_outside;
  Vector<S>* logits;   // [t][j]
  Vector<S>* highest;  // [t], running maximum
};

template <class S>
struct BackwardBlock {
  const Vector<S>* query;         // [channel][t]
  const Vector<S>* key;           // [channel][x], null where there is no q.k
  const Vector<S>* value;         // [channel][x], null outside the map
  const Vector<S>* grad_out;      // [channel][t]
  const Vector<S>* row;           // [t]
  const Vector<S>* column;        // [j][t]
  const Vector<S>* log2_sum_exp;  // [t]
  const Vector<S>* delta;         // [t]: out . grad_out
  Extent extent;
  Columns columns;
  bool mask_outside;
  Vector<S>* grad_query;   // [channel][t]
  Vector<S>* grad_key;     // [channel][x]
  Vector<S>* grad_value;   // [channel][x]
  Vector<S>* grad_row;     // [t]
  Vector<S>* grad_column;  // [j][t]
};

template <class S, int T, int K>
struct Block {
  using V = Vector<S>;

  static SASA_INLINE bool inside(int x, Columns columns) {
    return x >= columns.first && x < columns.last;
  }

  // f(x, t, j) for each query t that meets column x as its window column j.
  template <int x, class F>
  static SASA_INLINE void each_query(F&& f) {
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      if constexpr (x - t >= 0 && x - t < K) f(t, std::integral_constant<int, x - t>{});
    });
  }

  // sums[t][j] += sum_c left[c][t] * right[c][t + j]
  static SASA_INLINE void dot_products(const V* left, const V* right, Extent extent, Columns columns, V (&sums)[T][K]) {
    for (int c = 0; c < extent.channels; ++c, left += extent.pitch, right += extent.pitch) {
      V queries[T];
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA { queries[t] = left[t]; });
      unroll<T + K - 1>([&](auto x) SASA_INLINE_LAMBDA {
        if (!inside(x, columns)) return;
        V key = right[x];
        hold_in_register(key);
        each_query<x>([&](auto t, auto j) SASA_INLINE_LAMBDA { sums[t][j] += queries[t] * key; });
      });
    }
  }

  // target[c][t] += sum_j weights[t][j] * source[c][t + j]
  static SASA_INLINE void gather(const V* weights, const V* source, Extent extent, Columns columns, V* target) {
    const int pitch = extent.pitch;
    for (int c = 0; c < extent.channels; c += kChunk, source += kChunk * pitch, target += kChunk * pitch) {
      V sums[T][kChunk];
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { sums[t][i] = target[i * pitch + t]; });
      });
      unroll<T + K - 1>([&](auto x) SASA_INLINE_LAMBDA {
        if (!inside(x, columns)) return;
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA {
          V column = source[i * pitch + x];
          hold_in_register(column);
          each_query<x>([&](auto t, auto j) SASA_INLINE_LAMBDA { sums[t][i] += weights[t * K + j] * column; });
        });
      });
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { target[i * pitch + t] = sums[t][i]; });
      });
    }
  }

  // target[c][t + j] += weights[t][j] * source[c][t]
  static SASA_INLINE void scatter(const V* weights, const V* source, Extent extent, Columns columns, V* target) {
    const int pitch = extent.pitch;
    for (int c = 0; c < extent.channels; c += kChunk, source += kChunk * pitch, target += kChunk * pitch) {
      V queries[T][kChunk];
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA { queries[t][i] = source[i * pitch + t]; });
      });
      unroll<T + K - 1>([&](auto x) SASA_INLINE_LAMBDA {
        if (!inside(x, columns)) return;
        unroll<kChunk>([&](auto i) SASA_INLINE_LAMBDA {
          V sum = target[i * pitch + x];
          each_query<x>([&](auto t, auto j) SASA_INLINE_LAMBDA { sum += weights[t * K + j] * queries[t][i]; });
          target[i * pitch + x] = sum;
        });
      });
    }
  }

  static SASA_INLINE void relative_plus_content(const V* query, const V* key, const V* row, const V* column,
                                                Extent extent, Columns columns, V (&sums)[T][K]) {
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA { sums[t][j] = row[t] + column[j * T + t]; });
    });
    if (key != nullptr && columns.first < columns.last) dot_products(query, key, extent, columns, sums);
  }

  static void logits(const ForwardBlock<S>& block) {
    V sums[T][K];
    relative_plus_content(block.query, block.key, block.row, block.column, block.extent, block.columns, sums);
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      V highest = block.highest[t];
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA {
        if (block.mask_outside && !inside(t + j, block.columns)) sums[t][j] = splat<S>(S(-1e30));
        highest = maximum(highest, sums[t][j]);
        block.logits[t * K + j] = sums[t][j];
      });
      block.highest[t] = highest;
    });
  }

  // weights = 2^(weights log2(e) - shift), added up in sum
  static void exponentials(V* weights, const V* shift, V* sum) {
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      V total = sum[t];
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA {
        const V weight = exp2_lanes<S>(weights[t * K + j] * S(kLog2E) - shift[t]);
        weights[t * K + j] = weight;
        total += weight;
      });
      sum[t] = total;
    });
  }

  static void weighted_sum(const V* weights, const V* value, Extent extent, Columns columns, V* out) {
    gather(weights, value, extent, columns, out);
  }

  // Recomputes the weights p from the logits, then ds = p (g.v - delta) and everything that follows from p and ds.
  static void backward(const BackwardBlock<S>& block) {
    V weights[T][K];
    V grad[T][K] = {};
    relative_plus_content(block.query, block.key, block.row, block.column, block.extent, block.columns, weights);
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA {
        weights[t][j] = exp2_lanes<S>(weights[t][j] * S(kLog2E) - block.log2_sum_exp[t]);
        if (block.mask_outside && !inside(t + j, block.columns)) weights[t][j] = V{};
      });
    });
    const bool any_inside = block.value != nullptr && block.columns.first < block.columns.last;
    if (any_inside) dot_products(block.grad_out, block.value, block.extent, block.columns, grad);
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      V row_sum = block.grad_row[t];
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA {
        grad[t][j] = weights[t][j] * (grad[t][j] - block.delta[t]);
        row_sum += grad[t][j];
        block.grad_column[j * T + t] += grad[t][j];
      });
      block.grad_row[t] = row_sum;
    });
    if (!any_inside) return;
    scatter(&weights[0][0], block.grad_out, block.extent, block.columns, block.grad_value);
    if (block.key == nullptr) return;
    gather(&grad[0][0], block.key, block.extent, block.columns, block.grad_query);
    scatter(&grad[0][0], block.query, block.extent, block.columns, block.grad_key);
  }

  // terms[j][t] = sum_c query[c][t] * embedding[c][j]; channels of the embedding are `extent_k` vectors apart.
  static void relative(const V* query, const V* embedding, int channels, int pitch, int extent_k, V* terms) {
    V sums[T][K] = {};
    for (int c = 0; c < channels; ++c, query += pitch, embedding += extent_k) {
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        unroll<K>([&](auto j) SASA_INLINE_LAMBDA { sums[t][j] += query[t] * embedding[j]; });
      });
    }
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA { terms[j * T + t] = sums[t][j]; });
    });
  }

  // The transpose of `relative`: both gradients from grad_terms[j][t].
  static void relative_backward(const V* query, const V* embedding, const V* grad_terms, int channels, int pitch,
                                int extent_k, V* grad_query, V* grad_embedding) {
    for (int c = 0; c < channels; ++c) {
      V sums[T];
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA { sums[t] = grad_query[c * pitch + t]; });
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA {
        V sum = grad_embedding[c * extent_k + j];
        unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
          const V term = grad_terms[j * T + t];
          sums[t] += term * embedding[c * extent_k + j];
          sum += term * query[c * pitch + t];
        });
        grad_embedding[c * extent_k + j] = sum;
      });
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA { grad_query[c * pitch + t] = sums[t]; });
    }
  }
};

// The functions for one block size.
template <class S>
struct BlockFunctions {
  void (*logits)(const ForwardBlock<S>&);
  void (*exponentials)(Vector<S>*, const Vector<S>*, Vector<S>*);
  void (*weighted_sum)(const Vector<S>*, const Vector<S>*, Extent, Columns, Vector<S>*);
  void (*backward)(const BackwardBlock<S>&);
  void (*relative)(const Vector<S>*, const Vector<S>*, int, int, int, Vector<S>*);
  void (*relative_backward)(const Vector<S>*, const Vector<S>*, const Vector<S>*, int, int, int, Vector<S>*,
                            Vector<S>*);
};

template <class S, int T, int K>
constexpr BlockFunctions<S> functions_of() {
  using B = Block<S, T, K>;
  return {B::logits, B::exponentials, B::weighted_sum, B::backward, B::relative, B::relative_backward};
}

template <class S>
struct BlockTable {
  static constexpr int kQueries = Vectors<S>::kTileQueries;
  static constexpr int kColumns = Vectors<S>::kBlockColumns;
  BlockFunctions<S> entries[kQueries][kColumns];

  constexpr BlockTable() : BlockTable(std::make_integer_sequence<int, kQueries * kColumns>{}) {}
  template <int... I>
  constexpr explicit BlockTable(std::integer_sequence<int, I...>)
      : entries{functions_of<S, I / kColumns + 1, I % kColumns + 1>()...} {}
};

template <class S>
const BlockFunctions<S>& block_functions(int queries, int columns) {
  static constexpr BlockTable<S> table;
  return table.entries[queries - 1][columns - 1];
}

}  // namespace
