// One instruction set's vectors. Included by the kernels alone; everything here is static or a
// template in the instruction set's own namespace, so no two sets share a compiled function. For
// the same reason the kernels use nothing of the C++ library that has a body in a header.
#pragma once

#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "../kernels.h"

#ifndef KILONET_ISA
#error "KILONET_ISA names the instruction set"
#endif

namespace kilonet::KILONET_ISA {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
constexpr int kVectors = kLanes / kWidth;  // of a cell

typedef float Floats __attribute__((vector_size(4 * kWidth)));
typedef int32_t Ints __attribute__((vector_size(4 * kWidth)));
typedef uint32_t Words __attribute__((vector_size(4 * kWidth)));

static inline Floats load(const float* p) { return *reinterpret_cast<const Floats*>(p); }
static inline void store(float* p, Floats v) { *reinterpret_cast<Floats*>(p) = v; }
static inline Floats splat(float x) { return x - Floats{}; }

// Keeps a value that several sums share in a register: compilers would load it anew for each.
static inline void keep(Floats& v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#elif defined(__SSE2__)
  __asm__("" : "+x"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#endif
}

// NaN goes through.
static inline Floats at_least(Floats x, float low) { return x < low ? splat(low) : x; }
static inline Floats at_most(Floats x, float high) { return x > high ? splat(high) : x; }

// The first `lanes` of a vector whose first lane is `first`.
static inline Ints lanes_in_use(int first, int lanes) {
  Ints index;
  for (int i = 0; i < kWidth; i++) index[i] = first + i;
  return index < lanes;
}

// Lanes whose bit is set; `first` is the vector's first lane.
static inline Ints lanes_of(uint32_t bits, int first) {
  Words bit;
  for (int i = 0; i < kWidth; i++) bit[i] = 1u << i;
  return ((bits >> first) & bit) != 0;
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

// e^x within two units in the last place; 0 and infinity beyond float's range. x = n·log 2 + r with
// |r| ≤ log 2 / 2, and the Taylor series to r⁷.
static inline Floats exponential(Floats x) {
  const float round = 12582912.0f;  // 1.5 · 2²³: adding it rounds to a whole number
  x = at_most(at_least(x, -87.0f), 88.7f);
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
  // n may be 128, whose power is no float: two halves of it.
  Ints whole = reinterpret_cast<Ints>(shifted) - 0x4B400000;
  Ints half = whole >> 1;
  Floats low = reinterpret_cast<Floats>((half + 127) << 23);
  Floats high = reinterpret_cast<Floats>((whole - half + 127) << 23);
  return p * low * high;
}

static inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace kilonet::KILONET_ISA
