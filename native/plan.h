// A network compiled once: its operations, the memory of a chunk, and the order of a step.
//
// A step is a list of *phases*. Within a phase every chunk goes through the same calls on its own,
// in one thread, so what a call writes is still in the cache when the next one reads it. A phase
// ends where an operation needs the whole batch: batch norm's sums. They are kept for each chunk and
// joined in the chunks' order, so no result depends on which thread did what.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "input.h"
#include "kernels.h"
#include "memory.h"
#include "profile.h"
#include "threads.h"

namespace kilonet {

// A value between operations, or its gradient: where it lies in a chunk's slab, in floats.
struct Tensor {
  int channels, height, width;
  bool needs_gradient;
  int consumers = 0;
  long value = -1, gradient = -1;

  int cells() const { return height * width; }
  // Odd, so that a position's channels do not all compete for one set of the cache.
  long plane() const { return cells() | 1; }
  long floats() const { return channels * plane() * kLanes; }
};

// What a call knows of the step it is part of.
struct Step {
  bool training;
  const float* parameters;
  float* buffers;
  bool update_buffers;
  float* gradients;  // a part for each of a few runs of chunks
  long gradient_stride;
  float* scratch;  // a piece for each thread
  long scratch_stride;
  std::uint64_t seed;
  std::uint32_t number;
  int images, chunks, parts;
  Profile* profile;  // none unless asked for
};

struct Chunk {
  float* slab;
  int index, thread;
  int lanes;  // in use; fewer than kLanes in the last chunk alone
  int part;    // of the gradients, where it adds its own
  bool first;  // of its part: what is there is of no account
};

// One operation of the plan. Calls name the chunk they are for; what joins the chunks, a `join`, is
// called once between two phases.
class Operation {
 public:
  virtual ~Operation() = default;
  virtual void prepare(const Step&) {}  // once, before anything else of a step
  virtual void forward(const Step&, const Chunk&) = 0;
  virtual void backward(const Step&, const Chunk&) = 0;
  virtual bool joins() const { return false; }
  virtual void join_forward(const Step&) {}
  virtual void finish_forward(const Step&, const Chunk&) {}
  virtual void join_backward(const Step&) {}
  virtual void finish_backward(const Step&, const Chunk&) {}
  // In evaluation a batch norm is part of the convolution before it: `fold` tells the one, `take_in`
  // asks the other what it adds and where the result belongs.
  virtual bool folds() const { return false; }
  virtual void fold(const Operation& /*after*/) {}
  virtual void take_in(Finish*, long* /*out*/) const {}
  virtual void reserve(int /*chunks*/) {}
  virtual long scratch() const { return 0; }
};

// What an operation of the network is, before the plan has decided how to run it.
struct Node {
  enum class Kind { conv, activation, norm, dropout, max_pool, average_pool, flatten, add };
  Kind kind;
  int input, other = -1, output;
  int layer = -1;  // in the order of appending; where several run as one, the first's
  bool trained = false;
  // conv and pools
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0, groups = 1;
  long weight = -1, bias = -1;  // in the parameters; a norm's too
  long running_mean = -1, running_var = -1;  // in the buffers
  float eps = 0, momentum = 0;
  Activation activation = Activation::none;
  float slope = 0;
  double p = 0;
  std::uint32_t code = 0;
};

class Plan {
 public:
  Plan(const Kernels& kernels, int threads, int channels, int height, int width);
  ~Plan();

  // Appends a node and returns the tensor that it gives; tensor 0 is the input.
  int append(Node node, int channels, int height, int width);
  // After the last node. `parameters` is how many floats there are to train.
  void compile(int output, long parameters);

  struct Training {
    std::uint64_t seed;
    std::uint32_t step;
    float smoothing;
    bool update_buffers;
  };

  // Mean loss (nats) and correct count; the gradients of all parameters, weight decay left out.
  void gradients(const Batch&, const Training&, const float* parameters, float* buffers, float* out,
                 double* loss, int* correct);
  // (count, classes) with running statistics and without dropout.
  void logits(const Batch&, const float* parameters, const float* buffers, float* out);

  // While on, where the training steps' time goes is measured; turning it on forgets what was.
  void profile(bool on);
  std::vector<Profile::Row> profiled() const { return profile_.rows(); }

  const Kernels& kernels() const { return kernels_; }
  const Tensor& tensor(int id) const { return tensors_[id]; }
  int threads() const { return pool_.threads(); }
  Pool& pool() { return pool_; }
  Input& input() { return input_; }

 private:
  struct Call {
    Operation* operation;
    void (Operation::*function)(const Step&, const Chunk&);
    Pass pass;
    int layer = -1;
  };
  struct Phase {
    std::vector<Call> calls;
    Operation* joining = nullptr;
    void (Operation::*join)(const Step&) = nullptr;
    Pass pass = Pass::wait;
    int layer = -1;
  };

  void build();
  void schedule();
  void reserve(int chunks);
  void prepare();
  void train(int thread);
  void evaluate(int thread);
  bool claim(int thread, std::uint32_t phase, int* part);
  int first_chunk(int part) const;
  Chunk chunk(int index, int slab, int thread) const;
  void begin(const Batch&, const float* parameters, float* buffers);
  void lap(int thread, Pass pass, int layer = -1) {
    if (step_.profile) step_.profile->lap(thread, pass, layer);
  }

  const Kernels& kernels_;
  Pool pool_;
  Input input_;
  std::vector<Tensor> tensors_;
  std::vector<Node> nodes_;
  std::vector<std::unique_ptr<Operation>> operations_;
  std::vector<bool> folded_;  // into the operation before it, in evaluation
  std::vector<Phase> phases_;
  int output_ = 0;
  long parameters_ = 0, slab_floats_ = 0;

  Memory slabs_, parts_, scratch_;
  int reserved_ = 0;

  Profile profile_;

  // Of the step under way.
  Step step_{};
  Batch batch_{};
  Training training_{};
  std::vector<Loss> losses_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> claims_;
  std::atomic<int> next_{0};
  float* out_ = nullptr;
};

// operations.cpp
struct Fusion {
  Activation activation = Activation::none;  // a convolution's, or that of a norm's input
  float slope = 0;
  bool activated_backward = false;  // the norm after it does the activation's derivative
  bool masked = false;              // a norm with dropout after it
  int pool_h = 0, pool_w = 0;       // and with a max pool after that
  double p = 0;
  std::uint32_t code = 0;
  bool add = false, add_other = false;  // whether the gradient to the input is added or written
  long mask = -1;
};
// Whether every input of a pool is in exactly one window.
bool tiles(const Node& pool, const Tensor& in, const Tensor& out);
std::unique_ptr<Operation> make_convolution(const Kernels&, const Node&, const Fusion&,
                                            const Tensor& in, const Tensor& out);
std::unique_ptr<Operation> make_operation(const Kernels&, const Node&, const Fusion&,
                                          const Tensor& in, const Tensor* other,
                                          const Tensor& out);

}  // namespace kilonet
