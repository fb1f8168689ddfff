// Measures where a step's time goes: one clock per thread, read after every call while profiling is
// on.
#pragma once

#include <cstdint>
#include <vector>

namespace kilonet {

// The kinds of work that time is attributed to. prepare, input, wait, loss and sum belong to no
// layer.
enum class Pass {
  prepare,  // packing the weights in the kernels' order
  input,    // laying out the images
  wait,     // for other threads
  loss,
  forward,
  forward_reduce,   // reducing over the chunks
  forward_finish,   // the rest of the forward pass, which needs the reduction
  weight_gradient,  // of a convolution; its `backward` is the gradient to its input
  backward,
  backward_reduce,
  backward_finish,
  sum,  // adding up the parts' gradients
};

class Profile {
 public:
  struct Row {
    int layer;  // index in the order of Plan::append; -1 for work that belongs to no layer
    Pass pass;
    std::int64_t nanoseconds, calls;  // summed over all threads
  };

  // Clears all measurements. Call it between steps only.
  void reset(int threads, int layers);

  // Called by `thread`: `start` starts its clock, and `lap` attributes the time since the start or
  // the last lap. `split` attributes the time so far to another pass of the layer of the next lap.
  void start(int thread);
  void lap(int thread, Pass pass, int layer = -1);
  void split(int thread, Pass pass);

  std::vector<Row> rows() const;

 private:
  struct Entry {
    std::int64_t nanoseconds = 0, calls = 0;
  };
  struct alignas(64) Clock {
    std::int64_t last = 0;
    std::int64_t split_time = 0;
    Pass split_pass = Pass::wait;
    std::vector<Entry> entries;  // (layers, passes), layer -1 first
  };

  void add(Clock&, Pass, int layer, std::int64_t nanoseconds);

  std::vector<Clock> clocks_;
};

}  // namespace kilonet
