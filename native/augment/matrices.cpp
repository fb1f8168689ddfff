// The matrices of rotations and affine transforms, with the rounding of their Python references.

#include "matrices.h"

#include <math.h>

#include <cstdint>

namespace kilonet {
namespace {

constexpr double kRadiansPerDegree = 3.141592653589793 / 180.0;

// Python's % for a positive divisor; a zero result is positive, as in Python.
double modulo(double x, double divisor) {
  const double remainder = fmod(x, divisor);
  return remainder < 0 ? remainder + divisor : fabs(remainder);
}

}  // namespace

// Python rounds the exact decimal expansion of the double; a product of doubles cannot reproduce
// that. In integers, |x| = mantissa · 2^exponent, so |x| · 10¹⁵ is
// mantissa · 5¹⁵ · 2^(exponent + 15): 88 bits, which are shifted right and rounded to even. Both
// operands of the division by 10¹⁵ are then exact doubles, so the quotient is the double nearest to
// the decimal.
double round_to_15_digits(double x) {
  constexpr std::uint64_t power = 30517578125;  // 5¹⁵
  int exponent;
  const double fraction = frexp(fabs(x), &exponent);
  const auto product = static_cast<unsigned __int128>(std::uint64_t(ldexp(fraction, 53))) * power;
  const int shift = 53 - exponent - 15;  // at least 37, as |x| ≤ 1
  if (shift > 100) return copysign(0.0, x);
  const unsigned __int128 half = static_cast<unsigned __int128>(1) << (shift - 1);
  const unsigned __int128 remainder = product & (2 * half - 1);
  std::uint64_t digits = std::uint64_t(product >> shift);
  if (remainder > half || (remainder == half && digits % 2)) digits++;
  return copysign(double(digits) / 1e15, x);
}

Matrix rotation_matrix(double degrees, int height, int width) {
  const double center_x = width / 2.0, center_y = height / 2.0;
  const double radians = -(modulo(degrees, 360.0) * kRadiansPerDegree);
  const double cosine = round_to_15_digits(cos(radians));
  const double sine = round_to_15_digits(sin(radians));
  return {cosine, sine,   cosine * -center_x + sine * -center_y + center_x,
          -sine,  cosine, -sine * -center_x + cosine * -center_y + center_y};
}

Matrix affine_matrix(const AffineParameters& parameters, int height, int width) {
  const double center_x = width * 0.5, center_y = height * 0.5;
  const double angle = parameters.degrees * kRadiansPerDegree;
  const double shear_x = parameters.shear_x * kRadiansPerDegree;
  const double shear_y = parameters.shear_y * kRadiansPerDegree;
  const double cosine = cos(angle - shear_y) / cos(shear_y);
  const double sine = sin(angle - shear_y) / cos(shear_y);
  const double tan_shear_x = tan(shear_x);
  const double xx = cosine, xy = -cosine * tan_shear_x - sin(angle);
  const double yx = sine, yy = -sine * tan_shear_x + cos(angle);
  const double a = yy / parameters.scale, b = -xy / parameters.scale;
  const double d = -yx / parameters.scale, e = xx / parameters.scale;
  const double from_x = -center_x - parameters.right, from_y = -center_y - parameters.down;
  return {a, b, a * from_x + b * from_y + center_x, d, e, d * from_x + e * from_y + center_y};
}

}  // namespace kilonet
