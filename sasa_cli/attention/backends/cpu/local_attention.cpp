// Local (stand-alone self-) attention on a CPU, forward and backward, fused: nothing of size k^2 leaves the caches.
//
//   y_ij = sum_ab softmax_ab(q_ij . k_ab + q_ij . r_(a-i, b-j)) v_ab     over the k x k window centred on (i, j)
//
// Lanes.   Heads are independent, so a vector's lanes are (image, head) planes, and no step below moves data between
//          lanes. Position embeddings are one vector per element too, which serves shared and per-head ones alike.
// Tasks.   One task is a group of planes, or a band of rows of it where there are few groups (band.h). How a problem
//          is cut (shape.h) depends on its shape alone. What tasks contribute together (the embeddings' gradients,
//          the rows of keys on both sides of a band's border) is added in a fixed order afterwards: the same bits
//          for any number of threads.
// Packing. A row of planes is packed to [channel][column][lane] (packing.h), straight from tensors of any strides.
//          Of keys and values, and of their gradients, a ring of k rows is held, which is what a row of queries sees.
// Blocks.  T neighbouring queries against K columns of one window row (blocks.h, phases.h): a column is loaded once
//          for all the queries that see it. Columns outside the map are skipped.
// Terms.   q.r splits into a row term and a column term, 2k products per query instead of k^2. With the zero border
//          their sum already is the logit of a place outside the map, whose value is zero.
// Saved.   The output and the log-sum-exp of the logits; the backward pass recomputes the weights p. The gradient of a
//          logit is p (grad_out . v - mean), the mean of grad_out . v over the window being out . grad_out; of an
//          output that was rounded to half precision it is summed over the window instead. The sums of the gradient
//          over window rows and columns are those of the column and row terms.
#include "local_attention.h"

#include <cstdlib>

#if defined(SASA_STD_THREADS)
#include <atomic>
#include <thread>
#include <vector>
#endif

#include "band.h"

