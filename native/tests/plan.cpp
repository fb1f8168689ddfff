// Tests that a plan gives the same bits on any number of threads, and that several plans may run at
// once. ThreadSanitizer runs this program. It prints one line; the exit status is 1 if bits differ.

#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "../plan.h"

namespace {

using kilonet::Activation;
using kilonet::Batch;
using kilonet::Node;
using kilonet::Plan;

constexpr int kImages = 139;  // nine chunks, the last ragged
constexpr int kClasses = 5;

// A network with every kind of operation, and two augmentation transforms; weights and labels come
// from a small generator.
struct TrainedNetwork {
  explicit TrainedNetwork(int threads) : plan(kilonet::baseline_kernels(), threads, 1, 9, 9) {
    const kilonet::Size image = {9, 9, 1};
    plan.input().append(kilonet::make_rotation(image, {-20.0, 20.0}, {true, 0, false}));
    plan.input().append(kilonet::make_crop(image, 1, 0));
    int x = conv(0, 6, 3, 1, 9);
    x = activation(x, Activation::relu);
    x = norm(x);
    x = simple(Node::Kind::dropout, x);
    const int identity = x;
    x = conv(x, 6, 1, 0, 9);
    Node add = node(Node::Kind::add, x);
    add.other = identity;
    x = append(add, 6, 9, 9);
    x = activation(x, Activation::silu);
    x = group_norm(x, 3);
    x = squeeze_excitation(x);
    x = pool(Node::Kind::average_pool, x, 3, 1);
    x = pool(Node::Kind::max_pool, x, 4, 1);
    x = simple(Node::Kind::dropout, x);
    // A Winograd convolution, then batch norm, dropout and pool fused.
    x = conv(x, 6, 3, 1, 4);
    x = activation(x, Activation::relu);
    // The same weights twice more, once dilated.
    x = append(again(x, 1), 6, 4, 4);
    x = append(again(x, 2), 6, 4, 4);
    x = norm(x);
    x = simple(Node::Kind::dropout, x);
    x = pool(Node::Kind::max_pool, x, 2, 2);
    x = plan.append(node(Node::Kind::flatten, x), 24, 1, 1);
    x = conv(x, kClasses, 1, 0, 1);
    plan.compile(x, parameters);

    weights.resize(parameters);
    gradients.resize(parameters);
    std::uint32_t state = 1;
    const auto next = [&] { return (state = state * 1664525u + 1013904223u) >> 8; };
    for (float& weight : weights) weight = float(next()) * 0x1p-24f - 0.5f;
    for (int i = 0; i < 256; i++) table.push_back(float(i) / 128.0f - 1.0f);
    for (int i = 0; i < kImages * 81; i++) images.push_back(std::uint8_t(next()));
    for (int i = 0; i < kImages; i++) labels.push_back(next() % kClasses);
    for (int i = 0; i < kImages; i++) index.push_back(i);
    logits.resize(kImages * kClasses);
  }

  void train(int steps) {
    for (int step = 0; step < steps; step++) {
      const Batch batch = {images.data(), labels.data(), kImages, table.data(),
                           index.data(),  7,             std::uint32_t(step)};
      double loss;
      int correct;
      plan.gradients(batch, {7, std::uint32_t(step), 0.1f, true}, weights.data(), buffers.data(),
                     gradients.data(), &loss, &correct);
      for (long i = 0; i < parameters; i++) weights[i] -= 0.05f * gradients[i];
      plan.logits(batch, weights.data(), buffers.data(), logits.data());
    }
  }

  bool same(const TrainedNetwork& other) const {
    return weights == other.weights && buffers == other.buffers && logits == other.logits;
  }

