// Tests group norm and the gate of squeeze-excitation. Lanes without an image hold NaN, which must
// not show in the results.

#include "check.h"

namespace kilonet::tests {
namespace {

// Statistics of one image's group in double.
struct Expected {
  Expected(const ChunkTensor& x, int lane, float eps) {
    const double count = double(x.channels) * x.cells;
    for (int c = 0; c < x.channels; c++)
      for (int i = 0; i < x.cells; i++) {
        mean += x.at(c, i)[lane] / count;
        size += std::fabs(x.at(c, i)[lane]) / count;
      }
    double variance = 0.0;
    for (int c = 0; c < x.channels; c++)
      for (int i = 0; i < x.cells; i++) {
        const double d = x.at(c, i)[lane] - mean;
        variance += d * d / count;
      }
    inverse = 1.0 / std::sqrt(variance + eps);
  }

  double mean = 0.0, inverse = 0.0, size = 0.0;
};

// A group of channels whose values are far from zero in some cases; scale and shift, or neither.
struct Case {
  Case(Random& random, int lanes)
      : x(random.integer(1, 5), random.integer(1, 150), random.integer(0, 2)),
        weight(x.channels), bias(x.channels),
        group{x.channels, x.cells, x.plane, random.uniform(1e-6f, 0.1f)},
        affine(random.boolean()) {
    const float center = random.boolean() ? random.uniform(-30.0f, 30.0f) : 0.0f;
    x.fill(random, center - 2.0f, center + 2.0f, lanes);
    weight.fill(random, -2.0f, 2.0f);
    bias.fill(random, -2.0f, 2.0f);
  }
  const float* weights() const { return affine ? weight.data() : nullptr; }
  const float* biases() const { return affine ? bias.data() : nullptr; }
  double scale(int channel) const { return affine ? double(weight[channel]) : 1.0; }

  ChunkTensor x;
  Buffer<float> weight, bias;
  GroupNorm group;
  bool affine;
};

void group_norm_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes;
    const Case test(random, lanes);
    const ChunkTensor& x = test.x;
    ChunkTensor y(x.channels, x.cells, int(x.plane) - x.cells);
    Buffer<float> mean(kLanes), inverse(kLanes);
    checker.begin("%d channels of %d cells, %d lanes, eps %g, affine %d", x.channels, x.cells,
                  lanes, double(test.group.eps), test.affine);
    k.group_norm(test.group, x.data(), test.weights(), test.biases(), mean.data(), inverse.data(),
                 y.data());
    const double terms = double(x.channels) * x.cells;
    for (int lane = 0; lane < lanes; lane++) {
      const Expected expected(x, lane, test.group.eps);
      checker.near(mean[lane], expected.mean, sum_bound(terms, expected.size / std::sqrt(terms)),
                   lane);
      // The deviations have the input's rounding errors.
      const double rounding = 8.0 * kUnit * (1.0 + expected.size * expected.inverse);
      checker.near(inverse[lane], expected.inverse, rounding * 2.0 * expected.inverse, lane);
      for (int c = 0; c < x.channels; c++)
        for (int i = 0; i < x.cells; i++) {
          const double normal = (x.at(c, i)[lane] - expected.mean) * expected.inverse;
          const double shift = test.affine ? double(test.bias[c]) : 0.0;
          const double value = normal * test.scale(c) + shift;
          const double bound = rounding * (std::fabs(test.scale(c)) * (1.0 + std::fabs(normal)) +
                                           std::fabs(shift));
          checker.near(y.at(c, i)[lane], value, 2.0 * bound, i);
        }
    }
    checker.expect(y.guards_intact() && mean.guards_intact() && inverse.guards_intact(),
                   "wrote outside the output");
  }
}

