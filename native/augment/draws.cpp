// Augmentation's random numbers: ten rounds of Philox4x32.

#include "draws.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "instruction_set.h"

namespace kilonet {
namespace {

constexpr std::uint32_t kPurposeAugmentation = 3, kPurposeDisplacement = 7;
constexpr std::uint32_t kBlocksPerTransform = 16;
constexpr int kDisplacementShift = 22;

constexpr std::uint32_t kMultiplier0 = 0xD2511F53u, kMultiplier1 = 0xCD9E8D57u;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;

// `c` is the counter, and then the random words.
void philox(std::uint64_t seed, std::uint32_t (&c)[4]) {
  std::uint32_t k0 = std::uint32_t(seed), k1 = std::uint32_t(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const std::uint64_t p0 = std::uint64_t(kMultiplier0) * c[0];
    const std::uint64_t p1 = std::uint64_t(kMultiplier1) * c[2];
    c[0] = std::uint32_t(p1 >> 32) ^ c[1] ^ k0;
    c[1] = std::uint32_t(p1);
    c[2] = std::uint32_t(p0 >> 32) ^ c[3] ^ k1;
    c[3] = std::uint32_t(p0);
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
}

#if defined(__x86_64__)
// The words of 16 blocks from `first` on. Counters are in the low halves of 64-bit lanes: the
// multiplication reads only these, and ignores what the rounds leave in the high ones.
KILONET_AVX2 void philox_avx2(const Draws& draws, std::uint32_t first, std::uint32_t* words) {
  constexpr int kVectors = Draws::kBlocksAtOnce / 4;
  const __m256i m0 = _mm256_set1_epi64x(kMultiplier0), m1 = _mm256_set1_epi64x(kMultiplier1);
  __m256i c0[kVectors], c1[kVectors], c2[kVectors], c3[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; v++) {
    c0[v] = _mm256_set1_epi64x(draws.index);
    c1[v] = _mm256_set1_epi64x(draws.epoch);
    c2[v] = _mm256_add_epi64(_mm256_set1_epi64x(first + 4 * v), _mm256_setr_epi64x(0, 1, 2, 3));
    c3[v] = _mm256_set1_epi64x(kPurposeDisplacement);
  }
  std::uint32_t k0 = std::uint32_t(draws.seed), k1 = std::uint32_t(draws.seed >> 32);
  for (int round = 0; round < 10; round++) {
    const __m256i key0 = _mm256_set1_epi64x(k0), key1 = _mm256_set1_epi64x(k1);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) {
      const __m256i p0 = _mm256_mul_epu32(c0[v], m0), p1 = _mm256_mul_epu32(c2[v], m1);
      c0[v] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(c1[v], key0));
      c2[v] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(c3[v], key1));
      c1[v] = p1;
      c3[v] = p0;
    }
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; v++) {
    const __m256i w01 = _mm256_blend_epi32(c0[v], _mm256_slli_epi64(c1[v], 32), 0xAA);
    const __m256i w23 = _mm256_blend_epi32(c2[v], _mm256_slli_epi64(c3[v], 32), 0xAA);
    const __m256i even = _mm256_unpacklo_epi64(w01, w23), odd = _mm256_unpackhi_epi64(w01, w23);
    auto* const to = reinterpret_cast<__m256i*>(words + 16 * v);
    _mm256_storeu_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
  }
}
#endif

}  // namespace

Block Draws::block(std::uint32_t number) const {
  std::uint32_t c[4] = {index, epoch, kBlocksPerTransform * transform + number,
                        kPurposeAugmentation};
  philox(seed, c);
  constexpr double unit = 1.0 / 4294967296.0;
  return {{c[0] * unit, c[1] * unit, c[2] * unit, c[3] * unit}};
}

void Draws::displacements(int count, std::uint32_t* words, [[maybe_unused]] bool avx2) const {
  const std::uint32_t first = transform << kDisplacementShift;
#if defined(__x86_64__)
  if (avx2) {
    for (int block = 0; block < count; block += kBlocksAtOnce)
      philox_avx2(*this, first + std::uint32_t(block), words + 4 * block);
    return;
  }
#endif
  for (int block = 0; block < count; block++) {
    std::uint32_t c[4] = {index, epoch, first + std::uint32_t(block), kPurposeDisplacement};
    philox(seed, c);
    std::memcpy(words + 4 * block, c, sizeof c);
  }
}

}  // namespace kilonet
