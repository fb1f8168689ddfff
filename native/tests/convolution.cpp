// Tests convolutions and their gradients to input and weights, for every method, and channel sums.

#include <algorithm>
#include <numeric>

#include "check.h"

namespace kilonet::tests {
namespace {

constexpr long kMaxProducts = 250'000;  // per case and lane

bool is_winograd(Method m) { return m == Method::winograd2 || m == Method::winograd4; }

// A layer: the arguments of PyTorch's Conv2d, and the sizes of input and output.
struct Layer {
  int groups, inputs, outputs;  // channels per group
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
  int in_height, in_width;
  int out_height = 0, out_width = 0;
  int dilation_h = 1, dilation_w = 1;
  int extra_h = 0, extra_w = 0;  // padding at the end beyond pad_h and pad_w

  int in_cells() const { return in_height * in_width; }
  int out_cells() const { return out_height * out_width; }
  int kernel() const { return kernel_h * kernel_w; }
  long weights() const { return long(groups) * outputs * inputs * kernel(); }
  long products() const { return weights() * out_cells(); }
};

void begin(Checker& checker, const Layer& l, const char* more) {
  checker.begin(
      "%d groups of %d to %d channels, kernel %dx%d, stride %dx%d, pad %dx%d, "
      "%dx%d to %dx%d, dilation %dx%d, %dx%d more padding at the end%s",
      l.groups, l.inputs, l.outputs, l.kernel_h, l.kernel_w, l.stride_h, l.stride_w, l.pad_h,
      l.pad_w, l.in_height, l.in_width, l.out_height, l.out_width,
      l.dilation_h, l.dilation_w, l.extra_h, l.extra_w, more);
}

// A random layer: 1 to 40 channels, in turn for both inputs and outputs; kernels 1 to 7, strides 1
// to 3, any padding below the kernel's size, heights and widths 1 to 17. Winograd's algorithm and the
// depthwise method take 3 × 3 taps with stride 1; padding is up to 3 then. The direct method is dilated up to 4 times, with
// every stride. Padding at the end may be more, below the kernel's size. Sizes shrink until the plain loops are fast
// enough.
Layer random_layer(Random& random, int n, Method method) {
  for (;;) {
    Layer l = {};
    const int in = 1 + (n * 23 + n / 40) % 40, out = 1 + n % 40;
    l.groups = 1;
    if (random.integer(0, 3) == 0) {
      const int shared = random.integer(1, 40);
      if (in % shared == 0) l.groups = shared;
    }
    l.inputs = in / l.groups;
    l.outputs = l.groups == 1 ? out : std::max(1, out / l.groups);
    const int shape = random.integer(0, 5);
    l.kernel_h = shape < 2 ? 3 : shape == 2 ? 1 : random.integer(1, 7);
    l.kernel_w = shape < 3 ? l.kernel_h : random.integer(1, 7);
    const bool plain = random.boolean();
    l.stride_h = plain ? 1 : random.integer(1, 3);
    l.stride_w = plain ? 1 : random.integer(1, 3);
    l.pad_h = random.integer(0, l.kernel_h - 1);
    l.pad_w = random.integer(0, l.kernel_w - 1);
    if (random.integer(0, 9) == 0) l.pad_h = l.kernel_h;  // output rows that read only padding
    if (is_winograd(method)) {
      l.kernel_h = l.kernel_w = 3;
      l.stride_h = l.stride_w = 1;
      l.pad_h = random.integer(0, 3);
      l.pad_w = random.integer(0, 3);
    }
    if (method == Method::depthwise) {
      l.groups = in;
      l.inputs = l.outputs = 1;
      l.kernel_h = l.kernel_w = 3;
      l.stride_h = l.stride_w = 1;
      l.pad_h = random.integer(0, 3);
      l.pad_w = random.integer(0, 3);
    }
    if (method == Method::direct && random.boolean()) {
      l.dilation_h = random.integer(1, 4);
      l.dilation_w = random.integer(1, 4);
    }
    if (!is_winograd(method) && random.integer(0, 3) == 0) {
      l.extra_h = random.integer(0, l.kernel_h - 1);
      l.extra_w = random.integer(0, l.kernel_w - 1);
    }
    l.in_height = random.integer(1, 17);
    l.in_width = random.integer(1, 17);
    for (;;) {
      const int extent_h = (l.kernel_h - 1) * l.dilation_h + 1;
      const int extent_w = (l.kernel_w - 1) * l.dilation_w + 1;
      const int height = l.in_height + 2 * l.pad_h + l.extra_h - extent_h;
      const int width = l.in_width + 2 * l.pad_w + l.extra_w - extent_w;
      if (height < 0 || width < 0) break;  // try another layer
      l.out_height = height / l.stride_h + 1;
      l.out_width = width / l.stride_w + 1;
      if (l.products() <= kMaxProducts) return l;
      int& longer = l.in_height > l.in_width ? l.in_height : l.in_width;
      if (longer > 1) {
        longer--;
        continue;
      }
      break;
    }
  }
}

// Calls visit(weight, input channel, input cell, output channel, output cell) for each product.
template <typename Visit>
void products(const Layer& l, Visit visit) {
  for (int g = 0; g < l.groups; g++)
    for (int o = 0; o < l.outputs; o++)
      for (int i = 0; i < l.inputs; i++)
        for (int kh = 0; kh < l.kernel_h; kh++)
          for (int kw = 0; kw < l.kernel_w; kw++)
            for (int y = 0; y < l.out_height; y++)
              for (int x = 0; x < l.out_width; x++) {
                const int in_y = y * l.stride_h - l.pad_h + kh * l.dilation_h;
                const int in_x = x * l.stride_w - l.pad_w + kw * l.dilation_w;
                if (in_y < 0 || in_y >= l.in_height || in_x < 0 || in_x >= l.in_width) continue;
                const int out = g * l.outputs + o;
                visit((long(out) * l.inputs + i) * l.kernel() + kh * l.kernel_w + kw,
                      g * l.inputs + i, in_y * l.in_width + in_x, out, y * l.out_width + x);
              }
}

std::vector<Taps> forward_taps(int outputs, int inputs, int kernel, int stride, int pad,
                               int dilation) {
  std::vector<Taps> all(outputs);
  for (int x = 0; x < outputs; x++)
    for (int k = kernel - 1; k >= 0; k--) {
      const int position = x * stride - pad + k * dilation;
      if (position >= 0 && position < inputs) all[x] = {k, all[x].count + 1, position};
    }
  return all;
}

// Taps in reverse, so that positions increase with them.
std::vector<Taps> backward_taps(int outputs, int inputs, int kernel, int stride, int pad,
                               int dilation) {
  std::vector<Taps> all(inputs);
  for (int x = outputs - 1; x >= 0; x--)
    for (int k = 0; k < kernel; k++) {
      const int position = x * stride - pad + k * dilation;
      if (position >= 0 && position < inputs)
        all[position] = {kernel - 1 - k, all[position].count + 1, x};
    }
  return all;
}

std::vector<Span> spans(int outputs, int inputs, int kernel, int stride, int pad,
                               int dilation) {
  std::vector<Span> all(kernel);
  for (int k = 0; k < kernel; k++) {
    Span span = {outputs, outputs};
    for (int x = outputs - 1; x >= 0; x--) {
      const int position = x * stride - pad + k * dilation;
      if (position < 0 || position >= inputs) continue;
      if (span.first == outputs) span.end = x + 1;
      span.first = x;
    }
    all[k] = span;
  }
  return all;
}

double error_factor(Method m, int out_height, int out_width) {
  if (!is_winograd(m)) return 1.0;
  const int tile = m == Method::winograd4 ? 4 : 2;
  return (tile == 4 ? 3.0 : 1.0) * (out_height < tile ? 3.0 : 1.0) * (out_width < tile ? 3.0 : 1.0);
}

// Compares a kernel's output with Σ of products: at most `terms` products, whose absolute values
// add up to `size`. There is one bound per channel and lane, not per value: a kernel may compute a
// few neighboring positions together, as Winograd's does, and each position gets the rounding
// errors of all. Apart from that, F(2 × 2) needs no wider bound. For n inputs, the direct sum adds
// 9n products of size s one after the other, with rounding errors of about u·s·9n/√2 in total.
// Winograd's adds n products of size 2s at each of the 9 positions of an output, with errors of
// u·2s·n/√2 each; their signs are random, so the total is √9 times that: two thirds of the above.
// F(4 × 4) has products several times as large, which cancel: the norm of its error is about three
// times that of a direct sum, hence `error_factor`. If the output is smaller than a tile, the
// products also contain taps that no output uses; these cancel too.
void compare(Checker& checker, const ChunkTensor& found, const std::vector<double>& sum,
             const std::vector<double>& size, double terms, double error_factor, int lanes,
             const ChunkTensor* before) {
  for (int c = 0; c < found.channels; c++)
    for (int lane = 0; lane < lanes; lane++) {
      double max = 0.0;
      for (int i = 0; i < found.cells; i++)
        max = std::max(max, size[(long(c) * found.cells + i) * kLanes + lane]);
      for (int i = 0; i < found.cells; i++) {
        const long at = (long(c) * found.cells + i) * kLanes + lane;
        const double old = before ? before->at(c, i)[lane] : 0.0;
        checker.near(found.at(c, i)[lane], sum[at] + old,
                     error_factor * sum_bound(terms, max) + 2 * kUnit * std::fabs(old), at);
      }
    }
  checker.expect(found.guards_intact(), "wrote outside the output");
}

struct Sums {
  explicit Sums(long cells) : sum(cells * kLanes), size(cells * kLanes) {}
  void add(long cell, const float* values, double factor) {
    double* to = sum.data() + cell * kLanes;
    double* to_size = size.data() + cell * kLanes;
    for (int lane = 0; lane < kLanes; lane++) {
      const double product = values[lane] * factor;
      to[lane] += product;
      to_size[lane] += std::fabs(product);
    }
  }
  std::vector<double> sum, size;
};

int random_lanes(Random& random, Method method) {
  const int max = method == Method::channels ? kSmallBatch : kLanes;
  return random.boolean() ? max : random.integer(1, max);
}

// Method::channels must overwrite the old values of lanes without an image: later passes read them.
void expect_finite_idle_lanes(Checker& checker, const ChunkTensor& found, Method method,
                              int lanes) {
  if (method != Method::channels) return;
  bool numbers = true;
  for (int c = 0; c < found.channels; c++)
    for (int i = 0; i < found.cells; i++)
      for (int lane = lanes; lane < kLanes; lane++)
        numbers = numbers && std::isfinite(found.at(c, i)[lane]);
  checker.expect(numbers, "a lane without an image is not finite");
}

template <Method method>
void convolve_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const Layer l = random_layer(random, n, method);
    const Activation activation = Activation(random.integer(0, 2));
    const float slope = random.uniform(0.0f, 1.0f);
    const bool biased = random.boolean(), scaled = random.boolean(), add = random.boolean();
    const int lanes = random_lanes(random, method);
    char more[100];
    std::snprintf(more, sizeof more, ", activation %d, bias %d, scale %d, add %d, %d lanes",
                  int(activation), biased, scaled, add, lanes);
    begin(checker, l, more);

