// An image seen through a matrix: Pillow's Image.transform, as kilonet/data/affine.py has it.
#pragma once

#include <cstdint>

#include "matrices.h"

namespace kilonet {

// Of an image, (height, width, channels) uint8; grey or RGB.
struct Size {
  int height, width, channels;

  long bytes() const { return long(height) * width * channels; }
};

struct Resampling {
  bool bilinear;
  std::uint8_t fill;  // where a pixel comes from outside
};

// `out` is another image than `in`.
void resample(const Resampling&, const Matrix&, const Size&, const std::uint8_t* in,
              std::uint8_t* out);

}  // namespace kilonet
