// Tests batch norm's passes. Lanes without an image hold NaN, which must not show in the results.

#include "check.h"

namespace kilonet::tests {
namespace {

// Masks for half of the cases.
struct Masks {
  Masks(Random& random, int cells) : enabled(random.boolean()), bits(cells) {
    for (int i = 0; i < cells; i++) bits[i] = std::uint32_t(random.word());
  }
  const std::uint32_t* data() const { return enabled ? bits.data() : nullptr; }
  bool keep(int cell, int lane) const { return !enabled || (bits[cell] >> lane & 1u); }

  bool enabled;
  Buffer<std::uint32_t> bits;
};

void moments_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes;
    ChunkTensor x(1, random.integer(1, 289), 0);
    // Some cases have a mean that is large relative to the spread, some a spread of zero.
    const float center = n % 3 == 0 ? 1000.0f : random.uniform(-1.0f, 1.0f);
    const float spread = n % 7 == 0 ? 0.0f : 1.0f;
    checker.begin("%d cells, %d lanes, %.3g ± %.0f", x.cells, lanes, center, spread);
    x.fill(random, center - spread, center + spread, lanes);
    const Moments found = k.moments(x.data(), x.cells, lanes);
    double mean = 0.0, m2 = 0.0, size = 0.0, size2 = 0.0;
    for (int lane = 0; lane < lanes; lane++)
      for (int i = 0; i < x.cells; i++) mean += x.at(0, i)[lane];
    mean /= double(x.cells) * lanes;
    double origin = 0.0;
    for (int lane = 0; lane < lanes; lane++) origin += double(x.at(0, 0)[lane]) / lanes;
    for (int lane = 0; lane < lanes; lane++)
      for (int i = 0; i < x.cells; i++) {
        // The terms of a sum of deviations from the first cell's mean.
        const double d = x.at(0, i)[lane] - mean, delta = x.at(0, i)[lane] - origin;
        m2 += d * d;
        size += std::fabs(delta);
        size2 += delta * delta;
      }
    const double count = double(x.cells) * lanes;
    checker.near(found.count, count, 0.0);
    checker.near(found.mean, mean, sum_bound(x.cells, size) / count + 1e-14 * std::fabs(mean));
    checker.near(found.m2, m2, 2.0 * sum_bound(x.cells, size2) + 1e-14 * mean * mean);
  }
}

void affine_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    ChunkTensor x(1, random.integer(1, 289), 0), y(1, x.cells, 0);
    const Masks masks(random, x.cells);
    const float scale = random.uniform(-3.0f, 3.0f), shift = random.uniform(-3.0f, 3.0f);
    const bool in_place = random.boolean();
    checker.begin("%d cells, masks %d, in place %d", x.cells, masks.enabled, in_place);
    x.fill(random, -2.0f, 2.0f);
    if (in_place) y.copy(x);
    k.affine(in_place ? y.data() : x.data(), scale, shift, masks.data(), y.data(), x.cells);
    for (int i = 0; i < x.cells; i++)
      for (int lane = 0; lane < kLanes; lane++) {
        const double product = double(x.at(0, i)[lane]) * scale;
        const bool kept = masks.keep(i, lane);
        checker.near(y.at(0, i)[lane], kept ? product + shift : 0.0,
                     kept ? 2.0 * kUnit * (std::fabs(product) + std::fabs(shift)) : 0.0, i);
      }
    checker.expect(y.guards_intact(), "wrote outside the output");
  }
}

void norm_sums_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes;
    ChunkTensor x(1, random.integer(1, 289), 0), dy(1, x.cells, 0);
    const Masks masks(random, x.cells);
    const float mean = random.uniform(-1.0f, 1.0f),
                keep = masks.enabled ? random.uniform(1.0f, 4.0f) : 1.0f;
    checker.begin("%d cells, %d lanes, masks %d", x.cells, lanes, masks.enabled);
    x.fill(random, -2.0f, 2.0f, lanes);
    dy.fill(random, -1.0f, 1.0f, lanes);
    double sum, sum_x;
    k.norm_sums(x.data(), mean, dy.data(), masks.data(), keep, x.cells, lanes, &sum, &sum_x);
    double expected = 0.0, expected_x = 0.0, size = 0.0, size_x = 0.0;
    for (int i = 0; i < x.cells; i++)
      for (int lane = 0; lane < lanes; lane++) {
        const double g = masks.keep(i, lane) ? double(dy.at(0, i)[lane]) * keep : 0.0;
        const double d = double(x.at(0, i)[lane]) - mean;
        expected += g;
        expected_x += g * d;
        size += std::fabs(g);
        size_x += std::fabs(g * d);
      }
    checker.near(sum, expected, sum_bound(x.cells, size));
    checker.near(sum_x, expected_x, sum_bound(x.cells, size_x));
  }
}

void norm_backward_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes;
    ChunkTensor x(1, random.integer(1, 289), 0), dy(1, x.cells, 0), dx(1, x.cells, 0),
        before(1, x.cells, 0);
    const Masks masks(random, x.cells);
    const NormGradient g = {random.uniform(-1.0f, 1.0f), random.uniform(-3.0f, 3.0f),
                            random.uniform(-1.0f, 1.0f), random.uniform(-1.0f, 1.0f)};
    const float keep = masks.enabled ? random.uniform(1.0f, 4.0f) : 1.0f,
                slope = random.uniform(0.01f, 1.0f);
    const Activation activation = Activation(random.integer(0, 2));
    const bool add = random.boolean(), in_place = !add && random.boolean();
    checker.begin("%d cells, %d lanes, masks %d, activation %d, add %d, in place %d", x.cells,
                  lanes, masks.enabled, int(activation), add, in_place);
    x.fill(random, -2.0f, 2.0f, lanes);
    dy.fill(random, -1.0f, 1.0f, lanes);
    if (add) dx.fill(random, -1.0f, 1.0f);
    if (in_place) dx.copy(dy);
    before.copy(dx);
    k.norm_backward(g, x.data(), in_place ? dx.data() : dy.data(), masks.data(), keep, activation,
                    slope, dx.data(), x.cells, lanes, add);
    const double negative_slope = activation == Activation::relu         ? 0.0
                                  : activation == Activation::leaky_relu ? double(slope)
                                                                         : 1.0;
    for (int i = 0; i < x.cells; i++)
      for (int lane = 0; lane < kLanes; lane++) {
        const double old = add ? before.at(0, i)[lane] : 0.0;
        if (lane >= lanes) {  // no image, so no gradient
          checker.near(dx.at(0, i)[lane], old, 0.0, i);
          continue;
        }
        const double value = x.at(0, i)[lane];
        const double d = masks.keep(i, lane) ? double(dy.at(0, i)[lane]) * keep : 0.0;
        const double factor = value > 0.0 ? 1.0 : negative_slope;
        const double expected = factor * (g.scale * d - g.constant - g.slope * (value - g.mean));
        const double size = std::fabs(g.scale * d) + std::fabs(g.constant) +
                            std::fabs(g.slope) * (std::fabs(value) + std::fabs(g.mean));
        checker.near(dx.at(0, i)[lane], old + expected, kUnit * (6.0 * size + 2.0 * std::fabs(old)),
                     i);
      }
    checker.expect(dx.guards_intact(), "wrote outside the gradient");
  }
}

}  // namespace

std::vector<Test> normalization_tests() {
  return {{"moments", 128, moments_tests},
          {"affine", 64, affine_tests},
          {"norm_sums", 128, norm_sums_tests},
          {"norm_backward", 128, norm_backward_tests}};
}

}  // namespace kilonet::tests