    const auto rows = forward_taps(l.out_height, l.in_height, l.kernel_h, l.stride_h, l.pad_h,
                                   l.dilation_h);
    const auto columns = forward_taps(l.out_width, l.in_width, l.kernel_w, l.stride_w, l.pad_w,
                                      l.dilation_w);
    ChunkTensor in(l.groups * l.inputs, l.in_cells(), random.integer(0, 2));
    ChunkTensor out(l.groups * l.outputs, l.out_cells(), random.integer(0, 2)),
        before(out.channels, out.cells, 0);
    const Convolution c = {l.groups, l.inputs, l.outputs, l.kernel_h, l.kernel_w, 1, 1, l.dilation_h,
                           l.dilation_w, l.stride_h, l.stride_w, l.pad_h, l.pad_w, method, l.in_height, l.in_width, in.plane,
                           l.out_height, l.out_width, out.plane, rows.data(), columns.data()};
    in.fill(random, -1.0f, 1.0f, lanes);
    Buffer<float> weights(l.weights()), bias(out.channels), packed(k.packed_size(c));
    Buffer<float> scratch(k.convolve_scratch(c));
    weights.fill(random, -1.0f, 1.0f);
    bias.fill(random, -1.0f, 1.0f);
    Buffer<float> scale(out.channels), shift(out.channels);
    scale.fill(random, -2.0f, 2.0f);
    shift.fill(random, -2.0f, 2.0f);
    if (add) out.fill(random, -1.0f, 1.0f);
    before.copy(out);
    k.pack(c, weights.data(), false, packed.data());
    checker.expect(packed.guards_intact(), "wrote outside the packed weights");
    const Epilogue epilogue = {
        biased ? bias.data() : nullptr,  activation, slope, scaled ? scale.data() : nullptr,
        scaled ? shift.data() : nullptr, add};
    k.convolve(c, in.data(), packed.data(), epilogue, lanes, scratch.data(), out.data());
    if (!add) expect_finite_idle_lanes(checker, out, method, lanes);
    checker.expect(scratch.guards_intact(), "wrote outside the scratch memory");

