// A network compiled once: its operations, the memory layout of a chunk, and the order of a step.
//
// A step is a list of *phases*. Within a phase, one thread takes a chunk through all calls, so what
// a call writes is still in the cache when the next one reads it. A phase ends where an operation
// needs the whole batch: batch norm's sums. They are kept per chunk and reduced in the order of the
// chunks, so no result depends on which thread computed which chunk.
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

// A value between operations, and its gradient. `value` and `gradient` are offsets in a chunk's
// slab, in floats.
struct Tensor {
  int channels, height, width;
  bool needs_gradient;
  int consumers = 0;
  long value = -1, gradient = -1;

  int cells() const { return height * width; }
  // Odd, so that a position's channels do not all map to one cache set.
  long plane() const { return cells() | 1; }
  long floats() const { return channels * plane() * kLanes; }
};

// The context of a step, passed to every call.
struct Step {
  bool training;
  const float* parameters;
  float* buffers;
  bool update_buffers;
  double norm_momentum;  // of the running statistics; negative: each norm's own
  float* gradients;  // (parts, gradient_stride): the partial sums of each part's chunks
  long gradient_stride;
  float* scratch;  // (threads, scratch_stride)
  long scratch_stride;
  std::uint64_t seed;
  std::uint32_t number;
  int images, chunks, parts;
  Profile* profile;  // null unless profiling is on
};

struct Chunk {
  float* slab;
  int index, thread;
  int lanes;   // in use; only the last chunk may have fewer than kLanes
  int part;    // of the gradients, to which the chunk adds its own
  bool first;  // of its part: overwrites the part's previous contents
};

// One operation of the plan. forward, backward and finish_* are called once per chunk; reduce_* is
// called once between two phases and combines the chunks' results.
class Operation {
 public:
  virtual ~Operation() = default;
  virtual void prepare(const Step&) {}  // once, at the start of a step
  virtual void forward(const Step&, const Chunk&) = 0;
  virtual void backward(const Step&, const Chunk&) = 0;
  virtual bool has_reduction() const { return false; }
  virtual void reduce_forward(const Step&) {}
  virtual void finish_forward(const Step&, const Chunk&) {}
  virtual void reduce_backward(const Step&) {}
  virtual void finish_backward(const Step&, const Chunk&) {}
  // In evaluation, a batch norm is folded into the convolution before it. The convolution receives
  // the norm through `fold_norm`; the norm's `set_epilogue` sets its scale and shift, and the
  // offset of the output.
  virtual bool can_fold() const { return false; }
  virtual void fold_norm(const Operation& /*norm*/) {}
  virtual void set_epilogue(Epilogue*, long* /*out*/) const {}
  virtual void reserve(int /*chunks*/) {}
  virtual long scratch() const { return 0; }
};

// An operation of the network, before the plan decides how to run it.
struct Node {
  enum class Kind {
    conv, activation, norm, group_norm, gate, dropout, max_pool, average_pool, flatten, add
  };
  Kind kind;
  int input, other = -1, output;
  int layer = -1;  // index in the order of append(); of fused nodes, the first's
  bool trainable = false;
  // conv and pools
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0;
  int dilation_h = 1, dilation_w = 1;
  int groups = 1;               // also of a group norm
  long weight = -1, bias = -1;  // offsets in the parameters, also of a norm; −1: there is none
  long running_mean = -1, running_var = -1;  // offsets in the buffers
  float eps = 0, momentum = 0;
  Activation activation = Activation::none;
  float slope = 0;
  double p = 0;
  std::uint32_t code = 0;
};

// What a node does for those around it.
struct Fusion {
  Activation activation = Activation::none;  // a convolution's, or that of a norm's input
  float slope = 0;
  bool activated_backward = false;  // the norm after it applies the activation's derivative
  bool masked = false;              // a norm with dropout after it
  int pool_h = 0, pool_w = 0;       // and with a max pool after that
  double p = 0;
  std::uint32_t code = 0;
  bool add = false, add_other = false;  // whether to add to the input's gradient or overwrite it
  bool add_weights = false;  // a later node with the same weights has set their gradient
  long mask = -1;
  long statistics = -1;  // a group norm's
};

class Plan {
 public:
  Plan(const Kernels& kernels, int threads, int channels, int height, int width);
  ~Plan();

