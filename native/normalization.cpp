// The plan's normalizations: of a batch, which needs sums over it, and of each image by itself.

#include <cmath>

#include "plan.h"

namespace kilonet {
namespace {

class Norm final : public Operation {
 public:
  Norm(const Kernels& k, const Node& n, const Fusion& f, const Tensor& in, const Tensor& out)
      : k_(k), n_(n), f_(f), in_(in), out_(out), scale_(in.channels), shift_(in.channels),
        mean_(in.channels), inverse_(in.channels), gradient_(in.channels),
        keep_scale_(f.masked ? float(1.0 / (1.0 - f.p)) : 1.0f),
        pool_{1, f.pool_h, f.pool_w, f.pool_h, f.pool_w, 0, 0, in.height, in.width, in.plane(),
              out.height, out.width, out.plane()} {}

  bool has_reduction() const override { return true; }

  void reserve(int chunks) override {
    moments_.resize(long(chunks) * in_.channels);
    sums_.resize(2l * chunks * in_.channels);
  }

  void prepare(const Step& s) override {
    if (s.training) return;
    for (int c = 0; c < in_.channels; c++) {
      const double inverse = 1.0 / std::sqrt(double(s.buffers[n_.running_var + c]) + n_.eps);
      set_scale_shift(s, c, s.buffers[n_.running_mean + c], inverse, 1.0);
    }
  }

  void forward(const Step& s, const Chunk& c) override {
    if (f_.masked) draw_masks(k_, s, c, f_.p, f_.code, in_, masks_of(c));
    const float* x = c.slab + in_.value;
    for (int i = 0; i < in_.channels; i++)
      moments_[long(c.index) * in_.channels + i] =
          k_.moments(x + i * in_.plane() * kLanes, in_.cells(), c.lanes);
  }

  void reduce_forward(const Step& s) override {
    for (int i = 0; i < in_.channels; i++) {
      Moments all = moments_[i];
      for (int chunk = 1; chunk < s.chunks; chunk++) {
        const Moments& m = moments_[long(chunk) * in_.channels + i];
        const double count = all.count + m.count, delta = m.mean - all.mean;
        all.m2 += m.m2 + delta * delta * all.count * m.count / count;
        all.mean += delta * m.count / count;
        all.count = count;
      }
      const double variance = all.m2 / all.count;
      set_scale_shift(s, i, all.mean, 1.0 / std::sqrt(variance + n_.eps), keep_scale_);
      if (s.update_buffers) {
        float& mean = s.buffers[n_.running_mean + i];
        float& var = s.buffers[n_.running_var + i];
        const double momentum = s.norm_momentum < 0.0 ? double(n_.momentum) : s.norm_momentum;
        mean = float((1.0 - momentum) * mean + momentum * all.mean);
        var = float((1.0 - momentum) * var + momentum * all.m2 / (all.count - 1.0));
      }
    }
    count_ = double(s.images) * in_.cells();
  }

  bool can_fold() const override { return !f_.pool_h; }

  void set_epilogue(Epilogue* epilogue, long* out) const override {
    epilogue->scale = scale_.data();
    epilogue->shift = shift_.data();
    *out = out_.value;
  }

  void finish_forward(const Step& s, const Chunk& c) override {
    const std::uint32_t* bits = s.training ? masks_of(c) : nullptr;
    for (int i = 0; i < in_.channels; i++) {
      if (f_.pool_h)
        k_.norm_pool(pool_, norm_pool_args(i, bits), c.slab + in_.value + i * in_.plane() * kLanes,
                     c.slab + out_.value + i * out_.plane() * kLanes);
      else
        k_.affine(c.slab + in_.value + i * in_.plane() * kLanes, scale_[i], shift_[i], bits,
                c.slab + out_.value + i * out_.plane() * kLanes, in_.cells());
      if (bits) bits += in_.cells();
    }
  }

  void backward(const Step&, const Chunk& c) override {
    const std::uint32_t* bits = masks_of(c);
    double* sums = sums_.data() + 2l * c.index * in_.channels;
    for (int i = 0; i < in_.channels; i++, sums += 2) {
      if (f_.pool_h)
        k_.norm_pool_sums(
            pool_, norm_pool_args(i, bits), c.slab + in_.value + i * in_.plane() * kLanes,
            c.slab + out_.gradient + i * out_.plane() * kLanes, c.lanes, sums, sums + 1);
      else
        k_.norm_sums(c.slab + in_.value + i * in_.plane() * kLanes, mean_[i],
                     c.slab + out_.gradient + i * out_.plane() * kLanes, bits, keep_scale_,
                     in_.cells(), c.lanes, sums, sums + 1);
      if (bits) bits += in_.cells();
    }
  }

  void reduce_backward(const Step& s) override {
    for (int i = 0; i < in_.channels; i++) {
      double sum = 0.0, sum_x = 0.0;
      for (int chunk = 0; chunk < s.chunks; chunk++) {
        sum += sums_[2 * (long(chunk) * in_.channels + i)];
        sum_x += sums_[2 * (long(chunk) * in_.channels + i) + 1];
      }
      const double inverse = inverse_[i], scale = weight(s, i) * inverse;
      gradient_[i] = {mean_[i], float(scale), float(scale * sum / count_),
                      float(scale * inverse * inverse * sum_x / count_)};
      // The first part holds the whole gradient, the others hold zeros.
      for (int p = 0; p < s.parts; p++) {
        float* part = s.gradients + p * s.gradient_stride;
        if (n_.weight >= 0) part[n_.weight + i] = p ? 0.0f : float(sum_x * inverse);
        if (n_.bias >= 0) part[n_.bias + i] = p ? 0.0f : float(sum);
      }
    }
  }