    Sums sums(long(out.channels) * out.cells);
    products(l, [&](long weight, int from, int from_cell, int to, int to_cell) {
      sums.add(long(to) * out.cells + to_cell, in.at(from, from_cell), weights[weight]);
    });
    for (int o = 0; o < out.channels; o++)
      for (long i = long(o) * out.cells * kLanes; i < long(o + 1) * out.cells * kLanes; i++) {
        if (biased) sums.sum[i] += bias[o];
        if (biased) sums.size[i] += std::fabs(bias[o]);
        const double negative_slope = activation == Activation::relu   ? 0.0
                                      : activation == Activation::none ? 1.0
                                                                       : double(slope);
        if (sums.sum[i] < 0.0) sums.sum[i] *= negative_slope;
        if (scaled) sums.sum[i] = scale[o] * sums.sum[i] + shift[o];
        if (scaled) sums.size[i] = std::fabs(scale[o]) * sums.size[i] + std::fabs(shift[o]);
      }
    compare(checker, out, sums.sum, sums.size, double(l.inputs) * l.kernel(),
            error_factor(method, l.out_height, l.out_width), lanes, add ? &before : nullptr);
  }
}

template <Method method>
void input_gradient_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const Layer l = random_layer(random, n, method);
    const bool add = random.boolean();
    const int lanes = random_lanes(random, method);
    char more[60];
    std::snprintf(more, sizeof more, ", add %d, %d lanes", add, lanes);
    begin(checker, l, more);

    const auto rows = backward_taps(l.out_height, l.in_height, l.kernel_h, l.stride_h, l.pad_h,
                                   l.dilation_h);
    const auto columns = backward_taps(l.out_width, l.in_width, l.kernel_w, l.stride_w, l.pad_w,
                                      l.dilation_w);
    ChunkTensor dout(l.groups * l.outputs, l.out_cells(), random.integer(0, 2));
    ChunkTensor din(l.groups * l.inputs, l.in_cells(), random.integer(0, 2)),
        before(din.channels, din.cells, 0);
    const int shared_h = std::gcd(l.stride_h, l.dilation_h);
    const int shared_w = std::gcd(l.stride_w, l.dilation_w);
    const Convolution c = {l.groups, l.outputs, l.inputs, l.kernel_h, l.kernel_w,
                           l.stride_h / shared_h, l.stride_w / shared_w, l.dilation_h / shared_h,
                           l.dilation_w / shared_w, l.stride_h == 1 ? 1 : 0,
                           l.stride_w == 1 ? 1 : 0, (l.kernel_h - 1) * l.dilation_h - l.pad_h,
                           (l.kernel_w - 1) * l.dilation_w - l.pad_w, method, l.out_height,
                           l.out_width, dout.plane, l.in_height, l.in_width, din.plane, rows.data(),
                           columns.data()};
    dout.fill(random, -1.0f, 1.0f, lanes);
    Buffer<float> weights(l.weights()), packed(k.packed_size(c));
    Buffer<float> scratch(k.convolve_scratch(c));
    weights.fill(random, -1.0f, 1.0f);
    if (add) din.fill(random, -1.0f, 1.0f);
    before.copy(din);
    k.pack(c, weights.data(), true, packed.data());
    checker.expect(packed.guards_intact(), "wrote outside the packed weights");
    Epilogue epilogue;
    epilogue.add = add;
    k.convolve(c, dout.data(), packed.data(), epilogue, lanes, scratch.data(), din.data());
    if (!add) expect_finite_idle_lanes(checker, din, method, lanes);
    checker.expect(scratch.guards_intact(), "wrote outside the scratch memory");

    Sums sums(long(din.channels) * din.cells);
    products(l, [&](long weight, int to, int to_cell, int from, int from_cell) {
      sums.add(long(to) * din.cells + to_cell, dout.at(from, from_cell), weights[weight]);
    });
    compare(checker, din, sums.sum, sums.size, double(l.outputs) * l.kernel(),
            error_factor(method, l.in_height, l.in_width), lanes, add ? &before : nullptr);
  }
}

