// Runs the kernel over a table of calls, for the sanitizers. Each line of standard input is one call:
//   batch heads head_dim height width k embedding_heads type mask content layout threads
// Every tensor lies in memory of exactly its size, so that a step beyond it is seen. With an argument, a fault is made
// on purpose (`memory`, `undefined` or `race`): whoever calls this shows with it that its sanitizer would have spoken.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "local_attention.cpp"

namespace {

struct Call {
  long batch, heads, head_dim, height, width, k, embedding_heads, type, mask, content, layout, threads;
};

struct Map {
  std::unique_ptr<char[]> bytes;
  SasaTensor tensor;
};

size_t width_of(long type) { return type == kSasaFloat64 ? 8 : type == kSasaBFloat16 ? 2 : 4; }

void fill(void* data, size_t count, long type, std::mt19937& random) {
  std::normal_distribution<double> normal;
  for (size_t i = 0; i < count; ++i) {
    const double x = normal(random);
    if (type == kSasaFloat64) static_cast<double*>(data)[i] = x;
    if (type == kSasaFloat32) static_cast<float*>(data)[i] = float(x);
    if (type == kSasaBFloat16) store_scalar(float(x), static_cast<BFloat16*>(data) + i);
  }
}

Map map_of(const Call& call, long channels, long type, std::mt19937& random) {
  const size_t count = size_t(call.batch * call.heads * channels * call.height * call.width);
  Map map{std::make_unique<char[]>(count * width_of(type)), {}};
  fill(map.bytes.get(), count, type, random);
  map.tensor.data = map.bytes.get();
  const int64_t pixels = call.height * call.width, all = call.heads * channels;
  const int64_t contiguous[5] = {all * pixels, channels * pixels, pixels, call.width, 1};
  const int64_t channels_last[5] = {all * pixels, channels, 1, call.width * all, all};
  std::memcpy(map.tensor.stride, call.layout ? channels_last : contiguous, sizeof map.tensor.stride);
  return map;
}

double sum_of(const Map& map, size_t count, long type) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) {
    if (type == kSasaFloat64) sum += reinterpret_cast<const double*>(map.bytes.get())[i];
    if (type == kSasaFloat32) sum += double(reinterpret_cast<const float*>(map.bytes.get())[i]);
    if (type == kSasaBFloat16) sum += double(load_scalar(reinterpret_cast<const BFloat16*>(map.bytes.get()) + i));
  }
  return sum;
}

bool run(const Call& call) {
  std::mt19937 random(0);
  const long wide = call.type == kSasaFloat64 ? kSasaFloat64 : kSasaFloat32;
  Map maps[8];
  for (auto& map : maps) map = map_of(call, call.head_dim, call.type, random);
  Call plain = call;
  plain.layout = 0;
  Map lse = map_of(plain, 1, wide, random);
  const size_t numbers = size_t(call.embedding_heads * (call.head_dim / 2) * call.k);
  std::unique_ptr<char[]> embeddings[4];
  for (auto& each : embeddings) {
    each = std::make_unique<char[]>(numbers * width_of(wide));
    fill(each.get(), numbers, wide, random);
  }
  SasaProblem problem{};
  problem.batch = call.batch, problem.heads = call.heads, problem.head_dim = call.head_dim;
  problem.height = call.height, problem.width = call.width, problem.spatial_extent = call.k;
  problem.embedding_heads = call.embedding_heads, problem.threads = call.threads;
  problem.type = call.type, problem.mask_border = call.mask;
  problem.query = maps[0].tensor, problem.value = maps[2].tensor, problem.out = maps[3].tensor;
  problem.grad_out = maps[4].tensor, problem.grad_query = maps[5].tensor, problem.grad_value = maps[7].tensor;
  if (call.content) problem.key = maps[1].tensor, problem.grad_key = maps[6].tensor;
  problem.log_sum_exp = lse.tensor;
  if (call.embedding_heads) {
    problem.row_embedding = embeddings[0].get(), problem.column_embedding = embeddings[1].get();
    problem.grad_row_embedding = embeddings[2].get(), problem.grad_column_embedding = embeddings[3].get();
  }
  if (sasa_forward(&problem) || sasa_backward(&problem)) return false;
  const size_t count = size_t(call.batch * call.heads * call.head_dim * call.height * call.width);
  return std::isfinite(sum_of(maps[3], count, call.type) + sum_of(maps[5], count, call.type));
}

int faulty(const char* kind) {
  volatile int length = 8;
  if (!std::strcmp(kind, "memory")) {
    std::unique_ptr<char[]> bytes(new char[size_t(length)]);
    volatile char* beyond = bytes.get() + length;
    *beyond = 1;
  }
  if (!std::strcmp(kind, "undefined")) {
    volatile int most = 2147483647;
    most = most + length;
  }
  if (!std::strcmp(kind, "race")) {
    int shared = 0;
    std::thread one([&] { ++shared; }), other([&] { ++shared; });
    one.join(), other.join();
    length = shared;
  }
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1) return faulty(arguments[1]);
  Call c;
  long calls = 0;
  while (std::scanf("%ld %ld %ld %ld %ld %ld %ld %ld %ld %ld %ld %ld", &c.batch, &c.heads, &c.head_dim, &c.height, &c.width,
                    &c.k, &c.embedding_heads, &c.type, &c.mask, &c.content, &c.layout, &c.threads) == 12) {
    ++calls;
    if (!run(c)) return std::printf("call %ld: not finite, or no memory\n", calls), 1;
  }
  std::printf("%ld calls\n", calls);
}
