// Elastic deformation: noise from Philox, smoothed by two products with banded matrices. Of 28 × 28
// pixels a product has 28 · 64 · 28 multiply-adds; that is less than a Gaussian of 33 taps would
// take, and has no border.

#include "elastic.h"

#include <algorithm>
#include <cstring>

#include "instruction_set.h"

namespace kilonet {
namespace {

constexpr int kRows = 4, kColumns = 16;  // of a product that are computed at once, in 8 registers

constexpr long padded(long count, long to) { return (count + to - 1) / to * to; }

// out(i, j) = Σ a(i, k) · b(k, j) for first ≤ k < end, in that order: 4 rows, 16 columns.
KILONET_INLINE void multiply(const float* a, long a_stride, const float* b, long b_stride,
                             int first, int end, float* out, long out_stride) {
  Floats8 sum[kRows][2] = {};
  for (int k = first; k < end; k++) {
    Floats8 left, right;
    load(left, b + k * b_stride);
    load(right, b + k * b_stride + 8);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; i++) {
      const float factor = a[i * a_stride + k];
      sum[i][0] += factor * left;
      sum[i][1] += factor * right;
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; i++) {
    store(sum[i][0], out + i * out_stride);
    store(sum[i][1], out + i * out_stride + 8);
  }
}

// The halves of a pixel's word as numbers in (−1, 1).
KILONET_INLINE void uniform(const std::uint32_t* words, int count, float* right, float* down) {
  constexpr float unit = 1.0f / 65536.0f;
  for (int i = 0; i < count; i++) {
    right[i] = float(2 * int(words[i] & 0xFFFF) - 65535) * unit;
    down[i] = float(2 * int(words[i] >> 16) - 65535) * unit;
  }
}

struct Memory {
  std::vector<std::uint32_t> words;
  std::vector<float> noise, smooth, result;
};

}  // namespace

struct Smoothing {
  const Elastic& of;
  Memory& memory;

  // Rows hold both fields: those of `noise` and `smooth` begin 2 · stride values apart.
  KILONET_INLINE void run() const {
    const long stride = of.stride_, row = 2 * stride;
    const int padding = int(stride) - of.width_;
    for (int y = 0; y < of.height_; y++) {
      float* const right = memory.noise.data() + y * row;
      uniform(memory.words.data() + long(y) * of.width_, of.width_, right, right + stride);
      std::memset(right + of.width_, 0, sizeof(float) * padding);
      std::memset(right + stride + of.width_, 0, sizeof(float) * padding);
    }
    for (int y = 0; y < of.height_; y += kRows) {
      const Elastic::Band band = of.down_bands_[y / kRows];
      for (long x = 0; x < row; x += kColumns)
        multiply(of.down_.data() + long(y) * of.height_, of.height_, memory.noise.data() + x, row,
                 band.first, band.end, memory.smooth.data() + y * row + x, row);
    }
    for (int y = 0; y < of.height_; y += kRows)
      for (long field = 0; field < row; field += stride)
        for (long x = 0; x < stride; x += kColumns) {
          const Elastic::Band band = of.across_bands_[x / kColumns];
          multiply(memory.smooth.data() + y * row + field, row, of.across_.data() + x, stride,
                   band.first, band.end, memory.result.data() + y * row + field + x, row);
        }
  }
};

namespace {

KILONET_AVX2 void smooth_avx2(const Smoothing& smoothing) { smoothing.run(); }
void smooth_baseline(const Smoothing& smoothing) { smoothing.run(); }

}  // namespace

Elastic::Elastic(const Size& size, const std::vector<float>& down,
                 const std::vector<float>& across)
    : height_(size.height),
      width_(size.width),
      stride_(padded(size.width, kColumns)),
      down_(std::size_t(padded(size.height, kRows) * size.height)),
      across_(std::size_t(size.width * stride_)),
      down_bands_(bands(down, size.height, kRows)),
      across_bands_(bands(across, size.width, kColumns)) {
  std::copy(down.begin(), down.end(), down_.begin());
  for (long x = 0; x < width_; x++)
    for (long from = 0; from < width_; from++)
      across_[from * stride_ + x] = across[x * width_ + from];
}

std::vector<Elastic::Band> Elastic::bands(const std::vector<float>& matrix, int size, int at_once) {
  std::vector<Band> found;
  for (int start = 0; start < size; start += at_once) {
    Band band = {size, 0};
    for (int row = start; row < std::min(size, start + at_once); row++)
      for (int column = 0; column < size; column++)
        if (matrix[std::size_t(row) * size + column] != 0)
          band = {std::min(band.first, column), std::max(band.end, column + 1)};
    found.push_back(band);
  }
  return found;
}

Displacement Elastic::of(const Draws& draws, bool avx2) const {
  thread_local Memory memory;
  const long pixels = long(height_) * width_, blocks = padded(pixels, 4) / 4;
  const std::size_t values = std::size_t(padded(height_, kRows) * 2 * stride_);
  memory.words.resize(std::size_t(4 * padded(blocks, Draws::kBlocksAtOnce)));
  for (std::vector<float>* each : {&memory.noise, &memory.smooth, &memory.result})
    each->resize(values);
  draws.displacements(int(blocks), memory.words.data(), avx2);
  const Smoothing smoothing = {*this, memory};
  avx2 ? smooth_avx2(smoothing) : smooth_baseline(smoothing);
  return {memory.result.data(), memory.result.data() + stride_, 2 * stride_, 1.0};
}

}  // namespace kilonet
