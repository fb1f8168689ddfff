// Convolutions of small batches, and their gradients to the input, with output channels in the
// lanes.

#include "channels.h"

namespace kilonet::KILONET_ISA {
namespace {

// A convolution's packed input: (lanes, channels, height, width). If neighboring outputs read
// inputs a fixed step apart, it includes the padding, and all outputs use all taps.
struct PackedInput {
  bool padded;
  int height, width;
  long image;  // floats

  explicit PackedInput(const Convolution& c)
      : padded(c.y_step && c.x_step),
        height(padded ? (c.out_height - 1) * c.y_step + c.kernel_h : c.in_height),
        width(padded ? (c.out_width - 1) * c.x_step + c.kernel_w : c.in_width),
        image(long(c.inputs) * height * width) {}

  Taps rows(const Convolution& c, int y) const {
    return padded ? Taps{0, c.kernel_h, y * c.y_step} : c.rows[y];
  }
  Taps columns(const Convolution& c, int x) const {
    return padded ? Taps{0, c.kernel_w, x * c.x_step} : c.columns[x];
  }
};

void pack_input(const Convolution& c, const PackedInput& p, const float* in, int lanes, float* to) {
  const int pad_top = p.padded ? c.pad_h : 0, pad_left = p.padded ? c.pad_w : 0;
  for (int i = 0; i < c.inputs; i++, in += c.in_plane * kLanes)
    for (int y = -pad_top; y < p.height - pad_top; y++)
      for (int x = -pad_left; x < p.width - pad_left; x++, to++) {
        const bool inside =
            unsigned(y) < unsigned(c.in_height) && unsigned(x) < unsigned(c.in_width);
        const float* from = in + (long(y) * c.in_width + x) * kLanes;
        for (int n = 0; n < lanes; n++) to[n * p.image] = inside ? from[n] : 0.0f;
      }
}

// The window shared by the positions of a tile: their taps, and the step between their inputs.
struct Window {
  Taps rows, columns;
  long step;
};

// Computes V vectors of outputs at X positions of one image.
template <int V, int X>
void accumulate_positions(const Convolution& c, const PackedInput& p, const Window& window,
                          const float* in, const float* weights, float* sums) {
  Floats s[X][V] = {};
  in += long(window.rows.position) * p.width + window.columns.position;
  weights += (long(window.rows.k) * c.kernel_w + window.columns.k) * V * kWidth;
  const long row = long(c.k_step_h) * c.kernel_w * V * kWidth, tap = long(c.k_step_w) * V * kWidth;
  for (int i = 0; i < c.inputs; i++) {
    for (int h = 0; h < window.rows.count; h++) {
      const float* at = in + h * p.width;
      const float* weight = weights + h * row;
      for (int w = 0; w < window.columns.count; w++, at++, weight += tap) {
        Floats b[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) b[v] = load(weight + v * kWidth);
#pragma GCC unroll 8
        for (int x = 0; x < X; x++) {
          Floats a = splat(at[x * window.step]);
          if (V > 1) keep_in_register(a);
#pragma GCC unroll 2
          for (int v = 0; v < V; v++) s[x][v] += a * b[v];
        }
      }
    }
    in += long(p.height) * p.width;
    weights += long(c.kernel_h) * c.kernel_w * V * kWidth;
  }
#pragma GCC unroll 8
  for (int x = 0; x < X; x++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) store(sums + (x * V + v) * kWidth, s[x][v]);
}

template <int V>
void accumulate_positions(int count, const Convolution& c, const PackedInput& p,
                          const Window& window, const float* in, const float* weights,
                          float* sums) {
  switch (count) {
    case 1: return accumulate_positions<V, 1>(c, p, window, in, weights, sums);
    case 2: return accumulate_positions<V, 2>(c, p, window, in, weights, sums);
    case 3: return accumulate_positions<V, 3>(c, p, window, in, weights, sums);
    case 4: return accumulate_positions<V, 4>(c, p, window, in, weights, sums);
    case 5: return accumulate_positions<V, 5>(c, p, window, in, weights, sums);
    case 6: return accumulate_positions<V, 6>(c, p, window, in, weights, sums);
#if defined(__AVX512F__)
    case 7: return accumulate_positions<V, 7>(c, p, window, in, weights, sums);
    case 8: return accumulate_positions<V, 8>(c, p, window, in, weights, sums);
#endif
  }
}

constexpr int kMaxPositions = kWidth == 16 ? 8 : 6;

// The number of positions from x on, `stride` apart, that use the same taps, each one input
// further.
int count_same_taps(const Convolution& c, const PackedInput& p, int x, int stride) {
  int count = 1;
  for (const Taps first = p.columns(c, x);
       count < kMaxPositions && x + count * stride < c.out_width; count++) {
    const Taps next = p.columns(c, x + count * stride);
    if (next.k != first.k || next.count != first.count ||
        (!p.padded && next.position != first.position + count))
      break;
  }
  return count;
}

// Transposes the sums of one position from (lanes, vectors) to (channels, kLanes) and applies the
// epilogue. Lanes without an image are written too, or they would keep old values.
void store_transposed(const Epilogue& f, const float* sums, long image, int lanes, int channel,
                      int valid, long plane, float* to) {
  Floats block[kWidth] = {};
  for (int n = 0; n < lanes; n++) block[n] = load(sums + n * image);
  transpose(block);
  for (int o = 0; o < min(valid, kWidth); o++, to += plane)
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      const Floats sum = lane ? Floats{} : block[o];
      const Floats value =
          apply_epilogue(f, channel + o, sum + (f.bias ? f.bias[channel + o] : 0.0f));
      store(to + lane, f.add ? load(to + lane) + value : value);
    }
}

// Computes channels [first, first + valid) of the output.
template <int V>
void convolve(const Convolution& c, const PackedInput& p, const float* in, const float* weights,
              const Epilogue& f, int first, int valid, int lanes, float* out) {
  alignas(64) float sums[kSmallBatch][kMaxPositions * V * kWidth];
  const long image = kMaxPositions * V * kWidth, plane = c.out_plane * kLanes;
  const int stride = p.padded ? 1 : c.k_step_w;
  for (int y = 0; y < c.out_height; y++)
    for (int phase = 0; phase < stride; phase++)
      for (int x = phase, count; x < c.out_width; x += count * stride) {
        count = count_same_taps(c, p, x, stride);
        const Window window = {p.rows(c, y), p.columns(c, x), p.padded ? c.x_step : 1};
        for (int n = 0; n < lanes; n++)
          accumulate_positions<V>(count, c, p, window, in + n * p.image, weights, sums[n]);
        float* to = out + (long(y) * c.out_width + x) * kLanes;
        for (int i = 0; i < count; i++, to += stride * kLanes)
          for (int v = 0; v < V; v++)
            store_transposed(f, sums[0] + (i * V + v) * kWidth, image, lanes, first + v * kWidth,
                             valid - v * kWidth, plane, to + v * kWidth * plane);
      }
}

}  // namespace

