// Batch norm, dropout and max pooling in one, where every input is in exactly one window: what lies
// between them is computed anew wherever it is needed and never stored. On the largest tensors of a
// network that saves more than half of the memory traffic.

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

// A window of H × W, or of as many as the pool says where H is 0. Its cells are visited in the order
// in which PyTorch looks for the largest.
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

  // What the pool sees of a cell.
  Floats value(const float* x, long cell, int lane) const {
    const Floats v = load(x + cell * kLanes + lane) * scale_ + shift_;
    if constexpr (Masked) return kept(bits_[cell], lane, v);
    return v;
  }

  Floats largest(const float* x, long first, int lane) const {
    // The window two below.
    for (int i = 0; i < height(); i++)
      for (int j = 0; j < width(); j++) fetch(x + cell(first, i + 2 * height(), j) * kLanes + lane);
    Floats most = value(x, first, lane);
    for (int i = 0; i < height(); i++)
      for (int j = 0; j < width(); j++) {
        const Floats v = value(x, cell(first, i, j), lane);
        most = ((v > most) | (v != v)) ? v : most;
      }
    return most;
  }

  // What comes back to a cell of `left`, the window's gradient, of which it takes its part.
  Floats returned(const float* x, long cell, int lane, Floats most, Floats* left) const {
    const Ints here = value(x, cell, lane) == most;
    const Floats g = here ? *left : Floats{};
    *left = here ? Floats{} : *left;
    if constexpr (Masked) return kept(bits_[cell], lane, g);
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
        store(y + lane, windows.largest(x, windows.cell(i, j), lane));
}

template <bool Masked, int H, int W>
void sums(const Pooling& p, const NormPool& n, const float* x, const float* dy, int lanes,
          double* sum, double* sum_x) {
  const Windows<Masked, H, W> windows(p, n);
  const float keep_scale = n.keep_scale, mean = n.mean;
  constexpr int kEach = 2;  // sums of even and of odd cells
  Floats s[kEach][kVectors] = {}, sx[kEach][kVectors] = {};
  for (int i = 0; i < p.out_height; i++)
    for (int j = 0; j < p.out_width; j++, dy += kLanes) {
      const long first = windows.cell(i, j);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) {
        const int lane = v * kWidth;
        const Floats most = windows.largest(x, first, lane);
        Floats left = load(dy + lane) * keep_scale;
        for (int h = 0; h < windows.height(); h++)
          for (int w = 0; w < windows.width(); w++) {
            const long cell = windows.cell(first, h, w);
            const Floats g = windows.returned(x, cell, lane, most, &left);
            s[w % kEach][v] += g;
            sx[w % kEach][v] += g * (load(x + cell * kLanes + lane) - mean);
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
void backward(const Pooling& p, const NormPool& n, const NormGradient& gradient, float below,
              const float* x, const float* dy, float* dx, int lanes, bool add) {
  const Windows<Masked, H, W> windows(p, n);
  const float keep_scale = n.keep_scale;
  const NormGradient of = gradient;
  for (int i = 0; i < p.out_height; i++)
    for (int j = 0; j < p.out_width; j++, dy += kLanes) {
      const long first = windows.cell(i, j);
#pragma GCC unroll 4
      for (int lane = 0; lane < kLanes; lane += kWidth) {
        const Floats most = windows.largest(x, first, lane);
        Floats left = load(dy + lane) * keep_scale;
        for (int h = 0; h < windows.height(); h++)
          for (int w = 0; w < windows.width(); w++) {
            const long cell = windows.cell(first, h, w), at = cell * kLanes + lane;
            const Floats g = windows.returned(x, cell, lane, most, &left);
            const Floats value = load(x + at);
            Floats d = of.scale * g - (of.constant + of.slope * (value - of.mean));
            d = value > 0.0f ? d : d * below;
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
  // What the activation's derivative is where its output is not positive.
  const float below = activation == Activation::relu         ? 0.0f
                      : activation == Activation::leaky_relu ? slope
                                                             : 1.0f;
  const auto run = two_by_two(p) ? (n.bits ? backward<true, 2, 2> : backward<false, 2, 2>)
                                 : (n.bits ? backward<true, 0, 0> : backward<false, 0, 0>);
  run(p, n, gradient, below, x, dy, dx, lanes, add);
}

}  // namespace kilonet::KILONET_ISA
