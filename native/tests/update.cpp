// Tests the sum of the gradients' parts, and the optimizers' updates.

#include "check.h"

namespace kilonet::tests {
namespace {

struct Values {
  Values(Random& random, long count, float low, float high) : buffer(count), before(count) {
    buffer.fill(random, low, high);
    for (long i = 0; i < count; i++) before[i] = buffer[i];
  }
  float* data() { return buffer.data(); }
  Buffer<float> buffer;
  Buffer<float> before;
};

void add_parts_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int parts = random.integer(1, 40);
    const long count = random.integer(1, 300), stride = count + random.integer(0, 20);
    checker.begin("%d parts of %ld", parts, count);
    Buffer<float> partial(parts * stride), gradient(count);
    for (int part = 0; part < parts; part++)
      for (long i = 0; i < count; i++) partial[part * stride + i] = random.uniform(-1.0f, 1.0f);
    k.add_parts(partial.data(), stride, parts, count, gradient.data());
    for (long i = 0; i < count; i++) {
      float total = partial[i];  // in this order: the same bits from any number of threads
      for (int part = 1; part < parts; part++) total += partial[part * stride + i];
      checker.near(gradient[i], total, 0.0, i);
    }
    checker.expect(gradient.guards_intact(), "wrote outside the gradient");
  }
}

void sgd_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const long count = random.integer(1, 300);
    const bool nesterov = n % 4 == 3;
    const Sgd s = {random.uniform(0.0f, 0.5f), n % 4 ? random.uniform(0.1f, 0.99f) : 0.0f,
                   n % 3 ? random.uniform(0.0f, 0.1f) : 0.0f, nesterov};
    checker.begin("%ld values, lr %g, momentum %g, decay %g, nesterov %d", count, s.lr, s.momentum,
                  s.weight_decay, nesterov);
    Values p(random, count, -1.0f, 1.0f), g(random, count, -1.0f, 1.0f), b(random, count, -1.0f, 1.0f);
    k.sgd(s, p.data(), g.data(), b.data(), count);
    for (long i = 0; i < count; i++) {
      const double weight = p.before[i], moment = b.before[i];
      const double d = g.before[i] + double(s.weight_decay) * weight;
      const double kept = s.momentum != 0.0f ? s.momentum * moment + d : moment;
      const double direction = s.momentum == 0.0f ? d : nesterov ? d + s.momentum * kept : kept;
      const double size = std::fabs(d) + std::fabs(weight) * s.weight_decay + std::fabs(moment);
      checker.near(b.buffer[i], kept, s.momentum != 0.0f ? 4.0 * kUnit * size : 0.0, i);
      checker.near(p.buffer[i], weight - s.lr * direction,
                   kUnit * (8.0 * s.lr * size + 2.0 * std::fabs(weight)), i);
    }
    checker.expect(p.buffer.guards_intact() && b.buffer.guards_intact(),
                   "wrote outside the weights");
  }
}

void adam_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const long count = random.integer(1, 300);
    const bool decoupled = n % 2;
    const double beta1 = random.uniform(0.5f, 0.95f), beta2 = random.uniform(0.9f, 0.999f), lr = 0.01;
    const double decay = random.uniform(0.0f, 0.1f);
    const int step = random.integer(1, 50);
    const Adam a = {float(lr / (1 - std::pow(beta1, step))), float(1 - beta1), float(beta2),
                    float(1 - beta2), float(std::sqrt(1 - std::pow(beta2, step))), 1e-8f,
                    decoupled ? 0.0f : float(decay), decoupled ? float(1 - lr * decay) : 1.0f};
    checker.begin("%ld values, step %d, decoupled %d", count, step, decoupled);
    Values p(random, count, -1.0f, 1.0f), g(random, count, -1.0f, 1.0f);
    Values m(random, count, -1.0f, 1.0f), v(random, count, 0.0f, 1.0f);
    k.adam(a, p.data(), g.data(), m.data(), v.data(), count);
    for (long i = 0; i < count; i++) {
      const double weight = double(p.before[i]) * a.decay_factor;
      const double d = g.before[i] + a.weight_decay * weight;
      const double first = m.before[i] + a.one_minus_beta1 * (d - m.before[i]);
      const double second = double(a.beta2) * v.before[i] + a.one_minus_beta2 * d * d;
      const double size = std::fabs(g.before[i]) + std::fabs(m.before[i]) + 0.1;
      const double root = std::sqrt(second) / a.bias_correction2_sqrt + a.eps;
      checker.near(m.buffer[i], first, 4.0 * kUnit * size, i);
      checker.near(v.buffer[i], second, 8.0 * kUnit * second, i);
      checker.near(p.buffer[i], weight - a.step_size * first / root,
                   kUnit * (12.0 * a.step_size * size / root + 3.0 * std::fabs(weight)), i);
    }
    checker.expect(p.buffer.guards_intact() && m.buffer.guards_intact() && v.buffer.guards_intact(),
                   "wrote outside the weights");
  }
}

void lerp_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const long count = random.integer(1, 300);
    const float weight = n % 5 == 0 ? 1.0f : random.uniform(0.0f, 1.0f);
    checker.begin("%ld values, weight %g", count, weight);
    Values x(random, count, -1.0f, 1.0f), average(random, count, -1.0f, 1.0f);
    k.lerp(weight, x.data(), average.data(), count);
    for (long i = 0; i < count; i++) {
      const double from = average.before[i], to = x.before[i];
      // A weight of 1 gives x exactly.
      checker.near(average.buffer[i], from + weight * (to - from),
                   weight == 1.0f ? 0.0 : 4.0 * kUnit * (std::fabs(from) + std::fabs(to)), i);
    }
    checker.expect(average.buffer.guards_intact(), "wrote outside the average");
  }
}

}  // namespace

std::vector<Test> update_tests() {
  return {{"add_parts", 40, add_parts_tests},
          {"sgd", 60, sgd_tests},
          {"adam", 60, adam_tests},
          {"lerp", 40, lerp_tests}};
}

}  // namespace kilonet::tests
