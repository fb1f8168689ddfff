// Tests activations, sums and copies, and the layout of a chunk's images.

#include "check.h"

namespace kilonet::tests {
namespace {

constexpr double kTiny = 1e-36;  // underflow error of silu far below zero

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double value(Activation a, double slope, double x) {
  switch (a) {
    case Activation::none: return x;
    case Activation::relu: return x < 0.0 ? 0.0 : x;
    case Activation::leaky_relu: return x < 0.0 ? slope * x : x;
    case Activation::silu: return x * sigmoid(x);
    case Activation::hardswish: return x <= -3.0 ? 0.0 : x >= 3.0 ? x : x * (x + 3.0) / 6.0;
  }
  return NAN;
}

double derivative(Activation a, double slope, double x) {
  switch (a) {
    case Activation::none: return 1.0;
    case Activation::relu: return x > 0.0 ? 1.0 : 0.0;
    case Activation::leaky_relu: return x > 0.0 ? 1.0 : slope;
    case Activation::silu: return sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
    case Activation::hardswish: return x <= -3.0 ? 0.0 : x >= 3.0 ? 1.0 : x / 3.0 + 0.5;
  }
  return NAN;
}

// Values on and near the kinks of the activations, and far away from them; NaN must stay NaN.
void fill_with_kinks(ChunkTensor& x, Random& random) {
  const float special[] = {0.0f, -0.0f, 3.0f, -3.0f, 1e-30f, -1e-30f, 80.0f, -80.0f, 200.0f, -200.0f};
  x.fill(random, -8.0f, 8.0f);
  for (int i = 0; i < x.cells; i++)
    for (float s : special) x.at(0, i)[random.integer(0, kLanes - 1)] = s;
}

void activate_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const Activation a = Activation(n % 5);
    const float slope = random.uniform(0.0f, 1.0f);
    ChunkTensor x(1, random.integer(1, 70), 0), y(1, x.cells, 0);
    checker.begin("activation %d, %d cells", int(a), x.cells);
    fill_with_kinks(x, random);
    x.at(0, 0)[5] = NAN;
    k.activate(a, slope, x.data(), y.data(), x.cells);
    for (long i = 0; i < long(x.cells) * kLanes; i++) {
      const double expected = std::isnan(x.data()[i]) ? double(NAN) : value(a, slope, x.data()[i]);
      const double ulps = a == Activation::silu || a == Activation::hardswish ? 12.0 : 1.0;
      // hardswish multiplies by 3 + x, which cancels near −3.
      const double size = std::fabs(expected) + (a == Activation::hardswish ? 0.5 : 0.0);
      const bool exact = a == Activation::none || a == Activation::relu;
      checker.near(y.data()[i], expected, exact ? 0.0 : ulps * kUnit * size + kTiny, i);
    }
    checker.expect(y.guards_intact(), "wrote outside the output");
  }
}

void activate_backward_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const Activation a = Activation(n % 5);
    const float slope = random.uniform(0.0f, 1.0f);
    const bool add = random.boolean(), in_place = !add && random.boolean();
    ChunkTensor x(1, random.integer(1, 70), 0), dy(1, x.cells, 0), dx(1, x.cells, 0),
        before(1, x.cells, 0);
    checker.begin("activation %d, %d cells, add %d, in place %d", int(a), x.cells, add, in_place);
    fill_with_kinks(x, random);
    dy.fill(random, -1.0f, 1.0f);
    if (add) dx.fill(random, -1.0f, 1.0f);
    if (in_place) dx.copy(dy);
    before.copy(dx);
    k.activate_backward(a, slope, x.data(), in_place ? dx.data() : dy.data(), dx.data(), x.cells, add);
    for (long i = 0; i < long(x.cells) * kLanes; i++) {
      const double at = x.data()[i], d = dy.data()[i], old = add ? before.data()[i] : 0.0;
      const double expected = old + d * derivative(a, slope, at);
      const double error = a == Activation::silu ? 12.0 * sigmoid(at) * (1.0 + std::fabs(at)) : 3.0;
      checker.near(dx.data()[i], expected,
                   kUnit * (error * std::fabs(d) + std::fabs(old) + std::fabs(expected)) + kTiny,
                   i);
    }
    checker.expect(dx.guards_intact(), "wrote outside the gradient");
  }
}

void copy_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const bool add = random.boolean();
    ChunkTensor x(1, random.integer(1, 70), 0), y(1, x.cells, 0), before(1, x.cells, 0);
    checker.begin("%d cells, add %d", x.cells, add);
    x.fill(random, -1.0f, 1.0f);
    if (add) y.fill(random, -1.0f, 1.0f);
    before.copy(y);
    k.copy(x.data(), y.data(), x.cells, add);
    for (long i = 0; i < long(x.cells) * kLanes; i++)
      checker.near(y.data()[i], add ? float(before.data()[i] + x.data()[i]) : x.data()[i], 0.0, i);
    checker.expect(y.guards_intact(), "wrote outside the output");
  }
}

void sum_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    ChunkTensor a(1, random.integer(1, 70), 0), b(1, a.cells, 0), y(1, a.cells, 0);
    checker.begin("%d cells", a.cells);
    a.fill(random, -1.0f, 1.0f);
    b.fill(random, -1.0f, 1.0f);
    k.sum(a.data(), b.data(), y.data(), a.cells);
    for (long i = 0; i < long(a.cells) * kLanes; i++)
      checker.near(y.data()[i], float(a.data()[i] + b.data()[i]), 0.0, i);
    checker.expect(y.guards_intact(), "wrote outside the output");
  }
}

void lay_out_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes, channels = random.integer(1, 4), cells = random.integer(1, 289);
    checker.begin("%d images of %d channels and %d pixels", lanes, channels, cells);
    // Images at any address, as after augmentation; lanes past the last image repeat it.
    std::vector<Buffer<std::uint8_t>> images;
    const std::uint8_t* lane_images[kLanes];
    for (int lane = 0; lane < lanes; lane++) {
      const int offset = random.integer(0, 15);
      Buffer<std::uint8_t>& image = images.emplace_back(long(offset) + long(cells) * channels);
      for (long i = 0; i < image.size(); i++) image[i] = std::uint8_t(random.word());
      lane_images[lane] = image.data() + offset;
    }
    for (int lane = lanes; lane < kLanes; lane++) lane_images[lane] = lane_images[lanes - 1];
    Buffer<float> table(256l * channels);
    table.fill(random, -3.0f, 3.0f);
    ChunkTensor out(channels, cells, random.integer(0, 2));
    k.lay_out(lane_images, channels, cells, out.plane, table.data(), out.data());
    for (int c = 0; c < channels; c++)
      for (int i = 0; i < cells; i++)
        for (int lane = 0; lane < kLanes; lane++) {
          const int pixel = lane_images[lane][long(i) * channels + c];
          checker.near(out.at(c, i)[lane], table[256l * c + pixel], 0.0, i);
        }
    checker.expect(out.guards_intact(), "wrote outside the chunk");
  }
}

}  // namespace

std::vector<Test> pointwise_tests() {
  return {{"activate", 100, activate_tests},
          {"activate_backward", 100, activate_backward_tests},
          {"copy", 40, copy_tests},
          {"sum", 40, sum_tests},
          {"lay_out", 64, lay_out_tests}};
}

}  // namespace kilonet::tests