void weight_gradient_case(const Kernels& k, Random& random, const Layer& l, Method method,
                          int lanes, Checker& checker) {
  const bool add = random.boolean();
  char more[40];
  std::snprintf(more, sizeof more, ", add %d, %d lanes", add, lanes);
  begin(checker, l, more);

  const auto rows = spans(l.out_height, l.in_height, l.kernel_h, l.stride_h, l.pad_h,
                                   l.dilation_h);
  const auto columns = spans(l.out_width, l.in_width, l.kernel_w, l.stride_w, l.pad_w,
                                      l.dilation_w);
  ChunkTensor in(l.groups * l.inputs, l.in_cells(), random.integer(0, 2));
  ChunkTensor dout(l.groups * l.outputs, l.out_cells(), random.integer(0, 2));
  const WeightGradient g = {l.groups, l.inputs, l.outputs, l.kernel_h, l.kernel_w, l.stride_h,
                            l.stride_w, l.pad_h, l.pad_w, l.dilation_h, l.dilation_w, method,
                            l.in_height, l.in_width, in.plane, l.out_height, l.out_width, dout.plane, rows.data(), columns.data()};
  in.fill(random, -1.0f, 1.0f);
  // Lanes without an image hold zeros, as in all gradients since the loss's.
  for (int c = 0; c < dout.channels; c++)
    for (int i = 0; i < dout.cells; i++)
      for (int lane = 0; lane < kLanes; lane++)
        dout.at(c, i)[lane] = lane < lanes ? random.uniform(-1.0f, 1.0f) : 0.0f;
  Buffer<float> scratch(k.weight_scratch(g)), gradient(l.weights());
  std::vector<double> sum(l.weights()), size(l.weights());
  if (add) gradient.fill(random, -1.0f, 1.0f);
  for (long i = 0; i < l.weights() && add; i++) {
    sum[i] = gradient[i];
    size[i] = std::fabs(sum[i]);
  }
  k.weight_gradient(g, in.data(), dout.data(), lanes, scratch.data(), add, gradient.data());
  std::vector<long> terms(l.weights());
  products(l, [&](long weight, int from, int from_cell, int to, int to_cell) {
    const float *x = in.at(from, from_cell), *d = dout.at(to, to_cell);
    terms[weight] += kLanes;
    for (int lane = 0; lane < lanes; lane++) {
      sum[weight] += double(x[lane]) * d[lane];
      size[weight] += std::fabs(double(x[lane]) * d[lane]);
    }
  });
  // The bound of a kernel is that of its largest tap, as in `compare`.
  for (long first = 0; first < l.weights(); first += l.kernel()) {
    const double max = *std::max_element(&size[first], &size[first] + l.kernel());
    const double count = double(*std::max_element(&terms[first], &terms[first] + l.kernel()));
    for (long i = first; i < first + l.kernel(); i++)
      checker.near(gradient[i], sum[i],
                   error_factor(method, l.out_height, l.out_width) * sum_bound(count, max), i);
  }
  checker.expect(gradient.guards_intact(), "wrote outside the gradient");
  checker.expect(scratch.guards_intact(), "wrote outside the scratch memory");
}

