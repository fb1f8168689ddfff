// Measures the machine's peak rates on several threads: multiply-adds and memory bandwidth.
#pragma once

#include <vector>

#include "kernels.h"
#include "threads.h"

namespace kilonet {

class Machine {
 public:
  Machine(const Kernels& kernels, int threads);

  // FLOP per second of `rounds` rounds of independent multiply-adds on every thread.
  double multiply_adds(long rounds);
  // Bytes read and written per second in `sweeps` sweeps over two arrays of `count` floats per
  // thread.
  double bandwidth(long count, int sweeps);

 private:
  double rate(long (*work)(Machine&, int thread));

  const Kernels& kernels_;
  ThreadPool pool_;
  std::vector<std::vector<float>> x_, y_;  // one array per thread
  std::vector<long> done_;
  long rounds_ = 0, count_ = 0;
  int sweeps_ = 0;
};

}  // namespace kilonet
