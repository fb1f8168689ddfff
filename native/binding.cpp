// The module kilonet.engine._native: plans and optimizer updates for Python. The caller checks the
// arrays.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "machine.h"
#include "plan.h"

namespace nb = nanobind;

namespace kilonet {
namespace {

template <typename T>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
using Floats = Array<float>;
using ReadFloats = Array<const float>;

// The machine's instruction sets, best first.
std::vector<std::string> instruction_sets() {
  std::vector<std::string> found;
#ifdef KILONET_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    found.push_back("avx512");
  if (avx2) found.push_back("avx2");
#endif
  found.push_back("baseline");
  return found;
}

const Kernels& kernels_of(const std::string& name) {
#ifdef KILONET_X86
  if (name == "avx512") return avx512_kernels();
  if (name == "avx2") return avx2_kernels();
#endif
  if (name == "baseline") return baseline_kernels();
  throw std::invalid_argument("unknown instruction set " + name);
}

std::vector<double> coefficients(const Matrix& m) { return {m.a, m.b, m.c, m.d, m.e, m.f}; }

// Whether a signal handler has raised an exception, as Ctrl-C's does. The interpreter runs handlers
// only in its main thread. The exception stays set until the caller throws it.
bool interrupted() {
  const nb::gil_scoped_acquire interpreter;
  return PyErr_CheckSignals() != 0;
}

// Names of the passes in Python (ProfileRow.phase), indexed by Pass.
constexpr const char* kPassNames[] = {
    "prepare",        "input",           "wait",     "loss",          "forward",        "forward_reduce",
    "forward_finish", "weight_gradient", "backward", "backward_reduce", "backward_finish", "sum"};

class Network {
 public:
  Network(const std::string& isa, int threads, int channels, int height, int width)
      : plan_(kernels_of(isa), threads, channels, height, width), avx2_(isa != "baseline") {
    plan_.pool().set_interrupt_check(interrupted);
  }

  // `extra` is padding at the bottom and right beyond `padding`.
  int conv(int input, int outputs, std::vector<int> kernel, std::vector<int> stride,
           std::vector<int> padding, std::vector<int> extra, std::vector<int> dilation, int groups,
           long weight, long bias) {
    Node node = windowed_node(Node::Kind::conv, input, kernel, stride, padding);
    node.dilation_h = dilation.at(0);
    node.dilation_w = dilation.at(1);
    node.groups = groups;
    node.weight = weight;
    node.bias = bias;
    node.trainable = true;
    return append_windowed(node, outputs, extra.at(0), extra.at(1));
  }

  int norm(int input, double eps, double momentum, long weight, long bias, long mean, long var) {
    Node node = make_node(Node::Kind::norm, input);
    node.eps = eps;
    node.momentum = momentum;
    node.weight = weight;
    node.bias = bias;
    node.running_mean = mean;
    node.running_var = var;
    node.trainable = weight >= 0 || bias >= 0;
    return append(node);
  }

  int group_norm(int input, int groups, double eps, long weight, long bias) {
    Node node = make_node(Node::Kind::group_norm, input);
    node.groups = groups;
    node.eps = eps;
    node.weight = weight;
    node.bias = bias;
    node.trainable = weight >= 0 || bias >= 0;
    return append(node);
  }

  int gate(int input, int logits) {
    Node node = make_node(Node::Kind::gate, input);
    node.other = logits;
    return append(node);
  }

  int activation(int input, const std::string& name, float slope) {
    Node node = make_node(Node::Kind::activation, input);
    node.slope = slope;
    node.activation = name == "relu"         ? Activation::relu
                      : name == "leaky_relu" ? Activation::leaky_relu
                      : name == "silu"       ? Activation::silu
                      : name == "hardswish"  ? Activation::hardswish
                      : throw std::invalid_argument("unknown activation " + name);
    return append(node);
  }

  int dropout(int input, double p, std::uint32_t code) {
    Node node = make_node(Node::Kind::dropout, input);
    node.p = p;
    node.code = code;
    return append(node);
  }

