// One task: a band of rows of one lane group (as many (image, head) planes as a vector has lanes).
#pragma once

#include "blocks.h"
#include "packing.h"
#include "shape.h"

namespace {

// A register tile of queries of the current row.
struct Tile {
  int begin;
  int queries;
};

// S: arithmetic; T: storage of the tensors.
template <class S, class T>
class Band {
  using V = Vector<S>;
  static constexpr int kLanes = Vectors<S>::kLanes;
  static constexpr int kTileQueries = Vectors<S>::kTileQueries;
  using Input = Planes<const T, kLanes>;
  using Output = Planes<T, kLanes>;

 public:
  static int64_t workspace_vectors(const Shape& s) {
    const int64_t terms = int64_t(4) * s.extent * kTileQueries + 3 * kTileQueries;
    const int64_t logits = int64_t(s.extent) * s.extent * kTileQueries;
    return 4 * int64_t(s.ring_vectors()) + 3 * s.row_vectors() + 2 * s.pitch + s.embedding_vectors() + terms + logits;
  }

  Band(const SasaProblem& problem, const Shape& shape, V* workspace, int group, int band)
      : problem_(problem), shape_(shape), group_(group), band_(band), extent_{shape.channels, shape.pitch},
        first_row_(shape.band_begin(band)), last_row_(shape.band_begin(band + 1)) {
    auto take = [&](int64_t vectors) {
      V* begin = workspace;
      workspace += vectors;
      return begin;
    };
    key_ = take(shape.ring_vectors());
    value_ = take(shape.ring_vectors());
    grad_key_ = take(shape.ring_vectors());
    grad_value_ = take(shape.ring_vectors());
    query_ = take(shape.row_vectors());
    grad_out_ = take(shape.row_vectors());
    result_ = take(shape.row_vectors());
    log_sum_exp_ = take(shape.pitch);
    delta_ = take(shape.pitch);
    embedding_ = take(shape.embedding_vectors());
    const int terms = shape.extent * kTileQueries;
    row_terms_ = take(terms);
    column_terms_ = take(terms);
    grad_row_terms_ = take(terms);
    grad_column_terms_ = take(terms);
    highest_ = take(kTileQueries);
    sum_ = take(kTileQueries);
    shift_ = take(kTileQueries);
    logits_ = take(int64_t(shape.extent) * terms);
    if (shape.channels != shape.head_dim) fill_zero<S>(key_, grad_out_ + shape.row_vectors() - key_);
    if (shape.half == 0) fill_zero<S>(row_terms_, 2 * terms);
    pack_embeddings();
  }

  void forward() {
    Input query(problem_.query, shape_, group_), key(problem_.key, shape_, group_);
    Input value(problem_.value, shape_, group_);
    Output out(problem_.out, shape_, group_);
    Planes<S, kLanes> log_sum_exp(problem_.log_sum_exp, shape_, group_);
    for (int y = first_row_; y < last_row_; ++y) {
      load_window_rows(y, key, value);
      pack(query, y, query_);
      fill_zero<S>(result_, shape_.row_vectors());
      for (int i = 0; i < shape_.tiles; ++i) forward_tile(y, tile(i));
      unpack(result_, y, out);
      unpack_row<S>(log_sum_exp_, shape_.pitch, live_lanes(), log_sum_exp.row(y, 1, shape_.width));
    }
  }

  // `grad_embedding` receives this task's share, per lane; `halo` the rows that a neighbouring band adds to as well.
  void backward(V* grad_embedding, V* halo) {
    Input query(problem_.query, shape_, group_), key(problem_.key, shape_, group_);
    Input value(problem_.value, shape_, group_), out(problem_.out, shape_, group_);
    Input grad_out(problem_.grad_out, shape_, group_);
    Output grad_query(problem_.grad_query, shape_, group_);
    Planes<const S, kLanes> log_sum_exp(problem_.log_sum_exp, shape_, group_);
    fill_zero<S>(grad_embedding, shape_.embedding_vectors());
    int unfinished = first_row_ - shape_.reach < 0 ? 0 : first_row_ - shape_.reach;
    for (int y = first_row_; y < last_row_; ++y) {
      load_window_rows(y, key, value, true);
      pack(query, y, query_);
      pack(grad_out, y, grad_out_);
      pack(out, y, result_);
      pack_row<S>(log_sum_exp.row(y, 1, shape_.width), shape_.pitch, log_sum_exp_);
      prepare_backward_row();
      for (int i = 0; i < shape_.tiles; ++i) backward_tile(y, tile(i), grad_embedding);
      unpack(result_, y, grad_query);
      if (y - shape_.reach >= unfinished) finish_row(unfinished++, halo);
    }
    while (unfinished < next_row_) finish_row(unfinished++, halo);
  }

