// Adjusts brightness, contrast, saturation and hue in place, as kilonet/data/color.py does, bit for
// bit.
#pragma once

#include <cstdint>

#include "resample.h"

namespace kilonet {

void adjust_brightness(const Size&, float factor, std::uint8_t* image);
void adjust_contrast(const Size&, float factor, std::uint8_t* image);
// RGB only.
void adjust_saturation(const Size&, float factor, std::uint8_t* image);
// RGB only; adds `shift` to the 8-bit hue, which wraps around.
void adjust_hue(const Size&, std::uint8_t shift, std::uint8_t* image);

}  // namespace kilonet
