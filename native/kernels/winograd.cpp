// Convolutions of 3 × 3 taps without a stride, by Winograd's algorithm: 16 products where the sum
// itself takes 36.
//
// The output is cut into tiles of 2 × 2, each of which a patch of 4 × 4 of the input decides. With
// Bᵀ d B the patch d transformed, G g Gᵀ the taps g and Aᵀ m A the way back,
//
//   output  = Aᵀ [ Σ over input channels (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//   dtaps   = Gᵀ [ Σ over tiles (A dy Aᵀ) ⊙ (Bᵀ d B) ] G
//
//        ⎡ 1  0 −1  0 ⎤        ⎡ 1   0   0 ⎤
//   Bᵀ = ⎢ 0  1  1  0 ⎥    G = ⎢ ½   ½   ½ ⎥    Aᵀ = ⎡ 1  1  1  0 ⎤
//        ⎢ 0 −1  1  0 ⎥        ⎢ ½  −½   ½ ⎥         ⎣ 0  1 −1 −1 ⎦
//        ⎣ 0  1  0 −1 ⎦        ⎣ 0   0   1 ⎦
//
// The second line is the first's derivative by g. The constants are so small that float32 loses
// next to nothing by it: about as much as by another order of the sum.
//
// Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.

#include "vector.h"
#include "winograd.h"

namespace kilonet::KILONET_ISA {
namespace {

constexpr int kPositions = 16;
// Sums held in registers: 8 channels × 3 tiles of the 32 of AVX-512, 4 × 3 of the 16 of the others.
constexpr int kMostOutputs = kWidth == 16 ? 8 : 4;
constexpr int kTiles = 2;
// The weights' gradient holds 8 outputs × 3 inputs, and goes through so many tiles at a time that
// what they are transformed to stays in the second-level cache.
constexpr int kInputs = 3;
constexpr long kCachedFloats = 1l << 16;

// Vectors from one position to the next: an odd number, or the sixteen would compete for a few sets
// of the cache.
inline long odd(long vectors) { return vectors | 1; }

// Where a patch or a tile begins, and which of its rows and columns exist.
struct Corner {
  int y, x;
};

inline Corner corner(int tile, int tiles_across) {
  return {tile / tiles_across * 2, tile % tiles_across * 2};
}

inline void difference(const Floats d0, const Floats d1, const Floats d2, const Floats d3,
                       Floats* e) {
  e[0] = d0 - d2;
  e[1] = d1 + d2;
  e[2] = d2 - d1;
  e[3] = d1 - d3;
}

// Bᵀ d B of the patch whose first cell is (y, x), with zeros where it lies outside: position p goes
// to to[p · stride].
inline void transform_patch(const float* in, int height, int width, int y, int x, float* to,
                            long stride) {
  alignas(64) static const float zeros[4 * kLanes] = {};
  const long row = long(width) * kLanes;
  const float* from = in + (long(y) * width + x) * kLanes;
  const float* rows[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) rows[i] = unsigned(y + i) < unsigned(height) ? from + i * row : zeros;
  // The patch below is next but one: a tile's width is long enough to fetch it.
  for (int i = 4; i < 6; i++)
    for (int j = 1; j < 3; j++) fetch(from + i * row + j * kLanes);
  Floats e[4][4];  // a column's four, transformed
  if (x >= 0 && x + 4 <= width) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++)
      difference(load(rows[0] + j * kLanes), load(rows[1] + j * kLanes),
                 load(rows[2] + j * kLanes), load(rows[3] + j * kLanes), e[j]);
  } else {
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
      if (unsigned(x + j) < unsigned(width))
        difference(load(rows[0] + j * kLanes), load(rows[1] + j * kLanes),
                   load(rows[2] + j * kLanes), load(rows[3] + j * kLanes), e[j]);
      else
        e[j][0] = e[j][1] = e[j][2] = e[j][3] = Floats{};
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    Floats v[4];
    difference(e[0][i], e[1][i], e[2][i], e[3][i], v);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) store(to + (4 * i + j) * stride, v[j]);
  }
}

