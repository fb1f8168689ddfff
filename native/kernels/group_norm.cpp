// Group norm: each image is normalized by itself, over a group of channels. A vector holds the same
// value of several images, so all statistics are vectors with one value an image, and no lane is
// added to another except in the gradients to scale and shift.

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

// Cells whose terms are added before they go to the total, so that rounding errors grow with the
// root of the cells and not with their number.
constexpr int kBlock = 64;

template <int N>
struct Terms {
  Floats of[N];
};

// out[n][v] = the sum over the cells of terms(cell, v).of[n].
template <int N, typename Function>
inline void sum_cells(int cells, Floats (&out)[N][kVectors], const Function& terms) {
  for (int n = 0; n < N; n++)
    for (int v = 0; v < kVectors; v++) out[n][v] = Floats{};
  for (int first = 0; first < cells; first += kBlock) {
    const int end = min(first + kBlock, cells);
    Floats s[kChains][N][kVectors] = {};
    const auto add = [&](int chain, int i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) {
        const Terms<N> term = terms(i, v);
        for (int n = 0; n < N; n++) s[chain][n][v] += term.of[n];
      }
    };
    int i = first;
    for (; i + kChains <= end; i += kChains)
#pragma GCC unroll 4
      for (int chain = 0; chain < kChains; chain++) add(chain, i + chain);
    for (; i < end; i++) add(0, i);
    for (int n = 0; n < N; n++)
      for (int v = 0; v < kVectors; v++)
        for (int chain = 0; chain < kChains; chain++) out[n][v] += s[chain][n][v];
  }
}

inline Floats square_root(Floats x) {
  for (int i = 0; i < kWidth; i++) x[i] = __builtin_sqrtf(x[i]);
  return x;
}

// Mean and sum of squared deviations of one channel. The second pass finds the channel in the
// first-level cache, and also corrects the mean.
inline void channel_moments(const float* x, int cells, Floats (&mean)[kVectors],
                            Floats (&m2)[kVectors]) {
  const float count = float(cells);
  Floats sum[1][kVectors], deviations[2][kVectors];
  sum_cells(cells, sum, [&](int i, int v) {
    const float* at = x + long(i) * kLanes + v * kWidth;
    prefetch(at + kPrefetchFloats);
    return Terms<1>{{load(at)}};
  });
  for (int v = 0; v < kVectors; v++) mean[v] = sum[0][v] / count;
  sum_cells(cells, deviations, [&](int i, int v) {
    const Floats d = load(x + long(i) * kLanes + v * kWidth) - mean[v];
    return Terms<2>{{d, d * d}};
  });
  for (int v = 0; v < kVectors; v++) {
    const Floats correction = deviations[0][v] / count;
    mean[v] += correction;
    m2[v] = clamp_min(deviations[1][v] - deviations[0][v] * correction, 0.0f);
  }
}

}  // namespace

void group_norm(const GroupNorm& g, const float* x, const float* weight, const float* bias,
                float* mean, float* inverse, float* y) {
  Floats center[kVectors], m2[kVectors], scale[kVectors];
  channel_moments(x, g.cells, center, m2);
  for (int c = 1; c < g.channels; c++) {
    Floats other[kVectors], other_m2[kVectors];
    channel_moments(x + c * g.plane * kLanes, g.cells, other, other_m2);
    const float share = 1.0f / float(c + 1), both = float(g.cells) * (float(c) * share);
    for (int v = 0; v < kVectors; v++) {
      const Floats delta = other[v] - center[v];
      center[v] += delta * share;
      m2[v] += other_m2[v] + delta * delta * both;
    }
  }
  const float count = float(g.cells) * float(g.channels);
  for (int v = 0; v < kVectors; v++) {
    scale[v] = 1.0f / square_root(m2[v] / count + g.eps);
    store(mean + v * kWidth, center[v]);
    store(inverse + v * kWidth, scale[v]);
  }
  for (int c = 0; c < g.channels; c++) {
    Floats own[kVectors];
    for (int v = 0; v < kVectors; v++) own[v] = weight ? scale[v] * weight[c] : scale[v];
    const float shift = bias ? bias[c] : 0.0f;
    const float* from = x + c * g.plane * kLanes;
    float* to = y + c * g.plane * kLanes;
    for (int i = 0; i < g.cells; i++)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) {
        const long at = long(i) * kLanes + v * kWidth;
        prefetch_for_write(to + at + kPrefetchFloats);
        store(to + at, (load(from + at) - center[v]) * own[v] + shift);
      }
  }
}

void group_norm_backward(const GroupNorm& g, const float* x, const float* mean,
                         const float* inverse, const float* weight, const float* dy, int lanes,
                         float* dweight, float* dbias, float* dx, bool add) {
  Floats center[kVectors], scale[kVectors];
  Ints used[kVectors];
  for (int v = 0; v < kVectors; v++) {
    center[v] = load(mean + v * kWidth);
    scale[v] = load(inverse + v * kWidth);
    used[v] = lanes_in_use(v * kWidth, lanes);
  }
  // Sums over the group of the gradient to the normalized values, alone and times x − mean.
  Floats all[kVectors] = {}, all_x[kVectors] = {};
  for (int c = 0; c < g.channels; c++) {
    const float* from = x + c * g.plane * kLanes;
    const float* gradient = dy + c * g.plane * kLanes;
    Floats sums[2][kVectors];
    sum_cells(g.cells, sums, [&](int i, int v) {
      const long at = long(i) * kLanes + v * kWidth;
      prefetch(from + at + kPrefetchFloats);
      prefetch(gradient + at + kPrefetchFloats);
      const Floats d = load(gradient + at);
      return Terms<2>{{d, d * (load(from + at) - center[v])}};
    });
    const float w = weight ? weight[c] : 1.0f;
    float to_weight = 0.0f, to_bias = 0.0f;
    for (int v = 0; v < kVectors; v++) {
      all[v] += sums[0][v] * w;
      all_x[v] += sums[1][v] * w;
      to_bias += lane_sum(used[v] ? sums[0][v] : Floats{});
      to_weight += lane_sum(used[v] ? sums[1][v] * scale[v] : Floats{});
    }
    if (dweight) dweight[c] = to_weight;
    if (dbias) dbias[c] = to_bias;
  }
  if (!dx) return;
  const float count = float(g.cells) * float(g.channels);
  Floats constant[kVectors], slope[kVectors];
  for (int v = 0; v < kVectors; v++) {
    constant[v] = scale[v] * all[v] / count;
    slope[v] = scale[v] * scale[v] * scale[v] * (all_x[v] / count);
  }
  for (int c = 0; c < g.channels; c++) {
    Floats own[kVectors];
    for (int v = 0; v < kVectors; v++) own[v] = weight ? scale[v] * weight[c] : scale[v];
    const long plane = c * g.plane * kLanes;
    for (int i = 0; i < g.cells; i++)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) {
        const long at = plane + long(i) * kLanes + v * kWidth;
        Floats d = load(dy + at) * own[v] - (constant[v] + slope[v] * (load(x + at) - center[v]));
        // Nothing may reach lanes without an image.
        d = used[v] ? d : Floats{};
        store(dx + at, add ? load(dx + at) + d : d);
      }
  }
}

}  // namespace kilonet::KILONET_ISA