  int pool(int input, bool average, std::vector<int> kernel, std::vector<int> stride,
           std::vector<int> padding) {
    const Node::Kind kind = average ? Node::Kind::average_pool : Node::Kind::max_pool;
    return append_windowed(windowed_node(kind, input, kernel, stride, padding),
                           plan_.tensor(input).channels);
  }

  int flatten(int input) {
    const Tensor in = plan_.tensor(input);
    return plan_.append(make_node(Node::Kind::flatten, input), in.channels * in.cells(), 1, 1);
  }

  int add(int input, int identity) {
    Node node = make_node(Node::Kind::add, input);
    node.other = identity;
    return append(node);
  }

  // The transforms of augmentation, in order. `bilinear` and `fill` set how an image is resampled.
  using Bounds = std::pair<double, double>;

  void rotation(Bounds degrees, bool bilinear, std::uint8_t fill) {
    input().append(make_rotation(input().size(), range(degrees), {bilinear, fill, avx2_}));
  }

  void affine(Bounds degrees, Bounds largest, Bounds scale, Bounds shear_x, Bounds shear_y,
              bool bilinear, std::uint8_t fill) {
    const AffineRanges ranges = {range(degrees), largest.first,  largest.second,
                                 range(scale),   range(shear_x), range(shear_y)};
    input().append(make_affine(input().size(), ranges, {bilinear, fill, avx2_}));
  }

  void crop(int padding, std::uint8_t fill) {
    input().append(make_crop(input().size(), padding, fill));
  }

  void color_jitter(const std::vector<std::pair<int, Bounds>>& adjustments) {
    std::vector<Adjustment> all;
    for (const auto& [word, bounds] : adjustments) all.push_back({word, range(bounds)});
    input().append(make_color_jitter(input().size(), all));
  }

  void elastic(double alpha, ReadFloats down, ReadFloats across, bool bilinear, std::uint8_t fill) {
    const Size size = input().size();
    const std::size_t rows = std::size_t(size.height), columns = std::size_t(size.width);
    if (down.size() != rows * rows || across.size() != columns * columns)
      throw std::invalid_argument("a smoothing matrix is of another size than the image");
    input().append(make_elastic(size, alpha, {down.data(), down.data() + down.size()},
                                {across.data(), across.data() + across.size()},
                                {bilinear, fill, avx2_}));
  }

  void erasing(double p, Bounds scale, Bounds log_ratio, std::uint8_t value) {
    input().append(make_erasing(input().size(), p, range(scale), range(log_ratio), value));
  }

  void profile(bool on) { plan_.profile(on); }

  // Rows of (layer, pass, nanoseconds, calls).
  std::vector<std::tuple<int, std::string, std::int64_t, std::int64_t>> profiled() const {
    std::vector<std::tuple<int, std::string, std::int64_t, std::int64_t>> rows;
    for (const Profile::Row& row : plan_.profiled())
      rows.emplace_back(row.layer, kPassNames[int(row.pass)], row.nanoseconds, row.calls);
    return rows;
  }

  void compile(int output, long parameters) { plan_.compile(output, parameters); }

  std::pair<double, int> gradients(Array<const std::uint8_t> images,
                                   Array<const std::int64_t> labels, ReadFloats table,
                                   ReadFloats parameters, Floats buffers, Floats gradients,
                                   Array<const std::int64_t> index, std::uint64_t seed,
                                   std::uint32_t epoch, std::uint32_t step, float smoothing,
                                   bool update_buffers, ReadFloats targets, float weight,
                                   float temperature) {
    // Without an index the images are augmented already; without targets there is no teacher.
    const Batch batch = {images.data(),
                         labels.data(),
                         int(images.shape(0)),
                         table.data(),
                         index.size() ? index.data() : nullptr,
                         seed,
                         epoch};
    const Plan::Training training = {seed,
                                     step,
                                     smoothing,
                                     update_buffers,
                                     targets.size() ? targets.data() : nullptr,
                                     targets.size() ? weight : 0.0f,
                                     temperature};
    double loss;
    int correct;
    const BusyGuard guard(busy_);
    saved_buffers_.assign(buffers.data(), buffers.data() + buffers.size());
    {
      const nb::gil_scoped_release release;
      plan_.gradients(batch, training, parameters.data(), buffers.data(), gradients.data(), &loss,
                      &correct);
    }
    if (plan_.pool().stopped()) {
      std::copy(saved_buffers_.begin(), saved_buffers_.end(), buffers.data());
      throw nb::python_error();
    }
    return {loss, correct};
  }