// m[p][o][t] = Σ over inputs of weights[p][i][o] · patches[p][i][t].
template <int O, int T>
void multiply(int inputs, const float* weights, const float* patches, float* m) {
  const long position = odd(long(inputs) * kTiles) * kWidth;
  for (int p = 0; p < kPositions; p++) {
    const float* patch = patches + p * position;
    Floats sums[O][T] = {};
    for (int i = 0; i < inputs; i++) {
      Floats a[T];
#pragma GCC unroll 3
      for (int t = 0; t < T; t++) a[t] = load(patch + t * kWidth);
#pragma GCC unroll 8
      for (int o = 0; o < O; o++) {
        Floats b = splat(weights[o]);
        keep(b);
#pragma GCC unroll 3
        for (int t = 0; t < T; t++) sums[o][t] += a[t] * b;
      }
      weights += O;
      patch += kTiles * kWidth;
    }
#pragma GCC unroll 8
    for (int o = 0; o < O; o++)
#pragma GCC unroll 3
      for (int t = 0; t < T; t++) store(m + (p * odd(O * kTiles) + o * kTiles + t) * kWidth, sums[o][t]);
  }
}

template <int O>
void multiply_tiles(int tiles, int inputs, const float* weights, const float* patches, float* m) {
  switch (tiles) {
    case 1: return multiply<O, 1>(inputs, weights, patches, m);
    case 2: return multiply<O, 2>(inputs, weights, patches, m);
    
  }
}

void multiply_outputs(int outputs, int tiles, int inputs, const float* weights,
                      const float* patches, float* m) {
  switch (outputs) {
    case 1: return multiply_tiles<1>(tiles, inputs, weights, patches, m);
    case 2: return multiply_tiles<2>(tiles, inputs, weights, patches, m);
    case 3: return multiply_tiles<3>(tiles, inputs, weights, patches, m);
    case 4: return multiply_tiles<4>(tiles, inputs, weights, patches, m);
#if defined(__AVX512F__)
    case 5: return multiply_tiles<5>(tiles, inputs, weights, patches, m);
    case 6: return multiply_tiles<6>(tiles, inputs, weights, patches, m);
    case 7: return multiply_tiles<7>(tiles, inputs, weights, patches, m);
    case 8: return multiply_tiles<8>(tiles, inputs, weights, patches, m);
#endif
  }
}

// Aᵀ m A of one tile and channel, to the 2 × 2 cells at `to`, or as many as there are.
inline void finish(const Finish& f, int channel, const float* m, long stride, float* to, long row,
                   int rows, int columns) {
  Floats s[2][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    const Floats m1 = load(m + (4 + j) * stride), m2 = load(m + (8 + j) * stride);
    s[0][j] = load(m + j * stride) + m1 + m2;
    s[1][j] = m1 - m2 - load(m + (12 + j) * stride);
  }
  const Floats bias = splat(f.bias ? f.bias[channel] : 0.0f);
  // The tile below: a row of tiles is time enough.
  for (int i = 2; i < 4; i++)
    for (int j = 0; j < 2; j++) fetch_to_write(to + i * row + j * kLanes);
#pragma GCC unroll 2
  for (int i = 0; i < 2; i++) {
    if (i >= rows) break;
    const Floats y[2] = {s[i][0] + s[i][1] + s[i][2] + bias, s[i][1] - s[i][2] - s[i][3] + bias};
#pragma GCC unroll 2
    for (int j = 0; j < 2; j++) {
      if (j >= columns) break;
      Floats v = y[j];
      float* at = to + i * row + j * kLanes;
      if (f.activation == Activation::relu) v = v < 0.0f ? Floats{} : v;
      if (f.activation == Activation::leaky_relu) v = v < 0.0f ? v * f.slope : v;
      if (f.scale) v = v * f.scale[channel] + f.shift[channel];
      if (f.add) v += load(at);
      store(at, v);
    }
  }
}

inline int least(int a, int b) { return a < b ? a : b; }

int tile_outputs(int outputs, int first) {
  const int tiles = (outputs + kMostOutputs - 1) / kMostOutputs;
  return least((outputs + tiles - 1) / tiles, outputs - first);
}

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
      keep(b);
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

