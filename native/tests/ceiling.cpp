// Tests that the kernels that measure the machine do the work that they report.

#include "check.h"

namespace kilonet::tests {
namespace {

void multiply_adds_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  const long round = k.multiply_adds(1);
  for (int n = 0; n < cases; n++) {
    const long rounds = random.integer(1, 1000);
    checker.begin("%ld rounds", rounds);
    checker.near(double(k.multiply_adds(rounds)), double(rounds) * double(round), 0.0);
    // A product and a sum in each lane of a vector, of at least four lanes.
    checker.expect(round > 0 && round % 8 == 0, "not a whole number of vector multiply-adds");
  }
}

void scale_add_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const long count = 16l * random.integer(1, 40);
    checker.begin("%ld values", count);
    Buffer<float> x(count), y(count), before(count);
    x.fill(random, -1.0f, 1.0f);
    y.fill(random, -1.0f, 1.0f);
    for (long i = 0; i < count; i++) before[i] = y[i];
    const long bytes = k.scale_add(x.data(), y.data(), count);
    checker.near(double(bytes), 12.0 * double(count), 0.0);  // two floats read and one written
    for (long i = 0; i < count; i++) checker.near(y[i], float(x[i] + before[i] / 2), 0.0, i);
    checker.expect(y.guards_intact(), "wrote outside the values");
  }
}

}  // namespace

std::vector<Test> ceiling_tests() {
  return {{"multiply_adds", 10, multiply_adds_tests}, {"scale_add", 20, scale_add_tests}};
}

}  // namespace kilonet::tests
