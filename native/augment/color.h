// Brightness, contrast, saturation and hue, in place: kilonet/data/color.py, bit for bit.
#pragma once

#include <cstdint>

#include "resample.h"

namespace kilonet {

void adjust_brightness(const Size&, float factor, std::uint8_t* image);
void adjust_contrast(const Size&, float factor, std::uint8_t* image);
// RGB alone.
void adjust_saturation(const Size&, float factor, std::uint8_t* image);
// RGB alone; `turn` is added to the 8-bit hue, which wraps around.
void adjust_hue(const Size&, std::uint8_t turn, std::uint8_t* image);

}  // namespace kilonet
