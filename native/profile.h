// Where a step's time goes: a clock for each thread, read after every call while profiling is on.
#pragma once

#include <cstdint>
#include <vector>

namespace kilonet {

// What a stretch of time went into. The first three belong to no layer, nor does the loss.
enum class Pass {
  prepare,          // weights put in the order in which kernels read them
  input,            // images laid out
  wait,             // for the other threads
  loss,
  forward,
  forward_join,     // sums over the chunks
  forward_finish,   // what had to wait for them
  weight_gradient,  // of a convolution; its `backward` is the gradient to its input
  backward,
  backward_join,
  backward_finish,
  sum,              // the chunks' gradients added up
};

class Profile {
 public:
  struct Row {
    int layer;  // in the order in which the nodes were appended; -1 for what belongs to none
    Pass pass;
    std::int64_t nanoseconds, calls;  // of all threads together
  };

  // Forget what was measured; before a step and never during one.
  void reset(int threads, int layers);

  // To be called by `thread`: its clock starts; the time since then, or since the last lap, went
  // into this. `part` sets the time so far aside for a pass within a call that is still under way.
  void start(int thread);
  void lap(int thread, Pass pass, int layer = -1);
  void part(int thread, Pass pass);

  std::vector<Row> rows() const;

 private:
  struct Entry {
    std::int64_t nanoseconds = 0, calls = 0;
  };
  struct alignas(64) Clock {
    std::int64_t last = 0;
    std::int64_t aside = 0;
    Pass aside_for = Pass::wait;
    std::vector<Entry> entries;  // a layer's passes next to one another, layer -1 first
  };

  void add(Clock&, Pass, int layer, std::int64_t nanoseconds);

  std::vector<Clock> clocks_;
};

}  // namespace kilonet