  // Adds up what the bands on both sides of a border have for the rows of keys that both see.
  static void merge(const SasaProblem& problem, const Shape& shape, int group, int band, V* halo) {
    Output grads[2] = {{problem.grad_key, shape, group}, {problem.grad_value, shape, group}};
    const int64_t row_vectors = shape.row_vectors();
    const int64_t side_vectors = 4 * shape.reach * row_vectors;
    const int first = shape.band_begin(band) - shape.reach;
    for (int tensor = shape.content ? 0 : 1; tensor < 2; ++tensor) {
      for (int i = 0; i < 2 * shape.reach; ++i) {
        V* upper = halo_of(shape, group, band, halo) + (tensor * 2 * shape.reach + i) * row_vectors;
        for (int64_t v = 0; v < row_vectors; ++v) upper[v] += upper[side_vectors + v];
        const RowView<T> view = grads[tensor].row(first + i, shape.head_dim, shape.width);
        unpack_row<S>(upper, shape.pitch, live_lanes(shape, group), view);
      }
    }
  }

 private:
  static int live_lanes(const Shape& shape, int group) {
    const int64_t left = shape.planes - int64_t(group) * kLanes;
    return left < kLanes ? int(left) : kLanes;
  }
  int live_lanes() const { return live_lanes(shape_, group_); }

  // The halo of the border above `band`: [side][key, value][row][channel][column], side 0 from the band above it.
  static V* halo_of(const Shape& shape, int group, int band, V* halo) {
    return halo + (int64_t(band - 1) * shape.groups + group) * shape.halo_vectors();
  }

  void pack_embeddings() {
    const int64_t per_head = int64_t(shape_.half) * shape_.extent;
    const void* sources[2] = {problem_.row_embedding, problem_.column_embedding};
    for (int part = 0; part < 2 && shape_.half > 0; ++part) {
      const S* source = static_cast<const S*>(sources[part]);
      for (int l = 0; l < kLanes; ++l) {
        const int64_t plane = int64_t(group_) * kLanes + l;
        const int64_t head = problem_.embedding_heads > 1 ? plane % shape_.heads : 0;
        for (int64_t i = 0; i < per_head; ++i) embedding_[part * per_head + i][l] = source[head * per_head + i];
      }
    }
  }

  Tile tile(int i) const {
    const int begin = i * shape_.width / shape_.tiles;
    return {begin, (i + 1) * shape_.width / shape_.tiles - begin};
  }

  template <class P>
  void pack(P& planes, int y, V* packed) {
    pack_row<S>(planes.row(y, shape_.head_dim, shape_.width), shape_.pitch, packed);
  }
  void unpack(const V* packed, int y, Output& planes) {
    unpack_row<S>(packed, shape_.pitch, live_lanes(), planes.row(y, shape_.head_dim, shape_.width));
  }

  int64_t slot(int row) const { return int64_t(row % shape_.extent) * shape_.row_vectors(); }

  // The keys and values of the window's rows, in a ring of k rows.
  void load_window_rows(int y, Input& key, Input& value, bool with_gradients = false) {
    if (y == first_row_) next_row_ = y - shape_.reach < 0 ? 0 : y - shape_.reach;
    const int end = y + shape_.reach + 1 < shape_.height ? y + shape_.reach + 1 : shape_.height;
    for (; next_row_ < end; ++next_row_) {
      if (shape_.content) pack(key, next_row_, key_ + slot(next_row_));
      pack(value, next_row_, value_ + slot(next_row_));
      if (!with_gradients) continue;
      fill_zero<S>(grad_key_ + slot(next_row_), shape_.row_vectors());
      fill_zero<S>(grad_value_ + slot(next_row_), shape_.row_vectors());
    }
  }

