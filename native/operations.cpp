// The plan's operations: the kernels that each node calls, forward and backward. Convolutions are
// in convolution.cpp, normalizations in normalization.cpp.

#include <cmath>
#include <cstring>

#include "plan.h"

namespace kilonet {
namespace {

// Each channel times the sigmoid of its gate: the end of squeeze-excitation, whose other parts are
// nodes of their own.
class Gate final : public Operation {
 public:
  Gate(const Kernels& k, const Fusion& f, const Tensor& in, const Tensor& gate, const Tensor& out)
      : k_(k), f_(f), in_(in), gate_(gate), out_(out) {}

  void forward(const Step&, const Chunk& c) override {
    for (int i = 0; i < in_.channels; i++)
      k_.gate(c.slab + in_.value + at(i), c.slab + gate_.value + i * gate_.plane() * kLanes,
              c.slab + out_.value + at(i), in_.cells());
  }

  // The gate has no other consumer, so its gradient is written and not added.
  void backward(const Step&, const Chunk& c) override {
    for (int i = 0; i < in_.channels; i++) {
      const long gate = i * gate_.plane() * kLanes;
      k_.gate_backward(c.slab + in_.value + at(i), c.slab + gate_.value + gate,
                       c.slab + out_.gradient + at(i), in_.cells(), c.lanes,
                       c.slab + gate_.gradient + gate,
                       in_.needs_gradient ? c.slab + in_.gradient + at(i) : nullptr, f_.add);
    }
  }

 private:
  long at(int channel) const { return channel * in_.plane() * kLanes; }

  const Kernels& k_;
  const Fusion f_;
  const Tensor in_, gate_, out_;
};

class Activate final : public Operation {
 public:
  Activate(const Kernels& k, const Node& n, const Fusion& f, const Tensor& in, const Tensor& out)
      : k_(k), n_(n), f_(f), in_(in), out_(out) {}

  void forward(const Step&, const Chunk& c) override {
    const long plane = in_.plane() * kLanes;
    for (int i = 0; i < in_.channels; i++)
      k_.activate(n_.activation, n_.slope, c.slab + in_.value + i * plane,
                  c.slab + out_.value + i * plane, in_.cells());
  }

  void backward(const Step&, const Chunk& c) override {
    if (!in_.needs_gradient) return;
    const long plane = in_.plane() * kLanes;
    for (int i = 0; i < in_.channels; i++)
      k_.activate_backward(n_.activation, n_.slope, c.slab + in_.value + i * plane,
                           c.slab + out_.gradient + i * plane, c.slab + in_.gradient + i * plane,
                           in_.cells(), f_.add);
  }

 private:
  const Kernels& k_;
  const Node n_;
  const Fusion f_;
  const Tensor in_, out_;
};

class Dropout final : public Operation {
 public:
  Dropout(const Kernels& k, const Node& n, const Fusion& f, const Tensor& in, const Tensor& out)
      : k_(k), n_(n), f_(f), in_(in), out_(out), keep_scale_(float(1.0 / (1.0 - n.p))) {}

  void forward(const Step& s, const Chunk& c) override {
    if (!s.training) {
      k_.copy(c.slab + in_.value, c.slab + out_.value, int(in_.channels * in_.plane()), false);
      return;
    }
    auto bits = reinterpret_cast<std::uint32_t*>(c.slab + f_.mask);
    draw_masks(k_, s, c, n_.p, n_.code, in_, bits);
    apply(c, in_.value, out_.value, false);
  }

  void backward(const Step&, const Chunk& c) override {
    if (in_.needs_gradient) apply(c, out_.gradient, in_.gradient, f_.add);
  }

 private:
  void apply(const Chunk& c, long from, long to, bool add) const {
    auto bits = reinterpret_cast<const std::uint32_t*>(c.slab + f_.mask);
    for (int i = 0; i < in_.channels; i++) {
      const long at = i * in_.plane() * kLanes;
      k_.dropout(c.slab + from + at, bits + long(i) * in_.cells(), keep_scale_, c.slab + to + at,
                 in_.cells(), add);
    }
  }

  const Kernels& k_;
  const Node n_;
  const Fusion f_;
  const Tensor in_, out_;
  const float keep_scale_;
};

class Pool2d final : public Operation {
 public:
  Pool2d(const Kernels& k, const Node& n, const Fusion& f, const Tensor& in, const Tensor& out)
      : k_(k), max_(n.kind == Node::Kind::max_pool), f_(f), in_(in), out_(out),
        pool_{in.channels, n.kernel_h, n.kernel_w, n.stride_h, n.stride_w, n.pad_h, n.pad_w,
              in.height, in.width, in.plane(), out.height, out.width, out.plane()},
        tiled_(windows_tile(n, in, out)) {}

  void forward(const Step&, const Chunk& c) override {
    (max_ ? k_.max_pool : k_.average_pool)(pool_, c.slab + in_.value, c.slab + out_.value);
  }

