// The vector types and operations of one instruction set. Only the kernels include this file.
// Everything here is static or a template in the instruction set's own namespace, so no two sets
// share a compiled function. For the same reason, the kernels use nothing of the C++ library that
// has a body in a header.
#pragma once

#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "../kernels.h"

#ifndef KILONET_ISA
#error "define KILONET_ISA as the name of the instruction set"
#endif

namespace kilonet::KILONET_ISA {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
constexpr int kVectors = kLanes / kWidth;  // per cell
// Independent chains of additions in a sum, so that an addition need not wait for the one before.
constexpr int kChains = kVectors >= 4 ? 1 : 4 / kVectors;

typedef float Floats __attribute__((vector_size(4 * kWidth)));
typedef int32_t Ints __attribute__((vector_size(4 * kWidth)));
typedef uint32_t Words __attribute__((vector_size(4 * kWidth)));

static inline Floats load(const float* p) { return *reinterpret_cast<const Floats*>(p); }
static inline void store(float* p, Floats v) { *reinterpret_cast<Floats*>(p) = v; }

static inline int min(int a, int b) { return a < b ? a : b; }

// Prefetches a cache line that a pass will reach. Virtual machines often lack hardware prefetching;
// a pass over a large tensor then takes four times as long.
static inline void prefetch(const float* p) { __builtin_prefetch(p); }
static inline void prefetch_for_write(const float* p) { __builtin_prefetch(p, 1); }
constexpr long kPrefetchFloats = 32 * 16;  // floats from the current position to the prefetched one

static inline Floats splat(float x) { return x - Floats{}; }

// Keeps a value that several sums share in a register: compilers would reload it for each.
static inline void keep_in_register(Floats& v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#elif defined(__SSE2__)
  __asm__("" : "+x"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#endif
}

// NaN stays NaN.
static inline Floats clamp_min(Floats x, float low) { return x < low ? splat(low) : x; }
static inline Floats clamp_max(Floats x, float high) { return x > high ? splat(high) : x; }

// A mask of the lanes below `lanes`, for a vector whose first lane is `first`.
static inline Ints lanes_in_use(int first, int lanes) {
  Ints index;
  for (int i = 0; i < kWidth; i++) index[i] = first + i;
  return index < lanes;
}

// A mask of the lanes whose bit is set; `first` is the vector's first lane.
static inline Ints lane_mask(uint32_t bits, int first) {
  Words bit;
  for (int i = 0; i < kWidth; i++) bit[i] = 1u << i;
  return ((bits >> first) & bit) != 0;
}

// Zeros the lanes whose bit is not set; `first` is the vector's first lane.
static inline Floats masked(uint32_t bits, int first, Floats v) {
#if defined(__AVX512F__)
  return _mm512_maskz_mov_ps(__mmask16(bits >> first), v);
#else
  return lane_mask(bits, first) ? v : Floats{};
#endif
}

static inline float lane_sum(Floats v) {
#if defined(__AVX512F__)
  __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif defined(__AVX2__)
  __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
#else
  Floats quarter = v;
#endif
  return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

// out[i] = the sum of the lanes of the vector at from + i · stride, for kWidth vectors. Pairs of
// vectors are interleaved and added, so that one shuffle serves two sums.
static inline void lane_sums(const float* from, long stride, float* out) {
#if defined(__AVX512F__)
  __m512 v[8];
  for (int i = 0; i < 8; i++) {
    const __m512 a = load(from + 2 * i * stride), b = load(from + (2 * i + 1) * stride);
    v[i] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  }
  for (int i = 0; i < 4; i++) {
    const __m512d a = _mm512_castps_pd(v[2 * i]), b = _mm512_castps_pd(v[2 * i + 1]);
    v[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  for (int i = 0; i < 2; i++)
    v[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0x88),
                         _mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0xDD));
  _mm512_storeu_ps(out, _mm512_add_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x88),
                                      _mm512_shuffle_f32x4(v[0], v[1], 0xDD)));
#else
  for (int i = 0; i < kWidth; i++) out[i] = lane_sum(load(from + i * stride));
#endif
}

// Transposes a square of kWidth vectors.
static inline void transpose(Floats (&v)[kWidth]) {
#if defined(__AVX512F__)
  __m512 a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    a[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
  const auto low = [](__m512 x, __m512 y) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
  };
  const auto high = [](__m512 x, __m512 y) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
  };
  // b[4 i + j]: column 4 k + j of rows 4 i to 4 i + 3 in quarter k.
  for (int i = 0; i < 16; i += 4) {
    b[i] = low(a[i], a[i + 2]);
    b[i + 1] = high(a[i], a[i + 2]);
    b[i + 2] = low(a[i + 1], a[i + 3]);
    b[i + 3] = high(a[i + 1], a[i + 3]);
  }
  for (int j = 0; j < 4; j++) {
    const __m512 even = _mm512_shuffle_f32x4(b[j], b[4 + j], 0x88);
    const __m512 odd = _mm512_shuffle_f32x4(b[j], b[4 + j], 0xDD);
    const __m512 next_even = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0x88);
    const __m512 next_odd = _mm512_shuffle_f32x4(b[8 + j], b[12 + j], 0xDD);
    v[j] = _mm512_shuffle_f32x4(even, next_even, 0x88);
    v[8 + j] = _mm512_shuffle_f32x4(even, next_even, 0xDD);
    v[4 + j] = _mm512_shuffle_f32x4(odd, next_odd, 0x88);
    v[12 + j] = _mm512_shuffle_f32x4(odd, next_odd, 0xDD);
  }
#elif defined(__AVX2__)
  __m256 a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    a[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
    b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xEE);
    b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
    b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xEE);
  }
  for (int j = 0; j < 4; j++) {
    v[j] = _mm256_permute2f128_ps(b[j], b[4 + j], 0x20);
    v[4 + j] = _mm256_permute2f128_ps(b[j], b[4 + j], 0x31);
  }
#else
  float t[kWidth][kWidth];
  for (int i = 0; i < kWidth; i++)
    for (int j = 0; j < kWidth; j++) t[j][i] = v[i][j];
  for (int i = 0; i < kWidth; i++) __builtin_memcpy(&v[i], t[i], sizeof v[i]);
#endif
}

// Applies the epilogue to a convolution's sum, except for the bias and the addition to the output.
static inline Floats apply_epilogue(const Epilogue& f, int channel, Floats y) {
  if (f.activation == Activation::relu) y = y < 0.0f ? Floats{} : y;
  if (f.activation == Activation::leaky_relu) y = y < 0.0f ? y * f.slope : y;
  if (f.scale) y = y * f.scale[channel] + f.shift[channel];
  return y;
}

// e^x within two units in the last place; 0 and infinity beyond float's range. x = n·log 2 + r with
// |r| ≤ log 2 / 2, and the Taylor series to r⁷.
static inline Floats exponential(Floats x) {
  const float round = 12582912.0f;  // 1.5 · 2²³: adding it rounds to a whole number
  x = clamp_max(clamp_min(x, -87.0f), 88.7f);
  Floats shifted = x * 1.44269504f + round;
  Floats n = shifted - round;
  Floats r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  Floats p = r * (1.0f / 5040) + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // n may be 128, and 2¹²⁸ is not a float: multiply by two powers of about half of n.
  Ints whole = reinterpret_cast<Ints>(shifted) - 0x4B400000;
  Ints half = whole >> 1;
  Floats low = reinterpret_cast<Floats>((half + 127) << 23);
  Floats high = reinterpret_cast<Floats>((whole - half + 127) << 23);
  return p * low * high;
}

static inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace kilonet::KILONET_ISA
