// Convolutions, and their gradients to the input, by Winograd's algorithm: transforms patches, sums
// a product for each position, and transforms tiles back.

#include "winograd.h"

#include "winograd_transforms.h"

namespace kilonet::KILONET_ISA {
namespace {

// Sums in registers: 8 channels × 2 tiles with the 32 registers of AVX-512, 4 × 2 with 16
// registers.
constexpr int kTiles = 2;

// m[p][o][t] = Σ over inputs of weights[p][i][o] · patches[p][i][t].
template <int O, int T>
void multiply(int positions, int inputs, const float* weights, const float* patches, float* m) {
  const long position = odd(long(inputs) * kTiles) * kWidth;
  for (int p = 0; p < positions; p++) {
    const float* patch = patches + p * position;
    Floats sums[O][T] = {};
    for (int i = 0; i < inputs; i++) {
      Floats a[T];
#pragma GCC unroll 2
      for (int t = 0; t < T; t++) a[t] = load(patch + t * kWidth);
#pragma GCC unroll 8
      for (int o = 0; o < O; o++) {
        Floats b = splat(weights[o]);
        keep_in_register(b);
#pragma GCC unroll 2
        for (int t = 0; t < T; t++) sums[o][t] += a[t] * b;
      }
      weights += O;
      patch += kTiles * kWidth;
    }
#pragma GCC unroll 8
    for (int o = 0; o < O; o++)
#pragma GCC unroll 2
      for (int t = 0; t < T; t++)
        store(m + (p * odd(O * kTiles) + o * kTiles + t) * kWidth, sums[o][t]);
  }
}

template <int O>
void multiply_tiles(int tiles, int positions, int inputs, const float* weights,
                    const float* patches, float* m) {
  if (tiles == 1)
    multiply<O, 1>(positions, inputs, weights, patches, m);
  else
    multiply<O, 2>(positions, inputs, weights, patches, m);
}

void multiply_outputs(int outputs, int tiles, int positions, int inputs, const float* weights,
                      const float* patches, float* m) {
  switch (outputs) {
    case 1: return multiply_tiles<1>(tiles, positions, inputs, weights, patches, m);
    case 2: return multiply_tiles<2>(tiles, positions, inputs, weights, patches, m);
    case 3: return multiply_tiles<3>(tiles, positions, inputs, weights, patches, m);
    case 4: return multiply_tiles<4>(tiles, positions, inputs, weights, patches, m);
#if defined(__AVX512F__)
    case 5: return multiply_tiles<5>(tiles, positions, inputs, weights, patches, m);
    case 6: return multiply_tiles<6>(tiles, positions, inputs, weights, patches, m);
    case 7: return multiply_tiles<7>(tiles, positions, inputs, weights, patches, m);
    case 8: return multiply_tiles<8>(tiles, positions, inputs, weights, patches, m);
#endif
  }
}

// Writes Aᵀ m A of one tile and channel to the M × M cells at `to`, as far as they exist.
template <int M>
inline void transform_output(const Epilogue& f, int channel, const float* m, long stride, float* to,
                             long row, int rows, int columns) {
  constexpr int N = M + 2;
  Floats s[M][N];
#pragma GCC unroll 6
  for (int j = 0; j < N; j++) {
    Floats column[N], y[M];
#pragma GCC unroll 6
    for (int i = 0; i < N; i++) column[i] = load(m + (N * i + j) * stride);
    Transform<M>::output(column, y);
#pragma GCC unroll 4
    for (int i = 0; i < M; i++) s[i][j] = y[i];
  }
  const Floats bias = splat(f.bias ? f.bias[channel] : 0.0f);
  // Prefetch the tile below: a row of tiles later, it has arrived.
  for (int i = M; i < 2 * M; i++)
    for (int j = 0; j < M; j++) prefetch_for_write(to + i * row + j * kLanes);
#pragma GCC unroll 4
  for (int i = 0; i < M; i++) {
    if (i >= rows) break;
    Floats y[M];
    Transform<M>::output(s[i], y);
#pragma GCC unroll 4
    for (int j = 0; j < M; j++) {
      if (j >= columns) break;
      Floats v = apply_epilogue(f, channel, y[j] + bias);
      float* at = to + i * row + j * kLanes;
      if (f.add) v += load(at);
      store(at, v);
    }
  }
}

// Layout for each group and tile of outputs: (positions, inputs, outputs of the tile).
template <int M>
void pack(const Convolution& c, const float* weights, bool transposed, float* packed) {
  constexpr int N = M + 2;
  const auto& g = Transform<M>::kG;
  for (int group = 0; group < c.groups; group++, weights += long(c.outputs) * c.inputs * 9)
    for (int first = 0, size; first < c.outputs; first += size) {
      size = tile_outputs(c.outputs, first);
      for (int i = 0; i < c.inputs; i++)
        for (int o = 0; o < size; o++) {
          double taps[9], half[N][3];
          for (int k = 0; k < 9; k++)
            taps[k] = transposed ? weights[(long(i) * c.outputs + first + o) * 9 + 8 - k]
                                 : weights[(long(first + o) * c.inputs + i) * 9 + k];
          for (int r = 0; r < N; r++)
            for (int x = 0; x < 3; x++)
              half[r][x] = g[r][0] * taps[x] + g[r][1] * taps[3 + x] + g[r][2] * taps[6 + x];
          for (int r = 0; r < N; r++)
            for (int s = 0; s < N; s++)
              packed[((N * r + s) * long(c.inputs) + i) * size + o] = float(
                  half[r][0] * g[s][0] + half[r][1] * g[s][1] + half[r][2] * g[s][2]);
        }
      packed += long(N) * N * c.inputs * size;
    }
}

template <int M>
void convolve(const Convolution& c, const float* in, const float* packed, const Epilogue& f,
              float* scratch, float* out) {
  constexpr int kPositions = (M + 2) * (M + 2);
  const int across = (c.out_width + M - 1) / M, tiles = across * ((c.out_height + M - 1) / M);
  const long position = odd(long(c.inputs) * kTiles) * kWidth;
  const long row = long(c.out_width) * kLanes;
  float* m = scratch + kPositions * position;
  for (int group = 0; group < c.groups; group++) {
    for (int lane = 0; lane < kLanes; lane += kWidth)
      for (int tile = 0; tile < tiles; tile += kTiles) {
        const int count = min(kTiles, tiles - tile);
        for (int i = 0; i < c.inputs; i++)
          for (int t = 0; t < count; t++) {
            const Corner at = corner<M>(tile + t, across);
            transform_patch<M>(in + lane + i * c.in_plane * kLanes, c.in_height, c.in_width,
                               at.y - c.pad_h, at.x - c.pad_w, scratch + (i * kTiles + t) * kWidth,
                               position);
          }
        const float* weights = packed;
        for (int first = 0, size; first < c.outputs; first += size) {
          size = tile_outputs(c.outputs, first);
          multiply_outputs(size, count, kPositions, c.inputs, weights, scratch, m);
          weights += long(kPositions) * c.inputs * size;
          for (int t = 0; t < count; t++) {
            const Corner at = corner<M>(tile + t, across);
            const int rows = min(M, c.out_height - at.y), columns = min(M, c.out_width - at.x);
            float* to = out + lane + (long(at.y) * c.out_width + at.x) * kLanes;
            for (int o = 0; o < size; o++)
              transform_output<M>(f, group * c.outputs + first + o, m + (o * kTiles + t) * kWidth,
                                  odd(size * kTiles) * kWidth,
                                  to + (first + o) * c.out_plane * kLanes, row, rows, columns);
          }
        }
      }
    in += c.inputs * c.in_plane * kLanes;
    out += c.outputs * c.out_plane * kLanes;
    packed += long(kPositions) * c.inputs * c.outputs;
  }
}

}  // namespace

long winograd_packed_size(const Convolution& c) {
  return long(positions(c.method)) * c.groups * c.inputs * c.outputs;
}

void winograd_pack(const Convolution& c, const float* weights, bool transposed, float* packed) {
  c.method == Method::winograd2 ? pack<2>(c, weights, transposed, packed)
                  : pack<4>(c, weights, transposed, packed);
}

long winograd_scratch(const Convolution& c) {
  return positions(c.method) * kWidth * (odd(long(c.inputs) * kTiles) + odd(kMaxOutputs * kTiles));
}

void winograd_convolve(const Convolution& c, const float* in, const float* packed,
                       const Epilogue& f, float* scratch, float* out) {
  c.method == Method::winograd2 ? convolve<2>(c, in, packed, f, scratch, out)
                  : convolve<4>(c, in, packed, f, scratch, out);
}

}  // namespace kilonet::KILONET_ISA
