// Gradients to weights and biases: sums over the positions and lanes of a chunk.
//
// A tile of sums (several output channels × up to three taps) stays in registers for a few rows of
// the output. Between blocks of rows the sums are in a scratch buffer, as vectors; their lanes are
// added at the end. Blocks are small, so that their rows stay in the first-level cache for all
// tiles.

#include "channels.h"
#include "depthwise.h"
#include "vector.h"
#include "winograd.h"

namespace kilonet::KILONET_ISA {
namespace {

// 8 × 3 sums in the 32 registers of AVX-512, 4 × 3 in 16 registers.
constexpr int kMaxOutputs = kWidth == 16 ? 8 : 4;
constexpr int kMaxTaps = 3;
constexpr int kCachedCells = 192;  // of the gradient: 24 KiB

int tile_outputs(int outputs, int first) {
  int tiles = (outputs + kMaxOutputs - 1) / kMaxOutputs;
  int per_tile = (outputs + tiles - 1) / tiles;
  return per_tile < outputs - first ? per_tile : outputs - first;
}

// Strides of a tile's operands, in floats: from one tap, position, row or channel to the next.
struct Strides {
  long tap, in_position, in_row, plane, out_row;
};

// sums[t][o] += Σ over rows and positions of in[t] · dout[o].
template <int O, int T>
void accumulate(const Strides& strides, const float* in, const float* dout, int rows, int positions,
                float* scratch) {
  Floats sums[T][O];
#pragma GCC unroll 3
  for (int t = 0; t < T; t++)
#pragma GCC unroll 8
    for (int o = 0; o < O; o++) sums[t][o] = load(scratch + (t * O + o) * kWidth);
  const long tap = strides.tap, in_position = strides.in_position, plane = strides.plane;
  // With stride 1, a row's positions are one contiguous run of vectors.
  const bool contiguous = in_position == kLanes;
  const int runs = contiguous ? 1 : positions;
  const long run = long(contiguous ? positions : 1) * kVectors;
  for (; rows > 0; rows--, in += strides.in_row, dout += strides.out_row) {
    const float* b_at = dout;
    for (int x = 0; x < runs; x++) {
      const float* a_at = in + x * in_position;
#pragma GCC unroll 1
      for (long v = 0; v < run; v++) {
        Floats a[T];
#pragma GCC unroll 3
        for (int t = 0; t < T; t++) a[t] = load(a_at + t * tap);
#pragma GCC unroll 8
        for (int o = 0; o < O; o++) {
          Floats b = load(b_at + o * plane);
          keep_in_register(b);
#pragma GCC unroll 3
          for (int t = 0; t < T; t++) sums[t][o] += a[t] * b;
        }
        a_at += kWidth;
        b_at += kWidth;
      }
    }
  }
#pragma GCC unroll 3
  for (int t = 0; t < T; t++)
#pragma GCC unroll 8
    for (int o = 0; o < O; o++) store(scratch + (t * O + o) * kWidth, sums[t][o]);
}

template <int O>
void accumulate_taps(int count, const Strides& strides, const float* in, const float* dout,
                     int rows, int positions, float* scratch) {
  switch (count) {
    case 1: return accumulate<O, 1>(strides, in, dout, rows, positions, scratch);
    case 2: return accumulate<O, 2>(strides, in, dout, rows, positions, scratch);
    case 3: return accumulate<O, 3>(strides, in, dout, rows, positions, scratch);
  }
}

// All taps of a kernel row, for one input channel; `in` and `dout` point to the start of the rows.
template <int O>
void accumulate_kernel_row(const WeightGradient& g, const Strides& strides, const float* in,
                           const float* dout, int rows, float* scratch) {
  for (int k = 0; k < g.kernel_w; k += kMaxTaps) {
    const int count = g.kernel_w - k < kMaxTaps ? g.kernel_w - k : kMaxTaps;
    const Span* spans = g.columns + k;
    int first = 0, end = g.out_width;  // where all taps are inside
    for (int t = 0; t < count; t++) {
      if (spans[t].first > first) first = spans[t].first;
      if (spans[t].end < end) end = spans[t].end;
    }
    if (end < first) end = first;
    const float* from = in + k * strides.tap - long(g.pad_w) * kLanes;
    if (first < end)
      accumulate_taps<O>(count, strides, from + first * strides.in_position,
                         dout + long(first) * kLanes, rows, end - first, scratch);
    for (int t = 0; t < count; t++) {
      const float* tap = from + t * strides.tap;
      const int left = spans[t].first, left_end = spans[t].end < first ? spans[t].end : first;
      const int right = left > end ? left : end, right_end = spans[t].end;
      if (left < left_end)
        accumulate<O, 1>(strides, tap + left * strides.in_position, dout + long(left) * kLanes,
                         rows, left_end - left, scratch + t * O * kWidth);
      if (right < right_end)
        accumulate<O, 1>(strides, tap + right * strides.in_position, dout + long(right) * kLanes,
                         rows, right_end - right, scratch + t * O * kWidth);
    }
    scratch += count * O * kWidth;
  }
}

template <int O>
void accumulate_outputs(const WeightGradient& g, const float* in, const float* dout, float* scratch,
                        float* gradient) {
  const int kernel = g.kernel_h * g.kernel_w;
  const long sums = long(g.inputs) * kernel * O;
  const long in_plane = g.in_plane * kLanes;
  const bool single_tap = kernel == 1 && !g.pad_h && !g.pad_w;
  const Strides strides = {single_tap ? in_plane : long(g.dilation_w) * kLanes, long(g.stride_w) * kLanes,
                           long(g.stride_h) * g.in_width * kLanes, g.out_plane * kLanes,
                           long(g.out_width) * kLanes};
  for (long s = 0; s < sums; s++) store(scratch + s * kWidth, Floats{});
  const int cached = kCachedCells / (O * g.out_width);
  const int block = cached < 1 ? 1 : cached;
  for (int y = 0; y < g.out_height; y += block) {
    const int last = y + block < g.out_height ? y + block : g.out_height;
    if (single_tap) {
      // A 1 × 1 kernel: the tile spans input channels instead of taps.
      for (int i = 0; i < g.inputs; i += kMaxTaps) {
        const int count = g.inputs - i < kMaxTaps ? g.inputs - i : kMaxTaps;
        accumulate_taps<O>(count, strides, in + i * in_plane + y * strides.in_row,
                           dout + y * strides.out_row, last - y, g.out_width,
                           scratch + long(i) * O * kWidth);
      }
      continue;
    }
    for (int i = 0; i < g.inputs; i++)
      for (int kh = 0; kh < g.kernel_h; kh++) {
        const Span span = g.rows[kh];
        const int first = y > span.first ? y : span.first;
        const int end = last < span.end ? last : span.end;
        if (first >= end) continue;
        const long height = long(first) * g.stride_h - g.pad_h + long(kh) * g.dilation_h;
        accumulate_kernel_row<O>(g, strides, in + i * in_plane + height * g.in_width * kLanes,
                                 dout + first * strides.out_row, end - first,
                                 scratch + (long(i) * kernel + long(kh) * g.kernel_w) * O * kWidth);
      }
  }
  const long per_output = long(g.inputs) * kernel;
  for (int o = 0; o < O; o++, gradient += per_output) {
    long s = 0;
    for (; s + kWidth <= per_output; s += kWidth)
      lane_sums(scratch + (s * O + o) * kWidth, O * kWidth, gradient + s);
    for (; s < per_output; s++) gradient[s] = lane_sum(load(scratch + (s * O + o) * kWidth));
  }
}

void dispatch(int size, const WeightGradient& g, const float* in, const float* dout,
              float* scratch, float* gradient) {
  switch (size) {
    case 1: return accumulate_outputs<1>(g, in, dout, scratch, gradient);
    case 2: return accumulate_outputs<2>(g, in, dout, scratch, gradient);
    case 3: return accumulate_outputs<3>(g, in, dout, scratch, gradient);
    case 4: return accumulate_outputs<4>(g, in, dout, scratch, gradient);
#if defined(__AVX512F__)
    case 5: return accumulate_outputs<5>(g, in, dout, scratch, gradient);
    case 6: return accumulate_outputs<6>(g, in, dout, scratch, gradient);
    case 7: return accumulate_outputs<7>(g, in, dout, scratch, gradient);
    case 8: return accumulate_outputs<8>(g, in, dout, scratch, gradient);
#endif
  }
}

// Whether the layer's output is one cell with one tap, as in a linear layer. There are no positions
// to sum over, so the lanes are inputs, and each weight's sum over the images is in a single lane.
bool is_linear(const WeightGradient& g) {
  return g.out_height == 1 && g.out_width == 1 && g.kernel_h == 1 && g.kernel_w == 1 && !g.pad_h &&
         !g.pad_w;
}

long padded(int inputs) { return (inputs + kWidth - 1) / kWidth * kWidth; }

// Unaligned loads and stores of T vectors, or of their first `count` values.
template <int T>
inline void load_partial(const float* from, int count, Floats* to) {
  if (count == T * kWidth)
    __builtin_memcpy(to, from, sizeof(Floats) * T);
  else
    __builtin_memcpy(to, from, sizeof(float) * count);
}

template <int T>
inline void store_partial(const Floats* from, int count, float* to) {
  if (count == T * kWidth)
    __builtin_memcpy(to, from, sizeof(Floats) * T);
  else
    __builtin_memcpy(to, from, sizeof(float) * count);
}

// gradient[o][i] of O outputs and T vectors of inputs, of which `count` values exist.
template <int O, int T>
void outer(const WeightGradient& g, const float* images, const float* dout, int count, bool add,
           float* gradient) {
  const long image = padded(g.inputs), plane = g.out_plane * kLanes;
  Floats sums[O][T] = {};
  if (add)
#pragma GCC unroll 8
    for (int o = 0; o < O; o++) load_partial<T>(gradient + long(o) * g.inputs, count, sums[o]);
  for (int n = 0; n < kLanes; n++) {
    Floats a[T];
#pragma GCC unroll 3
    for (int t = 0; t < T; t++) a[t] = load(images + n * image + t * kWidth);
#pragma GCC unroll 8
    for (int o = 0; o < O; o++) {
      Floats b = splat(dout[o * plane + n]);
      keep_in_register(b);
#pragma GCC unroll 3
      for (int t = 0; t < T; t++) sums[o][t] += a[t] * b;
    }
  }
#pragma GCC unroll 8
  for (int o = 0; o < O; o++) store_partial<T>(sums[o], count, gradient + long(o) * g.inputs);
}

template <int O>
void outer_inputs(const WeightGradient& g, const float* images, const float* dout, bool add,
                  float* gradient) {
  for (int i = 0; i < g.inputs; i += kMaxTaps * kWidth) {
    const int left = g.inputs - i;
    if (left > 2 * kWidth)
      outer<O, 3>(g, images + i, dout, left < 3 * kWidth ? left : 3 * kWidth, add, gradient + i);
    else if (left > kWidth)
      outer<O, 2>(g, images + i, dout, left, add, gradient + i);
    else
      outer<O, 1>(g, images + i, dout, left, add, gradient + i);
  }
}

void outer_outputs(int size, const WeightGradient& g, const float* images, const float* dout,
                   bool add, float* gradient) {
  switch (size) {
    case 1: return outer_inputs<1>(g, images, dout, add, gradient);
    case 2: return outer_inputs<2>(g, images, dout, add, gradient);
    case 3: return outer_inputs<3>(g, images, dout, add, gradient);
    case 4: return outer_inputs<4>(g, images, dout, add, gradient);
#if defined(__AVX512F__)
    case 5: return outer_inputs<5>(g, images, dout, add, gradient);
    case 6: return outer_inputs<6>(g, images, dout, add, gradient);
    case 7: return outer_inputs<7>(g, images, dout, add, gradient);
    case 8: return outer_inputs<8>(g, images, dout, add, gradient);
#endif
  }
}

// `images` receives the transposed input: (lanes, inputs).
void linear_gradient(const WeightGradient& g, const float* in, const float* dout, bool add,
                     float* images, float* gradient) {
  const long image = padded(g.inputs), plane = g.in_plane * kLanes;
  for (int group = 0; group < g.groups; group++) {
    // In blocks, whose cache lines all stay in the cache.
    for (long first = 0; first < image; first += kWidth)
      for (int n = 0; n < kLanes; n++)
        for (long i = first; i < first + kWidth; i++)
          images[n * image + i] = i < g.inputs ? in[i * plane + n] : 0.0f;
    for (int first = 0; first < g.outputs;) {
      const int size = tile_outputs(g.outputs, first);
      outer_outputs(size, g, images, dout + first * g.out_plane * kLanes, add,
                    gradient + long(first) * g.inputs);
      first += size;
    }
    in += g.inputs * g.in_plane * kLanes;
    dout += g.outputs * g.out_plane * kLanes;
    gradient += long(g.inputs) * g.outputs;
  }
}

long num_weights(const WeightGradient& g) {
  return long(g.groups) * g.outputs * g.inputs * g.kernel_h * g.kernel_w;
}

// The scratch memory of the sums, in floats.
long sums_scratch(const WeightGradient& g) {
  if (g.method != Method::direct) return winograd_weight_scratch(g);
  return long(kMaxOutputs) * g.inputs * g.kernel_h * g.kernel_w * kWidth;
}

}  // namespace

long weight_scratch(const WeightGradient& g) {
  if (is_linear(g)) return kLanes * padded(g.inputs);
  if (g.method == Method::channels) return channels_weight_scratch(g);
  if (g.method == Method::depthwise) return depthwise_weight_scratch(g);
  return sums_scratch(g) + num_weights(g);
}

void weight_gradient(const WeightGradient& g, const float* in, const float* dout, int lanes,
                     float* scratch, bool add, float* gradient) {
  if (is_linear(g)) return linear_gradient(g, in, dout, add, scratch, gradient);
  if (g.method == Method::channels)
    return channels_weight_gradient(g, in, dout, lanes, scratch, add, gradient);
  if (g.method == Method::depthwise)
    return depthwise_weight_gradient(g, in, dout, scratch, add, gradient);
  if (add) {
    float* chunk_gradient = scratch + sums_scratch(g);
    weight_gradient(g, in, dout, lanes, scratch, false, chunk_gradient);
    for (long i = 0; i < num_weights(g); i++) gradient[i] += chunk_gradient[i];
    return;
  }
  if (g.method != Method::direct) return winograd_weight_gradient(g, in, dout, scratch, gradient);
  const long per_output = long(g.inputs) * g.kernel_h * g.kernel_w;
  for (int group = 0; group < g.groups; group++) {
    for (int first = 0; first < g.outputs;) {
      const int size = tile_outputs(g.outputs, first);
      dispatch(size, g, in, dout + first * g.out_plane * kLanes, scratch, gradient);
      gradient += per_output * size;
      first += size;
    }
    in += g.inputs * g.in_plane * kLanes;
    dout += g.outputs * g.out_plane * kLanes;
  }
}

void channel_sums(const float* x, int channels, int cells, long plane, float* sums) {
  for (int c = 0; c < channels; c++, x += plane * kLanes) {
    Floats sum[kVectors] = {};
    for (int i = 0; i < cells; i++)
      for (int v = 0; v < kVectors; v++) sum[v] += load(x + (long(i) * kVectors + v) * kWidth);
    float total = 0.0f;
    for (int v = 0; v < kVectors; v++) total += lane_sum(sum[v]);
    sums[c] = total;
  }
}

}  // namespace kilonet::KILONET_ISA
