// The random numbers of augmentation: Philox4x32-10, with counter and key laid out as in
// kilonet/randomness.py. The table in kilonet/data/augment.py says what each draw is for.
//
// Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <cstdint>

namespace kilonet {

struct Block {
  double u[4];  // uniform in [0, 1)
};

// The random numbers of one transform for one image.
struct Draws {
  std::uint64_t seed;
  std::uint32_t epoch, index;  // the image's position in the training set
  std::uint32_t transform;     // its index in the list

  Block block(std::uint32_t number) const;

  // The words of `count` blocks of displacements, four each, in order. There is room for a multiple
  // of kBlocksAtOnce. `avx2`: whether the processor has it.
  static constexpr int kBlocksAtOnce = 16;
  void displacements(int count, std::uint32_t* words, bool avx2) const;
};

struct Range {
  double low, high;

  double at(double u) const { return low + (high - low) * u; }
};

// Maps u to one of 0 … count − 1.
inline int uniform_index(int count, double u) { return int(count * u); }

}  // namespace kilonet
