// The random numbers of augmentation: Philox4x32-10, counter and key as kilonet/randomness.py lays
// them out. Which draw is for what stands in the table of kilonet/data/augment.py.
//
// Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <cstdint>

namespace kilonet {

struct Block {
  double u[4];  // uniform in [0, 1)
};

// Of one transform for one image.
struct Draws {
  std::uint64_t seed;
  std::uint32_t epoch, index;  // the image's position in the training set
  std::uint32_t place;         // the transform's in the list

  Block block(std::uint32_t number) const;
};

struct Range {
  double low, high;

  double at(double u) const { return low + (high - low) * u; }
};

// One of 0 … count − 1.
inline int one_of(int count, double u) { return int(count * u); }

}  // namespace kilonet
