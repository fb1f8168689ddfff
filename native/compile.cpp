// Compiles a network: which nodes are fused, the memory of a chunk, and the phases of a step.

#include <unordered_set>

#include "plan.h"

namespace kilonet {

int Plan::append(Node node, int channels, int height, int width) {
  bool needs_gradient = node.trainable || tensors_[node.input].needs_gradient;
  tensors_[node.input].consumers++;
  if (node.other >= 0) {
    needs_gradient |= tensors_[node.other].needs_gradient;
    tensors_[node.other].consumers++;
  }
  node.output = int(tensors_.size());
  node.layer = int(nodes_.size());
  tensors_.push_back({channels, height, width, needs_gradient});
  nodes_.push_back(node);
  return node.output;
}

void Plan::compile(int output, long parameters) {
  output_ = output;
  parameters_ = parameters;
  tensors_[output].consumers++;
  fuse();
  assign_memory();
  make_operations();
  schedule();
}

// Decides which nodes are fused.
void Plan::fuse() {
  std::vector<Node> nodes;
  for (const Node& next : nodes_) {
    const bool follows =
        !nodes.empty() && nodes.back().output == next.input && has_single_consumer(next.input);
    // The derivatives of these activations follow from the output.
    const bool simple = next.kind == Node::Kind::activation &&
                        (next.activation == Activation::relu ||
                         (next.activation == Activation::leaky_relu && next.slope > 0));
    if (follows && simple && nodes.back().kind == Node::Kind::conv &&
        fusions_.back().activation == Activation::none) {
      fusions_.back().activation = next.activation;
      fusions_.back().slope = next.slope;
      nodes.back().output = next.output;
      continue;
    }
    if (follows && next.kind == Node::Kind::dropout && nodes.back().kind == Node::Kind::norm &&
        !fusions_.back().masked && !fusions_.back().pool_h) {
      fusions_.back().masked = true;
      fusions_.back().p = next.p;
      fusions_.back().code = next.code;
      nodes.back().output = next.output;
      continue;
    }
    if (follows && next.kind == Node::Kind::max_pool && nodes.back().kind == Node::Kind::norm &&
        !fusions_.back().pool_h && windows_tile(next, tensors_[next.input], tensors_[next.output])) {
      fusions_.back().pool_h = next.kernel_h;
      fusions_.back().pool_w = next.kernel_w;
      nodes.back().output = next.output;
      continue;
    }
    Fusion fusion;
    if (follows && next.kind == Node::Kind::norm && nodes.back().kind == Node::Kind::conv &&
        fusions_.back().activation != Activation::none) {
      fusion.activation = fusions_.back().activation;
      fusion.slope = fusions_.back().slope;
      fusions_.back().activated_backward = true;
    }
    nodes.push_back(next);
    fusions_.push_back(fusion);
  }
  nodes_ = std::move(nodes);
}

// Places values, masks and gradients in a chunk's slab.
void Plan::assign_memory() {
  // Values and masks.
  long end = 0;
  const auto assign = [&](long floats) {
    const long at = end;
    end += align_up(floats);
    return at;
  };
  tensors_[0].value = assign(tensors_[0].floats());
  for (std::size_t i = 0; i < nodes_.size(); i++) {
    Tensor& out = tensors_[nodes_[i].output];
    out.value = assign(out.floats());
    const Tensor& in = tensors_[nodes_[i].input];
    if (fusions_[i].masked || nodes_[i].kind == Node::Kind::dropout)
      fusions_[i].mask = assign(long(in.channels) * in.cells());
    if (nodes_[i].kind == Node::Kind::group_norm)
      fusions_[i].statistics = assign(2l * nodes_[i].groups * kLanes);
  }
  // Gradients, in backward order: the first consumer of a tensor writes its gradient, the others add
  // to it. An elementwise operation that is its input's only consumer computes the gradient in
  // place. If a value is not read after its gradient is written, the gradient overwrites the value:
  // this touches less memory, and the destination is in the cache.
  std::vector<int> producers(tensors_.size(), -1);
  for (std::size_t i = 0; i < nodes_.size(); i++) producers[nodes_[i].output] = int(i);
  const auto overwrites_value = [&](int id, const Node& consumer) {
    if (!has_single_consumer(id) || producers[id] < 0 || consumer.kind == Node::Kind::add)
      return false;
    if (consumer.kind == Node::Kind::max_pool &&
        !windows_tile(consumer, tensors_[id], tensors_[consumer.output]))
      return false;
    const Node::Kind kind = nodes_[producers[id]].kind;
    return kind == Node::Kind::norm || kind == Node::Kind::group_norm ||
           kind == Node::Kind::gate || kind == Node::Kind::dropout ||
           kind == Node::Kind::average_pool || kind == Node::Kind::flatten ||
           (kind == Node::Kind::conv && (fusions_[producers[id]].activation == Activation::none ||
                                         fusions_[producers[id]].activated_backward));
  };
  Tensor& last = tensors_[output_];
  last.gradient = assign(last.floats());
  for (std::size_t n = nodes_.size(); n-- > 0;) {
    const Node& node = nodes_[n];
    const Tensor& out = tensors_[node.output];
    if (!out.needs_gradient) continue;
    const auto assign_gradient = [&](int id, bool* add) {
      Tensor& in = tensors_[id];
      *add = in.gradient >= 0;
      if (!in.needs_gradient || *add) return;
      const bool in_place = has_single_consumer(id) && id != node.other && !fusions_[n].pool_h &&
                            (node.kind == Node::Kind::activation || node.kind == Node::Kind::norm ||
                             node.kind == Node::Kind::group_norm ||
                             node.kind == Node::Kind::dropout || node.kind == Node::Kind::add);
      in.gradient = in_place                     ? out.gradient
                    : overwrites_value(id, node) ? in.value
                                                 : assign(in.floats());
    };
    if (node.other >= 0) assign_gradient(node.other, &fusions_[n].add_other);
    assign_gradient(node.input, &fusions_[n].add);
  }
  slab_floats_ = align_up(end);
}

void Plan::make_operations() {
  // Backward, the last of those that share weights comes first: it sets the gradient.
  std::unordered_set<long> set;
  for (std::size_t i = nodes_.size(); i-- > 0;)
    if (nodes_[i].weight >= 0) fusions_[i].add_weights = !set.insert(nodes_[i].weight).second;

  for (std::size_t i = 0; i < nodes_.size(); i++) {
    const Node& node = nodes_[i];
    operations_.push_back(make_operation(kernels_, node, fusions_[i], tensors_[node.input],
                                         node.other < 0 ? nullptr : &tensors_[node.other],
                                         tensors_[node.output]));
    const bool folded = i && nodes_[i - 1].kind == Node::Kind::conv &&
                        nodes_[i - 1].output == node.input && has_single_consumer(node.input) &&
                        operations_[i]->can_fold();
    folded_.push_back(folded);
    if (folded) operations_[i - 1]->fold_norm(*operations_[i]);
  }
}

void Plan::schedule() {
  phases_.emplace_back();
  const auto end_phase = [&](Operation* operation, void (Operation::*reduce)(const Step&),
                             Pass pass, int layer) {
    phases_.back().reducing = operation;
    phases_.back().reduce = reduce;
    phases_.back().pass = pass;
    phases_.back().layer = layer;
    phases_.emplace_back();
  };
  for (std::size_t n = 0; n < operations_.size(); n++) {
    Operation* operation = operations_[n].get();
    const int layer = nodes_[n].layer;
    phases_.back().calls.push_back({operation, &Operation::forward, Pass::forward, layer});
    if (!operation->has_reduction()) continue;
    end_phase(operation, &Operation::reduce_forward, Pass::forward_reduce, layer);
    statistics_phases_ = std::uint32_t(phases_.size() - 1);
    phases_.back().calls.push_back(
        {operation, &Operation::finish_forward, Pass::forward_finish, layer});
  }
  phases_.back().calls.push_back({nullptr, nullptr, Pass::loss});
  for (std::size_t n = operations_.size(); n-- > 0;) {
    Operation* operation = operations_[n].get();
    const int layer = nodes_[n].layer;
    if (!tensors_[nodes_[n].output].needs_gradient) continue;
    phases_.back().calls.push_back({operation, &Operation::backward, Pass::backward, layer});
    if (!operation->has_reduction()) continue;
    end_phase(operation, &Operation::reduce_backward, Pass::backward_reduce, layer);
    phases_.back().calls.push_back(
        {operation, &Operation::finish_backward, Pass::backward_finish, layer});
  }
}

}  // namespace kilonet
