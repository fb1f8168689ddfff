// Smooth random displacements, as kilonet/data/elastic.py computes them, bit for bit.
#pragma once

#include <vector>

#include "draws.h"
#include "resample.h"

namespace kilonet {

class Elastic {
 public:
  // The matrices that smooth noise along columns, (height, height), and along rows, (width, width).
  Elastic(const Size&, const std::vector<float>& down, const std::vector<float>& across);

  // One image's displacements, of scale 1, in memory of the thread's own until its next call. `avx2`:
  // whether the processor has it.
  Displacement of(const Draws&, bool avx2) const;

 private:
  // The first and the last + 1 of the values in a row of a smoothing matrix that are not 0.
  struct Band {
    int first, end;
  };
  static std::vector<Band> bands(const std::vector<float>& matrix, int size, int at_once);

  int height_, width_;
  long stride_;              // a row of one field, padded
  std::vector<float> down_;  // (height padded, height)
  std::vector<float> across_;  // transposed: (width, stride)
  std::vector<Band> down_bands_, across_bands_;  // of as many rows as are computed at once

  friend struct Smoothing;
};

}  // namespace kilonet
