// Batch norm, with the dropout after it and the derivative of the activation before it, where the
// plan has fused them.

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

template <bool Masked>
inline Floats kept(const float* p, const uint32_t* bits, int cell, int lane, float scale) {
  Floats v = load(p);
  if constexpr (Masked) v = lanes_of(bits[cell], lane) ? v * scale : Floats{};
  return v;
}

template <bool Masked>
void scale_and_shift(const float* x, float scale, float shift, const uint32_t* bits, float* y,
                     int cells) {
  for (int i = 0; i < cells; i++)
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      const long at = long(i) * kLanes + lane;
      Floats v = load(x + at) * scale + shift;
      if constexpr (Masked) v = lanes_of(bits[i], lane) ? v : Floats{};
      store(y + at, v);
    }
}

template <bool Masked>
void sums(const float* x, float mean, const float* dy, const uint32_t* bits, float scale, int cells,
          int lanes, double* sum, double* sum_x) {
  Floats s[kVectors] = {}, sx[kVectors] = {};
  for (int i = 0; i < cells; i++)
    for (int v = 0; v < kVectors; v++) {
      const long at = (long(i) * kVectors + v) * kWidth;
      Floats g = kept<Masked>(dy + at, bits, i, v * kWidth, scale);
      s[v] += g;
      sx[v] += g * (load(x + at) - mean);
    }
  double total = 0.0, total_x = 0.0;
  for (int lane = 0; lane < lanes; lane++) {
    total += s[lane / kWidth][lane % kWidth];
    total_x += sx[lane / kWidth][lane % kWidth];
  }
  *sum = total;
  *sum_x = total_x;
}

template <bool Masked>
void backward(const NormGradient& n, const float* x, const float* dy, const uint32_t* bits,
              float keep_scale, Activation activation, float slope, float* dx, int cells, int lanes,
              bool add) {
  // What the activation's derivative is where its output is not positive.
  const float below = activation == Activation::relu ? 0.0f
                      : activation == Activation::leaky_relu ? slope
                                                             : 1.0f;
  for (int i = 0; i < cells; i++)
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      const long at = long(i) * kLanes + lane;
      Floats g = kept<Masked>(dy + at, bits, i, lane, keep_scale);
      Floats value = load(x + at);
      Floats d = n.scale * g - (n.constant + n.slope * (value - n.mean));
      d = value > 0.0f ? d : d * below;
      // The batch's own terms must not reach the lanes that hold no image of it.
      if (lanes < kLanes) d = lanes_in_use(lane, lanes) ? d : Floats{};
      store(dx + at, add ? load(dx + at) + d : d);
    }
}

}  // namespace

// Each lane is summed about its own first value: no cancellation where the mean is far from zero.
Moments moments(const float* x, int cells, int lanes) {
  Floats s[kVectors] = {}, s2[kVectors] = {}, origin[kVectors];
  for (int v = 0; v < kVectors; v++) origin[v] = load(x + v * kWidth);
  for (int i = 0; i < cells; i++)
    for (int v = 0; v < kVectors; v++) {
      Floats d = load(x + (long(i) * kVectors + v) * kWidth) - origin[v];
      s[v] += d;
      s2[v] += d * d;
    }
  double mean = 0.0, m2 = 0.0, means[kLanes];
  for (int lane = 0; lane < lanes; lane++) {
    const double sum = s[lane / kWidth][lane % kWidth];
    means[lane] = origin[lane / kWidth][lane % kWidth] + sum / cells;
    mean += means[lane];
    m2 += s2[lane / kWidth][lane % kWidth] - sum * sum / cells;
  }
  mean /= lanes;
  for (int lane = 0; lane < lanes; lane++)
    m2 += cells * (means[lane] - mean) * (means[lane] - mean);
  return {double(cells) * lanes, mean, m2 < 0.0 ? 0.0 : m2};
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
  if (bits)
    return backward<true>(n, x, dy, bits, keep_scale, activation, slope, dx, cells, lanes, add);
  backward<false>(n, x, dy, bits, keep_scale, activation, slope, dx, cells, lanes, add);
}

}  // namespace kilonet::KILONET_ISA
