// Cross-entropy with label smoothing, its gradient, and the count of correct answers.

#include <algorithm>

#include "check.h"

namespace kilonet::tests {
namespace {

void cross_entropy_tests(const Kernels& k, Random& random, int cases, Tally& tally) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes, classes = 2 + n % 39;
    const float smoothing = random.coin() ? 0.0f : random.uniform(0.0f, 0.9f);
    const float rate = 1.0f / float(lanes), reach = n % 4 ? 4.0f : 60.0f;
    Cells x(classes, 1, random.integer(0, 2)), d(classes, 1, int(x.plane) - 1);
    tally.begin("%d classes, %d lanes, smoothing %g, logits to %g", classes, lanes, smoothing, reach);
    x.fill(random, -reach, reach, lanes);
    // Equal logits: the first of the largest is the answer.
    for (int lane = 0; lane < lanes && n % 3 == 0; lane++)
      for (int c = 0; c < classes; c++) x.at(c, 0)[lane] = float(random.integer(0, 2));
    Buffer<std::int32_t> labels(kLanes);
    for (int lane = 0; lane < kLanes; lane++) labels[lane] = lane < lanes ? random.integer(0, classes - 1) : 0;
    const Loss found = k.cross_entropy(x.data(), classes, x.plane, labels.data(), lanes, smoothing, rate, d.data());

    double loss = 0.0, bound = 0.0;
    int correct = 0;
    for (int lane = 0; lane < kLanes; lane++) {
      if (lane >= lanes) {  // no image, so no gradient
        for (int c = 0; c < classes; c++) tally.value(d.at(c, 0)[lane], 0.0, 0.0, c);
        continue;
      }
      int best = 0;
      for (int c = 1; c < classes; c++)
        if (x.at(c, 0)[lane] > x.at(best, 0)[lane]) best = c;
      correct += best == labels[lane];
      const double most = x.at(best, 0)[lane];
      double total = 0.0, far = 0.0;
      for (int c = 0; c < classes; c++) {
        total += std::exp(x.at(c, 0)[lane] - most);
        far = std::max(far, most - x.at(c, 0)[lane]);
      }
      for (int c = 0; c < classes; c++) {
        const double way = most - x.at(c, 0)[lane], p = std::exp(-way) / total;
        const double target = (c == labels[lane] ? 1.0 - smoothing : 0.0) + double(smoothing) / classes;
        loss += target * (way + std::log(total));
        // A difference of logits is rounded, which is a share of its exponential.
        const double error = p * (12.0 + 2.0 * std::sqrt(classes) + 2.0 * way) + 3.0 * target;
        tally.value(d.at(c, 0)[lane], rate * (p - target), rate * kUnit * error + 1e-37, c);
      }
      bound += kUnit * (10.0 + 4.0 * far + 4.0 * std::sqrt(classes) * smoothing * far);
    }
    tally.value(found.sum, loss, bound);
    tally.value(found.correct, correct, 0.0);
    tally.holds(d.guarded(), "wrote beside the gradient");

    // What is no longer finite must show in the loss.
    x.at(random.integer(0, classes - 1), 0)[random.integer(0, lanes - 1)] = n % 2 ? NAN : INFINITY;
    const Loss broken = k.cross_entropy(x.data(), classes, x.plane, labels.data(), lanes, smoothing, rate, d.data());
    tally.holds(!std::isfinite(broken.sum), "a logit that is not finite gave a finite loss");
  }
}

}  // namespace

std::vector<Test> loss_tests() { return {{"cross_entropy", 156, cross_entropy_tests}}; }

}  // namespace kilonet::tests
