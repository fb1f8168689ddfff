// Dropout's masks: Philox4x32-10, counter and key as kilonet/randomness.py lays them out.
//
// Image b of the batch, element e of its E (channels slowest): the counter's index is
// b · ⌈E / 8⌉ + ⌊e / 8⌋, then come the step, the layer's code and the purpose. Its four words are
// eight halves, low half first; half e % 8 is e's, and e is kept if the half is at least the
// threshold, p · 2¹⁶. A vector's lanes are images, so each half of the words is a piece of a mask.
//
// Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

constexpr uint32_t kPurposeDropout = 4;

// High and low words of the products with a constant.
inline void multiply(Words a, uint32_t b, Words* high, Words* low) {
#if defined(__AVX512F__)
  const __m512i x = reinterpret_cast<__m512i>(a), m = _mm512_set1_epi64(b);
  const __m512i even = _mm512_mul_epu32(x, m), odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), m);
  *high = reinterpret_cast<Words>(_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd));
  *low = reinterpret_cast<Words>(_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32)));
#elif defined(__AVX2__)
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

inline uint32_t mask_of(Ints lanes) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(lanes));
#elif defined(__AVX2__)
  return uint32_t(_mm256_movemask_ps(reinterpret_cast<__m256>(lanes)));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kWidth; i++) bits |= uint32_t(lanes[i] & 1) << i;
  return bits;
#endif
}

}  // namespace

void dropout_bits(uint64_t seed, uint32_t step, uint32_t block, uint32_t threshold,
                  uint32_t first_image, uint32_t elements, uint32_t* bits) {
  const uint32_t groups = (elements + 7) / 8;
  const Words none = {};
  for (uint32_t group = 0; group < groups; group++) {
    uint32_t masks[8] = {};
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      Words c0, c1 = none + step, c2 = none + block, c3 = none + kPurposeDropout;
      for (int i = 0; i < kWidth; i++) c0[i] = uint32_t(i);
      c0 = (c0 + (first_image + uint32_t(lane))) * groups + group;
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
      const Words words[4] = {c0, c1, c2, c3};
      for (int w = 0; w < 4; w++) {
        masks[2 * w] |= mask_of((words[w] & 0xFFFFu) >= threshold) << lane;
        masks[2 * w + 1] |= mask_of((words[w] >> 16) >= threshold) << lane;
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
      Floats v = lanes_of(bits[i], lane) ? load(x + at) * keep_scale : Floats{};
      store(y + at, add ? load(y + at) + v : v);
    }
}

}  // namespace kilonet::KILONET_ISA
