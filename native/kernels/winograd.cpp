// Convolutions of 3 × 3 taps without a stride, by Winograd's algorithm: F(2 × 2, 3 × 3) takes 16
// products where the sum itself takes 36, F(4 × 4, 3 × 3) takes 36 for 144.
//
// The output is cut into tiles of M × M, each of which a patch of N × N of the input decides, where
// N = M + 2. With Bᵀ d B the patch d transformed, G g Gᵀ the taps g and Aᵀ m A the way back,
//
//   output  = Aᵀ [ Σ over input channels (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//   dtaps   = Gᵀ [ Σ over tiles (A dy Aᵀ) ⊙ (Bᵀ d B) ] G
//
// The second line is the first's derivative by g. A row of the matrices belongs to a point p where
// polynomials are evaluated, the last to infinity. With n(x) = Π (x − p) over the points,
//
//   A  has pᵏ,  and 0 … 0 1 for infinity
//   G  has pᵏ / n′(p),  and 0 0 1
//   Bᵀ has the coefficients of n(x) / (x − p),  and those of n(x)
//
// The points are 0, ±1 for M = 2; 0, ±a, ±b for M = 4. Of a and b depends how much float32 loses:
// with the usual 1 and 2 six times as much as a plain sum, with 5/8 and 3/2, whose squares are exact
// too, three times (relative norm of the error, normal inputs and taps, 8 to 40 channels).
//
// Sources: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; for the
// choice of points Barabasz, Anderson, Soodhalter and Gregg, "Error analysis and improving the
// accuracy of Winograd convolution for deep neural networks", ACM TOMS 46(4), 2020.

#include "vector.h"
#include "winograd.h"

namespace kilonet::KILONET_ISA {
namespace {

// Sums held in registers: 8 channels × 2 tiles of the 32 of AVX-512, 4 × 2 of the 16 of the others.
constexpr int kMostOutputs = kWidth == 16 ? 8 : 4;
constexpr int kTiles = 2;
// The weights' gradient holds 8 outputs × 3 inputs, and goes through so many tiles at a time that
// what they are transformed to stays in the second-level cache.
constexpr int kInputs = 3;
constexpr long kCachedFloats = 1l << 17;

// Vectors from one position to the next: an odd number, or the positions would compete for a few
// sets of the cache.
inline long odd(long vectors) { return vectors | 1; }

// The matrices above, times a vector of vectors.
template <int M>
struct Transform;

template <>
struct Transform<2> {
  static constexpr double kG[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};

  // Bᵀ; the first row has the other sign, as G's has, and the last, as A's has.
  static void patch(const Floats (&d)[4], Floats (&v)[4]) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  }
  // Aᵀ
  static void output(const Floats (&m)[4], Floats (&y)[2]) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
  // A
  static void tile(const Floats (&dy)[2], Floats (&v)[4]) {
    v[0] = dy[0];
    v[1] = dy[0] + dy[1];
    v[2] = dy[0] - dy[1];
    v[3] = -dy[1];
  }
  // Gᵀ
  static void taps(const Floats (&s)[4], Floats (&g)[3]) {
    const Floats half = 0.5f * (s[1] + s[2]);
    g[0] = s[0] + half;
    g[1] = 0.5f * (s[1] - s[2]);
    g[2] = half + s[3];
  }
};

template <>
struct Transform<4> {
  static constexpr double kA = 5.0 / 8, kB = 3.0 / 2, kAA = kA * kA, kBB = kB * kB;
  static constexpr double k0 = 1 / (kAA * kBB);  // 1 / n′(p) of the points
  static constexpr double k1 = 1 / (2 * kAA * (kAA - kBB)), k2 = 1 / (2 * kBB * (kBB - kAA));
  static constexpr double kG[6][3] = {{k0, 0, 0},
                                      {k1, k1 * kA, k1 * kAA},
                                      {k1, -k1 * kA, k1 * kAA},
                                      {k2, k2 * kB, k2 * kBB},
                                      {k2, -k2 * kB, k2 * kBB},
                                      {0, 0, 1}};
  static constexpr float a = float(kA), b = float(kB), aa = float(kAA), bb = float(kBB);
  static constexpr float sum = float(kAA + kBB), product = float(kAA * kBB);

