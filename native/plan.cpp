// Runs the training steps and evaluations of a compiled network; compile.cpp compiles it.

#include "plan.h"

namespace kilonet {
namespace {

// The most parts (runs of consecutive chunks) in a batch. A thread takes a whole part and sums its
// gradients as it goes, so the memory and time of the sums do not grow with the batch.
constexpr int kMaxParts = 16;

}  // namespace

Plan::Plan(const Kernels& kernels, int threads, int channels, int height, int width)
    : kernels_(kernels),
      pool_(threads),
      input_(kernels, threads, channels, height, width) {
  tensors_.push_back({channels, height, width, false});
}

Plan::~Plan() = default;

void Plan::profile(bool on) {
  step_.profile = on ? &profile_ : nullptr;
  if (on) profile_.reset(pool_.threads(), int(tensors_.size()));
}

void Plan::reserve(int chunks) {
  if (chunks < pool_.threads()) chunks = pool_.threads();
  if (chunks <= reserved_) return;
  reserved_ = 0;
  slabs_.reset();
  parts_.reset();
  slabs_ = allocate(slab_floats_ * chunks);
  parts_ = allocate(align_up(parameters_) * (chunks < kMaxParts ? chunks : kMaxParts));
  long scratch = 0;
  for (auto& operation : operations_) {
    operation->reserve(chunks);
    const long floats = align_up(operation->scratch());
    if (floats > scratch) scratch = floats;
  }
  if (!scratch_) scratch_ = allocate(scratch * pool_.threads());
  step_.scratch_stride = scratch;
  losses_.resize(chunks);
  claims_.reset(new std::atomic<std::uint32_t>[kMaxParts]());
  reserved_ = chunks;
}

void Plan::begin(const Batch& batch, const float* parameters, float* buffers) {
  batch_ = batch;
  step_.parameters = parameters;
  step_.buffers = buffers;
  step_.images = batch.count;
  step_.chunks = (batch.count + kLanes - 1) / kLanes;
  step_.parts = step_.chunks < kMaxParts ? step_.chunks : kMaxParts;
  step_.gradients = parts_.get();
  step_.gradient_stride = align_up(parameters_);
  step_.scratch = scratch_.get();
  next_.store(0, std::memory_order_relaxed);
}

Chunk Plan::chunk(int index, int slab, int thread) const {
  const int left = batch_.count - index * kLanes, part = index * step_.parts / step_.chunks;
  return {slabs_.get() + slab * slab_floats_, index, thread, left < kLanes ? left : kLanes,
          part,                               index == first_chunk(part)};
}

int Plan::first_chunk(int part) const {
  return (part * step_.chunks + step_.parts - 1) / step_.parts;
}

// Claims a part that no thread has taken in this phase. A thread tries its own parts first, because
// their memory is near. Every other phase runs in reverse order, to start with the parts that are
// still in the cache.
bool Plan::claim(int thread, std::uint32_t phase, int* part) {
  const int threads = pool_.threads(), parts = step_.parts;
  for (int turn = 0; turn < threads; turn++) {
    const int first = (thread + turn) % threads;
    const int own = first < parts ? (parts - first + threads - 1) / threads : 0;
    for (int i = 0; i < own; i++) {
      const int p = first + (phase % 2 ? own - 1 - i : i) * threads;
      std::uint32_t before = phase;
      if (claims_[p].load(std::memory_order_relaxed) == phase &&
          claims_[p].compare_exchange_strong(before, phase + 1, std::memory_order_relaxed)) {
        *part = p;
        return true;
      }
    }
  }
  return false;
}

// Prepares the operations, each on the next free thread, and waits until all are prepared.
void Plan::prepare() {
  const int count = int(operations_.size());
  for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;)
    operations_[i]->prepare(step_);
  pool_.barrier([](void* next) { static_cast<std::atomic<int>*>(next)->store(0); }, &next_);
}

