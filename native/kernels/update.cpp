// From the chunks' gradients to new weights: the updates of torch.optim, in its order of operations.

#include <math.h>

#include "vector.h"

namespace kilonet::KILONET_ISA {

void add_parts(const float* partial, long stride, int parts, long count, float* gradient) {
  // A few vectors at a time, which stay in registers while the parts go by.
  constexpr int kBlock = 4;
  long i = 0;
  for (; i + kBlock * kWidth <= count; i += kBlock * kWidth) {
    Floats total[kBlock], next[kBlock];
    __builtin_memcpy(total, partial + i, sizeof total);
    for (int part = 1; part < parts; part++) {
      __builtin_memcpy(next, partial + part * stride + i, sizeof next);
      for (int v = 0; v < kBlock; v++) total[v] += next[v];
    }
    __builtin_memcpy(gradient + i, total, sizeof total);
  }
  for (; i < count; i++) {
    float total = partial[i];
    for (int part = 1; part < parts; part++) total += partial[part * stride + i];
    gradient[i] = total;
  }
}

void sgd(const Sgd& s, float* p, const float* g, float* buffer, long count) {
  for (long i = 0; i < count; i++) {
    float d = g[i] + s.weight_decay * p[i];
    if (s.momentum != 0.0f) {
      buffer[i] = s.momentum * buffer[i] + d;
      d = s.nesterov ? d + s.momentum * buffer[i] : buffer[i];
    }
    p[i] -= s.lr * d;
  }
}

void adam(const Adam& a, float* p, const float* g, float* m, float* v, long count) {
  for (long i = 0; i < count; i++) {
    p[i] *= a.shrink;
    const float d = g[i] + a.weight_decay * p[i];
    m[i] += a.one_minus_beta1 * (d - m[i]);
    v[i] = a.beta2 * v[i] + a.one_minus_beta2 * d * d;
    p[i] -= a.rate * m[i] / (sqrtf(v[i]) / a.root + a.eps);
  }
}

void lerp(float weight, const float* x, float* average, long count) {
  // As torch.lerp: from the nearer end.
  for (long i = 0; i < count; i++) {
    const float way = x[i] - average[i];
    average[i] = weight < 0.5f ? average[i] + weight * way : x[i] - way * (1.0f - weight);
  }
}

}  // namespace kilonet::KILONET_ISA
