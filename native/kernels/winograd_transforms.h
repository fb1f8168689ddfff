// The transforms that the Winograd kernels share. For 3 × 3 taps with stride 1, F(2 × 2, 3 × 3)
// takes 16 products where direct convolution takes 36, and F(4 × 4, 3 × 3) takes 36 instead of 144.
//
// The output is divided into tiles of M × M, each computed from a patch of N × N inputs, where
// N = M + 2. With the transforms Bᵀ d B of a patch d, G g Gᵀ of the taps g, and the inverse Aᵀ m A,
//
//   output  = Aᵀ [ Σ over input channels (G g Gᵀ) ⊙ (Bᵀ d B) ] A
//   dtaps   = Gᵀ [ Σ over tiles (A dy Aᵀ) ⊙ (Bᵀ d B) ] G
//
// The second line is the derivative of the first with respect to g. Each row of the matrices
// belongs to a point p at which polynomials are evaluated, the last row to infinity. With
// n(x) = Π (x − p) over the points,
//
//   A  has pᵏ,  and 0 … 0 1 for infinity
//   G  has pᵏ / n′(p),  and 0 0 1
//   Bᵀ has the coefficients of n(x) / (x − p),  and those of n(x)
//
// The points are 0, ±1 for M = 2 and 0, ±a, ±b for M = 4. The error in float32 depends on a and b:
// with the usual 1 and 2 it is five or six times that of a plain sum, with 5/8 and 3/2, whose
// squares are also exact, two or three times (benchmarks/winograd_error.py).
//
// Sources: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016; for the
// choice of points Barabasz, Anderson, Soodhalter and Gregg, "Error analysis and improving the
// accuracy of Winograd convolution for deep neural networks", ACM TOMS 46(4), 2020.
#pragma once

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

// Output channels whose sums are in registers.
constexpr int kMaxOutputs = kWidth == 16 ? 8 : 4;

// The stride from one position to the next, in vectors: odd, or the positions would map to a few
// cache sets.
inline long odd(long vectors) { return vectors | 1; }

inline int tile_outputs(int outputs, int first) {
  const int tiles = (outputs + kMaxOutputs - 1) / kMaxOutputs;
  return min((outputs + tiles - 1) / tiles, outputs - first);
}

inline int positions(Method method) { return method == Method::winograd2 ? 16 : 36; }

// Products of the matrices above with a column of vectors.
template <int M>
struct Transform;

template <>
struct Transform<2> {
  static constexpr double kG[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};

  // Bᵀ. Two signs are flipped: the first row's, together with G's, and the last row's, with A's.
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

// The first row and column of a patch or tile.
struct Corner {
  int y, x;
};

template <int M>
inline Corner corner(int tile, int tiles_across) {
  return {tile / tiles_across * M, tile % tiles_across * M};
}

// Bᵀ d B of the patch whose first cell is (y, x), with zeros outside the input: position p is
// written to to[p · stride].
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
  // Prefetch the patch below: a row of tiles later, it has arrived.
  for (int i = N; i < N + M; i++)
    for (int j = 1; j <= M; j++) prefetch(from + i * row + j * kLanes);
  Floats e[N][N];  // the transformed columns
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

}  // namespace
}  // namespace kilonet::KILONET_ISA