  void finish_backward(const Step&, const Chunk& c) override {
    if (!in_.needs_gradient) return;
    const std::uint32_t* bits = masks_of(c);
    for (int i = 0; i < in_.channels; i++) {
      if (f_.pool_h)
        k_.norm_pool_backward(pool_, norm_pool_args(i, bits), gradient_[i], f_.activation, f_.slope,
                              c.slab + in_.value + i * in_.plane() * kLanes,
                              c.slab + out_.gradient + i * out_.plane() * kLanes,
                              c.slab + in_.gradient + i * in_.plane() * kLanes, c.lanes, f_.add);
      else
        k_.norm_backward(gradient_[i], c.slab + in_.value + i * in_.plane() * kLanes,
                         c.slab + out_.gradient + i * out_.plane() * kLanes, bits, keep_scale_,
                         f_.activation, f_.slope, c.slab + in_.gradient + i * in_.plane() * kLanes,
                         in_.cells(), c.lanes, f_.add);
      if (bits) bits += in_.cells();
    }
  }

 private:
  double weight(const Step& s, int c) const {
    return n_.weight < 0 ? 1.0 : s.parameters[n_.weight + c];
  }
  double bias(const Step& s, int c) const {
    return n_.bias < 0 ? 0.0 : s.parameters[n_.bias + c];
  }

  void set_scale_shift(const Step& s, int c, double mean, double inverse, double keep_scale) {
    const double scale = weight(s, c) * inverse;
    mean_[c] = float(mean);
    inverse_[c] = inverse;
    scale_[c] = float(keep_scale * scale);
    shift_[c] = float(keep_scale * (bias(s, c) - mean * scale));
  }

  NormPool norm_pool_args(int channel, const std::uint32_t* bits) const {
    return {scale_[channel], shift_[channel], mean_[channel], keep_scale_, bits};
  }

  std::uint32_t* masks_of(const Chunk& c) const {
    return f_.masked ? reinterpret_cast<std::uint32_t*>(c.slab + f_.mask) : nullptr;
  }

  const Kernels& k_;
  const Node n_;
  const Fusion f_;
  const Tensor in_, out_;
  std::vector<float> scale_, shift_, mean_;
  std::vector<double> inverse_;
  std::vector<NormGradient> gradient_;
  const float keep_scale_;
  const Pooling pool_;
  double count_ = 0;
  std::vector<Moments> moments_;
  std::vector<double> sums_;
};

// Normalizes each image by itself, so it needs no sums over the batch and is the same in evaluation.
class GroupNormalize final : public Operation {
 public:
  GroupNormalize(const Kernels& k, const Node& n, const Fusion& f, const Tensor& in,
                 const Tensor& out)
      : k_(k), n_(n), f_(f), in_(in), out_(out),
        group_{in.channels / n.groups, in.cells(), in.plane(), n.eps} {}

  long scratch() const override { return 2l * group_.channels; }

  void forward(const Step& s, const Chunk& c) override {
    for (int g = 0; g < n_.groups; g++)
      k_.group_norm(group_, c.slab + in_.value + at(g), parameters(s, n_.weight, g),
                    parameters(s, n_.bias, g), mean(c, g), inverse(c, g),
                    c.slab + out_.value + at(g));
  }

  void backward(const Step& s, const Chunk& c) override {
    float* dweight = s.scratch + c.thread * s.scratch_stride;
    float* dbias = dweight + group_.channels;
    for (int g = 0; g < n_.groups; g++) {
      k_.group_norm_backward(group_, c.slab + in_.value + at(g), mean(c, g), inverse(c, g),
                             parameters(s, n_.weight, g), c.slab + out_.gradient + at(g), c.lanes,
                             dweight, dbias,
                             in_.needs_gradient ? c.slab + in_.gradient + at(g) : nullptr, f_.add);
      add_to_part(s, c, n_.weight, g, dweight);
      add_to_part(s, c, n_.bias, g, dbias);
    }
  }

 private:
  long at(int group) const { return group * group_.channels * group_.plane * kLanes; }
  float* mean(const Chunk& c, int group) const {
    return c.slab + f_.statistics + 2l * group * kLanes;
  }
  float* inverse(const Chunk& c, int group) const { return mean(c, group) + kLanes; }

  const float* parameters(const Step& s, long offset, int group) const {
    return offset < 0 ? nullptr : s.parameters + offset + group * group_.channels;
  }

  void add_to_part(const Step& s, const Chunk& c, long offset, int group, const float* sums) const {
    if (offset < 0) return;
    float* part = s.gradients + c.part * s.gradient_stride + offset + group * group_.channels;
    for (int i = 0; i < group_.channels; i++) part[i] = c.first ? sums[i] : part[i] + sums[i];
  }

  const Kernels& k_;
  const Node n_;
  const Fusion f_;
  const Tensor in_, out_;
  const GroupNorm group_;
};

}  // namespace

std::unique_ptr<Operation> make_norm(const Kernels& k, const Node& n, const Fusion& f,
                                     const Tensor& in, const Tensor& out) {
  return std::make_unique<Norm>(k, n, f, in, out);
}

std::unique_ptr<Operation> make_group_norm(const Kernels& k, const Node& n, const Fusion& f,
                                           const Tensor& in, const Tensor& out) {
  return std::make_unique<GroupNormalize>(k, n, f, in, out);
}

}  // namespace kilonet
