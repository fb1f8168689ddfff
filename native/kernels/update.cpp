// Adds up the parts' gradients and updates the weights as torch.optim does, in its order of
// operations.

#include <math.h>

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

// Unaligned vector loads and stores, of only the `left` values that remain if fewer than a vector.
inline Floats load_partial(const float* from, long left) {
  Floats v = {};
  if (left >= kWidth)
    __builtin_memcpy(&v, from, sizeof v);
  else
    __builtin_memcpy(&v, from, left * sizeof(float));
  return v;
}

inline void store_partial(Floats v, long left, float* to) {
  if (left >= kWidth)
    __builtin_memcpy(to, &v, sizeof v);
  else
    __builtin_memcpy(to, &v, left * sizeof(float));
}

}  // namespace

void add_parts(const float* partial, long stride, int parts, long count, float* gradient) {
  // A few vectors at a time, which stay in registers during the loop over the parts.
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
    Floats weights = load_partial(p + i, left);
    Floats d = load_partial(g + i, left) + s.weight_decay * weights;
    if (s.momentum != 0.0f) {
      const Floats velocity = s.momentum * load_partial(buffer + i, left) + d;
      store_partial(velocity, left, buffer + i);
      d = s.nesterov ? d + s.momentum * velocity : velocity;
    }
    store_partial(weights - s.lr * d, left, p + i);
  }
}

void adam(const Adam& a, float* p, const float* g, float* m, float* v, long count) {
  for (long i = 0; i < count; i += kWidth) {
    const long left = count - i;
    const Floats weights = a.decay_factor * load_partial(p + i, left);
    const Floats d = load_partial(g + i, left) + a.weight_decay * weights;
    Floats first = load_partial(m + i, left), second = load_partial(v + i, left);
    first += a.one_minus_beta1 * (d - first);
    second = a.beta2 * second + a.one_minus_beta2 * d * d;
    store_partial(first, left, m + i);
    store_partial(second, left, v + i);
    Floats second_sqrt;
    for (int lane = 0; lane < kWidth; lane++) second_sqrt[lane] = sqrtf(second[lane]);
    store_partial(weights - a.step_size * first / (second_sqrt / a.bias_correction2_sqrt + a.eps),
                  left, p + i);
  }
}

void lerp(float weight, const float* x, float* average, long count) {
  // As in torch.lerp: interpolate from the nearer end.
  for (long i = 0; i < count; i++) {
    const float delta = x[i] - average[i];
    average[i] = weight < 0.5f ? average[i] + weight * delta : x[i] - delta * (1.0f - weight);
  }
}

}  // namespace kilonet::KILONET_ISA