template <Method method>
void weight_gradient_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const Layer l = random_layer(random, n, method);
    const int lanes = random.boolean() ? kLanes : random.integer(1, kLanes);
    weight_gradient_case(k, random, l, method, lanes, checker);
  }
}

// Linear layers: planes of one cell. All numbers of inputs, outputs and lanes; some groups, and
// some strides that read only the first cell of a larger plane.
void linear_gradient_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    Layer l = {};
    l.groups = random.integer(0, 4) ? 1 : random.integer(2, 3);
    l.inputs = 1 + (n * 23 + n / 40) % 40;
    l.outputs = 1 + n % 40;
    l.kernel_h = l.kernel_w = l.out_height = l.out_width = 1;
    const bool strided = random.integer(0, 4) == 0;
    l.in_height = strided ? random.integer(1, 3) : 1;
    l.in_width = strided ? random.integer(1, 3) : 1;
    l.stride_h = l.stride_w = strided ? 3 : 1;
    weight_gradient_case(k, random, l, Method::direct, 1 + n % kLanes, checker);
  }
}

void channel_sums_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    ChunkTensor x(random.integer(1, 40), random.integer(1, 289), random.integer(0, 2));
    checker.begin("%d channels of %d cells", x.channels, x.cells);
    x.fill(random, -1.0f, 1.0f);
    Buffer<float> sums(x.channels);
    k.channel_sums(x.data(), x.channels, x.cells, x.plane, sums.data());
    for (int c = 0; c < x.channels; c++) {
      double sum = 0.0, size = 0.0;
      for (long i = 0; i < long(x.cells) * kLanes; i++) {
        sum += x.at(c, 0)[i];
        size += std::fabs(x.at(c, 0)[i]);
      }
      checker.near(sums[c], sum, sum_bound(double(x.cells) * kLanes, size), c);
    }
    checker.expect(sums.guards_intact(), "wrote outside the sums");
  }
}

}  // namespace