// A dy Aᵀ of the tile of dy at (y, x), zeros where it reaches past the end.
inline void transform_tile(const float* dy, int height, int width, int y, int x, float* to,
                           long stride) {
  const float* from = dy + (long(y) * width + x) * kLanes;
  const long row = long(width) * kLanes;
  for (int i = 2; i < 4; i++)
    for (int j = 0; j < 2; j++) fetch(from + i * row + j * kLanes);
  Floats d[2][2] = {{load(from), {}}, {}};
  if (x + 1 < width) d[0][1] = load(from + kLanes);
  if (y + 1 < height) {
    d[1][0] = load(from + row);
    if (x + 1 < width) d[1][1] = load(from + row + kLanes);
  }
  Floats e[4][2];
#pragma GCC unroll 2
  for (int j = 0; j < 2; j++) {
    e[0][j] = d[0][j];
    e[1][j] = d[0][j] + d[1][j];
    e[2][j] = d[0][j] - d[1][j];
    e[3][j] = -d[1][j];
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    store(to + (4 * i) * stride, e[i][0]);
    store(to + (4 * i + 1) * stride, e[i][0] + e[i][1]);
    store(to + (4 * i + 2) * stride, e[i][0] - e[i][1]);
    store(to + (4 * i + 3) * stride, -e[i][1]);
  }
}

// Gᵀ s G: the nine taps' gradients, a vector each.
inline void finish_gradient(const float* sums, long stride, float* taps) {
  Floats s[3][4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    const Floats s1 = load(sums + (4 + j) * stride), s2 = load(sums + (8 + j) * stride);
    const Floats half = 0.5f * (s1 + s2);
    s[0][j] = load(sums + j * stride) + half;
    s[1][j] = 0.5f * (s1 - s2);
    s[2][j] = half + load(sums + (12 + j) * stride);
  }
#pragma GCC unroll 3
  for (int i = 0; i < 3; i++) {
    const Floats half = 0.5f * (s[i][1] + s[i][2]);
    store(taps + (3 * i) * kWidth, s[i][0] + half);
    store(taps + (3 * i + 1) * kWidth, 0.5f * (s[i][1] - s[i][2]));
    store(taps + (3 * i + 2) * kWidth, half + s[i][3]);
  }
}

// Of all pairs of channels, their lanes summed; `sums` are of one position.
void finish_gradients(const float* sums, long position, long pairs, float* gradient) {
  alignas(64) float taps[9 * kWidth * kWidth];
  for (; pairs > 0; pairs -= kWidth, gradient += 9 * kWidth, sums += kWidth * kWidth) {
    const int count = pairs < kWidth ? int(pairs) : kWidth;
    for (int pair = 0; pair < count; pair++)
      finish_gradient(sums + pair * kWidth, position, taps + pair * 9 * kWidth);
    if (count == kWidth) {
      for (int i = 0; i < 9; i++)
        lane_sums(taps + i * kWidth * kWidth, kWidth, gradient + i * kWidth);
    } else {
      for (int i = 0; i < 9 * count; i++) gradient[i] = lane_sum(load(taps + i * kWidth));
    }
  }
}

int tiles_at_once(int inputs, int outputs) {
  const long fit = kCachedFloats / (kPositions * kWidth * (long(inputs) + outputs));
  return fit < 4 ? 4 : fit > 32 ? 32 : int(fit);
}

}  // namespace

// For each group and tile of outputs: (positions, inputs, outputs of the tile).
void winograd_pack(const Convolution& c, const float* weights, bool transposed, float* packed) {
  constexpr float g[4][3] = {{1, 0, 0}, {0.5f, 0.5f, 0.5f}, {0.5f, -0.5f, 0.5f}, {0, 0, 1}};
  for (int group = 0; group < c.groups; group++, weights += long(c.outputs) * c.inputs * 9)
    for (int first = 0, size; first < c.outputs; first += size) {
      size = tile_outputs(c.outputs, first);
      for (int i = 0; i < c.inputs; i++)
        for (int o = 0; o < size; o++) {
          float taps[9], half[4][3];
          for (int k = 0; k < 9; k++)
            taps[k] = transposed ? weights[(long(i) * c.outputs + first + o) * 9 + 8 - k]
                                 : weights[(long(first + o) * c.inputs + i) * 9 + k];
          for (int r = 0; r < 4; r++)
            for (int x = 0; x < 3; x++)
              half[r][x] = g[r][0] * taps[x] + g[r][1] * taps[3 + x] + g[r][2] * taps[6 + x];
          for (int r = 0; r < 4; r++)
            for (int s = 0; s < 4; s++)
              packed[((4 * r + s) * long(c.inputs) + i) * size + o] =
                  half[r][0] * g[s][0] + half[r][1] * g[s][1] + half[r][2] * g[s][2];
        }
      packed += long(kPositions) * c.inputs * size;
    }
}

