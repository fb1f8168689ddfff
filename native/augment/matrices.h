// The matrices that map an output pixel to its source: as in kilonet/data/affine.py, bit for bit.
#pragma once

namespace kilonet {

// x' = a·x + b·y + c, y' = d·x + e·y + f.
struct Matrix {
  double a, b, c, d, e, f;
};

// Rotates about the center, degrees counterclockwise, as Pillow's Image.rotate does.
Matrix rotation_matrix(double degrees, int height, int width);

struct AffineParameters {
  double degrees;      // clockwise
  double right, down;  // pixels
  double scale;
  double shear_x, shear_y;  // degrees
};

// Composed as in torchvision's RandomAffine.
Matrix affine_matrix(const AffineParameters&, int height, int width);

// Python's round(x, 15), for |x| ≤ 1.
double round_to_15_digits(double x);

}  // namespace kilonet
