// What a register block does in a pass over the windows: the functions that Band calls, one set per block size.
#pragma once

#include <limits>

#include "blocks.h"

namespace {

// Of a place that takes no part: below every logit, so that it weighs nothing.
template <class S>
constexpr S kNoLogit = -std::numeric_limits<S>::infinity();

template <class S>
struct ForwardBlock {
  const Vector<S>* query;   // [channel][t]
  const Vector<S>* key;     // [channel][x], null where there is no q.k
  const Vector<S>* row;     // [t]: q.r of this window row
  const Vector<S>* column;  // [j][t]: q.r of these window columns
  Layout layout;
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
  const Vector<S>* log_sum_exp;   // [t]
  Vector<S>* mean;                // [t]: of grad_out . v over the window, which is out . grad_out
  Layout layout;
  Columns columns;
  bool mask_outside;
  Vector<S>* grad_query;   // [channel][t]
  Vector<S>* grad_key;     // [channel][x]
  Vector<S>* grad_value;   // [channel][x]
  Vector<S>* grad_row;     // [t]
  Vector<S>* grad_column;  // [j][t]
  Vector<S>* weights;      // [t][j]
  Vector<S>* grad_logits;  // [t][j], grad_out . v at first

  bool sees_values() const { return value != nullptr && columns.first < columns.last; }
  bool sees_keys() const { return sees_values() && key != nullptr; }
};

template <class S, int T, int K>
struct Phases {
  using V = Vector<S>;
  using B = Block<S, T, K>;

