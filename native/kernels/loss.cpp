// Log-softmax and cross-entropy with label smoothing, as in torch.nn.functional.cross_entropy.

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

}  // namespace kilonet::KILONET_ISA
