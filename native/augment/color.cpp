// Color jitter's adjustments: blends as in Pillow's ImageEnhance, and a shift of the hue.

#include "color.h"

#include <array>

namespace kilonet {
namespace {

// Interpolates or extrapolates from the degenerate image's value to the pixel's, in float as
// Pillow's Blend.c does.
inline std::uint8_t blend(std::uint8_t degenerate, std::uint8_t pixel, float factor) {
  const float start = degenerate;
  float level = (float(pixel) - start) * factor + start;
  level = level < 0.0f ? 0.0f : level;
  level = level > 255.0f ? 255.0f : level;
  return std::uint8_t(int(level));
}

// A pixel's gray level: ITU-R BT.601 with weights times 2¹⁶, as Pillow rounds them.
inline std::uint8_t luma(const std::uint8_t* rgb) {
  return std::uint8_t((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + (1 << 15)) >> 16);
}

void blend_with(std::uint8_t degenerate, const Size& size, float factor, std::uint8_t* image) {
  // The degenerate value is the same for all pixels, so each level has one result.
  std::uint8_t result[256];
  for (int level = 0; level < 256; level++)
    result[level] = blend(degenerate, std::uint8_t(level), factor);
  const long bytes = size.bytes();
  for (long i = 0; i < bytes; i++) image[i] = result[image[i]];
}

struct Hsv {
  std::uint8_t hue, saturation, value;
};

// Intermediate values of the hue are rounded to float where Pillow's variables are floats.
inline Hsv hsv_of(const std::uint8_t* rgb) {
  const int red = rgb[0], green = rgb[1], blue = rgb[2];
  const int larger = red > green ? red : green, smaller = red < green ? red : green;
  const int value = larger > blue ? larger : blue;
  const int spread = value - (smaller < blue ? smaller : blue);
  // Gray pixels divide 0 by 1, so their hue and saturation are 0, as in Pillow.
  const float divisor = spread ? float(spread) : 1.0f;
  const double from_red = float(value - red) / divisor;
  const double from_green = float(value - green) / divisor;
  const double from_blue = float(value - blue) / divisor;
  // The sum if red, green or blue is the largest; each is rounded in the order written.
  const double sums[3] = {from_blue - from_green, 2.0 + from_red - from_blue,
                          4.0 + from_green - from_red};
  const int largest = red == value ? 0 : 2 - (green == value);
  const float sixths = float(sums[largest]);
  // Between 5/6 and 2; subtracting a whole turn is exact.
  const double turns = double(sixths) / 6.0 + 1.0;
  const float turn = float(turns >= 1.0 ? turns - 1.0 : turns);
  const double saturation = double(spread) / double(value ? value : 1);
  return {std::uint8_t(int(double(turn) * 255.0)), std::uint8_t(int(saturation * 255.0)),
          std::uint8_t(value)};
}

// For each hue, its sixth of the hue circle and the fraction of that sixth.
struct HueCircle {
  std::array<std::uint8_t, 256> sixth;
  std::array<double, 256> fraction;
};

constexpr HueCircle hue_circle() {
  HueCircle circle{};
  for (int hue = 0; hue < 256; hue++) {
    const double sixths = hue * 6.0 / 255.0;
    const int whole = int(sixths);
    circle.sixth[hue] = std::uint8_t(whole % 6);
    circle.fraction[hue] = sixths - whole;
  }
  return circle;
}

constexpr HueCircle kHueCircle = hue_circle();

// The indices of red, green and blue in (value, rising, low, falling), for each sixth. This is a
// table lookup, as is the choice of a sum in `hsv_of`: neighboring pixels differ too often for
// branches.
constexpr std::uint8_t kChosen[6][3] = {{0, 1, 2}, {3, 0, 2}, {2, 0, 1},
                                        {2, 3, 0}, {1, 2, 0}, {0, 2, 3}};

// Rounds to the nearest of 0 … 255; no level is halfway between two.
inline std::uint8_t nearest(double level) { return std::uint8_t(int(level + 0.5)); }

inline void store_rgb(const Hsv& hsv, std::uint8_t* rgb) {
  const double fraction = kHueCircle.fraction[hsv.hue];
  const double saturation = hsv.saturation / 255.0, value = hsv.value;
  const std::uint8_t rising = nearest(value * (1.0 - saturation * (1.0 - fraction)));
  const std::uint8_t low = nearest(value * (1.0 - saturation));
  const std::uint8_t falling = nearest(value * (1.0 - saturation * fraction));
  const std::uint8_t levels[4] = {hsv.value, rising, low, falling};
  const std::uint8_t* const chosen = kChosen[kHueCircle.sixth[hsv.hue]];
  for (int c = 0; c < 3; c++) rgb[c] = levels[chosen[c]];
}

}  // namespace

void adjust_brightness(const Size& size, float factor, std::uint8_t* image) {
  blend_with(0, size, factor, image);
}

void adjust_contrast(const Size& size, float factor, std::uint8_t* image) {
  const long pixels = long(size.height) * size.width;
  std::int64_t sum = 0;
  for (long i = 0; i < pixels; i++) sum += size.channels == 3 ? luma(image + 3 * i) : image[i];
  const double mean = double(sum) / double(pixels);
  blend_with(std::uint8_t(int(mean + 0.5)), size, factor, image);
}

void adjust_saturation(const Size& size, float factor, std::uint8_t* image) {
  const std::uint8_t* end = image + size.bytes();
  for (; image < end; image += 3) {
    const std::uint8_t gray = luma(image);
    for (int c = 0; c < 3; c++) image[c] = blend(gray, image[c], factor);
  }
}

void adjust_hue(const Size& size, std::uint8_t shift, std::uint8_t* image) {
  const std::uint8_t* end = image + size.bytes();
  for (; image < end; image += 3) {
    Hsv hsv = hsv_of(image);
    hsv.hue = std::uint8_t(hsv.hue + shift);
    store_rgb(hsv, image);
  }
}

}  // namespace kilonet