void Plan::train(int thread) {
  const Tensor& in = tensors_[0];
  const Tensor& out = tensors_[output_];
  if (step_.profile) step_.profile->start(thread);
  prepare();
  lap(thread, Pass::prepare);
  for (std::uint32_t p = 0; p < phases_to_run_; p++) {
    const Phase& phase = phases_[p];
    for (int part, index = 0, end = 0;; index++) {
      if (pool_.should_stop(thread)) break;
      if (index == end) {
        if (!claim(thread, p, &part)) break;
        index = first_chunk(part);
        end = first_chunk(part + 1);
      }
      const Chunk c = chunk(index, index, thread);
      const long first = long(index) * kLanes;
      if (p == 0) {
        input_.lay_out(batch_, index, thread, in.plane(), c.slab + in.value);
        lap(thread, Pass::input);
      }
      for (const Call& call : phase.calls) {
        if (pool_.should_stop(thread)) break;
        if (call.operation) {
          (call.operation->*call.function)(step_, c);
          lap(thread, call.pass, call.layer);
          continue;
        }
        std::int32_t labels[kLanes];
        for (int i = 0; i < kLanes; i++)
          labels[i] = i < c.lanes ? std::int32_t(batch_.labels[first + i]) : 0;
        const float scale = 1.0f / float(batch_.count), share = 1.0f - training_.weight;
        losses_[index] = kernels_.cross_entropy(c.slab + out.value, out.channels, out.plane(),
                                                labels, c.lanes, training_.smoothing,
                                                scale * share, c.slab + out.gradient);
        if (training_.targets) {
          const double divergence = kernels_.distillation(
              c.slab + out.value, out.channels, out.plane(),
              training_.targets + first * out.channels, c.lanes, training_.temperature,
              scale * training_.weight, c.slab + out.gradient);
          losses_[index].sum = share * losses_[index].sum + training_.weight * divergence;
        }
        lap(thread, call.pass);
      }
    }
    struct Reduction {
      Plan* plan;
      const Phase* phase;
      int thread;
    } reduction = {this, &phase, thread};
    pool_.barrier(
        [](void* context) {
          const auto& [plan, phase, thread] = *static_cast<Reduction*>(context);
          if (!phase->reducing) return;
          plan->lap(thread, Pass::wait);
          (phase->reducing->*phase->reduce)(plan->step_);
          plan->lap(thread, phase->pass, phase->layer);
        },
        &reduction);
    lap(thread, Pass::wait);
  }
  if (pool_.should_stop(thread) || !out_) return;
  // Each thread adds up the parts for its share of the parameters.
  const long share = align_up((parameters_ + pool_.threads() - 1) / pool_.threads());
  const long first = share * thread;
  const long count = parameters_ - first < share ? parameters_ - first : share;
  if (count > 0)
    kernels_.add_parts(parts_.get() + first, step_.gradient_stride, step_.parts, count,
                       out_ + first);
  lap(thread, Pass::sum);
}

void Plan::begin_training(const Batch& batch, const Training& training, const float* parameters,
                          float* buffers) {
  reserve((batch.count + kLanes - 1) / kLanes);
  training_ = training;
  step_.training = true;
  step_.update_buffers = training.update_buffers;
  step_.norm_momentum = -1.0;
  step_.seed = training.seed;
  step_.number = training.step;
  begin(batch, parameters, buffers);
  for (int p = 0; p < step_.parts; p++) claims_[p].store(0, std::memory_order_relaxed);
}

void Plan::statistics(const Batch& batch, const Training& training, double momentum,
                      const float* parameters, float* buffers) {
  out_ = nullptr;
  phases_to_run_ = statistics_phases_;
  begin_training(batch, training, parameters, buffers);
  step_.norm_momentum = momentum;
  pool_.run([](void* plan, int thread) { static_cast<Plan*>(plan)->train(thread); }, this);
}

void Plan::gradients(const Batch& batch, const Training& training, const float* parameters,
                     float* buffers, float* out, double* loss, int* correct) {
  out_ = out;
  phases_to_run_ = std::uint32_t(phases_.size());
  begin_training(batch, training, parameters, buffers);
  pool_.run([](void* plan, int thread) { static_cast<Plan*>(plan)->train(thread); }, this);
  *loss = 0.0;
  *correct = 0;
  for (int c = 0; c < step_.chunks; c++) {
    *loss += losses_[c].sum;
    *correct += losses_[c].correct;
  }
  *loss /= batch.count;
}

void Plan::evaluate(int thread) {
  const Tensor& in = tensors_[0];
  const Tensor& out = tensors_[output_];
  prepare();
  for (int index; (index = next_.fetch_add(1, std::memory_order_relaxed)) < step_.chunks;) {
    const Chunk c = chunk(index, thread, thread);
    const long first = long(index) * kLanes;
    input_.lay_out(batch_, index, thread, in.plane(), c.slab + in.value);
    for (std::size_t i = 0; i < operations_.size(); i++) {
      if (pool_.should_stop(thread)) return;
      Operation& operation = *operations_[i];
      if (folded_[i]) continue;
      if (operation.has_reduction())
        operation.finish_forward(step_, c);
      else
        operation.forward(step_, c);
    }
    for (int lane = 0; lane < c.lanes; lane++)
      for (int i = 0; i < out.channels; i++)
        out_[(first + lane) * out.channels + i] =
            c.slab[out.value + i * out.plane() * kLanes + lane];
  }
}

void Plan::logits(const Batch& batch, const float* parameters, const float* buffers, float* out) {
  reserve(0);
  out_ = out;
  step_.training = false;
  step_.update_buffers = false;
  // Evaluation only reads the running statistics.
  begin(batch, parameters, const_cast<float*>(buffers));
  pool_.run([](void* plan, int thread) { static_cast<Plan*>(plan)->evaluate(thread); }, this);
}

}  // namespace kilonet
