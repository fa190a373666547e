// The C interface of the CPU kernel for local attention; see local_attention.cpp.
#pragma once

#include <cstdint>

extern "C" {

// Strides in elements for (batch, head, channel, row, column).
struct SasaTensor {
  void* data;
  int64_t stride[5];
};

enum SasaType { kSasaFloat32 = 0, kSasaFloat64 = 1, kSasaBFloat16 = 2 };

struct SasaProblem {
  int64_t batch, heads, head_dim, height, width, spatial_extent;
  int64_t embedding_heads;  // 0: no position embeddings; 1: shared by the heads; else one per head
  int64_t threads;
  int64_t type;         // SasaType of the tensors
  int64_t mask_border;  // places outside the map take no part
  SasaTensor query, key, value, out;  // key.data null: no q.k
  SasaTensor log_sum_exp;             // float64 for float64 tensors, else float32; no channels
  SasaTensor grad_out, grad_query, grad_key, grad_value;
  // (embedding_heads, head_dim / 2, spatial_extent), contiguous, of log_sum_exp's type
  void *row_embedding, *column_embedding, *grad_row_embedding, *grad_column_embedding;
};

// 0, or 1 where memory ran out.
int sasa_forward(const SasaProblem* problem);
int sasa_backward(const SasaProblem* problem);
// Whether this processor has the instructions that the library was compiled for.
int sasa_runs_here();
}
