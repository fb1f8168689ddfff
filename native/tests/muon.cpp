// Tests Muon's update against the same formula in float64.

#include "check.h"

namespace kilonet::tests {
namespace {

using Matrix = std::vector<double>;

// c = a · b for (m, k) and (k, n); `transposed`: b is (n, k).
Matrix product(const Matrix& a, const Matrix& b, int m, int k, int n, bool transposed) {
  Matrix c(std::size_t(m) * n, 0.0);
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++)
      for (int l = 0; l < k; l++)
        c[i * n + j] += a[i * k + l] * (transposed ? b[j * k + l] : b[l * n + j]);
  return c;
}

// Of a wide matrix or a tall one: the iterations need no transposition to be right.
Matrix orthogonalized(Matrix x, int rows, int columns, int steps) {
  double norm = 0.0;
  for (double value : x) norm += value * value;
  norm = std::max(std::sqrt(norm), 1e-7);
  for (double& value : x) value /= norm;
  for (int step = 0; step < steps; step++) {
    const Matrix gram = product(x, x, rows, columns, rows, true);
    const Matrix once = product(gram, x, rows, rows, columns, false);
    const Matrix twice = product(gram, once, rows, rows, columns, false);
    for (std::size_t i = 0; i < x.size(); i++)
      x[i] = 3.4445 * x[i] - 4.7750 * once[i] + 2.0315 * twice[i];
  }
  return x;
}

void muon_tests_of(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int rows = n % 7 == 0 ? 1 : random.integer(1, 40), columns = random.integer(1, 90);
    const int steps = n % 2 ? 5 : random.integer(1, 4);
    const float momentum = n % 5 ? random.uniform(0.5f, 0.99f) : 0.0f;
    const Muon u = {random.uniform(0.001f, 0.5f), momentum, 1.0f - momentum,
                    n % 3 ? random.uniform(0.9f, 1.0f) : 1.0f, n % 4 != 0, steps};
    // Gradients of any size, none at all among them.
    const float size = n % 11 == 10 ? 0.0f : std::pow(10.0f, random.uniform(-5.0f, 20.0f));
    checker.begin("(%d, %d), %d steps, momentum %g, nesterov %d, size %g", rows, columns, steps,
                  momentum, u.nesterov, size);
    const long count = long(rows) * columns;
    Buffer<float> p(count), g(count), b(count), scratch(k.muon_scratch(rows, columns));
    p.fill(random, -1.0f, 1.0f);
    g.fill(random, -size, size);
    b.fill(random, -size, size);
    Matrix direction(count), before(count);
    std::vector<double> kept(count);
    for (long i = 0; i < count; i++) {
      kept[i] = momentum * double(b[i]) + (1.0 - momentum) * g[i];
      direction[i] = u.nesterov ? momentum * kept[i] + (1.0 - momentum) * g[i] : kept[i];
      before[i] = p[i];
    }
    direction = orthogonalized(direction, rows, columns, steps);
    k.muon(u, rows, columns, p.data(), g.data(), b.data(), scratch.data());
    for (long i = 0; i < count; i++) {
      // An iteration multiplies a small singular value, and its error, by up to 3.4445.
      const double error = 16.0 * kUnit * std::pow(3.4445, steps) * u.step_size;
      checker.near(b[i], kept[i], 4.0 * kUnit * size, i);
      checker.near(p[i], u.decay_factor * before[i] - u.step_size * direction[i],
                   error + 4.0 * kUnit * std::fabs(before[i]), i);
    }
    checker.expect(p.guards_intact() && b.guards_intact() && scratch.guards_intact(),
                   "wrote outside the weights");
  }
}

}  // namespace

std::vector<Test> muon_tests() { return {{"muon", 80, muon_tests_of}}; }

}  // namespace kilonet::tests
