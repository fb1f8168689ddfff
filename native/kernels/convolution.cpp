// Direct convolution and its gradient to the input, which is the same sum with transposed weights.
//
// A tile of the output (several channels, at one or a few adjacent positions) stays in registers
// while the kernel loops over input channels and taps: each input vector is loaded once for all
// channels of the tile, each weight once for all its vectors.

#include "channels.h"
#include "depthwise.h"
#include "vector.h"
#include "winograd.h"

namespace kilonet::KILONET_ISA {
namespace {

// Sums use up to 24 of the 32 registers of AVX-512, and 12 of 16 on other instruction sets.
constexpr int kSums = kWidth == 16 ? 24 : 12;
constexpr int kMaxOutputs = kSums / 2;
constexpr int kTileVectors = kWidth == 16 ? 1 : 2;  // of a cell

// Output channels of the tile that begins at `first`. Tiles are as equal as possible, in the sizes
// that have a kernel. The last tile may extend past the end; its weights there are zeros.
int tile_outputs(int outputs, int first) {
  int tiles = (outputs + kMaxOutputs - 1) / kMaxOutputs;
  int per_tile = (outputs + tiles - 1) / tiles;
  int size = per_tile < outputs - first ? per_tile : outputs - first;
  return size > 8 ? (size + 1) / 2 * 2 : size;
}

struct OutputTile {
  const float* in;
  const float* weights;
  Epilogue epilogue;
  float* out;
  int valid;  // output channels that exist
};

// The epilogue of the channels from `first` on.
inline Epilogue epilogue_from(const Epilogue& f, int first) {
  Epilogue shifted = f;
  if (f.bias) shifted.bias += first;
  if (f.scale) shifted.scale += first;
  if (f.shift) shifted.shift += first;
  return shifted;
}

template <int O, int X>
inline void store_tile(const Convolution& c, const OutputTile& tile,
                       Floats (&sums)[O][X][kTileVectors], float* out) {
  const Epilogue& f = tile.epilogue;
#pragma GCC unroll 12
  for (int o = 0; o < O; o++) {
    if (o >= tile.valid) break;
    float* to = out + o * c.out_plane * kLanes;
#pragma GCC unroll 8
    for (int x = 0; x < X; x++)
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; v++) {
        Floats y = apply_epilogue(f, o, sums[o][x][v]);
        float* at = to + x * kLanes + v * kWidth;
        if (f.add) y += load(at);
        store(at, y);
      }
  }
}

// Computes one tile: K × K taps with stride and dilation 1, or the taps in `rows` and `columns` if K is 0.
template <int O, int X, int K>
inline void compute_tile(const Convolution& c, const OutputTile& tile, Taps rows, Taps columns,
                         long lane, float* out) {
  Floats sums[O][X][kTileVectors];
#pragma GCC unroll 12
  for (int o = 0; o < O; o++) {
    Floats start = splat(tile.epilogue.bias && o < tile.valid ? tile.epilogue.bias[o] : 0.0f);
#pragma GCC unroll 8
    for (int x = 0; x < X; x++)
#pragma GCC unroll 2
      for (int v = 0; v < kTileVectors; v++) sums[o][x][v] = start;
  }
  const int count_h = K ? K : rows.count, count_w = K ? K : columns.count;
  const long step_h = K ? K * O : long(c.k_step_h) * c.kernel_w * O;
  const long step_w = K ? O : long(c.k_step_w) * O;
  const long row = long(K ? 1 : c.in_step_h) * c.in_width * kLanes;
  const long column = K ? kLanes : long(c.in_step_w) * kLanes, x_step = K ? kLanes : long(c.x_step) * kLanes;
  const float* in = tile.in + lane + (long(rows.position) * c.in_width + columns.position) * kLanes;
  const float* weights = tile.weights + (long(rows.k) * c.kernel_w + columns.k) * O;
  const long per_input = K ? K * K * O : long(c.kernel_h) * c.kernel_w * O;
  for (int i = 0; i < c.inputs; i++) {
#pragma GCC unroll 3
    for (int h = 0; h < count_h; h++)
#pragma GCC unroll 3
      for (int w = 0; w < count_w; w++) {
        const float* from = in + h * row + w * column;
        const float* weight = weights + h * step_h + w * step_w;
        Floats a[X][kTileVectors];
#pragma GCC unroll 8
        for (int x = 0; x < X; x++)
#pragma GCC unroll 2
          for (int v = 0; v < kTileVectors; v++) a[x][v] = load(from + x * x_step + v * kWidth);
#pragma GCC unroll 12
        for (int o = 0; o < O; o++) {
          Floats b = splat(weight[o]);
          keep_in_register(b);
#pragma GCC unroll 8
          for (int x = 0; x < X; x++)
#pragma GCC unroll 2
            for (int v = 0; v < kTileVectors; v++) sums[o][x][v] += a[x][v] * b;
        }
      }
    in += c.in_plane * kLanes;
    weights += per_input;
  }
  store_tile<O, X>(c, tile, sums, out);
}

// Whether `positions` outputs from `x` on use the same taps, at inputs a constant step apart.
inline bool same_taps(const Convolution& c, int x, int positions) {
  if (!c.x_step || x + positions > c.out_width) return false;
  const Taps first = c.columns[x];
  for (int i = 1; i < positions; i++) {
    const Taps next = c.columns[x + i];
    if (next.k != first.k || next.count != first.count ||
        next.position != first.position + i * c.x_step)
      return false;
  }
  return true;
}

template <int O>
void convolve_outputs(const Convolution& c, const OutputTile& tile) {
  // As many adjacent positions as fit the registers.
  constexpr int kFit = kSums / kTileVectors / O, X = kFit > 8 ? 8 : kFit;
  constexpr int kHalf = X / 2 > 1 ? X / 2 : 1;
  for (long lane = 0; lane < kLanes; lane += kTileVectors * kWidth)
    for (int y = 0; y < c.out_height; y++) {
      float* to = tile.out + lane + long(y) * c.out_width * kLanes;
      const Taps rows = c.rows[y];
      for (int x = 0; x < c.out_width;) {
        const Taps columns = c.columns[x];
        float* out = to + long(x) * kLanes;
        const bool all_taps = rows.count == c.kernel_h && columns.count == c.kernel_w &&
                              c.x_step == 1 && c.in_step_h == 1 && c.in_step_w == 1;
        if (X > 1 && same_taps(c, x, X)) {
          if (all_taps && c.kernel_h == 3 && c.kernel_w == 3)
            compute_tile<O, X, 3>(c, tile, rows, columns, lane, out);
          else if (all_taps && c.kernel_h == 1 && c.kernel_w == 1)
            compute_tile<O, X, 1>(c, tile, rows, columns, lane, out);
          else
            compute_tile<O, X, 0>(c, tile, rows, columns, lane, out);
          x += X;
        } else if (kHalf > 1 && same_taps(c, x, kHalf)) {
          compute_tile<O, kHalf, 0>(c, tile, rows, columns, lane, out);
          x += kHalf;
        } else {
          compute_tile<O, 1, 0>(c, tile, rows, columns, lane, out);
          x++;
        }
      }
    }
}

void dispatch(int size, const Convolution& c, const OutputTile& tile) {
  switch (size) {
    case 1: return convolve_outputs<1>(c, tile);
    case 2: return convolve_outputs<2>(c, tile);
    case 3: return convolve_outputs<3>(c, tile);
    case 4: return convolve_outputs<4>(c, tile);
    case 5: return convolve_outputs<5>(c, tile);
    case 6: return convolve_outputs<6>(c, tile);
#if defined(__AVX512F__)
    case 7: return convolve_outputs<7>(c, tile);
    case 8: return convolve_outputs<8>(c, tile);
    case 10: return convolve_outputs<10>(c, tile);
    case 12: return convolve_outputs<12>(c, tile);
#endif
  }
}

}  // namespace