long channels_packed_size(const Convolution& c) {
  const long outputs = (c.outputs + kWidth - 1) / kWidth * kWidth;
  return long(c.groups) * outputs * c.inputs * c.kernel_h * c.kernel_w;
}

// Layout for each group and one or two vectors of outputs: (inputs, taps, outputs), with zeros past
// the last output. `transposed` is as in convolution.cpp.
void channels_pack(const Convolution& c, const float* weights, bool transposed, float* packed) {
  const int taps = c.kernel_h * c.kernel_w;
  const long per_output = long(c.inputs) * taps;
  for (int g = 0; g < c.groups; g++, weights += c.outputs * per_output)
    for (int first = 0, size; first < c.outputs; first += size) {
      size = vectors_at_once(c.outputs - first) * kWidth;
      for (int i = 0; i < c.inputs; i++)
        for (int k = 0; k < taps; k++)
          for (int o = first; o < first + size; o++)
            *packed++ = o >= c.outputs ? 0.0f
                        : transposed   ? weights[(long(i) * c.outputs + o) * taps + taps - 1 - k]
                                       : weights[o * per_output + long(i) * taps + k];
    }
}

long channels_scratch(const Convolution& c) { return kSmallBatch * PackedInput(c).image; }

void channels_convolve(const Convolution& c, const float* in, const float* packed,
                       const Epilogue& f, int lanes, float* scratch, float* out) {
  const PackedInput p(c);
  const long per_output = long(c.inputs) * c.kernel_h * c.kernel_w;
  for (int g = 0; g < c.groups; g++) {
    pack_input(c, p, in, lanes, scratch);
    for (int first = 0; first < c.outputs;) {
      const int left = c.outputs - first, channel = g * c.outputs + first;
      float* to = out + first * c.out_plane * kLanes;
      if (vectors_at_once(left) == 2)
        convolve<2>(c, p, scratch, packed, f, channel, left, lanes, to);
      else
        convolve<1>(c, p, scratch, packed, f, channel, left, lanes, to);
      packed += per_output * vectors_at_once(left) * kWidth;
      first += vectors_at_once(left) * kWidth;
    }
    in += c.inputs * c.in_plane * kLanes;
    out += c.outputs * c.out_plane * kLanes;
  }
}

}  // namespace kilonet::KILONET_ISA
