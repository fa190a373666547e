// One task: a band of rows of one lane group (as many (image, head) planes as a vector has lanes).
#pragma once

#include "phases.h"
#include "workspace.h"

namespace {

// S: arithmetic; T: storage of the tensors.
template <class S, class T>
class Band {
  using V = Vector<S>;
  static constexpr int kLanes = Vectors<S>::kLanes;
  static constexpr int kTileQueries = Vectors<S>::kTileQueries;
  using Input = Planes<const T, kLanes>;
  using Output = Planes<T, kLanes>;
  // Whether the output lost digits when it was stored. Then the backward pass takes the means of grad_out . v from the
  // whole window's weights, which it holds for that, and not from the output: the gradients of logits are differences
  // from that mean, two to three times as exact.
  static constexpr bool kRounded = !std::is_same<S, T>::value;

 public:
  Band(const SasaProblem& problem, const Shape& shape, V* memory, int group, int band)
      : problem_(problem), shape_(shape), space_(shape, memory), group_(group), band_(band),
        layout_{shape.channels, shape.pitch}, first_row_(shape.band_begin(band)),
        last_row_(shape.band_begin(band + 1)) {
    pack_embeddings();
  }

  void forward() {
    Input query(problem_.query, shape_, group_), key(problem_.key, shape_, group_);
    Input value(problem_.value, shape_, group_);
    Output out(problem_.out, shape_, group_);
    Planes<S, kLanes> log_sum_exp(problem_.log_sum_exp, shape_, group_);
    for (int y = first_row_; y < last_row_; ++y) {
      load_window_rows(y, key, value);
      pack(query, y, space_.query);
      fill_zero<S>(space_.result, shape_.row_vectors());
      for (int i = 0; i < shape_.tiles; ++i) forward_tile(y, shape_.tile(i));
      unpack(space_.result, y, out);
      unpack_row<S>(space_.log_sum_exp, shape_.pitch, live_lanes(), log_sum_exp.row(y, 1, shape_.width));
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
      pack(query, y, space_.query);
      pack(grad_out, y, space_.grad_out);
      pack_row<S>(log_sum_exp.row(y, 1, shape_.width), shape_.pitch, space_.log_sum_exp);
      prepare_means(y, out);
      fill_zero<S>(space_.result, shape_.row_vectors());
      const int group = kRounded ? space_.window_group() : kTileGroup;
      for (int i = 0; i < shape_.tiles; i += group) backward_tiles(y, i, group, grad_embedding);
      unpack(space_.result, y, grad_query);
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
    const int64_t per_head = int64_t(shape_.half) * shape_.k;
    const void* sources[2] = {problem_.row_embedding, problem_.column_embedding};
    for (int part = 0; part < 2 && shape_.half > 0; ++part) {
      const S* source = static_cast<const S*>(sources[part]);
      for (int l = 0; l < kLanes; ++l) {
        const int64_t plane = int64_t(group_) * kLanes + l;
        const int64_t head = problem_.embedding_heads > 1 ? plane % shape_.heads : 0;
        for (int64_t i = 0; i < per_head; ++i) space_.embedding[part * per_head + i][l] = source[head * per_head + i];
      }
    }
  }

  template <class P>
  void pack(P& planes, int y, V* packed) {
    pack_row<S>(planes.row(y, shape_.head_dim, shape_.width), shape_.pitch, packed);
  }
  void unpack(const V* packed, int y, Output& planes) {
    unpack_row<S>(packed, shape_.pitch, live_lanes(), planes.row(y, shape_.head_dim, shape_.width));
  }

  int64_t slot(int row) const { return int64_t(row % shape_.k) * shape_.row_vectors(); }

  // The keys and values of the window's rows, in a ring of k rows.
  void load_window_rows(int y, Input& key, Input& value, bool with_gradients = false) {
    if (y == first_row_) next_row_ = y - shape_.reach < 0 ? 0 : y - shape_.reach;
    const int end = y + shape_.reach + 1 < shape_.height ? y + shape_.reach + 1 : shape_.height;
    for (; next_row_ < end; ++next_row_) {
      if (shape_.content) pack(key, next_row_, space_.key + slot(next_row_));
      pack(value, next_row_, space_.value + slot(next_row_));
      if (!with_gradients) continue;
      fill_zero<S>(space_.grad_key + slot(next_row_), shape_.row_vectors());
      fill_zero<S>(space_.grad_value + slot(next_row_), shape_.row_vectors());
    }
  }

  // f(window row, inside the map, window column, columns inside, block functions) for each register block of the
  // window rows that take part.
  template <class F>
  SASA_INLINE void each_block(int y, Tile tile, bool outside_rows, F&& f) const {
    for (int a = 0; a < shape_.k; ++a) {
      const bool inside = shape_.row_inside(y, a);
      if (!inside && !outside_rows) continue;
      shape_.each_column_block([&](int b, int size) SASA_INLINE_LAMBDA {
        f(a, inside, b, shape_.columns_inside(tile, b, size), block_functions<S>(tile.queries, size));
      });
    }
  }

  // Where window row a begins in the rings, at window column b of a tile.
  int64_t ring_place(int y, int a, Tile tile, int b) const {
    return slot(y + a - shape_.reach) + tile.begin + b - shape_.reach;
  }

  void relative_terms(Tile tile, const Terms<S>& terms) {
    const int half = shape_.half, k = shape_.k, pitch = shape_.pitch, queries = tile.queries;
    if (half == 0) return;
    const V* query = space_.query + tile.begin;
    shape_.each_column_block([&](int b, int size) {
      const BlockFunctions<S>& block = block_functions<S>(queries, size);
      block.relative(query, space_.embedding + b, half, pitch, k, terms.row + b * queries);
      block.relative(query + half * pitch, space_.embedding + half * k + b, half, pitch, k,
                     terms.column + b * queries);
    });
  }

  void relative_terms_backward(Tile tile, const Terms<S>& terms, V* grad_embedding) {
    const int half = shape_.half, k = shape_.k, pitch = shape_.pitch, queries = tile.queries;
    if (half == 0) return;
    const V* query = space_.query + tile.begin;
    V* grad_query = space_.result + tile.begin;
    shape_.each_column_block([&](int b, int size) {
      const BlockFunctions<S>& block = block_functions<S>(queries, size);
      const int columns = half * k + b;
      block.relative_backward(query, space_.embedding + b, terms.grad_row + b * queries, half, pitch, k, grad_query,
                              grad_embedding + b);
      block.relative_backward(query + half * pitch, space_.embedding + columns, terms.grad_column + b * queries, half,
                              pitch, k, grad_query + half * pitch, grad_embedding + columns);
    });
  }

  void forward_tile(int y, Tile tile) {
    const int queries = tile.queries, k = shape_.k;
    const Terms<S> terms = space_.terms(0);
    V* const logits = space_.weights(0);
    V* const result = space_.result + tile.begin;
    relative_terms(tile, terms);
    for (int t = 0; t < queries; ++t) space_.highest[t] = splat<S>(kNoLogit<S>);
    each_block(y, tile, !shape_.mask, [&](int a, bool inside, int b, Columns columns, const auto& block) {
      const V* key = inside && shape_.content ? space_.key + ring_place(y, a, tile, b) : nullptr;
      block.logits({space_.query + tile.begin, key, terms.row + a * queries, terms.column + b * queries, layout_,
                    columns, shape_.mask, logits + (a * k + b) * queries, space_.highest});
    });
    for (int t = 0; t < queries; ++t) space_.sum[t] = V{};
    each_block(y, tile, !shape_.mask, [&](int a, bool, int b, Columns, const auto& block) {
      block.exponentials(logits + (a * k + b) * queries, space_.highest, space_.sum);
    });
    each_block(y, tile, false, [&](int a, bool, int b, Columns columns, const auto& block) {
      block.weighted_sum(logits + (a * k + b) * queries, space_.value + ring_place(y, a, tile, b), layout_, columns,
                         result);
    });
    for (int t = 0; t < queries; ++t) {
      space_.log_sum_exp[tile.begin + t] = space_.highest[t] + log2_lanes<S>(space_.sum[t]) * S(1 / kLog2E);
      const V scale = S(1) / space_.sum[t];
      for (int c = 0; c < shape_.channels; ++c) result[c * shape_.pitch + t] *= scale;
    }
  }

  // out . grad_out where the output is exact, else zero to begin with.
  void prepare_means(int y, Input& out) {
    fill_zero<S>(space_.mean, shape_.pitch);
    if (kRounded) return;
    pack(out, y, space_.result);
    for (int w = 0; w < shape_.width; ++w) {
      for (int c = 0; c < shape_.head_dim; ++c) {
        const int64_t at = c * shape_.pitch + w;
        space_.mean[w] += space_.result[at] * space_.grad_out[at];
      }
    }
  }

  BackwardBlock<S> backward_block(int y, int a, int b, int size, Tile tile, int n) const {
    const bool inside = shape_.row_inside(y, a);
    const int64_t at = inside ? ring_place(y, a, tile, b) : 0;
    const Terms<S> terms = space_.terms(n);
    const int place = kRounded ? (a * shape_.k + b) * tile.queries : 0;
    return {space_.query + tile.begin,
            inside && shape_.content ? space_.key + at : nullptr,
            inside ? space_.value + at : nullptr,
            space_.grad_out + tile.begin,
            terms.row + a * tile.queries,
            terms.column + b * tile.queries,
            space_.log_sum_exp + tile.begin,
            space_.mean + tile.begin,
            layout_,
            shape_.columns_inside(tile, b, size),
            shape_.mask,
            space_.result + tile.begin,
            space_.grad_key + at,
            space_.grad_value + at,
            terms.grad_row + a * tile.queries,
            terms.grad_column + b * tile.queries,
            space_.weights(n) + place,
            space_.grad_logits(n) + place};
  }

  // The group of tiles that begins with tile i. Each phase is run for all of them before the next one is, so that a
  // column that neighbours share is still in the nearest cache.
  void backward_tiles(int y, int i, int group, V* grad_embedding) {
    const int count = shape_.tiles - i < group ? shape_.tiles - i : group;
    Tile tiles[kTileGroup];
    for (int n = 0; n < count; ++n) {
      const Terms<S> terms = space_.terms(n);
      tiles[n] = shape_.tile(i + n);
      relative_terms(tiles[n], terms);
      fill_zero<S>(terms.grad_row, shape_.k * kTileQueries);
      fill_zero<S>(terms.grad_column, shape_.k * kTileQueries);
    }
    if (kRounded) {
      run_phases(y, tiles, count, 0, kPhasesBeforeMean);
      run_phases(y, tiles, count, kPhasesBeforeMean, kBackwardPhases);
    } else {
      run_phases(y, tiles, count, 0, kBackwardPhases);
    }
    for (int n = 0; n < count; ++n) relative_terms_backward(tiles[n], space_.terms(n), grad_embedding);
  }

  // Phases first to last - 1 of the whole window, and with those before the mean what it sums.
  void run_phases(int y, const Tile (&tiles)[kTileGroup], int count, int first, int last) {
    for (int a = 0; a < shape_.k; ++a) {
      if (shape_.mask && !shape_.row_inside(y, a)) continue;
      shape_.each_column_block([&](int b, int size) {
        BackwardBlock<S> blocks[kTileGroup];
        const BlockFunctions<S>* functions[kTileGroup];
        for (int n = 0; n < count; ++n) {
          blocks[n] = backward_block(y, a, b, size, tiles[n], n);
          functions[n] = &block_functions<S>(tiles[n].queries, size);
        }
        for (int phase = first; phase < last; ++phase) {
          for (int n = 0; n < count; ++n) functions[n]->backward[phase](blocks[n]);
        }
        if (last == kPhasesBeforeMean) {
          for (int n = 0; n < count; ++n) functions[n]->means(blocks[n]);
        }
      });
    }
  }

  // No query of this band sees `row` any more.
  void finish_row(int row, V* halo) {
    const bool shared_above = band_ > 0 && row < first_row_ + shape_.reach;
    const bool shared_below = band_ + 1 < shape_.bands && row >= last_row_ - shape_.reach;
    V* const grads[2] = {space_.grad_key + slot(row), space_.grad_value + slot(row)};
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
  const Workspace<S> space_;
  const int group_, band_;
  const Layout layout_;
  const int first_row_, last_row_;
  int next_row_ = 0;
};

}  // namespace
