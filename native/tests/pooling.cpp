// Tests max and average pooling, forward and backward.

#include "check.h"

namespace kilonet::tests {
namespace {

// Kernels 1 to 7, strides 1 to 7, and padding of at most half a kernel, as PyTorch allows.
Pooling pooling(Random& random) {
  for (;;) {
    Pooling p = {};
    p.channels = random.integer(1, 40);
    p.kernel_h = random.integer(1, 7);
    p.kernel_w = random.boolean() ? p.kernel_h : random.integer(1, 7);
    const bool tiled = random.boolean();
    p.stride_h = tiled ? p.kernel_h : random.integer(1, 7);
    p.stride_w = tiled ? p.kernel_w : random.integer(1, 7);
    p.pad_h = random.boolean() ? 0 : random.integer(0, p.kernel_h / 2);
    p.pad_w = random.boolean() ? 0 : random.integer(0, p.kernel_w / 2);
    p.in_height = random.integer(1, 17);
    p.in_width = random.integer(1, 17);
    const int height = p.in_height + 2 * p.pad_h - p.kernel_h;
    const int width = p.in_width + 2 * p.pad_w - p.kernel_w;
    if (height < 0 || width < 0) continue;
    p.out_height = height / p.stride_h + 1;
    p.out_width = width / p.stride_w + 1;
    return p;
  }
}

void begin(Checker& checker, const Pooling& p, bool add) {
  checker.begin("%d channels, kernel %dx%d, stride %dx%d, pad %dx%d, %dx%d to %dx%d, add %d",
                p.channels, p.kernel_h, p.kernel_w, p.stride_h, p.stride_w, p.pad_h, p.pad_w,
                p.in_height, p.in_width, p.out_height, p.out_width, add);
}

// Calls visit(input cell) for the cells of an output's window that are inside the input, row by
// row.
template <typename Visit>
void window(const Pooling& p, int out, Visit visit) {
  const int top = out / p.out_width * p.stride_h - p.pad_h;
  const int left = out % p.out_width * p.stride_w - p.pad_w;
  for (int y = top; y < top + p.kernel_h; y++)
    for (int x = left; x < left + p.kernel_w; x++)
      if (y >= 0 && y < p.in_height && x >= 0 && x < p.in_width) visit(y * p.in_width + x);
}

// Few different values, so that windows have several maxima.
void fill_with_ties(ChunkTensor& x, Random& random) {
  for (int c = 0; c < x.channels; c++)
    for (long i = 0; i < long(x.cells) * kLanes; i++) x.at(c, 0)[i] = 0.5f * float(random.integer(-3, 3));
}

int argmax(const Pooling& p, const ChunkTensor& in, int channel, int out, int lane) {
  int best = -1;
  window(p, out, [&](int i) {
    if (best < 0 || in.at(channel, i)[lane] > in.at(channel, best)[lane]) best = i;
  });
  return best;
}

void max_pool_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    Pooling p = pooling(random);
    begin(checker, p, false);
    ChunkTensor in(p.channels, p.in_height * p.in_width, random.integer(0, 2));
    ChunkTensor out(p.channels, p.out_height * p.out_width, random.integer(0, 2));
    p.in_plane = in.plane;
    p.out_plane = out.plane;
    in.fill(random, -2.0f, 2.0f);
    // A pool must not hide that the training diverged.
    const int broken = random.integer(0, kLanes - 1);
    for (int c = 0; c < in.channels; c++) in.at(c, random.integer(0, in.cells - 1))[broken] = NAN;
    k.max_pool(p, in.data(), out.data());
    for (int c = 0; c < p.channels; c++)
      for (int o = 0; o < out.cells; o++)
        for (int lane = 0; lane < kLanes; lane++) {
          double expected = in.at(c, argmax(p, in, c, o, lane))[lane];
          window(p, o, [&](int i) { if (std::isnan(in.at(c, i)[lane])) expected = NAN; });
          checker.near(out.at(c, o)[lane], expected, 0.0, o);
        }
    checker.expect(out.guards_intact(), "wrote outside the output");
  }
}

