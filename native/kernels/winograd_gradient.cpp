// Gradients to the weights by Winograd's algorithm: transforms patches and tiles, sums their
// products for each position, and transforms the sums back.

#include "winograd.h"

#include "winograd_transforms.h"

namespace kilonet::KILONET_ISA {
namespace {

// Registers hold the sums of 8 outputs × 3 inputs, or 4 × 3 with 16 registers. Tiles are processed
// in blocks whose transforms fit in the second-level cache.
constexpr int kInputs = 3;
constexpr long kCachedFloats = 1l << 17;

// sums[o][i] += Σ over tiles of dys[t][o] · patches[t][i].
template <int O, int I>
void accumulate(int tiles, const float* dys, long outputs, const float* patches, long inputs,
                float* sums, long row) {
  Floats s[O][I];
#pragma GCC unroll 8
  for (int o = 0; o < O; o++)
#pragma GCC unroll 3
    for (int i = 0; i < I; i++) s[o][i] = load(sums + o * row + i * kWidth);
  for (int t = 0; t < tiles; t++, dys += outputs * kWidth, patches += inputs * kWidth) {
    Floats a[I];
#pragma GCC unroll 3
    for (int i = 0; i < I; i++) a[i] = load(patches + i * kWidth);
#pragma GCC unroll 8
    for (int o = 0; o < O; o++) {
      Floats b = load(dys + o * kWidth);
      keep_in_register(b);
#pragma GCC unroll 3
      for (int i = 0; i < I; i++) s[o][i] += a[i] * b;
    }
  }
#pragma GCC unroll 8
  for (int o = 0; o < O; o++)
#pragma GCC unroll 3
    for (int i = 0; i < I; i++) store(sums + o * row + i * kWidth, s[o][i]);
}

template <int O>
void accumulate_inputs(int count, int tiles, const float* dys, long outputs, const float* patches,
                       long inputs, float* sums, long row) {
  switch (count) {
    case 1: return accumulate<O, 1>(tiles, dys, outputs, patches, inputs, sums, row);
    case 2: return accumulate<O, 2>(tiles, dys, outputs, patches, inputs, sums, row);
    case 3: return accumulate<O, 3>(tiles, dys, outputs, patches, inputs, sums, row);
  }
}

void accumulate_outputs(int size, int count, int tiles, const float* dys, long outputs,
                        const float* patches, long inputs, float* sums, long row) {
  switch (size) {
    case 1: return accumulate_inputs<1>(count, tiles, dys, outputs, patches, inputs, sums, row);
    case 2: return accumulate_inputs<2>(count, tiles, dys, outputs, patches, inputs, sums, row);
    case 3: return accumulate_inputs<3>(count, tiles, dys, outputs, patches, inputs, sums, row);
    case 4: return accumulate_inputs<4>(count, tiles, dys, outputs, patches, inputs, sums, row);
#if defined(__AVX512F__)
    case 5: return accumulate_inputs<5>(count, tiles, dys, outputs, patches, inputs, sums, row);
    case 6: return accumulate_inputs<6>(count, tiles, dys, outputs, patches, inputs, sums, row);
    case 7: return accumulate_inputs<7>(count, tiles, dys, outputs, patches, inputs, sums, row);
    case 8: return accumulate_inputs<8>(count, tiles, dys, outputs, patches, inputs, sums, row);
#endif
  }
}

// A dy Aᵀ of the tile of dy at (y, x), with zeros past the end.
template <int M>
inline void transform_tile(const float* dy, int height, int width, int y, int x, float* to,
                           long stride) {
  constexpr int N = M + 2;
  const float* from = dy + (long(y) * width + x) * kLanes;
  const long row = long(width) * kLanes;
  for (int i = M; i < 2 * M; i++)
    for (int j = 0; j < M; j++) prefetch(from + i * row + j * kLanes);
  Floats e[M][N];  // the transformed columns
  const auto column = [&](int j, int rows) {
    Floats d[M] = {};
#pragma GCC unroll 4
    for (int i = 0; i < M; i++)
      if (i < rows) d[i] = load(from + i * row + j * kLanes);
    Transform<M>::tile(d, e[j]);
  };
  if (y + M <= height && x + M <= width) {
#pragma GCC unroll 4
    for (int j = 0; j < M; j++) column(j, M);
  } else {
    for (int j = 0; j < M; j++) column(j, x + j < width ? height - y : 0);
  }
#pragma GCC unroll 6
  for (int i = 0; i < N; i++) {
    Floats d[M], v[N];
#pragma GCC unroll 4
    for (int j = 0; j < M; j++) d[j] = e[j][i];
    Transform<M>::tile(d, v);
#pragma GCC unroll 6
    for (int j = 0; j < N; j++) store(to + (N * i + j) * stride, v[j]);
  }
}

// Gᵀ s G: the gradients of the nine taps, one vector each.
template <int M>
inline void transform_gradient(const float* sums, long stride, float* taps) {
  constexpr int N = M + 2;
  Floats s[3][N];
#pragma GCC unroll 6
  for (int j = 0; j < N; j++) {
    Floats column[N], g[3];
#pragma GCC unroll 6
    for (int i = 0; i < N; i++) column[i] = load(sums + (N * i + j) * stride);
    Transform<M>::taps(column, g);
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) s[i][j] = g[i];
  }
#pragma GCC unroll 3
  for (int i = 0; i < 3; i++) {
    Floats g[3];
    Transform<M>::taps(s[i], g);
#pragma GCC unroll 3
    for (int j = 0; j < 3; j++) store(taps + (3 * i + j) * kWidth, g[j]);
  }
}

// The gradients of all pairs of channels, summed over lanes. `position` is the stride from one
// position's sums to the next.
template <int M>
void transform_gradients(const float* sums, long position, long pairs, float* gradient) {
  alignas(64) float taps[9 * kWidth * kWidth];
  for (; pairs > 0; pairs -= kWidth, gradient += 9 * kWidth, sums += kWidth * kWidth) {
    const int count = pairs < kWidth ? int(pairs) : kWidth;
    for (int pair = 0; pair < count; pair++)
      transform_gradient<M>(sums + pair * kWidth, position, taps + pair * 9 * kWidth);
    if (count == kWidth) {
      for (int i = 0; i < 9; i++)
        lane_sums(taps + i * kWidth * kWidth, kWidth, gradient + i * kWidth);
    } else {
      for (int i = 0; i < 9 * count; i++) gradient[i] = lane_sum(load(taps + i * kWidth));
    }
  }
}

int tiles_at_once(int positions, int inputs, int outputs) {
  const long fit = kCachedFloats / (positions * kWidth * (long(inputs) + outputs));
  return fit < 4 ? 4 : fit > 32 ? 32 : int(fit);
}

template <int M>
void weight_gradient(const WeightGradient& g, const float* in, const float* dout, float* scratch,
                     float* gradient) {
  constexpr int kPositions = (M + 2) * (M + 2);
  const int across = (g.out_width + M - 1) / M, tiles = across * ((g.out_height + M - 1) / M);
  const int at_once = tiles_at_once(kPositions, g.inputs, g.outputs);
  // Strides from one position to the next.
  const long pairs = odd(long(g.inputs) * g.outputs) * kWidth;
  const long patch = odd(long(at_once) * g.inputs) * kWidth;
  const long dy = odd(long(at_once) * g.outputs) * kWidth;
  const long row = long(g.inputs) * kWidth;
  float* sums = scratch;
  float* patches = sums + kPositions * pairs;
  float* dys = patches + kPositions * patch;
  for (int group = 0; group < g.groups; group++) {
    for (long s = 0; s < kPositions * pairs; s += kWidth) store(sums + s, Floats{});
    for (int lane = 0; lane < kLanes; lane += kWidth)
      for (int tile = 0; tile < tiles; tile += at_once) {
        const int count = min(at_once, tiles - tile);
        for (int t = 0; t < count; t++) {
          const Corner at = corner<M>(tile + t, across);
          for (int i = 0; i < g.inputs; i++)
            transform_patch<M>(in + lane + i * g.in_plane * kLanes, g.in_height, g.in_width,
                               at.y - g.pad_h, at.x - g.pad_w,
                               patches + (long(t) * g.inputs + i) * kWidth, patch);
          for (int o = 0; o < g.outputs; o++)
            transform_tile<M>(dout + lane + o * g.out_plane * kLanes, g.out_height, g.out_width,
                              at.y, at.x, dys + (long(t) * g.outputs + o) * kWidth, dy);
        }
        for (int p = 0; p < kPositions; p++)
          for (int first = 0, size; first < g.outputs; first += size) {
            size = tile_outputs(g.outputs, first);
            for (int i = 0; i < g.inputs; i += kInputs)
              accumulate_outputs(size, min(kInputs, g.inputs - i), count,
                                 dys + p * dy + first * kWidth, g.outputs,
                                 patches + p * patch + i * kWidth, g.inputs,
                                 sums + p * pairs + first * row + i * kWidth, row);
          }
      }
    transform_gradients<M>(sums, pairs, long(g.inputs) * g.outputs, gradient);
    gradient += 9l * g.inputs * g.outputs;
    in += g.inputs * g.in_plane * kLanes;
    dout += g.outputs * g.out_plane * kLanes;
  }
}

}  // namespace

long winograd_weight_scratch(const WeightGradient& g) {
  const long tiles = tiles_at_once(positions(g.method), g.inputs, g.outputs);
  return positions(g.method) * kWidth *
         (odd(tiles * g.inputs) + odd(tiles * g.outputs) + odd(long(g.inputs) * g.outputs));
}

void winograd_weight_gradient(const WeightGradient& g, const float* in, const float* dout,
                              float* scratch, float* gradient) {
  g.method == Method::winograd2 ? weight_gradient<2>(g, in, dout, scratch, gradient)
                  : weight_gradient<4>(g, in, dout, scratch, gradient);
}

}  // namespace kilonet::KILONET_ISA
