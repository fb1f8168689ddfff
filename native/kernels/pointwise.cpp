// Pointwise kernels: activations and their gradients, sums and copies.

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

template <Activation A>
inline Floats value(Floats x, float slope) {
  if constexpr (A == Activation::relu) return x < 0.0f ? Floats{} : x;
  if constexpr (A == Activation::leaky_relu) return x < 0.0f ? x * slope : x;
  if constexpr (A == Activation::silu) return x * sigmoid(x);
  if constexpr (A == Activation::hardswish)
    return x * clamp_max(clamp_min(x + 3.0f, 0.0f), 6.0f) * (1.0f / 6);
  return x;
}

template <Activation A>
inline Floats derivative(Floats x, float slope) {
  const Floats one = splat(1.0f);
  if constexpr (A == Activation::relu) return x > 0.0f ? one : Floats{};
  if constexpr (A == Activation::leaky_relu) return x > 0.0f ? one : splat(slope);
  if constexpr (A == Activation::silu) {
    Floats s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
  }
  if constexpr (A == Activation::hardswish) {
    Floats middle = x * (1.0f / 3) + 0.5f;
    return x <= -3.0f ? Floats{} : (x >= 3.0f ? one : middle);
  }
  return one;
}

template <Activation A>
void forward(float slope, const float* x, float* y, long vectors) {
  for (long i = 0; i < vectors * kWidth; i += kWidth) store(y + i, value<A>(load(x + i), slope));
}

template <Activation A>
void backward(float slope, const float* x, const float* dy, float* dx, long vectors, bool add) {
  for (long i = 0; i < vectors * kWidth; i += kWidth) {
    Floats d = load(dy + i) * derivative<A>(load(x + i), slope);
    store(dx + i, add ? load(dx + i) + d : d);
  }
}

}  // namespace

void activate(Activation activation, float slope, const float* x, float* y, int cells) {
  const long vectors = long(cells) * kVectors;
  switch (activation) {
    case Activation::none: return forward<Activation::none>(slope, x, y, vectors);
    case Activation::relu: return forward<Activation::relu>(slope, x, y, vectors);
    case Activation::leaky_relu: return forward<Activation::leaky_relu>(slope, x, y, vectors);
    case Activation::silu: return forward<Activation::silu>(slope, x, y, vectors);
    case Activation::hardswish: return forward<Activation::hardswish>(slope, x, y, vectors);
  }
}

void activate_backward(Activation activation, float slope, const float* x, const float* dy,
                       float* dx, int cells, bool add) {
  const long n = long(cells) * kVectors;
  switch (activation) {
    case Activation::none: return backward<Activation::none>(slope, x, dy, dx, n, add);
    case Activation::relu: return backward<Activation::relu>(slope, x, dy, dx, n, add);
    case Activation::leaky_relu: return backward<Activation::leaky_relu>(slope, x, dy, dx, n, add);
    case Activation::silu: return backward<Activation::silu>(slope, x, dy, dx, n, add);
    case Activation::hardswish: return backward<Activation::hardswish>(slope, x, dy, dx, n, add);
  }
}

void copy(const float* x, float* y, int cells, bool add) {
  const long values = long(cells) * kLanes;
  for (long i = 0; i < values; i += kWidth)
    store(y + i, add ? load(y + i) + load(x + i) : load(x + i));
}

void sum(const float* a, const float* b, float* y, int cells) {
  const long values = long(cells) * kLanes;
  for (long i = 0; i < values; i += kWidth) store(y + i, load(a + i) + load(b + i));
}

}  // namespace kilonet::KILONET_ISA
