// Resamples an image through an affine matrix with Pillow's arithmetic: nearest neighbor in fixed
// or floating point, and bilinear.

#include "resample.h"

#include <math.h>

#include <cstring>
#include <initializer_list>

namespace kilonet {
namespace {

constexpr int kFixedPointBits = 16;
constexpr double kFixedPointLimit = 1 << (31 - kFixedPointBits);

template <int channels>
inline void copy_pixel(const std::uint8_t* from, std::uint8_t* to) {
  for (int c = 0; c < channels; c++) to[c] = from[c];
}

struct Point {
  double x, y;
};

// Whether Pillow computes in 16.16 fixed point: not for pure scaling, and only if the corners fit.
bool uses_fixed_point(const Matrix& m, const Size& size) {
  const double w = size.width, h = size.height;
  if (m.b == 0 && m.d == 0) return false;
  for (const auto [x, y] : {Point{0, 0}, Point{w, h}, Point{0, h}, Point{w, 0}})
    if (!(fabs(x * m.a + y * m.b + m.c) < kFixedPointLimit) ||
        !(fabs(x * m.d + y * m.e + m.f) < kFixedPointLimit))
      return false;
  return true;
}

std::int64_t fixed_point(double value) {
  return std::int64_t(floor(value * (1 << kFixedPointBits) + 0.5));
}

// One coordinate of the source positions of an image's pixels.
struct Coordinate {
  std::int64_t first, right, down;  // the value at pixel (0, 0), and the increment of a step

  Coordinate(double along_x, double along_y, double origin)
      : first(fixed_point(origin + along_x * 0.5 + along_y * 0.5)),
        right(fixed_point(along_x)),
        down(fixed_point(along_y)) {}
};

// The columns of a row whose source positions are inside the image: [first, end).
struct ColumnRange {
  std::int64_t first, end;

  // Clips to the columns where 0 ≤ start + column · step < limit. The quotients are of integers
  // below 2⁵³, and their distance from the next integer exceeds the rounding error, so truncated
  // doubles are exact, and faster than integer division.
  void clip(std::int64_t start, std::int64_t step, std::int64_t limit) {
    if (step < 0) {
      start = limit - 1 - start;
      step = -step;
    }
    if (start >= limit || (step == 0 && start < 0)) {
      end = 0;
    } else if (step > 0) {
      if (start < 0) {
        const auto before = std::int64_t(double(-start + step - 1) / double(step));
        if (before > first) first = before;
      }
      const auto until = std::int64_t(double(limit - 1 - start) / double(step)) + 1;
      if (until < end) end = until;
    }
  }
};

// A row's source positions are on a line, so those inside the image are consecutive: no per-pixel
// test is needed.
template <int channels>
void nearest_fixed_point(const Matrix& m, const Size& size, const std::uint8_t* in,
                         std::uint8_t* out) {
  const Coordinate across(m.a, m.b, m.c), along(m.d, m.e, m.f);
  const long stride = long(size.width) * channels;
  for (int row = 0; row < size.height; row++, out += stride) {
    const std::int64_t row_x = across.first + row * across.down;
    const std::int64_t row_y = along.first + row * along.down;
    ColumnRange range = {0, size.width};
    range.clip(row_x, across.right, std::int64_t(size.width) << kFixedPointBits);
    range.clip(row_y, along.right, std::int64_t(size.height) << kFixedPointBits);
    // Inside the image a coordinate fits in 32 bits; the first step past the end may wrap around.
    std::uint32_t x = std::uint32_t(row_x + range.first * across.right);
    std::uint32_t y = std::uint32_t(row_y + range.first * along.right);
    const std::uint32_t right = std::uint32_t(across.right), up = std::uint32_t(along.right);
    for (std::int64_t column = range.first; column < range.end; column++, x += right, y += up) {
      const std::size_t from = (y >> kFixedPointBits) * std::size_t(stride) +
                               (x >> kFixedPointBits) * std::size_t(channels);
      copy_pixel<channels>(in + from, out + column * channels);
    }
  }
}

// Pillow adds increments step by step, down and then right, and each sum is rounded.
template <int channels>
void nearest_floating_point(const Matrix& m, const Size& size, const std::uint8_t* in,
                            std::uint8_t* out) {
  const double width = size.width, height = size.height;
  double row_x = m.c + m.b * 0.5 + m.a * 0.5, row_y = m.f + m.e * 0.5 + m.d * 0.5;
  for (int row = 0; row < size.height; row++, row_x += m.b, row_y += m.e) {
    double x = row_x, y = row_y;
    for (int column = 0; column < size.width; column++, x += m.a, y += m.d, out += channels)
      if (x >= 0 && x < width && y >= 0 && y < height)
        copy_pixel<channels>(in + (long(y) * size.width + long(x)) * channels, out);
  }
}

// The two pixel centers around a position, and the weight of the second, 0 to 1. Positions within
// half a pixel of the border take the border pixel.
struct Neighbors {
  int before, after;
  double weight;

  Neighbors(double position, int size) {
    position -= 0.5;
    int pixel = int(position);
    pixel -= position < pixel;
    weight = position - pixel;
    before = pixel < 0 ? 0 : pixel;
    after = pixel + 1 < size ? pixel + 1 : size - 1;
  }
};

template <int channels>
void bilinear(const Matrix& m, const Size& size, const std::uint8_t* in, std::uint8_t* out) {
  const double width = size.width, height = size.height;
  const long stride = long(size.width) * channels;
  for (int row = 0; row < size.height; row++) {
    const double down = row + 0.5;
    for (int column = 0; column < size.width; column++, out += channels) {
      const double right = column + 0.5;
      const double x = m.a * right + m.b * down + m.c, y = m.d * right + m.e * down + m.f;
      if (!(x >= 0 && x < width && y >= 0 && y < height)) continue;
      const Neighbors h(x, size.width), v(y, size.height);
      const std::uint8_t* upper = in + v.before * stride;
      const std::uint8_t* lower = in + v.after * stride;
      for (int c = 0; c < channels; c++) {
        const int west = h.before * channels + c, east = h.after * channels + c;
        // Pillow interpolates in doubles, in which differences of pixels are exact.
        const double above = (upper[east] - upper[west]) * h.weight + upper[west];
        const double below = (lower[east] - lower[west]) * h.weight + lower[west];
        out[c] = std::uint8_t(int((below - above) * v.weight + above));
      }
    }
  }
}

template <int channels>
void resample_channels(bool smooth, const Matrix& m, const Size& size, const std::uint8_t* in,
                       std::uint8_t* out) {
  if (smooth) return bilinear<channels>(m, size, in, out);
  if (uses_fixed_point(m, size)) return nearest_fixed_point<channels>(m, size, in, out);
  nearest_floating_point<channels>(m, size, in, out);
}

}  // namespace

void resample(const Resampling& resampling, const Matrix& m, const Size& size,
              const std::uint8_t* in, std::uint8_t* out) {
  std::memset(out, resampling.fill, std::size_t(size.bytes()));
  if (size.channels == 3)
    resample_channels<3>(resampling.bilinear, m, size, in, out);
  else
    resample_channels<1>(resampling.bilinear, m, size, in, out);
}

}  // namespace kilonet
