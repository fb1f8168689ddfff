// Tests fused batch norm, dropout and max pooling against the three in sequence, in double.
//
// The gradient goes to a window's first maximum, so the reference must have the same ties as
// float32. Inputs, scales and shifts are small multiples of powers of two: their products and sums
// are exact in both precisions, fused or not.

#include "check.h"

namespace kilonet::tests {
namespace {

// A random case: one channel, with windows that cover every input once.
struct Case {
  Case(Random& random, int n) : lanes(1 + n % kLanes) {
    constexpr int kWindows[][2] = {{2, 2}, {3, 2}, {1, 3}, {2, 2}, {2, 1}, {4, 4}, {1, 1}, {3, 3}};
    const auto [height, width] = kWindows[n % 8];
    p.channels = 1;
    p.kernel_h = p.stride_h = height;
    p.kernel_w = p.stride_w = width;
    p.out_height = random.integer(1, 9);
    p.out_width = random.integer(1, 9);
    p.in_height = p.out_height * height;
    p.in_width = p.out_width * width;
    p.in_plane = p.in_height * p.in_width;
    p.out_plane = p.out_height * p.out_width;
    masked = random.boolean();
    keep = masked ? 1.0f / (1.0f - 0.125f * float(random.integer(1, 6))) : 1.0f;
    // A scale of 0 makes all values of a window equal.
    scale = 0.125f * float(random.integer(-16, 16));
    shift = 0.125f * float(random.integer(-16, 16));
    mean = random.uniform(-1.0f, 1.0f);
    coarse = random.boolean();
  }

  void begin(Checker& checker, const char* more) const {
    checker.begin(
        "kernel %dx%d, %dx%d to %dx%d, %d lanes, masks %d, scale %g, shift %g, coarse %d%s",
        p.kernel_h, p.kernel_w, p.in_height, p.in_width, p.out_height, p.out_width, lanes, masked,
        scale, shift, coarse, more);
  }

  int in_cells() const { return p.in_height * p.in_width; }
  int out_cells() const { return p.out_height * p.out_width; }
  NormPool arguments(const Buffer<std::uint32_t>& bits) const {
    return {scale, shift, mean, keep, masked ? bits.data() : nullptr};
  }
  // `coarse` values give many ties, others few. Lanes without an image stay NaN or hold numbers; in
  // both cases their gradients are NaN, and they must not affect the results.
  void fill(ChunkTensor& x, Random& random) const {
    const int filled = random.boolean() ? lanes : kLanes;
    for (int i = 0; i < x.cells; i++)
      for (int lane = 0; lane < filled; lane++)
        x.at(0, i)[lane] =
            coarse ? 0.5f * float(random.integer(-3, 3)) : 0x1p-11f * float(random.integer(-4096, 4096));
  }
  bool kept(const Buffer<std::uint32_t>& bits, int cell, int lane) const {
    return !masked || (bits[cell] >> lane & 1u);
  }
  // The pool's input at a cell.
  double pool_input(const ChunkTensor& x, const Buffer<std::uint32_t>& bits, int cell,
                    int lane) const {
    return kept(bits, cell, lane) ? double(x.at(0, cell)[lane]) * scale + shift : 0.0;
  }
  // Calls visit(input cell) for the cells of an output's window, row by row.
  template <typename Visit>
  void window(int out, Visit visit) const {
    const int top = out / p.out_width * p.kernel_h, left = out % p.out_width * p.kernel_w;
    for (int y = top; y < top + p.kernel_h; y++)
      for (int x = left; x < left + p.kernel_w; x++) visit(y * p.in_width + x);
  }
  int argmax(const ChunkTensor& x, const Buffer<std::uint32_t>& bits, int out, int lane) const {
    int best = -1;
    window(out, [&](int i) {
      if (best < 0 || pool_input(x, bits, i, lane) > pool_input(x, bits, best, lane)) best = i;
    });
    return best;
  }

  // Calls visit(cell, lane, g) for every input; g is its gradient through the pool and the dropout.
  template <typename Visit>
  void for_each_gradient(const ChunkTensor& x, const Buffer<std::uint32_t>& bits,
                         const ChunkTensor& dy, Visit visit) const {
    for (int o = 0; o < out_cells(); o++)
      for (int lane = 0; lane < lanes; lane++) {
        const int best = argmax(x, bits, o, lane);
        window(o, [&](int i) {
          const bool all = i == best && kept(bits, i, lane);
          visit(i, lane, all ? double(dy.at(0, o)[lane]) * keep : 0.0);
        });
      }
  }