namespace {

constexpr size_t kAlignment = 64;

class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  // At least `bytes` bytes, contents undefined; null where memory ran out.
  void* reserve(size_t bytes) {
    if (bytes > size_) {
      std::free(data_);
      const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
      data_ = std::aligned_alloc(kAlignment, rounded);
      size_ = data_ != nullptr ? rounded : 0;
    }
    return data_;
  }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Kept by each thread: a fresh megabyte per call would cost more in page faults than a small map in arithmetic.
thread_local Buffer workspace;

// run(i, workspace) for i in 0..count-1; false where memory ran out.
template <class F>
bool parallel_for(int64_t threads, int64_t count, size_t workspace_bytes, F&& run) {
  if (count == 0) return true;
  [[maybe_unused]] const int team = int(threads < count ? threads : count);
#if defined(SASA_STD_THREADS)  // for ThreadSanitizer, which sees nothing of how OpenMP's threads wait for each other
  std::atomic<int64_t> next{0};
  std::atomic<bool> complete{true};
  std::vector<std::thread> others;
  for (int i = 0; i < team; ++i) {
    others.emplace_back([&] {
      for (int64_t task = next++; task < count; task = next++) {
        void* memory = workspace.reserve(workspace_bytes);
        if (memory != nullptr) run(task, memory);
        if (memory == nullptr) complete = false;
      }
      finish_streams();
    });
  }
  for (auto& other : others) other.join();
#else
  bool complete = true;
#pragma omp parallel for schedule(dynamic, 1) num_threads(team) if (team > 1) reduction(&& : complete)
  for (int64_t i = 0; i < count; ++i) {
    void* memory = workspace.reserve(workspace_bytes);
    if (memory != nullptr) run(i, memory);
    finish_streams();
    complete = complete && memory != nullptr;
  }
#endif
  return complete;
}

template <class S, class T>
int forward(const SasaProblem& problem) {
  const Shape shape = shape_of<S>(problem);
  const size_t bytes = size_t(Workspace<S>::vectors(shape)) * sizeof(Vector<S>);
  const bool complete =
      parallel_for(problem.threads, int64_t(shape.groups) * shape.bands, bytes, [&](int64_t task, void* memory) {
        Band<S, T>(problem, shape, static_cast<Vector<S>*>(memory), int(task / shape.bands), int(task % shape.bands))
            .forward();
      });
  return complete ? 0 : 1;
}

// Sums the tasks' shares of the embeddings' gradients over tasks and lanes, in that order.
template <class S>
void reduce_embeddings(const SasaProblem& problem, const Shape& shape, const Vector<S>* shares) {
  const int64_t per_head = shape.embedding_vectors() / 2;
  const int64_t tasks = int64_t(shape.groups) * shape.bands;
  S* grads[2] = {static_cast<S*>(problem.grad_row_embedding), static_cast<S*>(problem.grad_column_embedding)};
  parallel_for(problem.threads, 2 * shape.half, kAlignment, [&](int64_t channel, void*) {
    S* grad = grads[channel / shape.half] + channel % shape.half * shape.k;
    for (int64_t head = 0; head < problem.embedding_heads; ++head) {
      for (int k = 0; k < shape.k; ++k) grad[head * per_head + k] = 0;
    }
    for (int64_t task = 0; task < tasks; ++task) {
      const int64_t first_plane = task / shape.bands * shape.lanes;
      const Vector<S>* share = shares + task * shape.embedding_vectors() + channel * shape.k;
      for (int l = 0; l < shape.lanes && first_plane + l < shape.planes; ++l) {
        const int64_t head = problem.embedding_heads > 1 ? (first_plane + l) % shape.heads : 0;
        for (int k = 0; k < shape.k; ++k) grad[head * per_head + k] += share[k][l];
      }
    }
  });
}

template <class S, class T>
int backward(const SasaProblem& problem) {
  const Shape shape = shape_of<S>(problem);
  const int64_t tasks = int64_t(shape.groups) * shape.bands;
  const int64_t borders = int64_t(shape.groups) * (shape.bands - 1);
  const size_t bytes = size_t(Workspace<S>::vectors(shape)) * sizeof(Vector<S>);
  Buffer share_memory, halo_memory;
  auto* shares = static_cast<Vector<S>*>(
      share_memory.reserve(size_t(tasks * shape.embedding_vectors()) * sizeof(Vector<S>) + 1));
  auto* halo = static_cast<Vector<S>*>(
      halo_memory.reserve(size_t(borders * shape.halo_vectors()) * sizeof(Vector<S>) + 1));
  if (shares == nullptr || halo == nullptr) return 1;
  bool complete = parallel_for(problem.threads, tasks, bytes, [&](int64_t task, void* memory) {
    Band<S, T>(problem, shape, static_cast<Vector<S>*>(memory), int(task / shape.bands), int(task % shape.bands))
        .backward(shares + task * shape.embedding_vectors(), halo);
  });
  complete = complete && parallel_for(problem.threads, borders, kAlignment, [&](int64_t border, void*) {
               Band<S, T>::merge(problem, shape, int(border % shape.groups), int(border / shape.groups) + 1, halo);
             });
  if (complete && shape.half > 0) reduce_embeddings<S>(problem, shape, shares);
  return complete ? 0 : 1;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int sasa_forward(const SasaProblem* problem) {
  switch (problem->type) {
    case kSasaFloat64: return forward<double, double>(*problem);
    case kSasaBFloat16: return forward<float, BFloat16>(*problem);
    default: return forward<float, float>(*problem);
  }
}

__attribute__((visibility("default"))) int sasa_backward(const SasaProblem* problem) {
  switch (problem->type) {
    case kSasaFloat64: return backward<double, double>(*problem);
    case kSasaBFloat16: return backward<float, BFloat16>(*problem);
    default: return backward<float, float>(*problem);
  }
}

__attribute__((visibility("default"))) int sasa_runs_here() {
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
#else
  return 1;
#endif
}
}