  bool row_inside(int y, int window_row) const {
    const int row = y + window_row - shape_.reach;
    return row >= 0 && row < shape_.height;
  }

  // f(window row, inside the map, first window column, its column in the map, columns inside, block functions) for
  // each register block of the window rows that take part.
  template <class F>
  SASA_INLINE void each_block(int y, Tile tile, bool outside_rows, F&& f) const {
    for (int a = 0; a < shape_.extent; ++a) {
      const bool inside = row_inside(y, a);
      if (!inside && !outside_rows) continue;
      for (int i = 0; i < shape_.column_blocks; ++i) {
        const int b = i * shape_.extent / shape_.column_blocks;
        const int size = (i + 1) * shape_.extent / shape_.column_blocks - b;
        const int first = tile.begin + b - shape_.reach;
        const int seen = tile.queries + size - 1;
        const Columns columns{first < 0 ? -first : 0, first + seen > shape_.width ? shape_.width - first : seen};
        f(a, inside, b, first, columns, block_functions<S>(tile.queries, size));
      }
    }
  }

  // f(window column, block functions) for each register block of the row or column embedding.
  template <class F>
  SASA_INLINE void each_embedding_block(Tile tile, F&& f) const {
    for (int i = 0; i < shape_.column_blocks; ++i) {
      const int b = i * shape_.extent / shape_.column_blocks;
      f(b, block_functions<S>(tile.queries, (i + 1) * shape_.extent / shape_.column_blocks - b));
    }
  }

  void relative_terms(Tile tile) {
    const int half = shape_.half, k = shape_.extent, pitch = shape_.pitch;
    if (half == 0) return;
    const V* query = query_ + tile.begin;
    each_embedding_block(tile, [&](int b, const BlockFunctions<S>& block) {
      block.relative(query, embedding_ + b, half, pitch, k, row_terms_ + b * tile.queries);
      block.relative(query + half * pitch, embedding_ + half * k + b, half, pitch, k,
                     column_terms_ + b * tile.queries);
    });
  }

  void relative_terms_backward(Tile tile, V* grad_embedding) {
    const int half = shape_.half, k = shape_.extent, pitch = shape_.pitch;
    if (half == 0) return;
    const V* query = query_ + tile.begin;
    V* grad_query = result_ + tile.begin;
    each_embedding_block(tile, [&](int b, const BlockFunctions<S>& block) {
      const int columns = half * k + b;
      block.relative_backward(query, embedding_ + b, grad_row_terms_ + b * tile.queries, half, pitch, k, grad_query,
                              grad_embedding + b);
      block.relative_backward(query + half * pitch, embedding_ + columns, grad_column_terms_ + b * tile.queries, half,
                              pitch, k, grad_query + half * pitch, grad_embedding + columns);
    });
  }

  void forward_tile(int y, Tile tile) {
    const int queries = tile.queries, k = shape_.extent;
    relative_terms(tile);
    for (int t = 0; t < queries; ++t) highest_[t] = splat<S>(S(-1e30));
    each_block(y, tile, !shape_.mask, [&](int a, bool inside, int b, int first, Columns columns, const auto& block) {
      const V* key = inside && shape_.content ? key_ + slot(y + a - shape_.reach) + first : nullptr;
      block.logits({query_ + tile.begin, key, row_terms_ + a * queries, column_terms_ + b * queries, extent_, columns,
                    shape_.mask, logits_ + (a * k + b) * queries, highest_});
    });
    for (int t = 0; t < queries; ++t) {
      shift_[t] = highest_[t] * S(kLog2E);
      sum_[t] = V{};
    }
    each_block(y, tile, !shape_.mask, [&](int a, bool, int b, int, Columns, const auto& block) {
      block.exponentials(logits_ + (a * k + b) * queries, shift_, sum_);
    });
    each_block(y, tile, false, [&](int a, bool, int b, int first, Columns columns, const auto& block) {
      block.weighted_sum(logits_ + (a * k + b) * queries, value_ + slot(y + a - shape_.reach) + first, extent_,
                         columns, result_ + tile.begin);
    });
    for (int t = 0; t < queries; ++t) {
      log_sum_exp_[tile.begin + t] = highest_[t] + log2_lanes<S>(sum_[t]) * S(1 / kLog2E);
      const V scale = S(1) / sum_[t];
      for (int c = 0; c < shape_.channels; ++c) result_[c * shape_.pitch + tile.begin + t] *= scale;
    }
  }

