// Tests cross-entropy with label smoothing, its gradient, and the number of correct predictions.

#include <algorithm>

#include "check.h"

namespace kilonet::tests {
namespace {

void cross_entropy_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes, classes = 2 + n % 39;
    const float smoothing = random.boolean() ? 0.0f : random.uniform(0.0f, 0.9f);
    const float scale = 1.0f / float(lanes), max_logit = n % 4 ? 4.0f : 60.0f;
    ChunkTensor x(classes, 1, random.integer(0, 2)), d(classes, 1, int(x.plane) - 1);
    checker.begin("%d classes, %d lanes, smoothing %g, logits to %g", classes, lanes, smoothing,
                  max_logit);
    x.fill(random, -max_logit, max_logit, lanes);
    // With equal logits, the first maximum is the prediction.
    for (int lane = 0; lane < lanes && n % 3 == 0; lane++)
      for (int c = 0; c < classes; c++) x.at(c, 0)[lane] = float(random.integer(0, 2));
    Buffer<std::int32_t> labels(kLanes);
    for (int lane = 0; lane < kLanes; lane++) labels[lane] = lane < lanes ? random.integer(0, classes - 1) : 0;
    const Loss found = k.cross_entropy(x.data(), classes, x.plane, labels.data(), lanes, smoothing,
                                       scale, d.data());

    double loss = 0.0, bound = 0.0;
    int correct = 0;
    for (int lane = 0; lane < kLanes; lane++) {
      if (lane >= lanes) {  // no image, so no gradient
        for (int c = 0; c < classes; c++) checker.near(d.at(c, 0)[lane], 0.0, 0.0, c);
        continue;
      }
      int prediction = 0;
      for (int c = 1; c < classes; c++)
        if (x.at(c, 0)[lane] > x.at(prediction, 0)[lane]) prediction = c;
      correct += prediction == labels[lane];
      const double max = x.at(prediction, 0)[lane];
      double total = 0.0, far = 0.0;
      for (int c = 0; c < classes; c++) {
        total += std::exp(x.at(c, 0)[lane] - max);
        far = std::max(far, max - x.at(c, 0)[lane]);
      }
      for (int c = 0; c < classes; c++) {
        const double delta = max - x.at(c, 0)[lane], p = std::exp(-delta) / total;
        const double target = (c == labels[lane] ? 1.0 - smoothing : 0.0) + double(smoothing) / classes;
        loss += target * (delta + std::log(total));
        // The rounding error of a difference of logits is a relative error of its exponential.
        const double error = p * (12.0 + 2.0 * std::sqrt(classes) + 2.0 * delta) + 3.0 * target;
        checker.near(d.at(c, 0)[lane], scale * (p - target), scale * kUnit * error + 1e-37, c);
      }
      bound += kUnit * (10.0 + 4.0 * far + 4.0 * std::sqrt(classes) * smoothing * far);
    }
    checker.near(found.sum, loss, bound);
    checker.near(found.correct, correct, 0.0);
    checker.expect(d.guards_intact(), "wrote outside the gradient");

    // A logit that is not finite must show in the loss.
    x.at(random.integer(0, classes - 1), 0)[random.integer(0, lanes - 1)] = n % 2 ? NAN : INFINITY;
    const Loss broken = k.cross_entropy(x.data(), classes, x.plane, labels.data(), lanes, smoothing,
                                        scale, d.data());
    checker.expect(!std::isfinite(broken.sum), "a logit that is not finite gave a finite loss");
  }
}

// Against plain sums in double; half of the targets are zero in some cases, as a certain teacher's.
void distillation_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const int lanes = 1 + n % kLanes, classes = 2 + n % 39;
    const float temperature = random.uniform(0.5f, 8.0f), max_logit = n % 4 ? 4.0f : 30.0f;
    const float scale = 1.0f / float(lanes);
    ChunkTensor x(classes, 1, random.integer(0, 2)), d(classes, 1, int(x.plane) - 1);
    checker.begin("%d classes, %d lanes, temperature %g, logits to %g", classes, lanes, temperature,
                  max_logit);
    x.fill(random, -max_logit, max_logit, lanes);
    Buffer<float> targets(long(lanes) * classes);
    for (int lane = 0; lane < lanes; lane++) {
      float total = 0.0f, *own = targets.data() + lane * classes;
      for (int c = 0; c < classes; c++) {
        own[c] = n % 3 == 0 && c % 2 ? 0.0f : random.uniform(0.1f, 1.0f);
        total += own[c];
      }
      for (int c = 0; c < classes; c++) own[c] /= total;
    }
    std::vector<float> before(long(classes) * kLanes);
    for (int c = 0; c < classes; c++)
      for (int lane = 0; lane < kLanes; lane++)
        before[c * kLanes + lane] = d.at(c, 0)[lane] = lane < lanes ? random.uniform(-1.0f, 1.0f) : 0.0f;
    const double found = k.distillation(x.data(), classes, x.plane, targets.data(), lanes,
                                        temperature, scale, d.data());

    double loss = 0.0, bound = 0.0;
    for (int lane = 0; lane < kLanes; lane++) {
      if (lane >= lanes) {  // no image, so no gradient
        for (int c = 0; c < classes; c++) checker.near(d.at(c, 0)[lane], 0.0, 0.0, c);
        continue;
      }
      double max = x.at(0, 0)[lane], total = 0.0;
      for (int c = 1; c < classes; c++) max = std::max(max, double(x.at(c, 0)[lane]));
      for (int c = 0; c < classes; c++) total += std::exp((x.at(c, 0)[lane] - max) / temperature);
      for (int c = 0; c < classes; c++) {
        const double delta = (max - x.at(c, 0)[lane]) / temperature;
        const double p = std::exp(-delta) / total, target = targets.data()[lane * classes + c];
        if (target > 0) loss += target * (std::log(target) + delta + std::log(total));
        bound += kUnit * target * (10.0 + 6.0 * delta + 4.0 * std::sqrt(classes));
        const double error = p * (12.0 + 2.0 * std::sqrt(classes) + 4.0 * delta) + 3.0 * target;
        checker.near(d.at(c, 0)[lane], before[c * kLanes + lane] + scale * temperature * (p - target),
                     kUnit * (scale * temperature * error + 2.0) + 1e-37, c);
      }
    }
    const double square = double(temperature) * temperature;
    checker.near(found, square * loss, square * bound);
    checker.expect(d.guards_intact(), "wrote outside the gradient");

    // A logit that is not finite must show in the loss.
    x.at(random.integer(0, classes - 1), 0)[random.integer(0, lanes - 1)] = n % 2 ? NAN : INFINITY;
    const double broken = k.distillation(x.data(), classes, x.plane, targets.data(), lanes,
                                         temperature, scale, d.data());
    checker.expect(!std::isfinite(broken), "a logit that is not finite gave a finite loss");
  }
}

}  // namespace

std::vector<Test> loss_tests() {
  return {{"cross_entropy", 156, cross_entropy_tests}, {"distillation", 156, distillation_tests}};
}

}  // namespace kilonet::tests
