// What each method is expected to take, in nanoseconds for a chunk on one thread of the machine of
// docs/engine.md, with vectors of 16. The constants were fitted to measurements of a few dozen
// layers, to within a fifth or so. Only their ratios matter; narrower vectors change those little,
// but for what channels leave idle.

#include "methods.h"

#include <cmath>

namespace kilonet {
namespace {

// Multiply-adds of a whole vector in a nanosecond.
constexpr double kImages = 8.2, kWinograd = 7.7, kChannels = 6.7;
constexpr double kGradientImages = 6.7, kGradientWinograd = 4.2, kGradientChannels = 7.2;
// To turn a vector of each of 16 channels around.
constexpr double kTurn = 22.0;

double over(int a, int b) { return double((a + b - 1) / b); }

// Of F(m × m, 3 × 3): the transforms of a channel's patch and tile, and of a kernel's gradient.
struct Winograd {
  Method method;
  int m;
  double patch, tile, kernel;
};
constexpr Winograd kTiles[] = {{Method::winograd2, 2, 13, 7, 10}, {Method::winograd4, 4, 42, 31, 28}};
// Of the vectors that a gradient's sums take in the transformed domain, half fit the second-level
// cache; beyond it, a pass over one takes so long.
constexpr double kCached = 8192, kSpilled = 0.5;

class Least {
 public:
  void offer(Method method, double cost) {
    if (cost >= cost_) return;
    cost_ = cost;
    method_ = method;
  }
  Method method() const { return method_; }

 private:
  Method method_ = Method::images;
  double cost_ = INFINITY;
};

}  // namespace

Method quickest(const Convolution& c, int images, int width) {
  const double cells = double(c.out_height) * c.out_width;
  const double products = cells * c.kernel_h * c.kernel_w * c.inputs;
  const double split = double(kLanes) / width;  // vectors of a cell
  Least least;
  least.offer(Method::images, split * products * c.outputs / kImages);
  if (images <= kFewLanes) {
    const double vectors = over(c.outputs, width);
    least.offer(Method::channels, products * vectors * images / kChannels +
                                      cells * vectors * kTurn +
                                      double(c.in_height) * c.in_width * c.inputs * images);
  }
  if (c.kernel_h == 3 && c.kernel_w == 3 && c.y_step == 1 && c.x_step == 1)
    for (const auto& w : kTiles) {
      const double tiles = over(c.out_height, w.m) * over(c.out_width, w.m);
      const int positions = (w.m + 2) * (w.m + 2);
      least.offer(w.method, split * tiles * (c.inputs * w.patch + c.outputs * w.tile +
                                     positions * c.inputs * c.outputs / kWinograd));
    }
  return least.method();
}

Method quickest(const WeightGradient& g, int images, int width) {
  const double cells = double(g.out_height) * g.out_width;
  const double split = double(kLanes) / width;
  const double taps = double(g.kernel_h) * g.kernel_w, pairs = double(g.inputs) * g.outputs;
  Least least;
  // What reaches past the image is done tap by tap.
  const double border = g.pad_h || g.pad_w ? 1.3 : 1.0;
  least.offer(Method::images, split * (cells * taps * pairs * border / kGradientImages +
                                       over(int(cells), 24) * g.kernel_h * g.inputs *
                                           over(g.outputs, 8) * 8.0 +
                                       taps * pairs * 0.7));
  const double vectors = over(g.outputs, width);
  least.offer(Method::channels, cells * taps * g.inputs * vectors * images / kGradientChannels +
                                    cells * vectors * kTurn + taps * pairs * 0.15);
  if (g.kernel_h == 3 && g.kernel_w == 3 && g.stride_h == 1 && g.stride_w == 1)
    for (const auto& w : kTiles) {
      const double tiles = over(g.out_height, w.m) * over(g.out_width, w.m);
      const double sums = (w.m + 2) * (w.m + 2) * pairs;
      const double spilled = sums > kCached ? over(int(tiles), 4) * sums * kSpilled : 0.0;
      least.offer(w.method, split * (tiles * (g.inputs + g.outputs) * w.patch +
                                     tiles * sums / kGradientWinograd + spilled +
                                     pairs * w.kernel));
    }
  return least.method();
}

}  // namespace kilonet
