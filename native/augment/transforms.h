// The transforms of a run's augmentation, for one image at a time: equal to kilonet/data/augment.py
// bit for bit. They are compiled without floating-point contraction, which would change bits.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "draws.h"
#include "resample.h"

namespace kilonet {

class Transform {
 public:
  virtual ~Transform() = default;
  // Writes all of `out`, which must not overlap `in`.
  virtual void apply(const Draws&, const std::uint8_t* in, std::uint8_t* out) const = 0;
};

using TransformPointer = std::unique_ptr<const Transform>;

TransformPointer make_rotation(const Size&, Range degrees, Resampling);

struct AffineRanges {
  Range degrees;
  double right, down;  // the largest shift, in pixels
  Range scale, shear_x, shear_y;
};
TransformPointer make_affine(const Size&, const AffineRanges&, Resampling);

TransformPointer make_crop(const Size&, int padding, std::uint8_t fill);

// Operations that are not in the list are skipped. `word` is the operation and the index of its
// random numbers: 0 brightness, 1 contrast, 2 saturation, 3 hue; the last two for RGB only.
struct Adjustment {
  int word;
  Range range;
};
TransformPointer make_color_jitter(const Size&, std::vector<Adjustment>);

// `down` and `across` are the matrices that smooth the noise along columns and along rows, (height,
// height) and (width, width), as kilonet/data/elastic.py computes them.
TransformPointer make_elastic(const Size&, double alpha, std::vector<float> down,
                              std::vector<float> across, Resampling);

TransformPointer make_erasing(const Size&, double p, Range scale, Range log_ratio,
                              std::uint8_t value);

}  // namespace kilonet