  Pooling p = {};
  int lanes;
  bool masked, coarse;
  float keep, scale, shift, mean;
};

void fill_masks(Buffer<std::uint32_t>& bits, Random& random) {
  for (long i = 0; i < bits.size(); i++) bits[i] = std::uint32_t(random.word());
}

void forward_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    Case c(random, n);
    const bool exact = random.boolean();
    c.begin(checker, exact ? "" : ", any values");
    ChunkTensor x(1, c.in_cells(), 0), y(1, c.out_cells(), 0);
    Buffer<std::uint32_t> bits(c.in_cells());
    fill_masks(bits, random);
    c.fill(x, random);
    if (!exact) {
      c.scale = random.uniform(-3.0f, 3.0f);
      c.shift = random.uniform(-3.0f, 3.0f);
      x.fill(random, -2.0f, 2.0f, c.lanes);
    }
    // A pool must not hide that the training diverged.
    const int broken = random.integer(0, c.in_cells() - 1);
    x.at(0, broken)[0] = NAN;
    k.norm_pool(c.p, c.arguments(bits), x.data(), y.data());
    for (int o = 0; o < c.out_cells(); o++)
      for (int lane = 0; lane < c.lanes; lane++) {
        double max = -INFINITY, size = 0.0;
        c.window(o, [&](int i) {
          const double v = c.pool_input(x, bits, i, lane);
          if (v > max || std::isnan(v)) max = v;
          size = std::fmax(size, std::fabs(double(x.at(0, i)[lane]) * c.scale) + std::fabs(c.shift));
        });
        checker.near(y.at(0, o)[lane], max, exact ? 0.0 : 2.0 * kUnit * size, o);
      }
    checker.expect(y.guards_intact(), "wrote outside the output");
  }
}

void sums_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const Case c(random, n);
    c.begin(checker, "");
    ChunkTensor x(1, c.in_cells(), 0), dy(1, c.out_cells(), 0);
    Buffer<std::uint32_t> bits(c.in_cells());
    fill_masks(bits, random);
    c.fill(x, random);
    dy.fill(random, -1.0f, 1.0f, c.lanes);
    double sum, sum_x;
    k.norm_pool_sums(c.p, c.arguments(bits), x.data(), dy.data(), c.lanes, &sum, &sum_x);
    double expected = 0.0, expected_x = 0.0, size = 0.0, size_x = 0.0;
    c.for_each_gradient(x, bits, dy, [&](int cell, int lane, double g) {
      const double d = double(x.at(0, cell)[lane]) - c.mean;
      expected += g;
      expected_x += g * d;
      size += std::fabs(g);
      size_x += std::fabs(g) * (std::fabs(x.at(0, cell)[lane]) + std::fabs(c.mean));
    });
    checker.near(sum, expected, sum_bound(c.out_cells(), size));
    checker.near(sum_x, expected_x, sum_bound(c.out_cells(), size_x));
  }
}

void backward_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const Case c(random, n);
    const NormGradient g = {c.mean, random.uniform(-3.0f, 3.0f), random.uniform(-1.0f, 1.0f),
                            random.uniform(-1.0f, 1.0f)};
    const Activation activation = Activation(random.integer(0, 2));
    const float slope = random.uniform(0.01f, 1.0f);
    const bool add = random.boolean(), in_place = !add && random.boolean();
    char more[60];
    std::snprintf(more, sizeof more, ", activation %d, add %d, in place %d", int(activation), add,
                  in_place);
    c.begin(checker, more);
    ChunkTensor x(1, c.in_cells(), 0), dy(1, c.out_cells(), 0), dx(1, x.cells, 0),
        before(1, x.cells, 0);
    Buffer<std::uint32_t> bits(c.in_cells());
    fill_masks(bits, random);
    c.fill(x, random);
    dy.fill(random, -1.0f, 1.0f, c.lanes);
    if (add) dx.fill(random, -1.0f, 1.0f);
    if (in_place) dx.copy(x);
    before.copy(dx);
    k.norm_pool_backward(c.p, c.arguments(bits), g, activation, slope,
                         in_place ? dx.data() : x.data(), dy.data(), dx.data(), c.lanes, add);
    const double negative_slope = activation == Activation::relu         ? 0.0
                                  : activation == Activation::leaky_relu ? double(slope)
                                                                         : 1.0;
    c.for_each_gradient(x, bits, dy, [&](int cell, int lane, double back) {
      const double old = add ? before.at(0, cell)[lane] : 0.0, value = x.at(0, cell)[lane];
      const double factor = value > 0.0 ? 1.0 : negative_slope;
      const double expected = factor * (g.scale * back - g.constant - g.slope * (value - g.mean));
      const double size = std::fabs(g.scale * back) + std::fabs(g.constant) +
                          std::fabs(g.slope) * (std::fabs(value) + std::fabs(g.mean));
      checker.near(dx.at(0, cell)[lane], old + expected,
                   kUnit * (6.0 * size + 2.0 * std::fabs(old)), cell);
    });
    for (int i = 0; i < x.cells; i++)
      for (int lane = c.lanes; lane < kLanes; lane++)  // no image, so no gradient
        checker.near(dx.at(0, i)[lane], add ? before.at(0, i)[lane] : 0.0, 0.0, i);
    checker.expect(dx.guards_intact(), "wrote outside the gradient");
  }
}

}  // namespace

std::vector<Test> norm_pool_tests() {
  return {{"norm_pool", 128, forward_tests},
          {"norm_pool_sums", 128, sums_tests},
          {"norm_pool_backward", 128, backward_tests}};
}

}  // namespace kilonet::tests