  void backward(const Step&, const Chunk& c) override {
    if (!in_.needs_gradient) return;
    float* din = c.slab + in_.gradient;
    const float* dout = c.slab + out_.gradient;
    const bool write = max_ && tiled_ && !f_.add;
    if (!f_.add && !write) std::memset(din, 0, sizeof(float) * in_.floats());
    if (max_)
      k_.max_pool_backward(pool_, c.slab + in_.value, c.slab + out_.value, dout, din, !write);
    else
      k_.average_pool_backward(pool_, dout, din);
  }

 private:
  const Kernels& k_;
  const bool max_;
  const Fusion f_;
  const Tensor in_, out_;
  const Pooling pool_;
  const bool tiled_;
};

// (channels, height, width) to features: planes of a single cell, without gaps.
class Flatten final : public Operation {
 public:
  Flatten(const Kernels& k, const Fusion& f, const Tensor& in, const Tensor& out)
      : k_(k), f_(f), in_(in), out_(out) {}

  void forward(const Step&, const Chunk& c) override {
    for (int i = 0; i < in_.channels; i++)
      k_.copy(c.slab + in_.value + i * in_.plane() * kLanes,
              c.slab + out_.value + long(i) * in_.cells() * kLanes, in_.cells(), false);
  }

  void backward(const Step&, const Chunk& c) override {
    if (!in_.needs_gradient) return;
    for (int i = 0; i < in_.channels; i++)
      k_.copy(c.slab + out_.gradient + long(i) * in_.cells() * kLanes,
              c.slab + in_.gradient + i * in_.plane() * kLanes, in_.cells(), f_.add);
  }

 private:
  const Kernels& k_;
  const Fusion f_;
  const Tensor in_, out_;
};

// A residual: the body's output plus the identity. The body's gradient may share this operation's
// gradient memory.
class Add final : public Operation {
 public:
  Add(const Kernels& k, const Fusion& f, const Tensor& body, const Tensor& identity,
      const Tensor& out)
      : k_(k), f_(f), body_(body), identity_(identity), out_(out) {}

  void forward(const Step&, const Chunk& c) override {
    for (int i = 0; i < out_.channels; i++) {
      const long at = i * out_.plane() * kLanes;
      k_.sum(c.slab + body_.value + at, c.slab + identity_.value + at, c.slab + out_.value + at,
             out_.cells());
    }
  }

  void backward(const Step&, const Chunk& c) override {
    if (identity_.needs_gradient) copy_gradient(c, identity_.gradient, f_.add_other);
    if (body_.needs_gradient && body_.gradient != out_.gradient)
      copy_gradient(c, body_.gradient, f_.add);
  }

 private:
  void copy_gradient(const Chunk& c, long to, bool add) const {
    for (int i = 0; i < out_.channels; i++) {
      const long at = i * out_.plane() * kLanes;
      k_.copy(c.slab + out_.gradient + at, c.slab + to + at, out_.cells(), add);
    }
  }

  const Kernels& k_;
  const Fusion f_;
  const Tensor body_, identity_, out_;
};

}  // namespace

void draw_masks(const Kernels& k, const Step& s, const Chunk& c, double p, std::uint32_t code,
                const Tensor& t, std::uint32_t* bits) {
  k.dropout_bits(s.seed, s.number, code, std::uint32_t(std::lround(p * 65536)),
                 std::uint32_t(c.index) * kLanes, std::uint32_t(t.channels * t.cells()), bits);
}

bool windows_tile(const Node& n, const Tensor& in, const Tensor& out) {
  return n.stride_h == n.kernel_h && n.stride_w == n.kernel_w && !n.pad_h && !n.pad_w &&
         out.height * n.kernel_h == in.height && out.width * n.kernel_w == in.width;
}

std::unique_ptr<Operation> make_operation(const Kernels& k, const Node& n, const Fusion& f,
                                          const Tensor& in, const Tensor* other,
                                          const Tensor& out) {
  switch (n.kind) {
    case Node::Kind::conv: return make_convolution(k, n, f, in, out);
    case Node::Kind::activation: return std::make_unique<Activate>(k, n, f, in, out);
    case Node::Kind::norm: return make_norm(k, n, f, in, out);
    case Node::Kind::group_norm: return make_group_norm(k, n, f, in, out);
    case Node::Kind::gate: return std::make_unique<Gate>(k, f, in, *other, out);
    case Node::Kind::dropout: return std::make_unique<Dropout>(k, n, f, in, out);
    case Node::Kind::max_pool:
    case Node::Kind::average_pool: return std::make_unique<Pool2d>(k, n, f, in, out);
    case Node::Kind::flatten: return std::make_unique<Flatten>(k, f, in, out);
    case Node::Kind::add: return std::make_unique<Add>(k, f, in, *other, out);
  }
  return nullptr;
}

}  // namespace kilonet
