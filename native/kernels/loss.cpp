// Log-softmax and cross-entropy with label smoothing, as in torch.nn.functional.cross_entropy; and
// the divergence from teachers' softened probabilities, as in torch.nn.functional.kl_div.

#include <math.h>

#include "vector.h"

namespace kilonet::KILONET_ISA {

Loss cross_entropy(const float* logits, int classes, long plane, const int32_t* labels, int lanes,
                   float smoothing, float scale, float* dlogits) {
  Loss loss = {0.0, 0};
  const float uniform_target = smoothing / float(classes);
  for (int first = 0; first < kLanes; first += kWidth) {
    const float* x = logits + first;
    float* d = dlogits + first;
    Ints label, prediction = {};
    for (int i = 0; i < kWidth; i++) label[i] = labels[first + i];
    Floats max = load(x);
    for (int c = 1; c < classes; c++) {
      const Floats v = load(x + c * plane * kLanes);
      prediction = v > max ? Ints{} + c : prediction;
      max = ((v > max) | (v != v)) ? v : max;
    }
    Floats total = {}, sum_shifted = {}, label_logit = {};
    for (int c = 0; c < classes; c++) {
      const Floats v = load(x + c * plane * kLanes) - max;
      const Floats e = exponential(v);
      total += e;
      sum_shifted += v;
      label_logit = label == c ? v : label_logit;
      store(d + c * plane * kLanes, e);
    }
    const Ints used = lanes_in_use(first, lanes);
    const Floats inverse = 1.0f / total;
    for (int c = 0; c < classes; c++) {
      float* at = d + c * plane * kLanes;
      const Floats target =
          label == c ? splat(1.0f - smoothing + uniform_target) : splat(uniform_target);
      store(at, used ? (load(at) * inverse - target) * scale : Floats{});
    }
    for (int i = 0; i < kWidth && first + i < lanes; i++) {
      const double log_total = log(double(total[i]));
      loss.sum += (1.0 - smoothing) * (log_total - label_logit[i]) +
                  smoothing * (log_total - double(sum_shifted[i]) / classes);
      loss.correct += prediction[i] == label[i];
    }
  }
  return loss;
}

// T² · KL(p ‖ softmax(x / T)) = T² · Σ p · (log p − x / T + log Σ exp(x / T)); its gradient is
// T · (softmax(x / T) − p). The exponentials are computed twice rather than kept: the gradient's
// memory holds the labels' part of the loss.
double distillation(const float* logits, int classes, long plane, const float* targets, int lanes,
                    float temperature, float scale, float* dlogits) {
  const float inverse_temperature = 1.0f / temperature;
  double sum = 0.0;
  for (int first = 0; first < lanes; first += kWidth) {
    const float* x = logits + first;
    float* d = dlogits + first;
    const int used = lanes - first < kWidth ? lanes - first : kWidth;
    Floats max = load(x);
    for (int c = 1; c < classes; c++) {
      const Floats v = load(x + c * plane * kLanes);
      max = ((v > max) | (v != v)) ? v : max;
    }
    Floats total = {};
    for (int c = 0; c < classes; c++)
      total += exponential((load(x + c * plane * kLanes) - max) * inverse_temperature);
    double log_total[kWidth];
    for (int i = 0; i < used; i++) log_total[i] = log(double(total[i]));
    const Floats inverse = 1.0f / total;
    const Ints in_use = lanes_in_use(first, lanes);
    for (int c = 0; c < classes; c++) {
      Floats target = {};
      for (int i = 0; i < used; i++) target[i] = targets[long(first + i) * classes + c];
      const Floats v = (load(x + c * plane * kLanes) - max) * inverse_temperature;
      const Floats gradient = (exponential(v) * inverse - target) * (scale * temperature);
      float* at = d + c * plane * kLanes;
      store(at, load(at) + (in_use ? gradient : Floats{}));
      for (int i = 0; i < used; i++) {
        const double p = double(target[i]);
        if (p > 0) sum += p * (log(p) - v[i] + log_total[i]);
      }
    }
  }
  return sum * temperature * temperature;
}

}  // namespace kilonet::KILONET_ISA
