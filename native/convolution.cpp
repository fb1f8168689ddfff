// The plan's convolution, with a fused activation: chooses the method of each pass and builds the
// tables of taps that the kernels read.

#include <algorithm>
#include <numeric>
#include <vector>

#include "methods.h"
#include "plan.h"

namespace kilonet {
namespace {

class Conv final : public Operation {
 public:
  Conv(const Kernels& k, const Node& n, const Fusion& f, const Tensor& in, const Tensor& out)
      : k_(k), n_(n), f_(f), in_(in), out_(out) {
    const Convolution forward = forward_of(&rows_, &columns_);
    const Convolution backward = backward_of(&back_rows_, &back_columns_);
    row_spans_ = spans(out.height, in.height, n.kernel_h, n.stride_h, n.pad_h, n.dilation_h);
    column_spans_ = spans(out.width, in.width, n.kernel_w, n.stride_w, n.pad_w, n.dilation_w);
    const WeightGradient gradient = {
        n.groups, forward.inputs, forward.outputs, n.kernel_h, n.kernel_w, n.stride_h, n.stride_w,
        n.pad_h, n.pad_w, n.dilation_h, n.dilation_w, Method::direct, in.height, in.width, in.plane(), out.height, out.width,
        out.plane(), row_spans_.data(), column_spans_.data()};
    for (int images = 0; images <= kSmallBatch; images++) {
      forward_[images] = with_fastest_method(forward, images ? images : kLanes);
      backward_[images] = with_fastest_method(backward, images ? images : kLanes);
    }
    for (int lanes = 1; lanes <= kLanes; lanes++) {
      gradients_[lanes] = gradient;
      gradients_[lanes].method = fastest_method(gradient, lanes, k.width);
    }
    const auto max_packed_size = [&](const Convolution* of) {
      long size = 0;
      for (int images = 0; images <= kSmallBatch; images++)
        size = std::max(size, k.packed_size(of[images]));
      return size;
    };
    packed_ = allocate(max_packed_size(forward_));
    if (in.needs_gradient) back_packed_ = allocate(max_packed_size(backward_));
  }

  long scratch() const override {
    long size = out_.channels;
    for (int images = 0; images <= kSmallBatch; images++)
      size = std::max(
          {size, k_.convolve_scratch(forward_[images]), k_.convolve_scratch(backward_[images])});
    for (int lanes = 1; lanes <= kLanes; lanes++)
      size = std::max(size, k_.weight_scratch(gradients_[lanes]));
    return size;
  }

  void prepare(const Step& s) override {
    // In evaluation, an image's logits must not depend on the number of images in the batch.
    small_batch_ = s.training && s.images <= kSmallBatch ? s.images : 0;
    const float* weights = s.parameters + n_.weight;
    k_.pack(forward_[small_batch_], weights, false, packed_.get());
    if (s.training && in_.needs_gradient)
      k_.pack(backward_[small_batch_], weights, true, back_packed_.get());
  }

  void fold_norm(const Operation& norm) override { folded_norm_ = &norm; }

  void forward(const Step& s, const Chunk& c) override {
    Epilogue epilogue;
    epilogue.bias = n_.bias < 0 ? nullptr : s.parameters + n_.bias;
    epilogue.activation = f_.activation;
    epilogue.slope = f_.slope;
    long out = out_.value;
    if (folded_norm_ && !s.training) folded_norm_->set_epilogue(&epilogue, &out);
    k_.convolve(forward_[small_batch_], c.slab + in_.value, packed_.get(), epilogue, c.lanes,
                s.scratch + c.thread * s.scratch_stride, c.slab + out);
  }

  void backward(const Step& s, const Chunk& c) override {
    float* dout = c.slab + out_.gradient;
    if (f_.activation != Activation::none && !f_.activated_backward) {
      const long plane = out_.plane() * kLanes;
      for (int i = 0; i < out_.channels; i++)
        k_.activate_backward(f_.activation, f_.slope, c.slab + out_.value + i * plane,
                             dout + i * plane, dout + i * plane, out_.cells(), false);
    }
    float* part = s.gradients + c.part * s.gradient_stride;
    float* scratch = s.scratch + c.thread * s.scratch_stride;
    const bool add = !c.first || f_.add_weights;
    k_.weight_gradient(gradients_[c.lanes], c.slab + in_.value, dout, c.lanes, scratch, add,
                       part + n_.weight);
    if (n_.bias >= 0) {
      float* biases = add ? scratch : part + n_.bias;
      k_.channel_sums(dout, out_.channels, out_.cells(), out_.plane(), biases);
      if (add)
        for (int i = 0; i < out_.channels; i++) part[n_.bias + i] += biases[i];
    }
    if (s.profile) s.profile->split(c.thread, Pass::weight_gradient);
    if (in_.needs_gradient)
      k_.convolve(backward_[small_batch_], dout, back_packed_.get(), {.add = f_.add}, c.lanes,
                  scratch, c.slab + in_.gradient);
  }