  static void logits(const ForwardBlock<S>& block) {
    B::with_border(block.columns, [&](auto whole) SASA_INLINE_LAMBDA {
      V sums[T][K];
      B::template all_logits<whole>(block.query, block.key, block.row, block.column, block.layout, block.columns,
                                    sums);
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        V highest = block.highest[t];
        unroll<K>([&](auto j) SASA_INLINE_LAMBDA {
          if (block.mask_outside && !B::template inside<whole>(t + j, block.columns)) sums[t][j] = splat<S>(kNoLogit<S>);
          highest = maximum(highest, sums[t][j]);
          block.logits[t * K + j] = sums[t][j];
        });
        block.highest[t] = highest;
      });
    });
  }

  // weights = e^(weights - highest), added up in sum. Subtracted before anything is multiplied: logits far from zero
  // have few digits behind the point to lose.
  static void exponentials(V* weights, const V* highest, V* sum) {
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      V total = sum[t];
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA {
        const V weight = exp2_lanes<S>((weights[t * K + j] - highest[t]) * S(kLog2E));
        weights[t * K + j] = weight;
        total += weight;
      });
      sum[t] = total;
    });
  }

  static void weighted_sum(const V* weights, const V* value, Layout layout, Columns columns, V* out) {
    B::with_border(columns, [&](auto whole) SASA_INLINE_LAMBDA {
      B::template gather<whole>(weights, value, layout, columns, out);
    });
  }

  // Backward, first phase: the weights p, recomputed from the logits.
  static void weights(const BackwardBlock<S>& block) {
    B::with_border(block.columns, [&](auto whole) SASA_INLINE_LAMBDA {
      V sums[T][K];
      B::template all_logits<whole>(block.query, block.key, block.row, block.column, block.layout, block.columns,
                                    sums);
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        unroll<K>([&](auto j) SASA_INLINE_LAMBDA {
          V weight = exp2_lanes<S>((sums[t][j] - block.log_sum_exp[t]) * S(kLog2E));
          if (block.mask_outside && !B::template inside<whole>(t + j, block.columns)) weight = V{};
          block.weights[t * K + j] = weight;
        });
      });
    });
  }

  // Second: g.v.
  static void value_products(const BackwardBlock<S>& block) {
    B::with_border(block.columns, [&](auto whole) SASA_INLINE_LAMBDA {
      V sums[T][K] = {};
      if (block.sees_values()) {
        B::template dot_products<whole>(block.grad_out, block.value, block.layout, block.columns, sums);
      }
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        unroll<K>([&](auto j) SASA_INLINE_LAMBDA { block.grad_logits[t * K + j] = sums[t][j]; });
      });
    });
  }

  // What they add to their mean over the window.
  static void means(const BackwardBlock<S>& block) {
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      V mean = block.mean[t];
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA { mean += block.weights[t * K + j] * block.grad_logits[t * K + j]; });
      block.mean[t] = mean;
    });
  }

  // Third: the gradients of the logits, p (g.v - mean), and their sums over columns and over rows.
  static void logit_gradients(const BackwardBlock<S>& block) {
    unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
      V row_sum = block.grad_row[t];
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA {
        const V gradient = block.weights[t * K + j] * (block.grad_logits[t * K + j] - block.mean[t]);
        row_sum += gradient;
        block.grad_column[j * T + t] += gradient;
        block.grad_logits[t * K + j] = gradient;
      });
      block.grad_row[t] = row_sum;
    });
  }

  // Then what follows from them.
  static void value_gradients(const BackwardBlock<S>& block) {
    if (!block.sees_values()) return;
    B::with_border(block.columns, [&](auto whole) SASA_INLINE_LAMBDA {
      B::template scatter<whole>(block.weights, block.grad_out, block.layout, block.columns, block.grad_value);
    });
  }
  static void query_gradients(const BackwardBlock<S>& block) {
    if (!block.sees_keys()) return;
    B::with_border(block.columns, [&](auto whole) SASA_INLINE_LAMBDA {
      B::template gather<whole>(block.grad_logits, block.key, block.layout, block.columns, block.grad_query);
    });
  }
  static void key_gradients(const BackwardBlock<S>& block) {
    if (!block.sees_keys()) return;
    B::with_border(block.columns, [&](auto whole) SASA_INLINE_LAMBDA {
      B::template scatter<whole>(block.grad_logits, block.query, block.layout, block.columns, block.grad_key);
    });
  }

  // terms[j][t] = sum_c query[c][t] * embedding[c][j]; channels of the embedding are `k` vectors apart.
  static void relative(const V* query, const V* embedding, int channels, int pitch, int k, V* terms) {
    V sums[T][K] = {};
    for (int c = 0; c < channels; ++c, query += pitch, embedding += k) {
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
                                int k, V* grad_query, V* grad_embedding) {
    for (int c = 0; c < channels; ++c, query += pitch, grad_query += pitch) {
      V queries[T], sums[T];
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
        queries[t] = query[t];
        sums[t] = grad_query[t];
      });
      unroll<K>([&](auto j) SASA_INLINE_LAMBDA {
        V column = embedding[c * k + j];
        V sum = grad_embedding[c * k + j];
        hold_in_register(column);
        unroll<T>([&](auto t) SASA_INLINE_LAMBDA {
          V term = grad_terms[j * T + t];
          hold_in_register(term);
          sums[t] += term * column;
          sum += term * queries[t];
        });
        grad_embedding[c * k + j] = sum;
      });
      unroll<T>([&](auto t) SASA_INLINE_LAMBDA { grad_query[t] = sums[t]; });
    }
  }
};

constexpr int kBackwardPhases = 6;
constexpr int kPhasesBeforeMean = 2;  // of them

// The functions for one block size.
template <class S>
struct BlockFunctions {
  void (*logits)(const ForwardBlock<S>&);
  void (*exponentials)(Vector<S>*, const Vector<S>*, Vector<S>*);
  void (*weighted_sum)(const Vector<S>*, const Vector<S>*, Layout, Columns, Vector<S>*);
  void (*backward[kBackwardPhases])(const BackwardBlock<S>&);
  void (*means)(const BackwardBlock<S>&);
  void (*relative)(const Vector<S>*, const Vector<S>*, int, int, int, Vector<S>*);
  void (*relative_backward)(const Vector<S>*, const Vector<S>*, const Vector<S>*, int, int, int, Vector<S>*,
                            Vector<S>*);
};

template <class S, int T, int K>
constexpr BlockFunctions<S> functions_of() {
  using P = Phases<S, T, K>;
  return {P::logits,
          P::exponentials,
          P::weighted_sum,
          {P::weights, P::value_products, P::logit_gradients, P::value_gradients, P::query_gradients, P::key_gradients},
          P::means,
          P::relative,
          P::relative_backward};
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