  // The running statistics of a training step with these parameters, with another momentum.
  void statistics(Array<const std::uint8_t> images, ReadFloats table, ReadFloats parameters,
                  Floats buffers, Array<const std::int64_t> index, std::uint64_t seed,
                  std::uint32_t epoch, std::uint32_t step, double momentum) {
    const Batch batch = {images.data(), nullptr, int(images.shape(0)), table.data(),
                         index.data(),  seed,    epoch};
    const BusyGuard guard(busy_);
    {
      const nb::gil_scoped_release release;
      plan_.statistics(batch, {seed, step, 0.0f, true}, momentum, parameters.data(),
                       buffers.data());
    }
    if (plan_.pool().stopped()) throw nb::python_error();
  }

  void logits(Array<const std::uint8_t> images, ReadFloats table, ReadFloats parameters,
              ReadFloats buffers, Floats out) {
    const Batch batch = {images.data(), nullptr, int(images.shape(0)), table.data()};
    const BusyGuard guard(busy_);
    {
      const nb::gil_scoped_release release;
      plan_.logits(batch, parameters.data(), buffers.data(), out.data());
    }
    if (plan_.pool().stopped()) throw nb::python_error();
  }

  void augmented(Array<const std::uint8_t> images, Array<const std::int64_t> index,
                 std::uint64_t seed, std::uint32_t epoch, Array<std::uint8_t> out) {
    const Batch batch = {images.data(), nullptr, int(images.shape(0)), nullptr,
                         index.data(),  seed,    epoch};
    const BusyGuard guard(busy_);
    {
      const nb::gil_scoped_release release;
      input().augmented(plan_.pool(), batch, out.data());
    }
    if (plan_.pool().stopped()) throw nb::python_error();
  }

  void normalized(Array<const std::uint8_t> images, ReadFloats table,
                  Array<const std::int64_t> index, std::uint64_t seed, std::uint32_t epoch,
                  Floats out) {
    const Batch batch = {images.data(), nullptr, int(images.shape(0)), table.data(),
                         index.data(),  seed,    epoch};
    const BusyGuard guard(busy_);
    {
      const nb::gil_scoped_release release;
      input().normalized(plan_.pool(), batch, out.data());
    }
    if (plan_.pool().stopped()) throw nb::python_error();
  }

  // Ranges of parameters, (begin, end) each, that weight decay leaves alone; in order.
  void undecayed(std::vector<std::pair<long, long>> ranges) { undecayed_ = std::move(ranges); }

  void sgd(Floats p, ReadFloats g, Floats buffer, float lr, float momentum, float weight_decay,
           bool nesterov) {
    each_range(0, long(p.size()), [&](long begin, long count, bool decayed) {
      plan_.kernels().sgd({lr, momentum, decayed ? weight_decay : 0.0f, nesterov}, p.data() + begin,
                          g.data() + begin, buffer.data() + begin, count);
    });
  }

  void adam(Floats p, ReadFloats g, Floats m, Floats v, float step_size, float one_minus_beta1,
            float beta2, float one_minus_beta2, float bias_correction2_sqrt, float eps,
            float weight_decay, float decay_factor) {
    each_range(0, long(p.size()), [&](long begin, long count, bool decayed) {
      plan_.kernels().adam({step_size, one_minus_beta1, beta2, one_minus_beta2,
                            bias_correction2_sqrt, eps, decayed ? weight_decay : 0.0f,
                            decayed ? decay_factor : 1.0f},
                           p.data() + begin, g.data() + begin, m.data() + begin, v.data() + begin,
                           count);
    });
  }

