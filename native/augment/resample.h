// Resamples an image through a matrix, like Pillow's Image.transform and kilonet/data/affine.py.
#pragma once

#include <cstdint>

#include "matrices.h"

namespace kilonet {

// The size of an image, (height, width, channels) uint8; gray or RGB.
struct Size {
  int height, width, channels;

  long bytes() const { return long(height) * width * channels; }
};

struct Resampling {
  bool bilinear;
  std::uint8_t fill;  // the value of pixels whose source is outside the image
  bool avx2;          // whether the processor has it; bits do not depend on it
};

// A displacement of each pixel: its source is `scale` times (right, down) away. Rows begin `stride`
// values apart.
struct Displacement {
  const float *right, *down;
  long stride;
  double scale;
};

// `out` and `in` must not overlap.
void resample(const Resampling&, const Displacement&, const Size&, const std::uint8_t* in,
              std::uint8_t* out);
void resample(const Resampling&, const Matrix&, const Size&, const std::uint8_t* in,
              std::uint8_t* out);

}  // namespace kilonet