void group_norm_backward_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes;
    const Case test(random, lanes);
    const ChunkTensor& x = test.x;
    const int gap = int(x.plane) - x.cells;
    ChunkTensor dy(x.channels, x.cells, gap), dx(x.channels, x.cells, gap),
        before(x.channels, x.cells, gap);
    Buffer<float> mean(kLanes), inverse(kLanes), dweight(x.channels), dbias(x.channels);
    const bool add = random.boolean(), in_place = !add && random.boolean();
    const bool parameters_only = random.integer(0, 7) == 0;
    checker.begin("%d channels of %d cells, %d lanes, affine %d, add %d, in place %d", x.channels,
                  x.cells, lanes, test.affine, add, in_place);
    dy.fill(random, -1.0f, 1.0f, lanes);
    if (add) dx.fill(random, -1.0f, 1.0f);
    if (in_place) dx.copy(dy);
    before.copy(dx);
    std::vector<Expected> moments;
    for (int lane = 0; lane < lanes; lane++) {
      moments.emplace_back(x, lane, test.group.eps);
      // The kernel's statistics, so that only this pass is measured.
      mean[lane] = float(moments[lane].mean);
      inverse[lane] = float(moments[lane].inverse);
      moments[lane].mean = mean[lane];
      moments[lane].inverse = inverse[lane];
    }
    k.group_norm_backward(test.group, x.data(), mean.data(), inverse.data(), test.weights(),
                          in_place ? dx.data() : dy.data(), lanes, dweight.data(), dbias.data(),
                          parameters_only ? nullptr : dx.data(), add);
    const double count = double(x.channels) * x.cells;
    std::vector<double> to_weight(x.channels), to_bias(x.channels), weight_size(x.channels),
        bias_size(x.channels);
    for (int lane = 0; lane < kLanes; lane++) {
      double sum = 0.0, sum_x = 0.0, size = 0.0, size_x = 0.0;
      for (int c = 0; lane < lanes && c < x.channels; c++)
        for (int i = 0; i < x.cells; i++) {
          const double g = dy.at(c, i)[lane];
          const double d = x.at(c, i)[lane] - moments[lane].mean;
          to_bias[c] += g;
          bias_size[c] += std::fabs(g);
          to_weight[c] += g * d * moments[lane].inverse;
          weight_size[c] += std::fabs(g * d * moments[lane].inverse);
          sum += test.scale(c) * g;
          sum_x += test.scale(c) * g * d;
          size += std::fabs(test.scale(c) * g);
          size_x += std::fabs(test.scale(c) * g * d);
        }
      for (int c = 0; c < x.channels; c++)
        for (int i = 0; i < x.cells; i++) {
          const double old = add || parameters_only ? before.at(c, i)[lane] : 0.0;
          if (lane >= lanes || parameters_only) {  // no image, so no gradient
            const bool untouched = parameters_only && !add && !in_place;
            if (!untouched) checker.near(dx.at(c, i)[lane], old, 0.0, i);
            continue;
          }
          const double inverse1 = moments[lane].inverse, cube = inverse1 * inverse1 * inverse1;
          const double d = x.at(c, i)[lane] - moments[lane].mean;
          const double own = inverse1 * test.scale(c) * dy.at(c, i)[lane];
          const double expected = own - inverse1 * sum / count - cube * d * sum_x / count;
          const double bound =
              sum_bound(count, inverse1 * size / count + cube * std::fabs(d) * size_x / count) +
              kUnit * (8.0 * std::fabs(own) + 4.0 * std::fabs(old) +
                       8.0 * cube * std::fabs(d) * size_x / count);
          checker.near(dx.at(c, i)[lane], old + expected, bound, i);
        }
    }
    for (int c = 0; c < x.channels; c++) {
      checker.near(dweight[c], to_weight[c], sum_bound(double(x.cells) * lanes, weight_size[c]), c);
      checker.near(dbias[c], to_bias[c], sum_bound(double(x.cells) * lanes, bias_size[c]), c);
    }
    checker.expect(dx.guards_intact() && dweight.guards_intact() && dbias.guards_intact(),
                   "wrote outside the gradient");
  }
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

void gate_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes;
    ChunkTensor x(1, random.integer(1, 289), 0), logit(1, 1, 0), y(1, x.cells, 0);
    checker.begin("%d cells, %d lanes", x.cells, lanes);
    x.fill(random, -2.0f, 2.0f, lanes);
    logit.fill(random, -20.0f, 20.0f, lanes);
    k.gate(x.data(), logit.data(), y.data(), x.cells);
    for (int i = 0; i < x.cells; i++)
      for (int lane = 0; lane < lanes; lane++) {
        const double expected = x.at(0, i)[lane] * sigmoid(logit.at(0, 0)[lane]);
        checker.near(y.at(0, i)[lane], expected, 8.0 * kUnit * std::fabs(expected), i);
      }
    checker.expect(y.guards_intact(), "wrote outside the output");
  }
}

void gate_backward_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes;
    ChunkTensor x(1, random.integer(1, 289), 0), logit(1, 1, 0), dy(1, x.cells, 0),
        dx(1, x.cells, 0), before(1, x.cells, 0), dlogit(1, 1, 0), gates(1, 1, 0);
    const bool add = random.boolean(), with_dx = random.integer(0, 7) != 0,
               in_place = random.boolean();
    checker.begin("%d cells, %d lanes, add %d, dx %d, in place %d", x.cells, lanes, add, with_dx,
                  in_place);
    x.fill(random, -2.0f, 2.0f, lanes);
    logit.fill(random, -6.0f, 6.0f, lanes);
    dy.fill(random, -1.0f, 1.0f, lanes);
    if (add) dx.fill(random, -1.0f, 1.0f);
    before.copy(dx);
    gates.copy(logit);
    ChunkTensor& found = in_place ? logit : dlogit;
    k.gate_backward(x.data(), logit.data(), dy.data(), x.cells, lanes, found.data(),
                    with_dx ? dx.data() : nullptr, add);
    for (int lane = 0; lane < kLanes; lane++) {
      const double factor = lane < lanes ? sigmoid(gates.at(0, 0)[lane]) : 0.0;
      double sum = 0.0, size = 0.0;
      for (int i = 0; i < x.cells; i++) {
        const double g = lane < lanes ? double(dy.at(0, i)[lane]) : 0.0;
        if (lane < lanes) {
          sum += g * x.at(0, i)[lane];
          size += std::fabs(g * x.at(0, i)[lane]);
        }
        const double old = add ? before.at(0, i)[lane] : 0.0;
        const double expected = g * factor;
        if (with_dx)
          checker.near(dx.at(0, i)[lane], old + expected,
                       kUnit * (8.0 * std::fabs(expected) + 2.0 * std::fabs(old)), i);
      }
      const double slope = factor * (1.0 - factor);
      // 1 − factor has the rounding errors of factor.
      checker.near(found.at(0, 0)[lane], sum * slope,
                   slope * sum_bound(x.cells, size) +
                       8.0 * kUnit * std::fabs(sum) * (slope + factor * factor),
                   lane);
    }
    checker.expect(dx.guards_intact() && found.guards_intact(), "wrote outside the gradient");
  }
}

}  // namespace

std::vector<Test> group_norm_tests() {
  return {{"group_norm", 128, group_norm_tests},
          {"group_norm_backward", 128, group_norm_backward_tests},
          {"gate", 64, gate_tests},
          {"gate_backward", 128, gate_backward_tests}};
}

}  // namespace kilonet::tests
