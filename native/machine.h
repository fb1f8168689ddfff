// What the machine can do at most: its multiply-adds and its memory's bandwidth, on a pool's threads.
#pragma once

#include <vector>

#include "kernels.h"
#include "threads.h"

namespace kilonet {

class Machine {
 public:
  Machine(const Kernels& kernels, int threads);

  // FLOP a second of `rounds` rounds of independent multiply-adds on every thread.
  double multiply_adds(long rounds);
  // Bytes a second, read and written, of `sweeps` sweeps over two arrays of `count` floats a thread.
  double bandwidth(long count, int sweeps);

 private:
  double rate(long (*work)(Machine&, int thread));

  const Kernels& kernels_;
  Pool pool_;
  std::vector<std::vector<float>> x_, y_;  // a thread's own
  std::vector<long> done_;
  long rounds_ = 0, count_ = 0;
  int sweeps_ = 0;
};

}  // namespace kilonet
