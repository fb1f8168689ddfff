// A cost model for the methods of a convolution: the expected nanoseconds for a chunk on one thread
// of the machine in docs/engine.md, with vectors of 16. The constants were fitted to measurements
// of a few dozen layers, to within about a fifth. Only their ratios matter. Narrower vectors change
// those little, except for the lanes that Method::channels leaves idle.

#include "methods.h"

#include <cmath>

namespace kilonet {
namespace {

// Vector multiply-adds per nanosecond.
constexpr double kDirect = 8.2, kWinograd = 7.7, kChannels = 6.7;
constexpr double kGradientDirect = 6.7, kGradientWinograd = 4.2, kGradientChannels = 7.2;
// To transpose one vector of each of 16 channels.
constexpr double kTranspose = 22.0;

double ceil_div(int a, int b) { return double((a + b - 1) / b); }

// Costs of F(m × m, 3 × 3): to transform a channel's patch, its tile, and a kernel's gradient.
struct Winograd {
  Method method;
  int m;
  double patch, tile, kernel;
};
constexpr Winograd kTileSizes[] = {{Method::winograd2, 2, 13, 7, 10},
                                   {Method::winograd4, 4, 42, 31, 28}};
// Vectors of a gradient's sums in the transformed domain that fit in half of the second-level
// cache, and the cost of a pass over one vector if they do not fit.
constexpr double kCachedVectors = 8192, kSpillCost = 0.5;

class MinCost {
 public:
  void consider(Method method, double cost) {
    if (cost >= cost_) return;
    cost_ = cost;
    method_ = method;
  }
  Method method() const { return method_; }

 private:
  Method method_ = Method::direct;
  double cost_ = INFINITY;
};

// Method::depthwise is the fastest wherever it applies: it wastes no loads, and no lanes that
// another method would use.
bool is_depthwise(int inputs, int outputs, int kernel_h, int kernel_w, int step_h, int step_w) {
  return inputs == 1 && outputs == 1 && kernel_h == 3 && kernel_w == 3 && step_h == 1 &&
         step_w == 1;
}

}  // namespace

Method fastest_method(const Convolution& c, int images, int width) {
  if (c.in_step_h > 1 || c.in_step_w > 1) return Method::direct;
  if (is_depthwise(c.inputs, c.outputs, c.kernel_h, c.kernel_w, c.y_step, c.x_step))
    return Method::depthwise;
  const double cells = double(c.out_height) * c.out_width;
  const double products = cells * c.kernel_h * c.kernel_w * c.inputs;
  const double vectors_per_cell = double(kLanes) / width;
  MinCost best;
  best.consider(Method::direct, vectors_per_cell * products * c.outputs / kDirect);
  if (images <= kSmallBatch) {
    const double vectors = ceil_div(c.outputs, width);
    best.consider(Method::channels, products * vectors * images / kChannels +
                                        cells * vectors * kTranspose +
                                        double(c.in_height) * c.in_width * c.inputs * images);
  }
  if (c.kernel_h == 3 && c.kernel_w == 3 && c.y_step == 1 && c.x_step == 1)
    for (const auto& w : kTileSizes) {
      const double tiles = ceil_div(c.out_height, w.m) * ceil_div(c.out_width, w.m);
      const int positions = (w.m + 2) * (w.m + 2);
      best.consider(w.method, vectors_per_cell * tiles *
                                  (c.inputs * w.patch + c.outputs * w.tile +
                                   positions * c.inputs * c.outputs / kWinograd));
    }
  return best.method();
}

Method fastest_method(const WeightGradient& g, int images, int width) {
  if (g.dilation_h > 1 || g.dilation_w > 1) return Method::direct;
  if (is_depthwise(g.inputs, g.outputs, g.kernel_h, g.kernel_w, g.stride_h, g.stride_w))
    return Method::depthwise;
  const double cells = double(g.out_height) * g.out_width;
  const double vectors_per_cell = double(kLanes) / width;
  const double taps = double(g.kernel_h) * g.kernel_w, pairs = double(g.inputs) * g.outputs;
  MinCost best;
  // At the border, the kernel works tap by tap.
  const double border = g.pad_h || g.pad_w ? 1.3 : 1.0;
  best.consider(Method::direct,
                vectors_per_cell * (cells * taps * pairs * border / kGradientDirect +
                                    ceil_div(int(cells), 24) * g.kernel_h * g.inputs *
                                        ceil_div(g.outputs, 8) * 8.0 +
                                    taps * pairs * 0.7));
  const double vectors = ceil_div(g.outputs, width);
  best.consider(Method::channels, cells * taps * g.inputs * vectors * images / kGradientChannels +
                                      cells * vectors * kTranspose + taps * pairs * 0.15);
  if (g.kernel_h == 3 && g.kernel_w == 3 && g.stride_h == 1 && g.stride_w == 1)
    for (const auto& w : kTileSizes) {
      const double tiles = ceil_div(g.out_height, w.m) * ceil_div(g.out_width, w.m);
      const double sums = (w.m + 2) * (w.m + 2) * pairs;
      const double spill =
          sums > kCachedVectors ? ceil_div(int(tiles), 4) * sums * kSpillCost : 0.0;
      best.consider(w.method, vectors_per_cell *
                                  (tiles * (g.inputs + g.outputs) * w.patch +
                                   tiles * sums / kGradientWinograd + spill + pairs * w.kernel));
    }
  return best.method();
}

}  // namespace kilonet
