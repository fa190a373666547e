// The memory that a task works in: packed rows, and what a tile of queries needs.
#pragma once

#include "shape.h"

namespace {

// Neighbouring tiles, at most, that the backward pass takes through each of its phases together.
constexpr int kTileGroup = 4;
// Of their weights and gradients of logits, where those of whole windows are held: about what the nearest cache has.
constexpr int64_t kGroupBytes = 64 * 1024;

// q.r of a tile's queries, and the gradients: [offset][t].
template <class S>
struct Terms {
  Vector<S>*row, *column, *grad_row, *grad_column;
};

template <class S>
class Workspace {
  using V = Vector<S>;
  static constexpr int kTileQueries = Vectors<S>::kTileQueries;

 public:
  static int64_t vectors(const Shape& shape) { return Workspace(shape, nullptr).taken_; }

  Workspace(const Shape& shape, V* memory)
      : terms_vectors_(shape.k * kTileQueries), window_vectors_(shape.k * terms_vectors_), memory_(memory) {
    key = take(shape.ring_vectors());
    value = take(shape.ring_vectors());
    grad_key = take(shape.ring_vectors());
    grad_value = take(shape.ring_vectors());
    query = take(shape.row_vectors());
    grad_out = take(shape.row_vectors());
    const int64_t packed = taken_;
    result = take(shape.row_vectors());
    log_sum_exp = take(shape.pitch);
    mean = take(shape.pitch);
    embedding = take(shape.embedding_vectors());
    terms_ = take(int64_t(kTileGroup) * 4 * terms_vectors_);
    weights_ = take(int64_t(kTileGroup) * 2 * window_vectors_);
    highest = take(kTileQueries);
    sum = take(kTileQueries);
    if (memory == nullptr) return;
    if (shape.channels != shape.head_dim) fill_zero<S>(memory, packed);
    if (shape.half == 0) fill_zero<S>(terms_, kTileGroup * 4 * terms_vectors_);
  }

  // Of the n-th tile of a group.
  Terms<S> terms(int n) const {
    V* first = terms_ + int64_t(4) * n * terms_vectors_;
    return {first, first + terms_vectors_, first + 2 * terms_vectors_, first + 3 * terms_vectors_};
  }
  // How many tiles make a group where the weights of their whole windows are held.
  int window_group() const {
    const int64_t fitting = kGroupBytes / (2 * window_vectors_ * int64_t(sizeof(V)));
    return fitting < 1 ? 1 : fitting < kTileGroup ? int(fitting) : kTileGroup;
  }
  // Of the n-th tile of a group, all its window: [a][block][t][j].
  V* weights(int n) const { return weights_ + int64_t(2) * n * window_vectors_; }
  V* grad_logits(int n) const { return weights(n) + window_vectors_; }

  V *key, *value, *grad_key, *grad_value;  // rings of k rows
  V *query, *grad_out, *result;            // the current row; result: the output, or the query's gradient
  V *log_sum_exp, *mean;                   // of the current row
  V* embedding;                            // [row, column][channel][offset]
  V *highest, *sum;                        // of one tile: [t]

 private:
  V* take(int64_t vectors) {
    V* begin = memory_ == nullptr ? nullptr : memory_ + taken_;
    taken_ += vectors;
    return begin;
  }

  const int terms_vectors_, window_vectors_;
  V* const memory_;
  int64_t taken_ = 0;
  V *terms_, *weights_;
};

}  // namespace