long winograd_scratch(const Convolution& c) {
  return kPositions * kWidth * (odd(long(c.inputs) * kTiles) + odd(kMostOutputs * kTiles));
}

void winograd_convolve(const Convolution& c, const float* in, const float* packed,
                       const Finish& f, float* scratch, float* out) {
  const int across = (c.out_width + 1) / 2, tiles = across * ((c.out_height + 1) / 2);
  const long position = odd(long(c.inputs) * kTiles) * kWidth;
  const long row = long(c.out_width) * kLanes;
  float* m = scratch + kPositions * position;
  for (int group = 0; group < c.groups; group++) {
    for (int lane = 0; lane < kLanes; lane += kWidth)
      for (int tile = 0; tile < tiles; tile += kTiles) {
        const int count = least(kTiles, tiles - tile);
        for (int i = 0; i < c.inputs; i++)
          for (int t = 0; t < count; t++) {
            const Corner at = corner(tile + t, across);
            transform_patch(in + lane + i * c.in_plane * kLanes, c.in_height, c.in_width,
                            at.y - c.pad_h, at.x - c.pad_w, scratch + (i * kTiles + t) * kWidth,
                            position);
          }
        const float* weights = packed;
        for (int first = 0, size; first < c.outputs; first += size) {
          size = tile_outputs(c.outputs, first);
          multiply_outputs(size, count, c.inputs, weights, scratch, m);
          weights += long(kPositions) * c.inputs * size;
          for (int t = 0; t < count; t++) {
            const Corner at = corner(tile + t, across);
            const int rows = least(2, c.out_height - at.y), columns = least(2, c.out_width - at.x);
            float* to = out + lane + (long(at.y) * c.out_width + at.x) * kLanes;
            for (int o = 0; o < size; o++)
              finish(f, group * c.outputs + first + o, m + (o * kTiles + t) * kWidth,
                     odd(size * kTiles) * kWidth, to + (first + o) * c.out_plane * kLanes, row,
                     rows, columns);
          }
        }
      }
    in += c.inputs * c.in_plane * kLanes;
    out += c.outputs * c.out_plane * kLanes;
    packed += long(kPositions) * c.inputs * c.outputs;
  }
}

long winograd_weight_scratch(const WeightGradient& g) {
  const long tiles = tiles_at_once(g.inputs, g.outputs);
  return kPositions * kWidth *
         (odd(tiles * g.inputs) + odd(tiles * g.outputs) + odd(long(g.inputs) * g.outputs));
}

void winograd_weight_gradient(const WeightGradient& g, const float* in, const float* dout,
                              float* scratch, float* gradient) {
  const int across = (g.out_width + 1) / 2, tiles = across * ((g.out_height + 1) / 2);
  const int at_once = tiles_at_once(g.inputs, g.outputs);
  // From one position to the next.
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
        const int count = least(at_once, tiles - tile);
        for (int t = 0; t < count; t++) {
          const Corner at = corner(tile + t, across);
          for (int i = 0; i < g.inputs; i++)
            transform_patch(in + lane + i * g.in_plane * kLanes, g.in_height, g.in_width,
                            at.y - g.pad_h, at.x - g.pad_w,
                            patches + (long(t) * g.inputs + i) * kWidth, patch);
          for (int o = 0; o < g.outputs; o++)
            transform_tile(dout + lane + o * g.out_plane * kLanes, g.out_height, g.out_width, at.y,
                           at.x, dys + (long(t) * g.outputs + o) * kWidth, dy);
        }
        for (int p = 0; p < kPositions; p++)
          for (int first = 0, size; first < g.outputs; first += size) {
            size = tile_outputs(g.outputs, first);
            for (int i = 0; i < g.inputs; i += kInputs)
              accumulate_outputs(size, least(kInputs, g.inputs - i), count,
                                 dys + p * dy + first * kWidth, g.outputs,
                                 patches + p * patch + i * kWidth, g.inputs,
                                 sums + p * pairs + first * row + i * kWidth, row);
          }
      }
    finish_gradients(sums, pairs, long(g.inputs) * g.outputs, gradient);
    gradient += 9l * g.inputs * g.outputs;
    in += g.inputs * g.in_plane * kLanes;
    dout += g.outputs * g.out_plane * kLanes;
  }
}

}  // namespace kilonet::KILONET_ISA
