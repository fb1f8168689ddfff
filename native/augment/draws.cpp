// Augmentation's random numbers: ten rounds of Philox4x32.

#include "draws.h"

namespace kilonet {
namespace {

constexpr std::uint32_t kPurposeAugmentation = 3;
constexpr std::uint32_t kBlocksPerTransform = 16;

}  // namespace

Block Draws::block(std::uint32_t number) const {
  std::uint32_t c0 = index, c1 = epoch, c2 = kBlocksPerTransform * transform + number;
  std::uint32_t c3 = kPurposeAugmentation;
  std::uint32_t k0 = std::uint32_t(seed), k1 = std::uint32_t(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const std::uint64_t p0 = std::uint64_t(0xD2511F53u) * c0;
    const std::uint64_t p1 = std::uint64_t(0xCD9E8D57u) * c2;
    c0 = std::uint32_t(p1 >> 32) ^ c1 ^ k0;
    c1 = std::uint32_t(p1);
    c2 = std::uint32_t(p0 >> 32) ^ c3 ^ k1;
    c3 = std::uint32_t(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  constexpr double unit = 1.0 / 4294967296.0;
  return {{c0 * unit, c1 * unit, c2 * unit, c3 * unit}};
}

}  // namespace kilonet
