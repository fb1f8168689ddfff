// Dropout's masks: Philox4x32-10, with counter and key laid out as in kilonet/randomness.py.
//
// For image b of the batch and element e of its E (channels slowest), the counter's index is
// b · ⌈E / 8⌉ + ⌊e / 8⌋, followed by the step, the layer's code and the purpose. The four words of
// the result are eight halves, low half first. Half e % 8 belongs to e, and e is kept if the half
// is at least the threshold, p · 2¹⁶. A vector's lanes are images, so each half of the words is
// part of a mask.
//
// Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

constexpr uint32_t kPurposeDropout = 4;

#if defined(__AVX512F__)
// Four words for each lane of a vector. Counters are in the low halves of 64-bit lanes, those of
// even images in one vector and of odd images in the other: the multiplication reads only the low
// halves and ignores the high ones.
inline void philox(Words index, uint32_t step, uint32_t block, uint64_t seed, Words* words) {
  const __m512i m0 = _mm512_set1_epi64(0xD2511F53), m1 = _mm512_set1_epi64(0xCD9E8D57);
  __m512i c0[2], c1[2], c2[2], c3[2];
  c0[0] = reinterpret_cast<__m512i>(index);
  c0[1] = _mm512_srli_epi64(c0[0], 32);
  for (int h = 0; h < 2; h++) {
    c1[h] = _mm512_set1_epi64(step);
    c2[h] = _mm512_set1_epi64(block);
    c3[h] = _mm512_set1_epi64(kPurposeDropout);
  }
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; round++) {
    const __m512i key0 = _mm512_set1_epi64(k0), key1 = _mm512_set1_epi64(k1);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
      const __m512i p0 = _mm512_mul_epu32(c0[h], m0), p1 = _mm512_mul_epu32(c2[h], m1);
      // 0x96 is the exclusive or of three operands.
      c0[h] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1[h], key0, 0x96);
      c2[h] = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3[h], key1, 0x96);
      c1[h] = p1;
      c3[h] = p0;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const auto join = [](__m512i even, __m512i odd) {
    return reinterpret_cast<Words>(
        _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32)));
  };
  words[0] = join(c0[0], c0[1]);
  words[1] = join(c1[0], c1[1]);
  words[2] = join(c2[0], c2[1]);
  words[3] = join(c3[0], c3[1]);
}
#else
// The high and low words of the products with a constant.
inline void multiply(Words a, uint32_t b, Words* high, Words* low) {
#if defined(__AVX2__)
  const __m256i x = reinterpret_cast<__m256i>(a), m = _mm256_set1_epi64x(b);
  const __m256i even = _mm256_mul_epu32(x, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), m);
  *high = reinterpret_cast<Words>(_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA));
  *low = reinterpret_cast<Words>(_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA));
#else
  for (int i = 0; i < kWidth; i++) {
    const uint64_t product = uint64_t(a[i]) * b;
    (*high)[i] = uint32_t(product >> 32);
    (*low)[i] = uint32_t(product);
  }
#endif
}

inline void philox(Words index, uint32_t step, uint32_t block, uint64_t seed, Words* words) {
  const Words none = {};
  Words c0 = index, c1 = none + step, c2 = none + block, c3 = none + kPurposeDropout;
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; round++) {
    Words high0, low0, high1, low1;
    multiply(c0, 0xD2511F53u, &high0, &low0);
    multiply(c2, 0xCD9E8D57u, &high1, &low1);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}
#endif

// Sets the bit of each lane of x that is at least the threshold; both are below 2¹⁷.
inline uint32_t at_least_mask(Words x, uint32_t threshold) {
#if defined(__AVX512F__)
  return _mm512_cmpge_epu32_mask(reinterpret_cast<__m512i>(x), _mm512_set1_epi32(int(threshold)));
#elif defined(__AVX2__)
  const __m256i less = _mm256_cmpgt_epi32(_mm256_set1_epi32(int(threshold)),
                                          reinterpret_cast<__m256i>(x));
  return ~uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(less))) & 0xFFu;
#else
  uint32_t bits = 0;
  for (int i = 0; i < kWidth; i++) bits |= uint32_t(x[i] >= threshold) << i;
  return bits;
#endif
}

}  // namespace

void dropout_bits(uint64_t seed, uint32_t step, uint32_t block, uint32_t threshold,
                  uint32_t first_image, uint32_t elements, uint32_t* bits) {
  const uint32_t groups = (elements + 7) / 8;
  Words lanes;
  for (int i = 0; i < kWidth; i++) lanes[i] = uint32_t(i);
  for (uint32_t group = 0; group < groups; group++) {
    uint32_t masks[8] = {};
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      Words words[4];
      philox((lanes + (first_image + uint32_t(lane))) * groups + group, step, block, seed, words);
#pragma GCC unroll 4
      for (int w = 0; w < 4; w++) {
        masks[2 * w] |= at_least_mask(words[w] & 0xFFFFu, threshold) << lane;
        masks[2 * w + 1] |= at_least_mask(words[w] >> 16, threshold) << lane;
      }
    }
    for (uint32_t i = 0; i < 8 && 8 * group + i < elements; i++) bits[8 * group + i] = masks[i];
  }
}

void dropout(const float* x, const uint32_t* bits, float keep_scale, float* y, int cells,
             bool add) {
  for (int i = 0; i < cells; i++)
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      const long at = long(i) * kLanes + lane;
      const Floats v = masked(bits[i], lane, load(x + at) * keep_scale);
      store(y + at, add ? load(y + at) + v : v);
    }
}

}  // namespace kilonet::KILONET_ISA
