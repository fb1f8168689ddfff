// Convolutions of a few images, and their gradients to the input, with output channels in the lanes.

#include "channels.h"

namespace kilonet::KILONET_ISA {
namespace {

// A convolution's input packed together: (lanes, channels, height, width). Where neighbouring outputs
// take inputs a fixed step apart the padding is around it, and all outputs take all the taps.
struct Packed {
  bool padded;
  int height, width;
  long image;  // floats

  explicit Packed(const Convolution& c)
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

void pack_input(const Convolution& c, const Packed& p, const float* in, int lanes, float* to) {
  const int above = p.padded ? c.pad_h : 0, before = p.padded ? c.pad_w : 0;
  for (int i = 0; i < c.inputs; i++, in += c.in_plane * kLanes)
    for (int y = -above; y < p.height - above; y++)
      for (int x = -before; x < p.width - before; x++, to++) {
        const bool inside =
            unsigned(y) < unsigned(c.in_height) && unsigned(x) < unsigned(c.in_width);
        const float* from = in + (long(y) * c.in_width + x) * kLanes;
        for (int n = 0; n < lanes; n++) to[n * p.image] = inside ? from[n] : 0.0f;
      }
}

// What the places of a tile have in common: the taps they take, and inputs `step` apart.
struct Window {
  Taps rows, columns;
  long step;
};

// V vectors of outputs at X places, of one image.
template <int V, int X>
void places(const Convolution& c, const Packed& p, const Window& window, const float* in,
            const float* weights, float* sums) {
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
          if (V > 1) keep(a);
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
void places(int count, const Convolution& c, const Packed& p, const Window& window, const float* in,
            const float* weights, float* sums) {
  switch (count) {
    case 1: return places<V, 1>(c, p, window, in, weights, sums);
    case 2: return places<V, 2>(c, p, window, in, weights, sums);
    case 3: return places<V, 3>(c, p, window, in, weights, sums);
    case 4: return places<V, 4>(c, p, window, in, weights, sums);
    case 5: return places<V, 5>(c, p, window, in, weights, sums);
    case 6: return places<V, 6>(c, p, window, in, weights, sums);
#if defined(__AVX512F__)
    case 7: return places<V, 7>(c, p, window, in, weights, sums);
    case 8: return places<V, 8>(c, p, window, in, weights, sums);
#endif
  }
}

constexpr int kPlaces = kWidth == 16 ? 8 : 6;

// How many places from x on, `apart` from each other, take the same taps, one input further each.
int alike(const Convolution& c, const Packed& p, int x, int apart) {
  int count = 1;
  for (const Taps first = p.columns(c, x); count < kPlaces && x + count * apart < c.out_width;
       count++) {
    const Taps next = p.columns(c, x + count * apart);
    if (next.k != first.k || next.count != first.count ||
        (!p.padded && next.position != first.position + count))
      break;
  }
  return count;
}

// The sums of one place turned around, `sums` being (lanes, vectors): to (channels, kLanes). Lanes of
// no image are written too, or they would keep what they held.
void turn_back(const Finish& f, const float* sums, long image, int lanes, int channel, int valid,
               long plane, float* to) {
  Floats block[kWidth] = {};
  for (int n = 0; n < lanes; n++) block[n] = load(sums + n * image);
  transpose(block);
  for (int o = 0; o < least(valid, kWidth); o++, to += plane)
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      const Floats sum = lane ? Floats{} : block[o];
      const Floats value = finished(f, channel + o, sum + (f.bias ? f.bias[channel + o] : 0.0f));
      store(to + lane, f.add ? load(to + lane) + value : value);
    }
}

// Channels `first` to `first + valid` of the output.
template <int V>
void convolve(const Convolution& c, const Packed& p, const float* in, const float* weights,
              const Finish& f, int first, int valid, int lanes, float* out) {
  alignas(64) float sums[kFewLanes][kPlaces * V * kWidth];
  const long image = kPlaces * V * kWidth, plane = c.out_plane * kLanes;
  const int apart = p.padded ? 1 : c.k_step_w;
  for (int y = 0; y < c.out_height; y++)
    for (int phase = 0; phase < apart; phase++)
      for (int x = phase, count; x < c.out_width; x += count * apart) {
        count = alike(c, p, x, apart);
        const Window window = {p.rows(c, y), p.columns(c, x), p.padded ? c.x_step : 1};
        for (int n = 0; n < lanes; n++)
          places<V>(count, c, p, window, in + n * p.image, weights, sums[n]);
        float* to = out + (long(y) * c.out_width + x) * kLanes;
        for (int i = 0; i < count; i++, to += apart * kLanes)
          for (int v = 0; v < V; v++)
            turn_back(f, sums[0] + (i * V + v) * kWidth, image, lanes, first + v * kWidth,
                      valid - v * kWidth, plane, to + v * kWidth * plane);
      }
}

}  // namespace

long channels_packed_size(const Convolution& c) {
  const long outputs = (c.outputs + kWidth - 1) / kWidth * kWidth;
  return long(c.groups) * outputs * c.inputs * c.kernel_h * c.kernel_w;
}

// For each group and one or two vectors of outputs: (inputs, taps, outputs), zeros where there are
// no more. Transposed, as convolution.cpp has it.
void channels_pack(const Convolution& c, const float* weights, bool transposed, float* packed) {
  const int taps = c.kernel_h * c.kernel_w;
  const long each = long(c.inputs) * taps;
  for (int g = 0; g < c.groups; g++, weights += c.outputs * each)
    for (int first = 0, size; first < c.outputs; first += size) {
      size = vectors(c.outputs - first) * kWidth;
      for (int i = 0; i < c.inputs; i++)
        for (int k = 0; k < taps; k++)
          for (int o = first; o < first + size; o++)
            *packed++ = o >= c.outputs ? 0.0f
                        : transposed   ? weights[(long(i) * c.outputs + o) * taps + taps - 1 - k]
                                       : weights[o * each + long(i) * taps + k];
    }
}

long channels_scratch(const Convolution& c) { return kFewLanes * Packed(c).image; }

void channels_convolve(const Convolution& c, const float* in, const float* packed,
                       const Finish& f, int lanes, float* scratch, float* out) {
  const Packed p(c);
  const long each = long(c.inputs) * c.kernel_h * c.kernel_w;
  for (int g = 0; g < c.groups; g++) {
    pack_input(c, p, in, lanes, scratch);
    for (int first = 0; first < c.outputs;) {
      const int left = c.outputs - first, channel = g * c.outputs + first;
      float* to = out + first * c.out_plane * kLanes;
      if (vectors(left) == 2)
        convolve<2>(c, p, scratch, packed, f, channel, left, lanes, to);
      else
        convolve<1>(c, p, scratch, packed, f, channel, left, lanes, to);
      packed += each * vectors(left) * kWidth;
      first += vectors(left) * kWidth;
    }
    in += c.inputs * c.in_plane * kLanes;
    out += c.outputs * c.out_plane * kLanes;
  }
}

}  // namespace kilonet::KILONET_ISA
