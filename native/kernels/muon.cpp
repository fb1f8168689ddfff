// Muon: the update of a matrix of weights in the direction that Newton–Schulz iterations make
// nearly orthogonal. Source: torch.optim.Muon and Keller Jordan, "Muon: an optimizer for hidden
// layers in neural networks", 2024. PyTorch iterates in bfloat16; these are float32.
//
// Legend: X (m, n) with m ≤ n is the direction, transposed if it has more rows than columns; a row
// takes whole vectors, the number of rows is a multiple of kWidth, and what is added is zero, and
// stays zero: X ← a·X + (b·A + c·A²)·X with A = X·Xᵀ.

#include <math.h>

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
constexpr double kEps = 1e-7;  // least norm that is divided by
constexpr int kBlock = 4;      // rows of a product at a time, which share what they read

inline long padded(long count) { return (count + kWidth - 1) / kWidth * kWidth; }

struct Sizes {
  Sizes(int rows, int columns)
      : transposed(rows > columns), m(min(rows, columns)), n(transposed ? rows : columns) {
    tall = padded(m);
    wide = padded(n);
  }
  bool transposed;
  int m, n;
  long tall, wide;  // floats in a column and a row of X with its zeros
};

// 1 / the Frobenius norm, in float64, in which no gradient's square overflows.
double inverse_norm(const float* x, long count) {
  double sums[kWidth] = {};
  for (long i = 0; i < count; i += kWidth)
    for (int lane = 0; lane < kWidth; lane++) sums[lane] += double(x[i + lane]) * x[i + lane];
  double total = 0.0;
  for (int lane = 0; lane < kWidth; lane++) total += sums[lane];
  const double norm = sqrt(total);
  return 1.0 / (norm < kEps ? kEps : norm);
}

// A = X·Xᵀ, (tall, tall). Only the vectors up to the diagonal are computed; A is symmetric in every
// bit, as both halves are sums of the same products in the same order.
void gram(const float* x, const Sizes& s, float* a) {
  alignas(64) float sums[kWidth * kWidth];
  for (long i = 0; i < s.tall; i++)
    for (long first = 0; first <= i; first += kWidth) {
      for (int j = 0; j < kWidth; j += kBlock) {
        Floats total[kBlock] = {};
        for (long k = 0; k < s.wide; k += kWidth) {
          const Floats own = load(x + i * s.wide + k);
          for (int r = 0; r < kBlock; r++)
            total[r] += own * load(x + (first + j + r) * s.wide + k);
        }
        for (int r = 0; r < kBlock; r++) store(sums + (j + r) * kWidth, total[r]);
      }
      lane_sums(sums, kWidth, a + i * s.tall + first);
    }
  for (long i = 0; i < s.tall; i++)
    for (long j = padded(i + 1); j < s.tall; j++) a[i * s.tall + j] = a[j * s.tall + i];
}

// out = scale·Y + left·Y for Y (m, width) and left (m, m).
void combine(float scale, const float* left, const float* y, long m, long width, float* out) {
  for (long i = 0; i < m; i += kBlock)
    for (long column = 0; column < width; column += kWidth) {
      Floats total[kBlock];
      for (int r = 0; r < kBlock; r++) total[r] = scale * load(y + (i + r) * width + column);
      for (long k = 0; k < m; k++) {
        const Floats row = load(y + k * width + column);
        for (int r = 0; r < kBlock; r++) total[r] += left[(i + r) * m + k] * row;
      }
      for (int r = 0; r < kBlock; r++) store(out + (i + r) * width + column, total[r]);
    }
}

}  // namespace

long muon_scratch(int rows, int columns) {
  const Sizes s(rows, columns);
  return 2 * s.tall * s.wide + 2 * s.tall * s.tall;
}

void muon(const Muon& u, int rows, int columns, float* p, const float* g, float* buffer,
          float* scratch) {
  const Sizes s(rows, columns);
  float *x = scratch, *next = x + s.tall * s.wide;
  float *a = next + s.tall * s.wide, *polynomial = a + s.tall * s.tall;
  for (long i = 0; i < s.tall * s.wide; i++) x[i] = 0.0f;
  const long row_step = s.transposed ? 1 : s.wide, column_step = s.transposed ? s.wide : 1;
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++) {
      const long at = long(i) * columns + j;
      buffer[at] += u.one_minus_momentum * (g[at] - buffer[at]);
      x[i * row_step + j * column_step] =
          u.nesterov ? g[at] + u.momentum * (buffer[at] - g[at]) : buffer[at];
    }
  const float inverse = float(inverse_norm(x, s.tall * s.wide));
  for (long i = 0; i < s.tall * s.wide; i++) x[i] *= inverse;
  for (int step = 0; step < u.steps; step++) {
    gram(x, s, a);
    // b·A + c·A² = b·A + (c·A)·A
    for (long i = 0; i < s.tall * s.tall; i++) next[i] = kC * a[i];
    combine(kB, next, a, s.tall, s.tall, polynomial);
    combine(kA, polynomial, x, s.tall, s.wide, next);
    float* other = x;
    x = next;
    next = other;
  }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++) {
      const long at = long(i) * columns + j;
      p[at] = u.decay_factor * p[at] - u.step_size * x[i * row_step + j * column_step];
    }
}

}  // namespace kilonet::KILONET_ISA
