// How a problem is cut: into tasks and lanes, into tiles and register blocks.
#pragma once

#include "blocks.h"
#include "local_attention.h"
#include "packing.h"

namespace {

// A register tile of queries of a row.
struct Tile {
  int begin;
  int queries;
};

// The plain integers of a problem, and how it is cut into tasks. Nothing here depends on the number of threads.
struct Shape {
  int lanes, heads, head_dim, height, width;
  int64_t planes;  // images x heads
  int k;           // spatial extent
  int reach;       // k // 2
  int half;        // channels of a row or column embedding, 0 without position embeddings
  int channels;    // head_dim rounded up to kChunk
  int pitch;       // odd, so that equal columns of successive channels do not share a cache set
  int groups, bands;
  int column_blocks;  // register blocks that a window row is cut into
  int tiles;          // query tiles in a row
  bool content, mask;

  int row_vectors() const { return channels * pitch; }
  int band_begin(int band) const { return band * height / bands; }
  int embedding_vectors() const { return 2 * half * k; }
  int ring_vectors() const { return k * row_vectors(); }
  int64_t halo_vectors() const { return int64_t(8) * reach * row_vectors(); }

  Tile tile(int i) const {
    const int begin = i * width / tiles;
    return {begin, (i + 1) * width / tiles - begin};
  }
  // Whether window row a of the queries of row y lies inside the map.
  bool row_inside(int y, int a) const { return y + a >= reach && y + a - reach < height; }

  // The columns of the map that a tile's window columns b..b+size-1 meet, counted from the first of them.
  Columns columns_inside(Tile tile, int b, int size) const {
    const int first = tile.begin + b - reach;
    const int met = tile.queries + size - 1;
    return {first < 0 ? -first : 0, first + met > width ? width - first : met};
  }
  // f(window column, columns) for each register block that a window row is cut into.
  template <class F>
  SASA_INLINE void each_column_block(F&& f) const {
    for (int i = 0; i < column_blocks; ++i) {
      const int b = i * k / column_blocks;
      f(b, (i + 1) * k / column_blocks - b);
    }
  }
};

template <class S>
Shape shape_of(const SasaProblem& p) {
  using T = Vectors<S>;
  constexpr int kTasksWanted = 8;  // more would keep more cores busy, but bands pack the rows at their borders twice
  Shape s;
  s.lanes = T::kLanes;
  s.heads = int(p.heads);
  s.head_dim = int(p.head_dim);
  s.height = int(p.height);
  s.width = int(p.width);
  s.planes = p.batch * p.heads;
  s.k = int(p.spatial_extent);
  s.reach = s.k / 2;
  s.half = p.embedding_heads > 0 ? s.head_dim / 2 : 0;
  s.channels = (s.head_dim + kChunk - 1) / kChunk * kChunk;
  s.pitch = s.width | 1;
  s.groups = int((s.planes + s.lanes - 1) / s.lanes);
  // A band at least 2 reach rows high: then no row of keys is seen from more than two bands.
  const int most_bands = s.height / (s.reach > 2 ? 2 * s.reach : 4);
  const int wanted_bands = s.groups > 0 ? (kTasksWanted + s.groups - 1) / s.groups : 1;
  s.bands = wanted_bands < most_bands ? wanted_bands : most_bands;
  if (s.bands < 1) s.bands = 1;
  s.column_blocks = (s.k + T::kBlockColumns - 1) / T::kBlockColumns;
  s.tiles = (s.width + T::kTileQueries - 1) / T::kTileQueries;
  s.content = p.key.data != nullptr;
  s.mask = p.mask_border != 0;
  return s;
}

// A tensor's planes of one lane group.
template <class T, int kLanes>
struct Planes {
  const SasaTensor& tensor;
  int64_t plane_offset[kLanes];
  int64_t row_offset[kLanes];

  Planes(const SasaTensor& source, const Shape& shape, int group) : tensor(source) {
    for (int l = 0; l < kLanes; ++l) {
      const int64_t plane = int64_t(group) * kLanes + l;
      const int64_t real = plane < shape.planes ? plane : 0;  // lanes left over repeat a plane that exists
      plane_offset[l] = real / shape.heads * tensor.stride[0] + real % shape.heads * tensor.stride[1];
    }
  }

  RowView<T> row(int y, int channels, int columns) {
    for (int l = 0; l < kLanes; ++l) row_offset[l] = plane_offset[l] + y * tensor.stride[3];
    return {static_cast<T*>(tensor.data), row_offset, tensor.stride[2], tensor.stride[4], channels, columns};
  }
};

template <class S>
SASA_INLINE void fill_zero(Vector<S>* vectors, int64_t count) {
  std::memset(static_cast<void*>(vectors), 0, size_t(count) * sizeof(Vector<S>));
}

}  // namespace