  static void patch(const Floats (&d)[6], Floats (&v)[6]) {
    const Floats even_a = d[4] - bb * d[2], odd_a = a * (d[3] - bb * d[1]);
    const Floats even_b = d[4] - aa * d[2], odd_b = b * (d[3] - aa * d[1]);
    v[0] = d[4] - sum * d[2] + product * d[0];
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = d[5] - sum * d[3] + product * d[1];
  }
  static void output(const Floats (&m)[6], Floats (&y)[4]) {
    const Floats even_a = m[1] + m[2], odd_a = a * (m[1] - m[2]);
    const Floats even_b = m[3] + m[4], odd_b = b * (m[3] - m[4]);
    y[0] = m[0] + even_a + even_b;
    y[1] = odd_a + odd_b;
    y[2] = aa * even_a + bb * even_b;
    y[3] = m[5] + aa * odd_a + bb * odd_b;
  }
  static void tile(const Floats (&dy)[4], Floats (&v)[6]) {
    const Floats even_a = dy[0] + aa * dy[2], odd_a = a * (dy[1] + aa * dy[3]);
    const Floats even_b = dy[0] + bb * dy[2], odd_b = b * (dy[1] + bb * dy[3]);
    v[0] = dy[0];
    v[1] = even_a + odd_a;
    v[2] = even_a - odd_a;
    v[3] = even_b + odd_b;
    v[4] = even_b - odd_b;
    v[5] = dy[3];
  }
  static void taps(const Floats (&s)[6], Floats (&g)[3]) {
    const Floats even_a = float(k1) * (s[1] + s[2]), odd_a = float(k1 * kA) * (s[1] - s[2]);
    const Floats even_b = float(k2) * (s[3] + s[4]), odd_b = float(k2 * kB) * (s[3] - s[4]);
    g[0] = float(k0) * s[0] + even_a + even_b;
    g[1] = odd_a + odd_b;
    g[2] = s[5] + aa * even_a + bb * even_b;
  }
};

// Where a patch or a tile begins.
struct Corner {
  int y, x;
};

template <int M>
inline Corner corner(int tile, int tiles_across) {
  return {tile / tiles_across * M, tile % tiles_across * M};
}

// Bᵀ d B of the patch whose first cell is (y, x), with zeros where it lies outside: position p goes
// to to[p · stride].
template <int M>
inline void transform_patch(const float* in, int height, int width, int y, int x, float* to,
                            long stride) {
  constexpr int N = M + 2;
  alignas(64) static const float zeros[N * kLanes] = {};
  const long row = long(width) * kLanes;
  const float* from = in + (long(y) * width + x) * kLanes;
  const float* rows[N];
#pragma GCC unroll 6
  for (int i = 0; i < N; i++) rows[i] = unsigned(y + i) < unsigned(height) ? from + i * row : zeros;
  // The patch below is next but one: a row of tiles is time enough to fetch it.
  for (int i = N; i < N + M; i++)
    for (int j = 1; j <= M; j++) fetch(from + i * row + j * kLanes);
  Floats e[N][N];  // of each column
  const auto column = [&](int j) {
    Floats d[N];
#pragma GCC unroll 6
    for (int i = 0; i < N; i++) d[i] = load(rows[i] + j * kLanes);
    Transform<M>::patch(d, e[j]);
  };
  if (x >= 0 && x + N <= width) {
#pragma GCC unroll 6
    for (int j = 0; j < N; j++) column(j);
  } else {
    for (int j = 0; j < N; j++) {
      if (unsigned(x + j) < unsigned(width))
        column(j);
      else
        for (int i = 0; i < N; i++) e[j][i] = Floats{};
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < N; i++) {
    Floats d[N], v[N];
#pragma GCC unroll 6
    for (int j = 0; j < N; j++) d[j] = e[j][i];
    Transform<M>::patch(d, v);
#pragma GCC unroll 6
    for (int j = 0; j < N; j++) store(to + (N * i + j) * stride, v[j]);
  }
}

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
        keep(b);
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

// Aᵀ m A of one tile and channel, to the M × M cells at `to`, or as many as there are.
template <int M>
inline void finish(const Finish& f, int channel, const float* m, long stride, float* to, long row,
                   int rows, int columns) {
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
  // The tile below: a row of tiles is time enough.
  for (int i = M; i < 2 * M; i++)
    for (int j = 0; j < M; j++) fetch_to_write(to + i * row + j * kLanes);
#pragma GCC unroll 4
  for (int i = 0; i < M; i++) {
    if (i >= rows) break;
    Floats y[M];
    Transform<M>::output(s[i], y);
#pragma GCC unroll 4
    for (int j = 0; j < M; j++) {
      if (j >= columns) break;
      Floats v = finished(f, channel, y[j] + bias);
      float* at = to + i * row + j * kLanes;
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
template <int M>
inline void transform_tile(const float* dy, int height, int width, int y, int x, float* to,
                           long stride) {
  constexpr int N = M + 2;
  const float* from = dy + (long(y) * width + x) * kLanes;
  const long row = long(width) * kLanes;
  for (int i = M; i < 2 * M; i++)
    for (int j = 0; j < M; j++) fetch(from + i * row + j * kLanes);
  Floats e[M][N];  // of each column
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

// Gᵀ s G: the nine taps' gradients, a vector each.
template <int M>
inline void finish_gradient(const float* sums, long stride, float* taps) {
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

// Of all pairs of channels, their lanes summed; `sums` are of one position.
template <int M>
void finish_gradients(const float* sums, long position, long pairs, float* gradient) {
  alignas(64) float taps[9 * kWidth * kWidth];
  for (; pairs > 0; pairs -= kWidth, gradient += 9 * kWidth, sums += kWidth * kWidth) {
    const int count = pairs < kWidth ? int(pairs) : kWidth;
    for (int pair = 0; pair < count; pair++)
      finish_gradient<M>(sums + pair * kWidth, position, taps + pair * 9 * kWidth);
    if (count == kWidth) {
      for (int i = 0; i < 9; i++)
        lane_sums(taps + i * kWidth * kWidth, kWidth, gradient + i * kWidth);
    } else {
      for (int i = 0; i < 9 * count; i++) gradient[i] = lane_sum(load(taps + i * kWidth));
    }
  }
}

int positions(Method method) { return method == Method::winograd2 ? 16 : 36; }

int tiles_at_once(int positions, int inputs, int outputs) {
  const long fit = kCachedFloats / (positions * kWidth * (long(inputs) + outputs));
  return fit < 4 ? 4 : fit > 32 ? 32 : int(fit);
}

// For each group and tile of outputs: (positions, inputs, outputs of the tile).
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
void convolve(const Convolution& c, const float* in, const float* packed, const Finish& f,
              float* scratch, float* out) {
  constexpr int kPositions = (M + 2) * (M + 2);
  const int across = (c.out_width + M - 1) / M, tiles = across * ((c.out_height + M - 1) / M);
  const long position = odd(long(c.inputs) * kTiles) * kWidth;
  const long row = long(c.out_width) * kLanes;
  float* m = scratch + kPositions * position;
  for (int group = 0; group < c.groups; group++) {
    for (int lane = 0; lane < kLanes; lane += kWidth)
      for (int tile = 0; tile < tiles; tile += kTiles) {
        const int count = least(kTiles, tiles - tile);
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
            const int rows = least(M, c.out_height - at.y), columns = least(M, c.out_width - at.x);
            float* to = out + lane + (long(at.y) * c.out_width + at.x) * kLanes;
            for (int o = 0; o < size; o++)
              finish<M>(f, group * c.outputs + first + o, m + (o * kTiles + t) * kWidth,
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

template <int M>
void weight_gradient(const WeightGradient& g, const float* in, const float* dout, float* scratch,
                     float* gradient) {
  constexpr int kPositions = (M + 2) * (M + 2);
  const int across = (g.out_width + M - 1) / M, tiles = across * ((g.out_height + M - 1) / M);
  const int at_once = tiles_at_once(kPositions, g.inputs, g.outputs);
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
              accumulate_outputs(size, least(kInputs, g.inputs - i), count,
                                 dys + p * dy + first * kWidth, g.outputs,
                                 patches + p * patch + i * kWidth, g.inputs,
                                 sums + p * pairs + first * row + i * kWidth, row);
          }
      }
    finish_gradients<M>(sums, pairs, long(g.inputs) * g.outputs, gradient);
    gradient += 9l * g.inputs * g.outputs;
    in += g.inputs * g.in_plane * kLanes;
    dout += g.outputs * g.out_plane * kLanes;
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
  return positions(c.method) * kWidth *
         (odd(long(c.inputs) * kTiles) + odd(kMostOutputs * kTiles));
}

void winograd_convolve(const Convolution& c, const float* in, const float* packed,
                       const Finish& f, float* scratch, float* out) {
  c.method == Method::winograd2 ? convolve<2>(c, in, packed, f, scratch, out)
                  : convolve<4>(c, in, packed, f, scratch, out);
}

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