long packed_size(const Convolution& c) {
  if (c.method == Method::channels) return channels_packed_size(c);
  if (c.method == Method::depthwise) return long(c.groups) * 9;
  if (c.method != Method::direct) return winograd_packed_size(c);
  long channels = 0;
  for (int first = 0; first < c.outputs;) {
    int size = tile_outputs(c.outputs, first);
    channels += size;
    first += size;
  }
  return long(c.groups) * channels * c.inputs * c.kernel_h * c.kernel_w;
}

// Layout for each group and tile: (inputs, taps, outputs of the tile). If `transposed`, `weights`
// are those of the convolution whose gradient this is: channels are swapped and taps reversed.
void pack(const Convolution& c, const float* weights, bool transposed, float* packed) {
  if (c.method == Method::channels) return channels_pack(c, weights, transposed, packed);
  if (c.method == Method::depthwise) return depthwise_pack(c, weights, transposed, packed);
  if (c.method != Method::direct) return winograd_pack(c, weights, transposed, packed);
  const int taps = c.kernel_h * c.kernel_w;
  const long per_output = long(c.inputs) * taps;
  for (int g = 0; g < c.groups; g++, weights += c.outputs * per_output)
    for (int first = 0, size; first < c.outputs; first += size, packed += per_output * size) {
      size = tile_outputs(c.outputs, first);
      for (int o = 0; o < size; o++) {
        float* to = packed + o;
        if (first + o >= c.outputs)
          for (long i = 0; i < per_output; i++) to[i * size] = 0.0f;
        else if (!transposed)
          for (long i = 0; i < per_output; i++)
            to[i * size] = weights[(first + o) * per_output + i];
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
  if (c.method == Method::depthwise) return depthwise_scratch(c);
  return c.method == Method::direct ? 0 : winograd_scratch(c);
}

void convolve(const Convolution& c, const float* in, const float* packed, const Epilogue& epilogue,
              int lanes, float* scratch, float* out) {
  if (c.method == Method::channels)
    return channels_convolve(c, in, packed, epilogue, lanes, scratch, out);
  if (c.method == Method::depthwise) return depthwise_convolve(c, in, packed, epilogue, scratch, out);
  if (c.method != Method::direct) return winograd_convolve(c, in, packed, epilogue, scratch, out);
  const long per_output = long(c.inputs) * c.kernel_h * c.kernel_w;
  for (int g = 0; g < c.groups; g++) {
    for (int first = 0; first < c.outputs;) {
      const int size = tile_outputs(c.outputs, first);
      const int left = c.outputs - first;
      const OutputTile tile = {in, packed, epilogue_from(epilogue, g * c.outputs + first),
                               out + first * c.out_plane * kLanes, left < size ? left : size};
      dispatch(size, c, tile);
      packed += per_output * size;
      first += size;
    }
    in += c.inputs * c.in_plane * kLanes;
    out += c.outputs * c.out_plane * kLanes;
  }
}

}  // namespace kilonet::KILONET_ISA
