// The memory that a task works in: packed rows, and what a tile of queries needs.
#pragma once

#include "shape.h"

namespace {

// Neighbouring tiles that the backward pass takes through each of its phases together.
constexpr int kTileGroup = 4;

// q.r of a tile's queries, and the gradients: [offset][t].
template <class S>
struct Terms {
  Vector<S>*row, *column, *grad_row, *grad_column;
};

template <class S>
class Workspace {
  using V = Vector<S>;
  static constexpr int kTileQueries = Vectors<S>::kTileQueries;
  static constexpr int kBlockWeights = kTileQueries * Vectors<S>::kBlockColumns;

 public:
  static int64_t vectors(const Shape& shape) { return Workspace(shape, nullptr).taken_; }

  Workspace(const Shape& shape, V* memory) : terms_vectors_(shape.k * kTileQueries), memory_(memory) {
    key = take(shape.ring_vectors());
    value = take(shape.ring_vectors());
    grad_key = take(shape.ring_vectors());
    grad_value = take(shape.ring_vectors());
    query = take(shape.row_vectors());
    grad_out = take(shape.row_vectors());
    const int64_t packed = taken_;
    result = take(shape.row_vectors());
    log_sum_exp = take(shape.pitch);
    delta = take(shape.pitch);
    embedding = take(shape.embedding_vectors());
    terms_ = take(int64_t(kTileGroup) * 4 * terms_vectors_);
    const int64_t group_weights = int64_t(kTileGroup) * 2 * kBlockWeights;
    const int64_t window_weights = int64_t(shape.k) * terms_vectors_;
    weights_ = take(group_weights > window_weights ? group_weights : window_weights);
    highest = take(kTileQueries);
    sum = take(kTileQueries);
    shift = take(kTileQueries);
    if (memory == nullptr) return;
    if (shape.channels != shape.head_dim) fill_zero<S>(memory, packed);
    if (shape.half == 0) fill_zero<S>(terms_, kTileGroup * 4 * terms_vectors_);
  }

  // Of the n-th tile of a group.
  Terms<S> terms(int n) const {
    V* first = terms_ + int64_t(4) * n * terms_vectors_;
    return {first, first + terms_vectors_, first + 2 * terms_vectors_, first + 3 * terms_vectors_};
  }
  V* weights(int n) const { return weights_ + 2 * n * kBlockWeights; }
  V* grad_logits(int n) const { return weights(n) + kBlockWeights; }
  V* window_weights() const { return weights_; }  // of one tile, all its window: [a][block][t][j]

  V *key, *value, *grad_key, *grad_value;  // rings of k rows
  V *query, *grad_out, *result;            // the current row; result: the output, or the query's gradient
  V *log_sum_exp, *delta;                  // of the current row
  V* embedding;                            // [row, column][channel][offset]
  V *highest, *sum, *shift;                // of one tile: [t]

 private:
  V* take(int64_t vectors) {
    V* begin = memory_ == nullptr ? nullptr : memory_ + taken_;
    taken_ += vectors;
    return begin;
  }

  const int terms_vectors_;
  V* const memory_;
  int64_t taken_ = 0;
  V *terms_, *weights_;
};

}  // namespace
