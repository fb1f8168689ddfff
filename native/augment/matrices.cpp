#include "matrices.h"

#include <math.h>

#include <cstdint>

namespace kilonet {
namespace {

constexpr double kRadian = 3.141592653589793 / 180.0;

// Python's %, for a positive divisor; its zero is positive too.
double modulo(double x, double divisor) {
  const double rest = fmod(x, divisor);
  return rest < 0 ? rest + divisor : fabs(rest);
}

}  // namespace

// Python rounds the decimal expansion of the double, which no multiplication of doubles can follow.
// In integers: |x| = mantissa · 2^exponent, and |x| · 10¹⁵ = mantissa · 5¹⁵ · 2^(exponent + 15),
// whose 88 bits are shifted right and rounded to even. The quotient by 10¹⁵ is then of two exact
// doubles, so it is the nearest to the decimal.
double round_to_15_digits(double x) {
  constexpr std::uint64_t power = 30517578125;  // 5¹⁵
  int exponent;
  const double fraction = frexp(fabs(x), &exponent);
  const auto product = static_cast<unsigned __int128>(std::uint64_t(ldexp(fraction, 53))) * power;
  const int shift = 53 - exponent - 15;  // at least 37, as |x| ≤ 1
  if (shift > 100) return copysign(0.0, x);
  const unsigned __int128 half = static_cast<unsigned __int128>(1) << (shift - 1);
  const unsigned __int128 rest = product & (2 * half - 1);
  std::uint64_t digits = std::uint64_t(product >> shift);
  if (rest > half || (rest == half && digits % 2)) digits++;
  return copysign(double(digits) / 1e15, x);
}

Matrix rotation_matrix(double degrees, int height, int width) {
  const double centre_x = width / 2.0, centre_y = height / 2.0;
  const double radians = -(modulo(degrees, 360.0) * kRadian);
  const double cosine = round_to_15_digits(cos(radians));
  const double sine = round_to_15_digits(sin(radians));
  return {cosine, sine,   cosine * -centre_x + sine * -centre_y + centre_x,
          -sine,  cosine, -sine * -centre_x + cosine * -centre_y + centre_y};
}

Matrix affine_matrix(const Move& move, int height, int width) {
  const double centre_x = width * 0.5, centre_y = height * 0.5;
  const double turn = move.degrees * kRadian;
  const double slant_x = move.shear_x * kRadian, slant_y = move.shear_y * kRadian;
  const double cosine = cos(turn - slant_y) / cos(slant_y);
  const double sine = sin(turn - slant_y) / cos(slant_y);
  const double slope = tan(slant_x);
  const double xx = cosine, xy = -cosine * slope - sin(turn);
  const double yx = sine, yy = -sine * slope + cos(turn);
  const double a = yy / move.scale, b = -xy / move.scale;
  const double d = -yx / move.scale, e = xx / move.scale;
  const double from_x = -centre_x - move.right, from_y = -centre_y - move.down;
  return {a, b, a * from_x + b * from_y + centre_x, d, e, d * from_x + e * from_y + centre_y};
}

}  // namespace kilonet
