// Batch norm, dropout and max pooling fused, for pools in which every input is in exactly one
// window. The values between them are recomputed where they are needed and never stored. On the
// largest tensors of a network that saves more than half of the memory traffic.

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

// Windows of H × W, or of the pool's kernel size if H is 0. Cells are visited in the order in which
// PyTorch searches for the maximum.
template <bool Masked, int H, int W>
class Windows {
 public:
  Windows(const Pooling& p, const NormPool& n)
      : height_(p.kernel_h), width_(p.kernel_w), row_(p.in_width), scale_(splat(n.scale)),
        shift_(splat(n.shift)), bits_(n.bits) {}

  int height() const { return H ? H : height_; }
  int width() const { return H ? W : width_; }
  long cell(int window_y, int window_x) const {
    return long(window_y) * height() * row_ + long(window_x) * width();
  }
  long cell(long first, int i, int j) const { return first + long(i) * row_ + j; }

  // The pool's input at a cell.
  Floats value(const float* x, long cell, int lane) const {
    const Floats v = load(x + cell * kLanes + lane) * scale_ + shift_;
    if constexpr (Masked) return masked(bits_[cell], lane, v);
    return v;
  }

  Floats window_max(const float* x, long first, int lane) const {
    // Prefetch the window two below.
    for (int i = 0; i < height(); i++)
      for (int j = 0; j < width(); j++)
        prefetch(x + cell(first, i + 2 * height(), j) * kLanes + lane);
    Floats max = value(x, first, lane);
    for (int i = 0; i < height(); i++)
      for (int j = 0; j < width(); j++) {
        const Floats v = value(x, cell(first, i, j), lane);
        max = ((v > max) | (v != v)) ? v : max;
      }
    return max;
  }

  // The gradient to a cell. `remaining` is the window's gradient until its first maximum, which
  // takes all of it.
  Floats pool_backward(const float* x, long cell, int lane, Floats max, Floats* remaining) const {
    const Ints is_max = value(x, cell, lane) == max;
    const Floats g = is_max ? *remaining : Floats{};
    *remaining = is_max ? Floats{} : *remaining;
    if constexpr (Masked) return masked(bits_[cell], lane, g);
    return g;
  }

 private:
  const int height_, width_;
  const long row_;
  const Floats scale_, shift_;
  const uint32_t* const bits_;
};

template <bool Masked, int H, int W>
void forward(const Pooling& p, const NormPool& n, const float* x, float* y) {
  const Windows<Masked, H, W> windows(p, n);
  for (int i = 0; i < p.out_height; i++)
    for (int j = 0; j < p.out_width; j++, y += kLanes)
#pragma GCC unroll 4
      for (int lane = 0; lane < kLanes; lane += kWidth)
        store(y + lane, windows.window_max(x, windows.cell(i, j), lane));
}

template <bool Masked, int H, int W>
void sums(const Pooling& p, const NormPool& n, const float* x, const float* dy, int lanes,
          double* sum, double* sum_x) {
  const Windows<Masked, H, W> windows(p, n);
  const float keep_scale = n.keep_scale, mean = n.mean;
  constexpr int kParities = 2;  // separate sums of even and odd columns of the window
  Floats s[kParities][kVectors] = {}, sx[kParities][kVectors] = {};
  for (int i = 0; i < p.out_height; i++)
    for (int j = 0; j < p.out_width; j++, dy += kLanes) {
      const long first = windows.cell(i, j);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) {
        const int lane = v * kWidth;
        const Floats max = windows.window_max(x, first, lane);
        Floats remaining = load(dy + lane) * keep_scale;
        for (int h = 0; h < windows.height(); h++)
          for (int w = 0; w < windows.width(); w++) {
            const long cell = windows.cell(first, h, w);
            const Floats g = windows.pool_backward(x, cell, lane, max, &remaining);
            s[w % kParities][v] += g;
            sx[w % kParities][v] += g * (load(x + cell * kLanes + lane) - mean);
          }
      }
    }
  *sum = *sum_x = 0.0;
  for (int v = 0; v < kVectors; v++) {
    const Ints used = lanes_in_use(v * kWidth, lanes);
    *sum += lane_sum(used ? s[0][v] + s[1][v] : Floats{});
    *sum_x += lane_sum(used ? sx[0][v] + sx[1][v] : Floats{});
  }
}

template <bool Masked, int H, int W>
void backward(const Pooling& p, const NormPool& n, const NormGradient& gradient,
              float negative_slope, const float* x, const float* dy, float* dx, int lanes,
              bool add) {
  const Windows<Masked, H, W> windows(p, n);
  const float keep_scale = n.keep_scale;
  const NormGradient norm = gradient;
  for (int i = 0; i < p.out_height; i++)
    for (int j = 0; j < p.out_width; j++, dy += kLanes) {
      const long first = windows.cell(i, j);
#pragma GCC unroll 4
      for (int lane = 0; lane < kLanes; lane += kWidth) {
        const Floats max = windows.window_max(x, first, lane);
        Floats remaining = load(dy + lane) * keep_scale;
        for (int h = 0; h < windows.height(); h++)
          for (int w = 0; w < windows.width(); w++) {
            const long cell = windows.cell(first, h, w), at = cell * kLanes + lane;
            const Floats g = windows.pool_backward(x, cell, lane, max, &remaining);
            const Floats value = load(x + at);
            Floats d = norm.scale * g - (norm.constant + norm.slope * (value - norm.mean));
            d = value > 0.0f ? d : d * negative_slope;
            if (lanes < kLanes) d = lanes_in_use(lane, lanes) ? d : Floats{};
            store(dx + at, add ? load(dx + at) + d : d);
          }
      }
    }
}

inline bool two_by_two(const Pooling& p) { return p.kernel_h == 2 && p.kernel_w == 2; }

}  // namespace

void norm_pool(const Pooling& p, const NormPool& n, const float* x, float* y) {
  const auto run = two_by_two(p) ? (n.bits ? forward<true, 2, 2> : forward<false, 2, 2>)
                                 : (n.bits ? forward<true, 0, 0> : forward<false, 0, 0>);
  run(p, n, x, y);
}

void norm_pool_sums(const Pooling& p, const NormPool& n, const float* x, const float* dy, int lanes,
                    double* sum, double* sum_x) {
  const auto run = two_by_two(p) ? (n.bits ? sums<true, 2, 2> : sums<false, 2, 2>)
                                 : (n.bits ? sums<true, 0, 0> : sums<false, 0, 0>);
  run(p, n, x, dy, lanes, sum, sum_x);
}

void norm_pool_backward(const Pooling& p, const NormPool& n, const NormGradient& gradient,
                        Activation activation, float slope, const float* x, const float* dy,
                        float* dx, int lanes, bool add) {
  // The activation's derivative where its output is not positive.
  const float negative_slope = activation == Activation::relu         ? 0.0f
                               : activation == Activation::leaky_relu ? slope
                                                                      : 1.0f;
  const auto run = two_by_two(p) ? (n.bits ? backward<true, 2, 2> : backward<false, 2, 2>)
                                 : (n.bits ? backward<true, 0, 0> : backward<false, 0, 0>);
  run(p, n, gradient, negative_slope, x, dy, dx, lanes, add);
}

}  // namespace kilonet::KILONET_ISA
