// Convolutions and their gradient to the input, which is the same sum with the weights transposed.
//
// A tile of the output (several channels, at one place or a few side by side) stays in registers
// while the kernel walks the input channels and taps: each input vector is loaded once for all the
// tile's channels, each weight once for all its vectors.

#include "channels.h"
#include "vector.h"
#include "winograd.h"

namespace kilonet::KILONET_ISA {
namespace {

// Of the 32 registers of AVX-512 up to 24 hold sums, of the 16 of the others 12.
constexpr int kSums = kWidth == 16 ? 24 : 12;
constexpr int kMostOutputs = kSums / 2;
constexpr int kTileVectors = kWidth == 16 ? 1 : 2;  // of the lanes of a place

// Output channels of the tile that begins at `first`: tiles as equal as they can be, in the sizes
// that there are kernels for. The last may reach past the end; its weights there are zeros.
int tile_outputs(int outputs, int first) {
  int tiles = (outputs + kMostOutputs - 1) / kMostOutputs;
  int even = (outputs + tiles - 1) / tiles;
  int size = even < outputs - first ? even : outputs - first;
  return size > 8 ? (size + 1) / 2 * 2 : size;
}

struct Place {
  const float* in;
  const float* weights;
  Finish finish;
  float* out;
  int valid;  // output channels that exist
};

// Of the channels from `first` on.
inline Finish from(const Finish& f, int first) {
  Finish rest = f;
  if (f.bias) rest.bias += first;
  if (f.scale) rest.scale += first;
  if (f.shift) rest.shift += first;
  return rest;
}

template <int O, int X>
inline void finish(const Convolution& c, const Place& place, Floats (&sums)[O][X][kTileVectors],
                   float* out) {
  const Finish& f = place.finish;
#pragma GCC unroll 12
  for (int o = 0; o < O; o++) {
    if (o >= place.valid) break;
    float* to = out + o * c.out_plane * kLanes;
#pragma GCC unroll 8
    for (int x = 0; x < X; x++)
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; v++) {
        Floats y = finished(f, o, sums[o][x][v]);
        float* at = to + x * kLanes + v * kWidth;
        if (f.add) y += load(at);
        store(at, y);
      }
  }
}

// K × K taps without a stride, or what `rows` and `columns` say where K is 0.
template <int O, int X, int K>
inline void tile(const Convolution& c, const Place& place, Taps rows, Taps columns, long lane,
                 float* out) {
  Floats sums[O][X][kTileVectors];
#pragma GCC unroll 12
  for (int o = 0; o < O; o++) {
    Floats start = splat(place.finish.bias && o < place.valid ? place.finish.bias[o] : 0.0f);
#pragma GCC unroll 8
    for (int x = 0; x < X; x++)
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; v++) sums[o][x][v] = start;
  }
  const int count_h = K ? K : rows.count, count_w = K ? K : columns.count;
  const long step_h = K ? K * O : long(c.k_step_h) * c.kernel_w * O;
  const long step_w = K ? O : long(c.k_step_w) * O;
  const long row = long(c.in_width) * kLanes, x_step = K ? kLanes : long(c.x_step) * kLanes;
  const float* in = place.in + lane + (long(rows.position) * c.in_width + columns.position) * kLanes;
  const float* weights = place.weights + (long(rows.k) * c.kernel_w + columns.k) * O;
  const long per_input = K ? K * K * O : long(c.kernel_h) * c.kernel_w * O;
  for (int i = 0; i < c.inputs; i++) {
#pragma GCC unroll 3
    for (int h = 0; h < count_h; h++)
#pragma GCC unroll 3
      for (int w = 0; w < count_w; w++) {
        const float* from = in + h * row + w * kLanes;
        const float* weight = weights + h * step_h + w * step_w;
        Floats a[X][kTileVectors];
#pragma GCC unroll 8
        for (int x = 0; x < X; x++)
#pragma GCC unroll 2
          for (int v = 0; v < kTileVectors; v++) a[x][v] = load(from + x * x_step + v * kWidth);
#pragma GCC unroll 12
        for (int o = 0; o < O; o++) {
          Floats b = splat(weight[o]);
          keep(b);
#pragma GCC unroll 8
          for (int x = 0; x < X; x++)
#pragma GCC unroll 2
            for (int v = 0; v < kTileVectors; v++) sums[o][x][v] += a[x][v] * b;
        }
      }
    in += c.in_plane * kLanes;
    weights += per_input;
  }
  finish<O, X>(c, place, sums, out);
}

// Whether the places from `x` on take the same taps, a step apart.
inline bool side_by_side(const Convolution& c, int x, int places) {
  if (!c.x_step || x + places > c.out_width) return false;
  const Taps first = c.columns[x];
  for (int i = 1; i < places; i++) {
    const Taps next = c.columns[x + i];
    if (next.k != first.k || next.count != first.count ||
        next.position != first.position + i * c.x_step)
      return false;
  }
  return true;
}