  Node node(Node::Kind kind, int input) const {
    Node n;
    n.kind = kind;
    n.input = input;
    n.p = 0.3;
    n.code = std::uint32_t(input);
    return n;
  }
  int append(const Node& n, int channels, int height, int width) {
    return plan.append(n, channels, height, width);
  }
  int simple(Node::Kind kind, int input) {
    const kilonet::Tensor in = plan.tensor(input);
    return append(node(kind, input), in.channels, in.height, in.width);
  }
  int activation(int input, Activation activation) {
    Node n = node(Node::Kind::activation, input);
    n.activation = activation;
    const kilonet::Tensor in = plan.tensor(input);
    return append(n, in.channels, in.height, in.width);
  }
  int conv(int input, int outputs, int kernel, int pad, int size) {
    Node n = node(Node::Kind::conv, input);
    n.kernel_h = n.kernel_w = kernel;
    n.pad_h = n.pad_w = pad;
    n.trainable = true;
    n.weight = parameters;
    parameters += long(outputs) * plan.tensor(input).channels * kernel * kernel;
    n.bias = parameters;
    parameters += outputs;
    return append(n, outputs, size, size);
  }
  // The convolution before, on another input.
  Node again(int input, int dilation) {
    Node n = node(Node::Kind::conv, input);
    n.kernel_h = n.kernel_w = 3;
    n.pad_h = n.pad_w = n.dilation_h = n.dilation_w = dilation;
    n.trainable = true;
    n.weight = parameters - 6 * 6 * 9 - 6;
    n.bias = parameters - 6;
    return n;
  }
  int norm(int input) {
    const kilonet::Tensor in = plan.tensor(input);
    Node n = node(Node::Kind::norm, input);
    n.trainable = true;
    n.eps = 1e-5f;
    n.momentum = 0.1f;
    n.weight = parameters;
    n.bias = parameters + in.channels;
    n.running_mean = long(buffers.size());
    n.running_var = n.running_mean + in.channels;
    buffers.resize(buffers.size() + 2 * in.channels, 1.0f);
    parameters += 2 * in.channels;
    return append(n, in.channels, in.height, in.width);
  }
  int group_norm(int input, int groups) {
    const kilonet::Tensor in = plan.tensor(input);
    Node n = node(Node::Kind::group_norm, input);
    n.trainable = true;
    n.groups = groups;
    n.eps = 1e-5f;
    n.weight = parameters;
    n.bias = parameters + in.channels;
    parameters += 2 * in.channels;
    return append(n, in.channels, in.height, in.width);
  }
  int squeeze_excitation(int input) {
    const kilonet::Tensor in = plan.tensor(input);
    int x = pool(Node::Kind::average_pool, input, in.height, in.height);
    x = conv(x, 2, 1, 0, 1);
    x = activation(x, Activation::relu);
    x = conv(x, in.channels, 1, 0, 1);
    Node n = node(Node::Kind::gate, input);
    n.other = x;
    return append(n, in.channels, in.height, in.width);
  }
  int pool(Node::Kind kind, int input, int kernel, int stride) {
    const kilonet::Tensor in = plan.tensor(input);
    Node n = node(kind, input);
    n.kernel_h = n.kernel_w = kernel;
    n.stride_h = n.stride_w = stride;
    const int out = (in.height - kernel) / stride + 1;
    return append(n, in.channels, out, out);
  }

  Plan plan;
  long parameters = 0;
  std::vector<float> weights, gradients, buffers, table, logits;
  std::vector<std::uint8_t> images;
  std::vector<std::int64_t> labels, index;
};

}  // namespace

int main() {
  constexpr int kSteps = 20;
  TrainedNetwork one(1);
  one.train(kSteps);
  bool same = true;
  for (int threads : {2, 3, 5}) {
    TrainedNetwork other(threads);
    other.train(kSteps);
    same = same && other.same(one);
  }
  TrainedNetwork first(2), second(2), third(3);
  std::thread a([&] { first.train(kSteps); }), b([&] { second.train(kSteps); });
  third.train(kSteps);
  a.join();
  b.join();
  same = same && first.same(one) && second.same(one) && third.same(one);
  std::printf("plan: %d steps with 1, 2, 3 and 5 threads and three plans at once: %s\n", kSteps,
              same ? "the same bits" : "FAILED, other bits");
  return same ? 0 : 1;
}