 private:
  Convolution with_fastest_method(Convolution c, int images) const {
    c.method = fastest_method(c, images, k_.width);
    return c;
  }

  Convolution forward_of(std::vector<Taps>* rows, std::vector<Taps>* columns) const {
    *rows = taps(out_.height, in_.height, n_.kernel_h, n_.stride_h, n_.pad_h, n_.dilation_h);
    *columns = taps(out_.width, in_.width, n_.kernel_w, n_.stride_w, n_.pad_w, n_.dilation_w);
    return {n_.groups, in_.channels / n_.groups, out_.channels / n_.groups, n_.kernel_h,
            n_.kernel_w, 1, 1, n_.dilation_h, n_.dilation_w, n_.stride_h, n_.stride_w, n_.pad_h, n_.pad_w, Method::direct,
            in_.height, in_.width, in_.plane(), out_.height, out_.width, out_.plane(),
            rows->data(), columns->data()};
  }

  Convolution backward_of(std::vector<Taps>* rows, std::vector<Taps>* columns) const {
    *rows = back_taps(in_.height, out_.height, n_.kernel_h, n_.stride_h, n_.pad_h, n_.dilation_h);
    *columns = back_taps(in_.width, out_.width, n_.kernel_w, n_.stride_w, n_.pad_w, n_.dilation_w);
    const int shared_h = std::gcd(n_.stride_h, n_.dilation_h);
    const int shared_w = std::gcd(n_.stride_w, n_.dilation_w);
    return {n_.groups, out_.channels / n_.groups, in_.channels / n_.groups, n_.kernel_h,
            n_.kernel_w, n_.stride_h / shared_h, n_.stride_w / shared_w, n_.dilation_h / shared_h,
            n_.dilation_w / shared_w, n_.stride_h == 1 ? 1 : 0, n_.stride_w == 1 ? 1 : 0,
            (n_.kernel_h - 1) * n_.dilation_h - n_.pad_h,
            (n_.kernel_w - 1) * n_.dilation_w - n_.pad_w,
            Method::direct, out_.height, out_.width, out_.plane(), in_.height, in_.width,
            in_.plane(), rows->data(), columns->data()};
  }

  // Tap k of output x reads input x · stride − pad + k · dilation.
  static std::vector<Taps> taps(int size, int length, int kernel, int stride, int pad,
                                int dilation) {
    std::vector<Taps> all;
    for (int x = 0; x < size; x++) {
      const int start = x * stride - pad, left = length - 1 - start;
      const int k = start < 0 ? (-start + dilation - 1) / dilation : 0;
      const int end = left < 0 ? 0 : std::min(kernel, left / dilation + 1);
      all.push_back({k < end ? k : 0, k < end ? end - k : 0, k < end ? start + k * dilation : 0});
    }
    return all;
  }

  // The outputs that an input contributes to. Taps are numbered from the kernel's end, so that
  // positions increase with the taps.
  static std::vector<Taps> back_taps(int size, int outputs, int kernel, int stride, int pad,
                                     int dilation) {
    std::vector<Taps> all;
    for (int x = 0; x < size; x++) {
      Taps found = {0, 0, 0};
      for (int y = 0; y < outputs; y++) {
        const int offset = x + pad - y * stride, k = offset / dilation;
        if (offset < 0 || offset % dilation || k >= kernel) continue;
        if (!found.count) found = {kernel - 1 - k, 0, y};
        found.count++;
      }
      all.push_back(found);
    }
    return all;
  }

  static std::vector<Span> spans(int size, int length, int kernel, int stride, int pad,
                                 int dilation) {
    std::vector<Span> all;
    for (int k = 0; k < kernel; k++) {
      const int offset = k * dilation - pad;
      const int first = offset < 0 ? (-offset + stride - 1) / stride : 0;
      const int last_offset = length - 1 - offset;
      int end = last_offset < 0 ? 0 : last_offset / stride + 1;
      if (end > size) end = size;
      all.push_back({first < end ? first : end, end});
    }
    return all;
  }

  const Kernels& k_;
  const Node n_;
  const Fusion f_;
  const Tensor in_, out_;
  // Indexed by the number of images in a small batch; index 0 is for any other batch.
  Convolution forward_[kSmallBatch + 1], backward_[kSmallBatch + 1];
  int small_batch_ = 0;  // index of the current step
  const Operation* folded_norm_ = nullptr;
  WeightGradient gradients_[kLanes + 1];  // indexed by the number of lanes in use
  std::vector<Taps> rows_, columns_, back_rows_, back_columns_;
  std::vector<Span> row_spans_, column_spans_;
  AlignedBuffer packed_, back_packed_;
};

}  // namespace

std::unique_ptr<Operation> make_convolution(const Kernels& k, const Node& n, const Fusion& f,
                                            const Tensor& in, const Tensor& out) {
  return std::make_unique<Conv>(k, n, f, in, out);
}

}  // namespace kilonet