  // The parameters that Muon updates as matrices, in order: where each begins, its rows and
  // columns, and the factor of its learning rate.
  void matrices(std::vector<std::tuple<long, int, int, double>> matrices) {
    matrices_ = std::move(matrices);
    long floats = 0;
    for (const auto& [begin, rows, columns, factor] : matrices_)
      floats = std::max(floats, plan_.kernels().muon_scratch(rows, columns));
    muon_scratch_ = allocate(floats);
  }

  // Muon for the matrices; for the other parameters SGD at the rate `rest_lr`. The decay of both is
  // decoupled from the gradient.
  void muon(Floats p, ReadFloats g, Floats buffer, double lr, double rest_lr, double momentum,
            double weight_decay, bool nesterov, int steps) {
    const Sgd sgd = {float(rest_lr), float(momentum), 0.0f, nesterov};
    const auto update_rest = [&](long begin, long count, bool decayed) {
      const float kept = float(1.0 - rest_lr * weight_decay);
      if (decayed)
        for (long i = begin; i < begin + count; i++) p.data()[i] *= kept;
      plan_.kernels().sgd(sgd, p.data() + begin, g.data() + begin, buffer.data() + begin, count);
    };
    long end = 0;
    for (const auto& [begin, rows, columns, factor] : matrices_) {
      each_range(end, begin, update_rest);
      plan_.kernels().muon({float(lr * factor), float(momentum), float(1.0 - momentum),
                            float(1.0 - lr * weight_decay), nesterov, steps},
                           rows, columns, p.data() + begin, g.data() + begin,
                           buffer.data() + begin, muon_scratch_.get());
      end = begin + long(rows) * columns;
    }
    each_range(end, long(p.size()), update_rest);
  }

  void lerp(Floats average, ReadFloats x, float weight) {
    plan_.kernels().lerp(weight, x.data(), average.data(), long(x.size()));
  }

 private:
  // Marks the plan as busy. Its memory serves one call at a time, and the interpreter's lock is
  // released during a call, so another Python thread may call it.
  class BusyGuard {
   public:
    explicit BusyGuard(std::atomic<bool>& busy) : busy_(busy) {
      if (busy_.exchange(true))
        throw std::runtime_error("the engine is busy in another thread; use one engine per thread");
    }
    ~BusyGuard() { busy_.store(false); }

   private:
    std::atomic<bool>& busy_;
  };

  // Calls update(begin, count, decayed) for every range of the parameters from `begin` to `end` with
  // or without weight decay.
  template <typename Update>
  void each_range(long begin, long end, Update update) const {
    for (const auto& [first, last] : undecayed_) {
      const long from = std::max(first, begin), to = std::min(last, end);
      if (from >= to) continue;
      if (from > begin) update(begin, from - begin, true);
      update(from, to - from, false);
      begin = to;
    }
    if (end > begin) update(begin, end - begin, true);
  }

  Input& input() { return plan_.input(); }

  static Range range(const Bounds& bounds) { return {bounds.first, bounds.second}; }

  static Node make_node(Node::Kind kind, int input) {
    Node node;
    node.kind = kind;
    node.input = input;
    return node;
  }

  static Node windowed_node(Node::Kind kind, int input, const std::vector<int>& kernel,
                            const std::vector<int>& stride, const std::vector<int>& padding) {
    Node node = make_node(kind, input);
    node.kernel_h = kernel.at(0);
    node.kernel_w = kernel.at(1);
    node.stride_h = stride.at(0);
    node.stride_w = stride.at(1);
    node.pad_h = padding.at(0);
    node.pad_w = padding.at(1);
    return node;
  }

