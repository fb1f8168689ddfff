// The transforms of a run's augmentation, one image at a time: equal to kilonet/data/augment.py bit
// for bit. They are compiled without contraction of floating point, which those bits depend on.
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
  // Writes all of `out`, which is another image than `in`.
  virtual void apply(const Draws&, const std::uint8_t* in, std::uint8_t* out) const = 0;
};

using TransformPointer = std::unique_ptr<const Transform>;

TransformPointer make_rotation(const Size&, Range degrees, Resampling);

struct AffineRanges {
  Range degrees;
  double right, down;  // the largest shift, pixels
  Range scale, shear_x, shear_y;
};
TransformPointer make_affine(const Size&, const AffineRanges&, Resampling);

TransformPointer make_crop(const Size&, int padding, std::uint8_t fill);

// What is left out changes nothing. `word` is that of the operation's draws: 0 brightness,
// 1 contrast, 2 saturation, 3 hue; the last two for RGB alone.
struct Adjustment {
  int word;
  Range range;
};
TransformPointer make_color_jitter(const Size&, std::vector<Adjustment>);

TransformPointer make_erasing(const Size&, double p, Range scale, Range log_ratio,
                              std::uint8_t value);

}  // namespace kilonet
