// Batch norm, fused with the dropout after it and the derivative of the activation before it if the
// plan fuses them.

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

// The sum over the lanes in use.
inline double total(const Floats (&sums)[kChains][kVectors], int lanes) {
  double all = 0.0;
  for (int v = 0; v < kVectors; v++) {
    Floats sum = sums[0][v];
    for (int chain = 1; chain < kChains; chain++) sum += sums[chain][v];
    if (lanes < kLanes) sum = lanes_in_use(v * kWidth, lanes) ? sum : Floats{};
    all += lane_sum(sum);
  }
  return all;
}

// The gradient to the dropout's input.
template <bool Masked>
inline Floats dropout_backward(const float* p, const uint32_t* bits, int cell, int lane,
                               float scale) {
  const Floats v = load(p);
  if constexpr (Masked) return masked(bits[cell], lane, v * scale);
  return v;
}

template <bool Masked>
void scale_and_shift(const float* x, float scale, float shift, const uint32_t* bits, float* y,
                     int cells) {
#pragma GCC unroll 4
  for (int i = 0; i < cells; i++)
#pragma GCC unroll 4
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      const long at = long(i) * kLanes + lane;
      prefetch(x + at + kPrefetchFloats);
      prefetch_for_write(y + at + kPrefetchFloats);
      const Floats v = load(x + at) * scale + shift;
      if constexpr (Masked)
        store(y + at, masked(bits[i], lane, v));
      else
        store(y + at, v);
    }
}

template <bool Masked>
void sums(const float* x, float mean, const float* dy, const uint32_t* bits, float scale, int cells,
          int lanes, double* sum, double* sum_x) {
  Floats s[kChains][kVectors] = {}, sx[kChains][kVectors] = {};
  const auto add = [&](int chain, int i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) {
      const long at = (long(i) * kVectors + v) * kWidth;
      prefetch(x + at + kPrefetchFloats);
      prefetch(dy + at + kPrefetchFloats);
      const Floats g = dropout_backward<Masked>(dy + at, bits, i, v * kWidth, scale);
      s[chain][v] += g;
      sx[chain][v] += g * (load(x + at) - mean);
    }
  };
  int i = 0;
  for (; i + kChains <= cells; i += kChains)
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains; chain++) add(chain, i + chain);
  for (; i < cells; i++) add(0, i);
  *sum = total(s, lanes);
  *sum_x = total(sx, lanes);
}

template <bool Masked, bool Add>
void backward(const NormGradient& n, const float* x, const float* dy, const uint32_t* bits,
              float keep_scale, float negative_slope, float* dx, int cells, int lanes) {
  for (int i = 0; i < cells; i++)
#pragma GCC unroll 4
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      const long at = long(i) * kLanes + lane;
      prefetch(x + at + kPrefetchFloats);
      prefetch(dy + at + kPrefetchFloats);
      prefetch_for_write(dx + at + kPrefetchFloats);
      const Floats g = dropout_backward<Masked>(dy + at, bits, i, lane, keep_scale);
      const Floats value = load(x + at);
      Floats d = n.scale * g - (n.constant + n.slope * (value - n.mean));
      d = value > 0.0f ? d : d * negative_slope;
      // The constant terms must not reach lanes without an image.
      if (lanes < kLanes) d = lanes_in_use(lane, lanes) ? d : Floats{};
      store(dx + at, Add ? load(dx + at) + d : d);
    }
}

}  // namespace

// Sums deviations from the first cell's mean: no cancellation if the mean is far from zero.
Moments moments(const float* x, int cells, int lanes) {
  Floats s[kChains][kVectors] = {}, s2[kChains][kVectors] = {};
  float origin = 0.0f;
  for (int lane = 0; lane < lanes; lane++) origin += x[lane] / float(lanes);
  const auto add = [&](int chain, int i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) {
      const float* at = x + (long(i) * kVectors + v) * kWidth;
      prefetch(at + kPrefetchFloats);
      const Floats d = load(at) - origin;
      s[chain][v] += d;
      s2[chain][v] += d * d;
    }
  };
  int i = 0;
  for (; i + kChains <= cells; i += kChains)
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains; chain++) add(chain, i + chain);
  for (; i < cells; i++) add(0, i);
  const double count = double(cells) * lanes, sum = total(s, lanes);
  const double m2 = total(s2, lanes) - sum * sum / count;
  return {count, origin + sum / count, m2 < 0.0 ? 0.0 : m2};
}

void affine(const float* x, float scale, float shift, const uint32_t* bits, float* y, int cells) {
  if (bits) return scale_and_shift<true>(x, scale, shift, bits, y, cells);
  scale_and_shift<false>(x, scale, shift, bits, y, cells);
}

void norm_sums(const float* x, float mean, const float* dy, const uint32_t* bits, float keep_scale,
               int cells, int lanes, double* sum, double* sum_x) {
  if (bits) return sums<true>(x, mean, dy, bits, keep_scale, cells, lanes, sum, sum_x);
  sums<false>(x, mean, dy, bits, keep_scale, cells, lanes, sum, sum_x);
}

void norm_backward(const NormGradient& n, const float* x, const float* dy, const uint32_t* bits,
                   float keep_scale, Activation activation, float slope, float* dx, int cells,
                   int lanes, bool add) {
  // The activation's derivative where its output is not positive.
  const float negative_slope = activation == Activation::relu         ? 0.0f
                               : activation == Activation::leaky_relu ? slope
                                                                      : 1.0f;
  const auto run = bits ? (add ? backward<true, true> : backward<true, false>)
                        : (add ? backward<false, true> : backward<false, false>);
  run(n, x, dy, bits, keep_scale, negative_slope, dx, cells, lanes);
}

}  // namespace kilonet::KILONET_ISA
