// From the chunks' gradients to new weights: the updates of torch.optim, in its order of operations.

#include <math.h>

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

// A vector from or to where it need not be aligned, or as much of it as is left.
inline Floats read(const float* from, long left) {
  Floats v = {};
  if (left >= kWidth)
    __builtin_memcpy(&v, from, sizeof v);
  else
    __builtin_memcpy(&v, from, left * sizeof(float));
  return v;
}

inline void write(Floats v, long left, float* to) {
  if (left >= kWidth)
    __builtin_memcpy(to, &v, sizeof v);
  else
    __builtin_memcpy(to, &v, left * sizeof(float));
}

}  // namespace

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
  for (long i = 0; i < count; i += kWidth) {
    const long left = count - i;
    Floats weights = read(p + i, left);
    Floats d = read(g + i, left) + s.weight_decay * weights;
    if (s.momentum != 0.0f) {
      const Floats mean = s.momentum * read(buffer + i, left) + d;
      write(mean, left, buffer + i);
      d = s.nesterov ? d + s.momentum * mean : mean;
    }
    write(weights - s.lr * d, left, p + i);
  }
}

void adam(const Adam& a, float* p, const float* g, float* m, float* v, long count) {
  for (long i = 0; i < count; i += kWidth) {
    const long left = count - i;
    const Floats weights = a.shrink * read(p + i, left);
    const Floats d = read(g + i, left) + a.weight_decay * weights;
    Floats first = read(m + i, left), second = read(v + i, left);
    first += a.one_minus_beta1 * (d - first);
    second = a.beta2 * second + a.one_minus_beta2 * d * d;
    write(first, left, m + i);
    write(second, left, v + i);
    Floats root;
    for (int lane = 0; lane < kWidth; lane++) root[lane] = sqrtf(second[lane]);
    write(weights - a.rate * first / (root / a.root + a.eps), left, p + i);
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
