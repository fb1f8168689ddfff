// Log-softmax and cross-entropy with label smoothing, as torch.nn.functional.cross_entropy.

#include <math.h>

#include "vector.h"

namespace kilonet::KILONET_ISA {

Loss cross_entropy(const float* logits, int classes, long plane, const int32_t* labels, int lanes,
                   float smoothing, float rate, float* dlogits) {
  Loss loss = {0.0, 0};
  const float even = smoothing / float(classes);
  for (int first = 0; first < kLanes; first += kWidth) {
    const float* x = logits + first;
    float* d = dlogits + first;
    Ints label, best = {};
    for (int i = 0; i < kWidth; i++) label[i] = labels[first + i];
    Floats most = load(x);
    for (int c = 1; c < classes; c++) {
      const Floats v = load(x + c * plane * kLanes);
      best = v > most ? Ints{} + c : best;
      most = ((v > most) | (v != v)) ? v : most;
    }
    Floats total = {}, all = {}, own = {};
    for (int c = 0; c < classes; c++) {
      const Floats v = load(x + c * plane * kLanes) - most;
      const Floats e = exponential(v);
      total += e;
      all += v;
      own = label == c ? v : own;
      store(d + c * plane * kLanes, e);
    }
    const Ints used = lanes_in_use(first, lanes);
    const Floats inverse = 1.0f / total;
    for (int c = 0; c < classes; c++) {
      float* at = d + c * plane * kLanes;
      const Floats target = label == c ? splat(1.0f - smoothing + even) : splat(even);
      store(at, used ? (load(at) * inverse - target) * rate : Floats{});
    }
    for (int i = 0; i < kWidth && first + i < lanes; i++) {
      const double log_total = log(double(total[i]));
      loss.sum += (1.0 - smoothing) * (log_total - own[i]) + smoothing * (log_total - double(all[i]) / classes);
      loss.correct += best[i] == label[i];
    }
  }
  return loss;
}

}  // namespace kilonet::KILONET_ISA
