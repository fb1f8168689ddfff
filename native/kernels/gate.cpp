// The last step of squeeze-excitation: a channel times the sigmoid of its gate, one value an image.

#include "vector.h"

namespace kilonet::KILONET_ISA {

void gate(const float* x, const float* logit, float* y, int cells) {
  Floats factor[kVectors];
  for (int v = 0; v < kVectors; v++) factor[v] = sigmoid(load(logit + v * kWidth));
  for (int i = 0; i < cells; i++)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) {
      const long at = long(i) * kLanes + v * kWidth;
      prefetch(x + at + kPrefetchFloats);
      prefetch_for_write(y + at + kPrefetchFloats);
      store(y + at, load(x + at) * factor[v]);
    }
}

void gate_backward(const float* x, const float* logit, const float* dy, int cells, int lanes,
                   float* dlogit, float* dx, bool add) {
  Floats factor[kVectors], sum[kVectors] = {};
  Ints used[kVectors];
  for (int v = 0; v < kVectors; v++) {
    factor[v] = sigmoid(load(logit + v * kWidth));
    used[v] = lanes_in_use(v * kWidth, lanes);
  }
  for (int i = 0; i < cells; i++)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; v++) {
      const long at = long(i) * kLanes + v * kWidth;
      prefetch(x + at + kPrefetchFloats);
      prefetch(dy + at + kPrefetchFloats);
      const Floats g = load(dy + at);
      sum[v] += g * load(x + at);
      if (!dx) continue;
      // Nothing may reach lanes without an image.
      const Floats d = used[v] ? g * factor[v] : Floats{};
      store(dx + at, add ? load(dx + at) + d : d);
    }
  for (int v = 0; v < kVectors; v++)
    store(dlogit + v * kWidth,
          used[v] ? sum[v] * factor[v] * (1.0f - factor[v]) : Floats{});
}

}  // namespace kilonet::KILONET_ISA