  int append(const Node& node) {
    const Tensor in = plan_.tensor(node.input);
    return plan_.append(node, in.channels, in.height, in.width);
  }

  int append_windowed(const Node& n, int channels, int extra_h = 0, int extra_w = 0) {
    const Tensor in = plan_.tensor(n.input);
    const int height = in.height + 2 * n.pad_h + extra_h - (n.kernel_h - 1) * n.dilation_h - 1;
    const int width = in.width + 2 * n.pad_w + extra_w - (n.kernel_w - 1) * n.dilation_w - 1;
    return plan_.append(n, channels, height / n.stride_h + 1, width / n.stride_w + 1);
  }

  Plan plan_;
  std::vector<std::pair<long, long>> undecayed_;
  std::vector<std::tuple<long, int, int, double>> matrices_;
  AlignedBuffer muon_scratch_;
  const bool avx2_;  // whether the instruction set includes it
  std::atomic<bool> busy_{false};
  std::vector<float> saved_buffers_;  // copy of the buffers, to restore if a step is interrupted
};

// Wraps kilonet::Machine and releases the interpreter's lock.
class PyMachine {
 public:
  PyMachine(const std::string& isa, int threads) : machine_(kernels_of(isa), threads) {}

  double multiply_adds(long rounds) {
    const nb::gil_scoped_release release;
    return machine_.multiply_adds(rounds);
  }

  double bandwidth(long count, int sweeps) {
    const nb::gil_scoped_release release;
    return machine_.bandwidth(count, sweeps);
  }

 private:
  Machine machine_;
};

}  // namespace
}  // namespace kilonet

NB_MODULE(_native, m) {
  using kilonet::Network;
  using kilonet::PyMachine;
  m.def("instruction_sets", &kilonet::instruction_sets);
  // Functions that must match the reference's last bit; exposed for tests.
  m.def("round_to_15_digits", &kilonet::round_to_15_digits);
  m.def("rotation_matrix", [](double degrees, int height, int width) {
    return kilonet::coefficients(kilonet::rotation_matrix(degrees, height, width));
  });
  m.def("affine_matrix", [](double degrees, double right, double down, double scale, double shear_x,
                            double shear_y, int height, int width) {
    const kilonet::AffineParameters parameters = {degrees, right, down, scale, shear_x, shear_y};
    return kilonet::coefficients(kilonet::affine_matrix(parameters, height, width));
  });
  nb::class_<Network>(m, "Network")
      .def(nb::init<const std::string&, int, int, int, int>())
      .def("conv", &Network::conv)
      .def("norm", &Network::norm)
      .def("group_norm", &Network::group_norm)
      .def("gate", &Network::gate)
      .def("activation", &Network::activation)
      .def("dropout", &Network::dropout)
      .def("pool", &Network::pool)
      .def("flatten", &Network::flatten)
      .def("add", &Network::add)
      .def("rotation", &Network::rotation)
      .def("affine", &Network::affine)
      .def("crop", &Network::crop)
      .def("color_jitter", &Network::color_jitter)
      .def("elastic", &Network::elastic)
      .def("erasing", &Network::erasing)
      .def("compile", &Network::compile)
      .def("profile", &Network::profile)
      .def("profiled", &Network::profiled)
      .def("gradients", &Network::gradients)
      .def("statistics", &Network::statistics)
      .def("undecayed", &Network::undecayed)
      .def("logits", &Network::logits)
      .def("augmented", &Network::augmented)
      .def("normalized", &Network::normalized)
      .def("sgd", &Network::sgd)
      .def("adam", &Network::adam)
      .def("matrices", &Network::matrices)
      .def("muon", &Network::muon)
      .def("lerp", &Network::lerp);
  nb::class_<PyMachine>(m, "Machine")
      .def(nb::init<const std::string&, int>())
      .def("multiply_adds", &PyMachine::multiply_adds)
      .def("bandwidth", &PyMachine::bandwidth);
}