  // result_ holds the forward pass's output, and then zero for the query's gradient.
  void prepare_backward_row() {
    for (int w = 0; w < shape_.width; ++w) {
      V sum{};
      for (int c = 0; c < shape_.head_dim; ++c) {
        sum += result_[c * shape_.pitch + w] * grad_out_[c * shape_.pitch + w];
      }
      delta_[w] = sum;
      log_sum_exp_[w] *= S(kLog2E);
    }
    fill_zero<S>(result_, shape_.row_vectors());
  }

  void backward_tile(int y, Tile tile, V* grad_embedding) {
    const int queries = tile.queries;
    relative_terms(tile);
    fill_zero<S>(grad_row_terms_, 2 * shape_.extent * kTileQueries);
    each_block(y, tile, !shape_.mask, [&](int a, bool inside, int b, int first, Columns columns, const auto& block) {
      const int64_t at = inside ? slot(y + a - shape_.reach) + first : 0;
      block.backward({query_ + tile.begin, inside && shape_.content ? key_ + at : nullptr,
                      inside ? value_ + at : nullptr, grad_out_ + tile.begin, row_terms_ + a * queries,
                      column_terms_ + b * queries, log_sum_exp_ + tile.begin, delta_ + tile.begin, extent_, columns,
                      shape_.mask, result_ + tile.begin, grad_key_ + at, grad_value_ + at,
                      grad_row_terms_ + a * queries, grad_column_terms_ + b * queries});
    });
    relative_terms_backward(tile, grad_embedding);
  }

  // No query of this band sees `row` any more.
  void finish_row(int row, V* halo) {
    const bool shared_above = band_ > 0 && row < first_row_ + shape_.reach;
    const bool shared_below = band_ + 1 < shape_.bands && row >= last_row_ - shape_.reach;
    V* const grads[2] = {grad_key_ + slot(row), grad_value_ + slot(row)};
    if (shared_above || shared_below) {
      const int border = shared_above ? band_ : band_ + 1;
      const int index = row - (shape_.band_begin(border) - shape_.reach);
      V* side = halo_of(shape_, group_, border, halo) + (shared_above ? 1 : 0) * shape_.halo_vectors() / 2;
      for (int tensor = 0; tensor < 2; ++tensor) {
        std::memcpy(static_cast<void*>(side + int64_t(tensor * 2 * shape_.reach + index) * shape_.row_vectors()),
                    grads[tensor], size_t(shape_.row_vectors()) * sizeof(V));
      }
      return;
    }
    if (shape_.content) {
      Output grad_key(problem_.grad_key, shape_, group_);
      unpack(grads[0], row, grad_key);
    }
    Output grad_value(problem_.grad_value, shape_, group_);
    unpack(grads[1], row, grad_value);
  }

  const SasaProblem& problem_;
  const Shape& shape_;
  const int group_, band_;
  const Extent extent_;
  const int first_row_, last_row_;
  int next_row_ = 0;
  V *key_, *value_, *grad_key_, *grad_value_;  // rings of k rows
  V *query_, *grad_out_, *result_;             // the current row; result_: the output, or the query's gradient
  V *log_sum_exp_, *delta_;
  V* embedding_;  // [row, column][channel][offset]
  V *row_terms_, *column_terms_, *grad_row_terms_, *grad_column_terms_;  // [offset][t]
  V *highest_, *sum_, *shift_;
  V* logits_;
};

}  // namespace