void max_pool_backward_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    Pooling p = pooling(random);
    const bool once = p.stride_h == p.kernel_h && p.stride_w == p.kernel_w && !p.pad_h && !p.pad_w &&
                      p.out_height * p.kernel_h == p.in_height && p.out_width * p.kernel_w == p.in_width;
    const bool add = !once || random.boolean();
    begin(checker, p, add);
    ChunkTensor in(p.channels, p.in_height * p.in_width, random.integer(0, 2));
    ChunkTensor out(p.channels, p.out_height * p.out_width, random.integer(0, 2));
    ChunkTensor dout(p.channels, out.cells, int(out.plane) - out.cells);
    ChunkTensor din(p.channels, in.cells, int(in.plane) - in.cells);
    p.in_plane = in.plane;
    p.out_plane = out.plane;
    fill_with_ties(in, random);
    dout.fill(random, -1.0f, 1.0f);
    if (add) din.fill(random, -1.0f, 1.0f);
    std::vector<double> sum(long(p.channels) * in.cells * kLanes), size(sum.size());
    for (int c = 0; c < p.channels; c++)
      for (int i = 0; i < in.cells; i++)
        for (int lane = 0; lane < kLanes && add; lane++) {
          const long at = (long(c) * in.cells + i) * kLanes + lane;
          sum[at] = din.at(c, i)[lane];
          size[at] = std::fabs(sum[at]);
        }
    for (int c = 0; c < p.channels; c++)
      for (int o = 0; o < out.cells; o++)
        for (int lane = 0; lane < kLanes; lane++) {
          const int best = argmax(p, in, c, o, lane);
          const long at = (long(c) * in.cells + best) * kLanes + lane;
          out.at(c, o)[lane] = in.at(c, best)[lane];
          sum[at] += dout.at(c, o)[lane];
          size[at] += std::fabs(dout.at(c, o)[lane]);
        }
    k.max_pool_backward(p, in.data(), out.data(), dout.data(), din.data(), add);
    for (int c = 0; c < p.channels; c++)
      for (int i = 0; i < in.cells; i++)
        for (int lane = 0; lane < kLanes; lane++) {
          const long at = (long(c) * in.cells + i) * kLanes + lane;
          checker.near(din.at(c, i)[lane], sum[at],
                       add ? sum_bound(p.kernel_h * p.kernel_w, size[at]) : 0.0, at);
        }
    checker.expect(din.guards_intact(), "wrote outside the gradient");
  }
}

void average_pool_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    Pooling p = pooling(random);
    begin(checker, p, false);
    ChunkTensor in(p.channels, p.in_height * p.in_width, random.integer(0, 2));
    ChunkTensor out(p.channels, p.out_height * p.out_width, random.integer(0, 2));
    p.in_plane = in.plane;
    p.out_plane = out.plane;
    const int lanes = random.boolean() ? kLanes : random.integer(1, kLanes);
    in.fill(random, -2.0f, 2.0f, lanes);
    k.average_pool(p, in.data(), out.data());
    const double taps = p.kernel_h * p.kernel_w;  // padding counts as zeros
    for (int c = 0; c < p.channels; c++)
      for (int o = 0; o < out.cells; o++)
        for (int lane = 0; lane < lanes; lane++) {
          double sum = 0.0, size = 0.0;
          window(p, o, [&](int i) {
            sum += in.at(c, i)[lane];
            size += std::fabs(in.at(c, i)[lane]);
          });
          checker.near(out.at(c, o)[lane], sum / taps, sum_bound(taps, size) / taps, o);
        }
    checker.expect(out.guards_intact(), "wrote outside the output");
  }
}

void average_pool_backward_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    Pooling p = pooling(random);
    begin(checker, p, true);
    ChunkTensor dout(p.channels, p.out_height * p.out_width, random.integer(0, 2));
    ChunkTensor din(p.channels, p.in_height * p.in_width, random.integer(0, 2));
    p.in_plane = din.plane;
    p.out_plane = dout.plane;
    dout.fill(random, -1.0f, 1.0f);
    din.fill(random, -1.0f, 1.0f);
    const double taps = p.kernel_h * p.kernel_w;
    std::vector<double> sum(long(p.channels) * din.cells * kLanes), size(sum.size());
    for (int c = 0; c < p.channels; c++)
      for (int lane = 0; lane < kLanes; lane++) {
        const auto at = [&](int i) { return (long(c) * din.cells + i) * kLanes + lane; };
        for (int i = 0; i < din.cells; i++) {
          sum[at(i)] = din.at(c, i)[lane];
          size[at(i)] = std::fabs(sum[at(i)]);
        }
        for (int o = 0; o < dout.cells; o++)
          window(p, o, [&](int i) {
            sum[at(i)] += dout.at(c, o)[lane] / taps;
            size[at(i)] += std::fabs(dout.at(c, o)[lane] / taps);
          });
      }
    k.average_pool_backward(p, dout.data(), din.data());
    for (int c = 0; c < p.channels; c++)
      for (int i = 0; i < din.cells; i++)
        for (int lane = 0; lane < kLanes; lane++) {
          const long at = (long(c) * din.cells + i) * kLanes + lane;
          checker.near(din.at(c, i)[lane], sum[at], sum_bound(taps, size[at]), at);
        }
    checker.expect(din.guards_intact(), "wrote outside the gradient");
  }
}

}  // namespace

std::vector<Test> pooling_tests() {
  return {{"max_pool", 60, max_pool_tests},
          {"max_pool_backward", 50, max_pool_backward_tests},
          {"average_pool", 50, average_pool_tests},
          {"average_pool_backward", 40, average_pool_backward_tests}};
}

}  // namespace kilonet::tests
