// Kernels that measure the machine's peak rates, the ceiling for the other kernels.

#include "vector.h"

namespace kilonet::KILONET_ISA {

// Independent sums in registers: enough for two FMA units with a latency of four or more cycles,
// and few enough for 16 registers.
long multiply_adds(long rounds) {
  constexpr int kSums = 12;
  Floats sums[kSums];
  for (int i = 0; i < kSums; i++) sums[i] = splat(float(i));
  const Floats factor = splat(0.5f), term = splat(1.0f);
  for (long round = 0; round < rounds; round++) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; i++) {
      // Through a copy: an array element passed to the register barrier would stay in memory.
      Floats next = sums[i] * factor + term;
      keep_in_register(next);
      sums[i] = next;
    }
  }
  for (int i = 1; i < kSums; i++) sums[0] += sums[i];
  volatile float used = lane_sum(sums[0]);
  (void)used;
  return 2 * rounds * kSums * kWidth;
}

long scale_add(const float* x, float* y, long count) {
  const Floats factor = splat(0.5f);
  for (long i = 0; i < count; i += kWidth) store(y + i, load(x + i) + factor * load(y + i));
  return 3 * long(sizeof(float)) * count;
}

}  // namespace kilonet::KILONET_ISA
