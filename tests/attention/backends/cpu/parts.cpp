// Parts of the CPU kernel by themselves: packing there and back, and how far exp2 and log2 are off. Prints one line for
// each part: its name, and `ok` with what was measured, or `failed` and why.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "packing.h"

namespace {

template <class S>
double ulps(S found, double truth) {
  const S nearest = S(truth);
  const double unit = double(std::nextafter(std::fabs(nearest), std::numeric_limits<S>::infinity())) - std::fabs(double(nearest));
  return std::fabs(double(found) - truth) / unit;
}

// The largest error of f over `count` numbers from `first` to `last`, evenly spaced.
template <class S, class F, class G>
double largest_error(double first, double last, int64_t count, F&& f, G&& truth) {
  constexpr int lanes = Vectors<S>::kLanes;
  double largest = 0;
  for (int64_t i = 0; i < count; i += lanes) {
    Vector<S> x;
    for (int l = 0; l < lanes; ++l) x[l] = S(first + (last - first) * double(i + l) / double(count));
    const Vector<S> y = f(x);
    for (int l = 0; l < lanes; ++l) {
      const double error = ulps<S>(y[l], truth(double(x[l])));
      if (!(error <= largest)) largest = error;
    }
  }
  return largest;
}

template <class S>
void report_errors(const char* type, int64_t count) {
  const auto exp2 = [](Vector<S> x) { return exp2_lanes<S>(x); };
  const auto log2 = [](Vector<S> x) { return log2_lanes<S>(x); };
  const double lowest = Vectors<S>::kSmallestExponent;
  const double near = largest_error<S>(-1.0, 1.0, count, exp2, [](double x) { return std::exp2(x); });
  const double far = largest_error<S>(lowest, 1.0, count, exp2, [](double x) { return std::exp2(x); });
  std::printf("exp2 %s ok %.3f\n", type, std::fmax(near, far));
  // In units of the larger of the logarithm and one: that is what it is added to.
  double largest = 0;
  constexpr int lanes = Vectors<S>::kLanes;
  for (double first = 0.25; first < 1e6; first *= 2) {
    for (int64_t i = 0; i < count / 16; i += lanes) {
      Vector<S> x;
      for (int l = 0; l < lanes; ++l) x[l] = S(first + first * double(i + l) / double(count / 16));
      const Vector<S> y = log2(x);
      for (int l = 0; l < lanes; ++l) {
        const double truth = std::log2(double(x[l]));
        const double unit = std::numeric_limits<S>::epsilon() * std::exp2(std::floor(std::log2(std::fmax(1.0, std::fabs(truth)))));
        const double error = std::fabs(double(y[l]) - truth) / unit;
        if (!(error <= largest)) largest = error;
      }
    }
  }
  std::printf("log2 %s ok %.3f\n", type, largest);
}

template <class S>
void report_edges(const char* type) {
  const S infinity = std::numeric_limits<S>::infinity(), nan = std::numeric_limits<S>::quiet_NaN();
  const auto exp2 = [](S x) { return S(exp2_lanes<S>(splat<S>(x))[0]); };
  const S smallest = S(std::exp2(double(Vectors<S>::kSmallestExponent)));
  const bool floor_holds = exp2(-infinity) == exp2(S(-1e30)) && std::fabs(exp2(-infinity) / smallest - S(1)) < S(1e-6);
  const bool nan_stays = std::isnan(exp2(nan)) && std::isnan(S(log2_lanes<S>(splat<S>(nan))[0]));
  const bool right = floor_holds && nan_stays && ulps<S>(exp2(0), 1) < 3 && ulps<S>(exp2(1), 2) < 3;
  std::printf("exp2-edges %s %s\n", type, right ? "ok" : "failed");
}

template <class S, class T>
T number(std::mt19937& random) {
  T value;
  store_scalar(S(std::normal_distribution<double>()(random)), &value);
  return value;
}

bool same(float a, float b) { return a == b; }
bool same(double a, double b) { return a == b; }
bool same(BFloat16 a, BFloat16 b) { return a.bits == b.bits; }

// A row of every lane's plane, packed and unpacked: nothing else may be written, and live lanes come back bit for bit.
template <class S, class T>
bool round_trip(int channels, int columns, int64_t channel_stride, int64_t column_stride, int live, std::mt19937& random) {
  constexpr int lanes = Vectors<S>::kLanes;
  const int64_t plane = channels * columns * 3 + 7;
  std::vector<T> source(size_t(lanes * plane)), target(size_t(lanes * plane));
  for (auto& each : source) each = number<S, T>(random);
  for (auto& each : target) each = number<S, T>(random);
  const std::vector<T> before = target;
  int64_t offsets[lanes];
  for (int l = 0; l < lanes; ++l) offsets[l] = l * plane;
  const int pitch = columns | 1;
  void* memory = std::aligned_alloc(64, (size_t(channels) * size_t(pitch) * sizeof(Vector<S>) + 63) / 64 * 64);
  auto* packed = static_cast<Vector<S>*>(memory);
  pack_row<S, T>({source.data(), offsets, channel_stride, column_stride, channels, columns}, pitch, packed);
  unpack_row<S, T>(packed, pitch, live, {target.data(), offsets, channel_stride, column_stride, channels, columns});
  finish_streams();
  std::vector<bool> written(target.size(), false);
  bool right = true;
  for (int l = 0; l < live; ++l) {
    for (int c = 0; c < channels; ++c) {
      for (int w = 0; w < columns; ++w) {
        const size_t at = size_t(offsets[l] + c * channel_stride + w * column_stride);
        written[at] = true;
        right = right && same(target[at], source[at]);
      }
    }
  }
  for (size_t i = 0; i < target.size(); ++i) right = right && (written[i] || same(target[i], before[i]));
  std::free(memory);
  return right;
}

template <class S, class T>
void report_packing(const char* type) {
  std::mt19937 random(0);
  int64_t tried = 0, wrong = 0;
  for (int channels : {1, 2, 3, 4, 5, 8, 12, 16, 17, 32}) {
    for (int columns : {1, 2, 3, 4, 5, 7, 8, 9, 14, 16, 17, 28}) {
      for (int live = 1; live <= Vectors<S>::kLanes; live = live * 2 + 1) {
        const int64_t strides[3][2] = {{columns, 1}, {1, channels}, {2 * columns + 1, 2}};
        for (const auto& stride : strides) {
          ++tried;
          wrong += !round_trip<S, T>(channels, columns, stride[0], stride[1], live, random);
        }
      }
    }
  }
  if (wrong == 0) {
    std::printf("packing %s ok %ld\n", type, long(tried));
  } else {
    std::printf("packing %s failed %ld of %ld\n", type, long(wrong), long(tried));
  }
}

void report_rounding() {
  int64_t wrong = 0;
  for (uint32_t high = 0; high < 0x8000; ++high) {
    for (uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
      const uint32_t bits = high << 16 | low;
      float x;
      std::memcpy(&x, &bits, sizeof x);
      if (std::isnan(x)) continue;
      BFloat16 rounded;
      store_scalar(x, &rounded);
      // Halfway goes to the even one of the two neighbours.
      const uint32_t up = low > 0x8000u || (low == 0x8000u && (high & 1));
      wrong += rounded.bits != high + up;
    }
  }
  std::printf("bfloat16 rounding %s %ld\n", wrong == 0 ? "ok" : "failed", long(wrong));
}

}  // namespace

int main() {
  report_packing<float, float>("float32");
  report_packing<float, BFloat16>("bfloat16");
  report_packing<double, double>("float64");
  report_rounding();
  report_errors<float>("float32", 1 << 22);
  report_errors<double>("float64", 1 << 18);
  report_edges<float>("float32");
  report_edges<double>("float64");
}
