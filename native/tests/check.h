// Support for the kernel tests: random cases that are the same on every machine, buffers that
// detect reads and writes out of bounds, and a checker that compares values.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

#include "../kernels.h"

namespace kilonet::tests {

constexpr double kUnit = 0x1p-24;  // float's unit roundoff

// A bound on the float32 error of a sum of `terms` products in any order; `size` is the sum of
// their absolute values. The deterministic bound grows with the number of terms and would hide a
// missing term; rounding errors of random signs grow with its square root. Relative to `size` a
// factor of 4 is ample: correct kernels stay below half of the bound over millions of values. Four
// more terms allow for a bias, an activation and the like. Source: Higham and Mary, "A new approach
// to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019.
inline double sum_bound(double terms, double size) {
  return 4.0 * std::sqrt(terms + 4.0) * kUnit * size;
}

// SplitMix64.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t word() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  int integer(int low, int high) { return low + int(word() % std::uint64_t(high - low + 1)); }
  bool boolean() { return word() >> 63; }
  float uniform(float low, float high) {
    return low + (high - low) * float(word() >> 40) * 0x1p-24f;
  }

 private:
  std::uint64_t state_;
};

// Memory aligned to a cache line, with guard bytes before and after it. All bytes start as 0xFF,
// which is NaN as a float, so a read of uninitialized memory shows in the results. Under
// AddressSanitizer, an access to the guard bytes ends the program.
template <typename T>
class Buffer {
 public:
  explicit Buffer(long count) : bytes_(sizeof(T) * count), whole_(padded(bytes_) + 2 * kGuard) {
    memory_.reset(static_cast<unsigned char*>(std::aligned_alloc(kGuard, whole_)));
    std::memset(memory_.get(), 0xFF, whole_);
    poison();
  }

  T* data() { return reinterpret_cast<T*>(memory_.get() + kGuard); }
  const T* data() const { return reinterpret_cast<const T*>(memory_.get() + kGuard); }
  T& operator[](long i) { return data()[i]; }
  const T& operator[](long i) const { return data()[i]; }
  long size() const { return long(bytes_ / sizeof(T)); }

  void fill(Random& random, float low, float high) {
    for (long i = 0; i < size(); i++) data()[i] = random.uniform(low, high);
  }
  bool guards_intact() const {
    ASAN_UNPOISON_MEMORY_REGION(memory_.get(), kGuard);
    ASAN_UNPOISON_MEMORY_REGION(memory_.get() + kGuard + bytes_, whole_ - kGuard - bytes_);
    bool intact = true;
    for (std::size_t i = 0; i < whole_; i++)
      intact = intact && ((i >= kGuard && i < kGuard + bytes_) || memory_[i] == 0xFF);
    poison();
    return intact;
  }

 private:
  void poison() const {
    ASAN_POISON_MEMORY_REGION(memory_.get(), kGuard);
    ASAN_POISON_MEMORY_REGION(memory_.get() + kGuard + bytes_, whole_ - kGuard - bytes_);
  }

  static constexpr std::size_t kGuard = 256;
  static std::size_t padded(std::size_t bytes) { return (bytes + kGuard - 1) / kGuard * kGuard; }
  struct Free {
    void operator()(unsigned char* p) const { std::free(p); }
  };

  std::size_t bytes_, whole_;
  std::unique_ptr<unsigned char[], Free> memory_;
};

// A chunk of a tensor: (channels, cells, kLanes), with a guarded gap after each channel.
class ChunkTensor {
 public:
  ChunkTensor(int channels, int cells, int gap)
      : channels(channels), cells(cells), plane(cells + gap), buffer(channels * plane * kLanes) {
    poison();
  }

  float* data() { return buffer.data(); }
  const float* data() const { return buffer.data(); }
  float* at(int channel, long cell) { return data() + (channel * plane + cell) * kLanes; }
  const float* at(int channel, long cell) const {
    return data() + (channel * plane + cell) * kLanes;
  }

  // Lanes from `lanes` on keep their values, NaN at first.
  void fill(Random& random, float low, float high, int lanes = kLanes) {
    for (int c = 0; c < channels; c++)
      for (int i = 0; i < cells; i++)
        for (int lane = 0; lane < lanes; lane++) at(c, i)[lane] = random.uniform(low, high);
  }
  void copy(const ChunkTensor& from) {
    for (int c = 0; c < channels; c++)
      std::memcpy(at(c, 0), from.at(c, 0), sizeof(float) * cells * kLanes);
  }
  // Whether no gap and no guard byte was overwritten.
  bool guards_intact() const {
    bool intact = buffer.guards_intact();
    for (int c = 0; c < channels; c++) {
      const auto gap = reinterpret_cast<const unsigned char*>(at(c, cells));
      ASAN_UNPOISON_MEMORY_REGION(gap, gap_bytes());
      for (std::size_t i = 0; i < gap_bytes(); i++) intact = intact && gap[i] == 0xFF;
    }
    poison();
    return intact;
  }

  const int channels, cells;
  const long plane;
  Buffer<float> buffer;

 private:
  std::size_t gap_bytes() const { return sizeof(float) * (plane - cells) * kLanes; }
  void poison() const {
    for (int c = 0; c < channels; c++) ASAN_POISON_MEMORY_REGION(at(c, cells), gap_bytes());
  }
};

// Checks one kernel of one instruction set: counts cases and values, and prints failures.
class Checker {
 public:
  Checker(const Kernels& kernels, const char* name) : kernels_(kernels.name), name_(name) {}

  template <typename... Numbers>
  void begin(const char* format, Numbers... numbers) {
    char text[400];
    std::snprintf(text, sizeof text, format, numbers...);
    case_ = text;
    cases_++;
  }

  // A bound of 0 requires equality; if NaN is expected, NaN is required.
  void near(double found, double expected, double bound, long index = 0) {
    values_++;
    if (std::isnan(expected) ? std::isnan(found) : found == expected) return;
    const double error = std::fabs(found - expected);
    if (error <= bound) {
      if (error / bound > worst_) worst_ = error / bound;
      return;
    }
    char text[200];
    std::snprintf(text, sizeof text, "[%ld] is %.9g, expected %.9g within %.3g", index, found,
                  expected, bound);
    fail(text);
  }
  void expect(bool condition, const char* otherwise) {
    values_++;
    if (!condition) fail(otherwise);
  }

  // Prints a line and returns whether all checks passed.
  bool report() const {
    const bool passed = !failures_ && cases_ && values_;
    std::printf("%-8s %-25s %s  %5ld cases  %10ld values  worst %.2f of its bound\n", kernels_,
                name_, passed ? "ok    " : "FAILED", cases_, values_, worst_);
    return passed;
  }

 private:
  void fail(const char* what) {
    if (++failures_ <= 5)
      std::printf("%s %s: %s: %s\n", kernels_, name_, case_.c_str(), what);
  }

  const char *kernels_, *name_;
  std::string case_;
  long cases_ = 0, values_ = 0, failures_ = 0;
  double worst_ = 0.0;
};

// `cases` is the number of random cases.
struct Test {
  const char* name;
  int cases;
  void (*run)(const Kernels&, Random&, int cases, Checker&);
};

std::vector<Test> convolution_tests();
std::vector<Test> pointwise_tests();
std::vector<Test> dropout_tests();
std::vector<Test> normalization_tests();
std::vector<Test> group_norm_tests();
std::vector<Test> pooling_tests();
std::vector<Test> norm_pool_tests();
std::vector<Test> loss_tests();
std::vector<Test> update_tests();
std::vector<Test> muon_tests();
std::vector<Test> ceiling_tests();

}  // namespace kilonet::tests
