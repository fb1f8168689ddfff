// What the tests of the kernels are written with: cases at random but the same everywhere, memory
// that shows what was read or written beside it, and a tally that compares.
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

// How far float32 may be off in a sum of `terms` products whose sizes add up to `size`, in whatever
// order they are added. The certain bound grows with the terms, and would hide one that was left
// out; rounding errors of random signs grow with their root. Against the sum of sizes a factor of 4
// is ample: correct kernels stay below half of it over millions of values. Source: Higham and Mary,
// "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 41, 2019.
// The four terms more are for a bias, an activation and the like.
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
  bool coin() { return word() >> 63; }
  float uniform(float low, float high) {
    return low + (high - low) * float(word() >> 40) * 0x1p-24f;
  }

 private:
  std::uint64_t state_;
};

// Memory on a cache line's border, with a guard before and after it. All bytes begin as 0xFF: a
// float that is not a number, so what was read without having been written shows in the results.
// Under AddressSanitizer whatever touches the guards ends the program there and then.
template <typename T>
class Buffer {
 public:
  explicit Buffer(long count) : bytes_(sizeof(T) * count), whole_(padded(bytes_) + 2 * kGuard) {
    memory_.reset(static_cast<unsigned char*>(std::aligned_alloc(kGuard, whole_)));
    std::memset(memory_.get(), 0xFF, whole_);
    close();
  }

  T* data() { return reinterpret_cast<T*>(memory_.get() + kGuard); }
  const T* data() const { return reinterpret_cast<const T*>(memory_.get() + kGuard); }
  T& operator[](long i) { return data()[i]; }
  const T& operator[](long i) const { return data()[i]; }
  long size() const { return long(bytes_ / sizeof(T)); }

  void fill(Random& random, float low, float high) {
    for (long i = 0; i < size(); i++) data()[i] = random.uniform(low, high);
  }
  bool guarded() const {
    ASAN_UNPOISON_MEMORY_REGION(memory_.get(), kGuard);
    ASAN_UNPOISON_MEMORY_REGION(memory_.get() + kGuard + bytes_, whole_ - kGuard - bytes_);
    bool whole = true;
    for (std::size_t i = 0; i < whole_; i++)
      whole = whole && ((i >= kGuard && i < kGuard + bytes_) || memory_[i] == 0xFF);
    close();
    return whole;
  }

 private:
  void close() const {
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

// A chunk of a tensor: (channels, cells, kLanes), and between the channels a gap that belongs to
// nobody.
class Cells {
 public:
  Cells(int channels, int cells, int gap)
      : channels(channels), cells(cells), plane(cells + gap), buffer(channels * plane * kLanes) {
    close();
  }

  float* data() { return buffer.data(); }
  const float* data() const { return buffer.data(); }
  float* at(int channel, long cell) { return data() + (channel * plane + cell) * kLanes; }
  const float* at(int channel, long cell) const {
    return data() + (channel * plane + cell) * kLanes;
  }

  // Lanes past `lanes` stay what they are: not numbers.
  void fill(Random& random, float low, float high, int lanes = kLanes) {
    for (int c = 0; c < channels; c++)
      for (int i = 0; i < cells; i++)
        for (int lane = 0; lane < lanes; lane++) at(c, i)[lane] = random.uniform(low, high);
  }
  void copy(const Cells& from) {
    for (int c = 0; c < channels; c++)
      std::memcpy(at(c, 0), from.at(c, 0), sizeof(float) * cells * kLanes);
  }
  // Whether nothing was written between the channels and around them.
  bool guarded() const {
    bool whole = buffer.guarded();
    for (int c = 0; c < channels; c++) {
      const auto gap = reinterpret_cast<const unsigned char*>(at(c, cells));
      ASAN_UNPOISON_MEMORY_REGION(gap, gap_bytes());
      for (std::size_t i = 0; i < gap_bytes(); i++) whole = whole && gap[i] == 0xFF;
    }
    close();
    return whole;
  }

  const int channels, cells;
  const long plane;
  Buffer<float> buffer;

 private:
  std::size_t gap_bytes() const { return sizeof(float) * (plane - cells) * kLanes; }
  void close() const {
    for (int c = 0; c < channels; c++) ASAN_POISON_MEMORY_REGION(at(c, cells), gap_bytes());
  }
};

// One kernel of one instruction set: counts, and says what differed.
class Tally {
 public:
  Tally(const Kernels& kernels, const char* name) : kernels_(kernels.name), name_(name) {}

  template <typename... Numbers>
  void begin(const char* format, Numbers... numbers) {
    char text[400];
    std::snprintf(text, sizeof text, format, numbers...);
    case_ = text;
    cases_++;
  }

  // A bound of 0 asks for equality; what should not be a number must not be one.
  void value(double found, double expected, double bound, long index = 0) {
    values_++;
    if (std::isnan(expected) ? std::isnan(found) : found == expected) return;
    const double error = std::fabs(found - expected);
    if (error <= bound) {
      if (error / bound > worst_) worst_ = error / bound;
      return;
    }
    char text[200];
    std::snprintf(text, sizeof text, "[%ld] is %.9g, should be %.9g within %.3g", index, found,
                  expected, bound);
    fail(text);
  }
  void holds(bool condition, const char* otherwise) {
    values_++;
    if (!condition) fail(otherwise);
  }

  // Prints a line; whether all was well.
  bool finish() const {
    const bool well = !failures_ && cases_ && values_;
    std::printf("%-8s %-25s %s  %5ld cases  %10ld values  worst %.2f of its bound\n", kernels_,
                name_, well ? "ok    " : "FAILED", cases_, values_, worst_);
    return well;
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

// `cases` is how many to try.
struct Test {
  const char* name;
  int cases;
  void (*run)(const Kernels&, Random&, int cases, Tally&);
};

std::vector<Test> convolution_tests();
std::vector<Test> pointwise_tests();
std::vector<Test> dropout_tests();
std::vector<Test> normalisation_tests();
std::vector<Test> pooling_tests();
std::vector<Test> norm_pool_tests();
std::vector<Test> loss_tests();
std::vector<Test> update_tests();
std::vector<Test> ceiling_tests();

}  // namespace kilonet::tests
