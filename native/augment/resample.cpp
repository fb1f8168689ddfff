// Resamples an image, through an affine matrix or by displacements, with Pillow's arithmetic: nearest
// neighbor in fixed or floating point, and bilinear.

#include "resample.h"

#include <math.h>

#include <cstring>
#include <initializer_list>

#include "instruction_set.h"

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

constexpr int kAtOnce = 64;  // pixels; a multiple of 4

// The two pixel centers around four positions along an axis of `size` pixels, and the weight of the
// second, 0 to 1. Positions within half a pixel of the border take the border pixel.
struct Neighbors {
  Ints4 before, after;
  Doubles4 weight;

  KILONET_INLINE Neighbors(const Doubles4& position, int size) {
    Ints4 pixel = __builtin_convertvector(position, Ints4);  // toward zero
    pixel += __builtin_convertvector(position < __builtin_convertvector(pixel, Doubles4), Ints4);
    weight = position - __builtin_convertvector(pixel, Doubles4);
    const Ints4 next = pixel + 1;
    before = pixel < 0 ? Ints4{} : pixel;
    after = next < size ? next : Ints4{} + (size - 1);
  }
};

// Reads `count` pixels from positions, in which the center of pixel (0, 0) is (0.5, 0.5); those from
// outside the image get the fill value. Arrays have room for a multiple of 4. Where to read and the
// interpolation are computed for four pixels at once, and only the reading for one.
template <int channels>
KILONET_INLINE void interpolate(const double* x, const double* y, int count, const Size& size,
                                std::uint8_t fill, const std::uint8_t* in, std::uint8_t* out) {
  int nw[kAtOnce], ne[kAtOnce], sw[kAtOnce], se[kAtOnce], value[kAtOnce];
  int inside[kAtOnce];  // −1 or 0
  double along_x[kAtOnce], along_y[kAtOnce];
  const double width = size.width, height = size.height;
  const int stride = size.width * channels;
  for (int i = 0; i < count; i += 4) {
    Doubles4 right, down;
    load(right, x + i);
    load(down, y + i);
    const Longs4 within = (right >= 0) & (right < width) & (down >= 0) & (down < height);
    const Doubles4 half = Doubles4{} + 0.5;
    const Neighbors h((within ? right : half) - 0.5, size.width);
    const Neighbors v((within ? down : half) - 0.5, size.height);
    const Ints4 upper = v.before * stride, lower = v.after * stride;
    const Ints4 west = h.before * channels, east = h.after * channels;
    store(upper + west, nw + i);
    store(upper + east, ne + i);
    store(lower + west, sw + i);
    store(lower + east, se + i);
    store(h.weight, along_x + i);
    store(v.weight, along_y + i);
    store(__builtin_convertvector(within, Ints4), inside + i);
  }
  for (int c = 0; c < channels; c++) {
    int pixels[4][kAtOnce];
    for (int i = 0; i < count; i++) {
      pixels[0][i] = in[nw[i] + c];
      pixels[1][i] = in[ne[i] + c];
      pixels[2][i] = in[sw[i] + c];
      pixels[3][i] = in[se[i] + c];
    }
    for (int i = 0; i < count; i += 4) {
      Ints4 p[4], within;
      Doubles4 right, down;
      for (int k = 0; k < 4; k++) load(p[k], pixels[k] + i);
      load(within, inside + i);
      load(right, along_x + i);
      load(down, along_y + i);
      // Pillow interpolates in doubles, in which differences of pixels are exact.
      const Doubles4 above = __builtin_convertvector(p[1] - p[0], Doubles4) * right +
                             __builtin_convertvector(p[0], Doubles4);
      const Doubles4 below = __builtin_convertvector(p[3] - p[2], Doubles4) * right +
                             __builtin_convertvector(p[2], Doubles4);
      const Ints4 result = __builtin_convertvector((below - above) * down + above, Ints4);
      store(within ? result : Ints4{} + fill, value + i);
    }
    for (int i = 0; i < count; i++) out[i * channels + c] = std::uint8_t(value[i]);
  }
}

// Where an affine matrix reads a row's pixels from.
struct AffinePositions {
  const Matrix& m;

