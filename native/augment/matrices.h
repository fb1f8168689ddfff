// Where an output pixel is read from: kilonet/data/affine.py's matrices, bit for bit.
#pragma once

namespace kilonet {

// x' = a·x + b·y + c, y' = d·x + e·y + f.
struct Matrix {
  double a, b, c, d, e, f;
};

// About the centre, degrees anticlockwise: as Pillow's Image.rotate.
Matrix rotation_matrix(double degrees, int height, int width);

struct Move {
  double degrees;      // clockwise
  double right, down;  // pixels
  double scale;
  double shear_x, shear_y;  // degrees
};

// As torchvision's RandomAffine composes it.
Matrix affine_matrix(const Move&, int height, int width);

// Python's round(x, 15), for |x| ≤ 1.
double round_to_15_digits(double x);

}  // namespace kilonet