std::vector<Test> convolution_tests() {
  using enum Method;
  return {{"convolve", 160, convolve_tests<direct>},
          {"convolve, F(2x2)", 120, convolve_tests<winograd2>},
          {"convolve, F(4x4)", 120, convolve_tests<winograd4>},
          {"convolve, channels", 160, convolve_tests<channels>},
          {"convolve, depthwise", 120, convolve_tests<depthwise>},
          {"input gradient", 160, input_gradient_tests<direct>},
          {"input gradient, F(2x2)", 120, input_gradient_tests<winograd2>},
          {"input gradient, F(4x4)", 120, input_gradient_tests<winograd4>},
          {"input gradient, channels", 160, input_gradient_tests<channels>},
          {"input gradient, depthwise", 120, input_gradient_tests<depthwise>},
          {"weight gradient", 160, weight_gradient_tests<direct>},
          {"weight gradient, F(2x2)", 120, weight_gradient_tests<winograd2>},
          {"weight gradient, F(4x4)", 120, weight_gradient_tests<winograd4>},
          {"weight gradient, channels", 160, weight_gradient_tests<channels>},
          {"weight gradient, depthwise", 120, weight_gradient_tests<depthwise>},
          {"weight gradient, linear", 160, linear_gradient_tests},
          {"channel_sums", 40, channel_sums_tests}};
}

}  // namespace kilonet::tests