  KILONET_INLINE void operator()(int row, int first, int count, double* x, double* y) const {
    const double down = row + 0.5;
    for (int i = 0; i < count; i++) {
      const double right = (first + i) + 0.5;
      x[i] = m.a * right + m.b * down + m.c;
      y[i] = m.d * right + m.e * down + m.f;
    }
  }
};

// Where a displacement reads them from.
struct DisplacedPositions {
  const Displacement& d;

  KILONET_INLINE void operator()(int row, int first, int count, double* x, double* y) const {
    const float* const right = d.right + row * d.stride + first;
    const float* const down = d.down + row * d.stride + first;
    for (int i = 0; i < count; i++) {
      x[i] = ((first + i) + 0.5) + d.scale * double(right[i]);
      y[i] = (row + 0.5) + d.scale * double(down[i]);
    }
  }
};

template <int channels, class Positions>
KILONET_INLINE void bilinear(const Positions& positions, const Size& size, std::uint8_t fill,
                             const std::uint8_t* in, std::uint8_t* out) {
  double x[kAtOnce] = {}, y[kAtOnce] = {};
  for (int row = 0; row < size.height; row++)
    for (int first = 0; first < size.width; first += kAtOnce) {
      const int count = size.width - first < kAtOnce ? size.width - first : kAtOnce;
      positions(row, first, count, x, y);
      interpolate<channels>(x, y, count, size, fill, in,
                            out + (long(row) * size.width + first) * channels);
    }
}

template <int channels, class Positions>
KILONET_AVX2 void bilinear_avx2(const Positions& positions, const Size& size, std::uint8_t fill,
                                const std::uint8_t* in, std::uint8_t* out) {
  bilinear<channels>(positions, size, fill, in, out);
}

template <int channels, class Positions>
void bilinear_baseline(const Positions& positions, const Size& size, std::uint8_t fill,
                       const std::uint8_t* in, std::uint8_t* out) {
  bilinear<channels>(positions, size, fill, in, out);
}

template <int channels, class Positions>
void bilinear_by(const Resampling& how, const Positions& positions, const Size& size,
                 const std::uint8_t* in, std::uint8_t* out) {
  how.avx2 ? bilinear_avx2<channels>(positions, size, how.fill, in, out)
           : bilinear_baseline<channels>(positions, size, how.fill, in, out);
}

template <int channels>
void nearest_displaced(const Displacement& displacement, const Size& size, const std::uint8_t* in,
                       std::uint8_t* out) {
  const DisplacedPositions positions = {displacement};
  const double width = size.width, height = size.height;
  for (int row = 0; row < size.height; row++)
    for (int column = 0; column < size.width; column++, out += channels) {
      double x, y;
      positions(row, column, 1, &x, &y);
      if (x >= 0 && x < width && y >= 0 && y < height)
        copy_pixel<channels>(in + (long(y) * size.width + long(x)) * channels, out);
    }
}

template <int channels>
void resample_channels(const Resampling& how, const Matrix& m, const Size& size,
                       const std::uint8_t* in, std::uint8_t* out) {
  if (how.bilinear) return bilinear_by<channels>(how, AffinePositions{m}, size, in, out);
  if (uses_fixed_point(m, size)) return nearest_fixed_point<channels>(m, size, in, out);
  nearest_floating_point<channels>(m, size, in, out);
}

template <int channels>
void resample_channels(const Resampling& how, const Displacement& d, const Size& size,
                       const std::uint8_t* in, std::uint8_t* out) {
  if (how.bilinear) return bilinear_by<channels>(how, DisplacedPositions{d}, size, in, out);
  nearest_displaced<channels>(d, size, in, out);
}

template <class Source>
void resample_from(const Resampling& resampling, const Source& source, const Size& size,
                   const std::uint8_t* in, std::uint8_t* out) {
  std::memset(out, resampling.fill, std::size_t(size.bytes()));
  if (size.channels == 3)
    resample_channels<3>(resampling, source, size, in, out);
  else
    resample_channels<1>(resampling, source, size, in, out);
}

}  // namespace

void resample(const Resampling& resampling, const Matrix& m, const Size& size,
              const std::uint8_t* in, std::uint8_t* out) {
  resample_from(resampling, m, size, in, out);
}

void resample(const Resampling& resampling, const Displacement& displacement, const Size& size,
              const std::uint8_t* in, std::uint8_t* out) {
  resample_from(resampling, displacement, size, in, out);
}

}  // namespace kilonet