  // Appends a node and returns the index of its output tensor; tensor 0 is the input.
  int append(Node node, int channels, int height, int width);
  // Call it after the last node. `parameters` is the number of trainable floats.
  void compile(int output, long parameters);

  struct Training {
    std::uint64_t seed;
    std::uint32_t step;
    float smoothing;
    bool update_buffers;
    // Knowledge distillation: (count, classes) probabilities of the teachers, or null; their share
    // of the loss, and the temperature.
    const float* targets = nullptr;
    float weight = 0, temperature = 1;
  };

  // Mean loss (nats), correct count, and the gradients of all parameters, without weight decay.
  void gradients(const Batch&, const Training&, const float* parameters, float* buffers, float* out,
                 double* loss, int* correct);
  // Updates the running statistics with the batch's, as a training step with these parameters would,
  // but with `momentum` in place of each norm's; runs the forward pass as far as the last norm.
  void statistics(const Batch&, const Training&, double momentum, const float* parameters,
                  float* buffers);
  // (count, classes) with running statistics and without dropout.
  void logits(const Batch&, const float* parameters, const float* buffers, float* out);

  // Turns the profile of training steps on or off; turning it on clears earlier measurements.
  void profile(bool on);
  std::vector<Profile::Row> profiled() const { return profile_.rows(); }

  const Kernels& kernels() const { return kernels_; }
  const Tensor& tensor(int id) const { return tensors_[id]; }
  int threads() const { return pool_.threads(); }
  ThreadPool& pool() { return pool_; }
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
    Operation* reducing = nullptr;
    void (Operation::*reduce)(const Step&) = nullptr;
    Pass pass = Pass::wait;
    int layer = -1;
  };

  // compile.cpp
  void fuse();
  void assign_memory();
  void make_operations();
  void schedule();
  bool has_single_consumer(int tensor) const { return tensors_[tensor].consumers == 1; }
  // plan.cpp
  void reserve(int chunks);
  void prepare();
  void train(int thread);
  void begin_training(const Batch&, const Training&, const float* parameters, float* buffers);
  void evaluate(int thread);
  bool claim(int thread, std::uint32_t phase, int* part);
  int first_chunk(int part) const;
  Chunk chunk(int index, int slab, int thread) const;
  void begin(const Batch&, const float* parameters, float* buffers);
  void lap(int thread, Pass pass, int layer = -1) {
    if (step_.profile) step_.profile->lap(thread, pass, layer);
  }

  const Kernels& kernels_;
  ThreadPool pool_;
  Input input_;
  std::vector<Tensor> tensors_;
  std::vector<Node> nodes_;
  std::vector<Fusion> fusions_;  // of each node
  std::vector<std::unique_ptr<Operation>> operations_;
  std::vector<bool> folded_;  // into the operation before it, in evaluation
  std::vector<Phase> phases_;
  int output_ = 0;
  std::uint32_t statistics_phases_ = 0;  // the phases up to the forward reduction of the last norm
  std::uint32_t phases_to_run_ = 0;
  long parameters_ = 0, slab_floats_ = 0;

  AlignedBuffer slabs_, parts_, scratch_;
  int reserved_ = 0;

  Profile profile_;

  // State of the current step.
  Step step_{};
  Batch batch_{};
  Training training_{};
  std::vector<Loss> losses_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> claims_;
  std::atomic<int> next_{0};
  float* out_ = nullptr;
};

// operations.cpp
// Whether every input of a pool is in exactly one window.
bool windows_tile(const Node& pool, const Tensor& in, const Tensor& out);
// Draws a chunk's dropout masks: one word per element of the tensor, channels slowest.
void draw_masks(const Kernels&, const Step&, const Chunk&, double p, std::uint32_t code,
                const Tensor&, std::uint32_t* bits);
std::unique_ptr<Operation> make_operation(const Kernels&, const Node&, const Fusion&,
                                          const Tensor& in, const Tensor* other,
                                          const Tensor& out);

// convolution.cpp
std::unique_ptr<Operation> make_convolution(const Kernels&, const Node&, const Fusion&,
                                            const Tensor& in, const Tensor& out);

// normalization.cpp
std::unique_ptr<Operation> make_norm(const Kernels&, const Node&, const Fusion&, const Tensor& in,
                                     const Tensor& out);
std::unique_ptr<Operation> make_group_norm(const Kernels&, const Node&, const Fusion&,
                                           const Tensor& in, const Tensor& out);

}  // namespace kilonet