template <int O>
void outputs(const Convolution& c, const Place& place) {
  // As many places side by side as there are registers for.
  constexpr int kFit = kSums / kTileVectors / O, X = kFit > 8 ? 8 : kFit;
  constexpr int kHalf = X / 2 > 1 ? X / 2 : 1;
  for (long lane = 0; lane < kLanes; lane += kTileVectors * kWidth)
    for (int y = 0; y < c.out_height; y++) {
      float* to = place.out + lane + long(y) * c.out_width * kLanes;
      const Taps rows = c.rows[y];
      for (int x = 0; x < c.out_width;) {
        const Taps columns = c.columns[x];
        float* out = to + long(x) * kLanes;
        const bool whole = rows.count == c.kernel_h && columns.count == c.kernel_w && c.x_step == 1;
        if (X > 1 && side_by_side(c, x, X)) {
          if (whole && c.kernel_h == 3 && c.kernel_w == 3)
            tile<O, X, 3>(c, place, rows, columns, lane, out);
          else if (whole && c.kernel_h == 1 && c.kernel_w == 1)
            tile<O, X, 1>(c, place, rows, columns, lane, out);
          else
            tile<O, X, 0>(c, place, rows, columns, lane, out);
          x += X;
        } else if (kHalf > 1 && side_by_side(c, x, kHalf)) {
          tile<O, kHalf, 0>(c, place, rows, columns, lane, out);
          x += kHalf;
        } else {
          tile<O, 1, 0>(c, place, rows, columns, lane, out);
          x++;
        }
      }
    }
}

void dispatch(int size, const Convolution& c, const Place& place) {
  switch (size) {
    case 1: return outputs<1>(c, place);
    case 2: return outputs<2>(c, place);
    case 3: return outputs<3>(c, place);
    case 4: return outputs<4>(c, place);
    case 5: return outputs<5>(c, place);
    case 6: return outputs<6>(c, place);
#if defined(__AVX512F__)
    case 7: return outputs<7>(c, place);
    case 8: return outputs<8>(c, place);
    case 10: return outputs<10>(c, place);
    case 12: return outputs<12>(c, place);
#endif
  }
}

}  // namespace

long packed_size(const Convolution& c) {
  if (c.method == Method::channels) return channels_packed_size(c);
  if (c.method != Method::images) return winograd_packed_size(c);
  long channels = 0;
  for (int first = 0; first < c.outputs;) {
    int size = tile_outputs(c.outputs, first);
    channels += size;
    first += size;
  }
  return long(c.groups) * channels * c.inputs * c.kernel_h * c.kernel_w;
}

// For each group and tile: (inputs, taps, outputs of the tile). Transposed, `weights` are those of
// the convolution whose gradient this is: channels swapped and taps in reverse.
void pack(const Convolution& c, const float* weights, bool transposed, float* packed) {
  if (c.method == Method::channels) return channels_pack(c, weights, transposed, packed);
  if (c.method != Method::images) return winograd_pack(c, weights, transposed, packed);
  const int taps = c.kernel_h * c.kernel_w;
  const long each = long(c.inputs) * taps;
  for (int g = 0; g < c.groups; g++, weights += c.outputs * each)
    for (int first = 0, size; first < c.outputs; first += size, packed += each * size) {
      size = tile_outputs(c.outputs, first);
      for (int o = 0; o < size; o++) {
        float* to = packed + o;
        if (first + o >= c.outputs)
          for (long i = 0; i < each; i++) to[i * size] = 0.0f;
        else if (!transposed)
          for (long i = 0; i < each; i++) to[i * size] = weights[(first + o) * each + i];
        else
          for (int i = 0; i < c.inputs; i++)
            for (int k = 0; k < taps; k++)
              to[(long(i) * taps + k) * size] =
                  weights[(long(i) * c.outputs + first + o) * taps + taps - 1 - k];
      }
    }
}

long convolve_scratch(const Convolution& c) {
  if (c.method == Method::channels) return channels_scratch(c);
  return c.method == Method::images ? 0 : winograd_scratch(c);
}

void convolve(const Convolution& c, const float* in, const float* packed, const Finish& finish,
              int lanes, float* scratch, float* out) {
  if (c.method == Method::channels)
    return channels_convolve(c, in, packed, finish, lanes, scratch, out);
  if (c.method != Method::images) return winograd_convolve(c, in, packed, finish, scratch, out);
  const long per_output = long(c.inputs) * c.kernel_h * c.kernel_w;
  for (int g = 0; g < c.groups; g++) {
    for (int first = 0; first < c.outputs;) {
      const int size = tile_outputs(c.outputs, first);
      const int left = c.outputs - first;
      const Place place = {in, packed, from(finish, g * c.outputs + first),
                           out + first * c.out_plane * kLanes, left < size ? left : size};
      dispatch(size, c, place);
      packed += per_output * size;
      first += size;
    }
    in += c.inputs * c.in_plane * kLanes;
    out += c.outputs * c.out_plane * kLanes;
  }
}

}  // namespace kilonet::KILONET_ISA
