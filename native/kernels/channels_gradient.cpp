// Gradients to the weights, with output channels in the lanes.

#include "channels.h"

namespace kilonet::KILONET_ISA {
namespace {

// Sums use up to 24 of the 32 registers of AVX-512, and 12 of 16 on other instruction sets.
constexpr int kSums = kWidth == 16 ? 24 : 12;
constexpr int kMaxVectors = 2;  // of outputs at a time
constexpr int kMaxTaps = 3;
constexpr long kCachedFloats = 6 << 10;  // of the transposed gradient, and of the input: 24 KiB

// The blocking of a layer. The input is copied, a few rows at a time, if it needs padding or most
// lanes are idle.
struct Blocking {
  bool copied;
  int cell;                     // floats per cell of the input or its copy: lanes in use, or kLanes
  int rows;                     // of the output, per block
  int inputs;                   // channels per copy; all of them if there is no copy
  long width, plane;            // of the input or its copy, in cells
  long transposed, copy, sums;  // floats of each in the scratch memory
};

int max(long a, long b) { return int(a > b ? a : b); }

Blocking blocking_for(const WeightGradient& g, int lanes) {
  Blocking b;
  // Padding at the end alone, as of pad=same with an even kernel, is past the last row or column.
  const bool inside = !g.pad_h && !g.pad_w &&
                      (g.out_height - 1) * g.stride_h + g.kernel_h <= g.in_height &&
                      (g.out_width - 1) * g.stride_w + g.kernel_w <= g.in_width;
  b.copied = !inside || lanes <= kSmallBatch;
  b.cell = lanes <= kSmallBatch ? lanes : kLanes;
  const long row = long(g.out_width) * lanes * kMaxVectors * kWidth;
  b.rows = min(g.out_height, max(1, kCachedFloats / row));
  b.transposed = b.rows * row;
  b.inputs = g.inputs;
  b.width = g.in_width;
  b.plane = g.in_plane;
  b.copy = 0;
  if (b.copied) {
    b.width = long(g.out_width - 1) * g.stride_w + g.kernel_w;
    b.plane = b.width * (long(b.rows - 1) * g.stride_h + g.kernel_h);
    b.inputs = min(g.inputs, max(1, kCachedFloats / (b.plane * b.cell)));
    b.copy = (b.inputs * b.plane * b.cell + kWidth - 1) / kWidth * kWidth;
  }
  b.sums = long(g.inputs) * g.kernel_h * g.kernel_w * kMaxVectors * kWidth;
  return b;
}

// Transposes (channels, positions, kLanes) to (positions, lanes, V vectors of channels); the first
// `valid` channels exist.
template <int V>
void transpose_gradient(const float* dout, long plane, int valid, int positions, int lanes,
                        float* to) {
  for (int position = 0; position < positions; position++, dout += kLanes, to += lanes * V * kWidth)
    for (int v = 0; v < V; v++)
      for (int lane = 0; lane < lanes; lane += kWidth) {
        const float* from = dout + long(v) * kWidth * plane + lane;
        Floats rows[kWidth];
#pragma GCC unroll 16
        for (int o = 0; o < kWidth; o++)
          rows[o] = v * kWidth + o < valid ? load(from + o * plane) : Floats{};
        transpose(rows);
        const int count = min(kWidth, lanes - lane);
#pragma GCC unroll 16
        for (int n = 0; n < kWidth; n++)
          if (n < count) store(to + ((lane + n) * V + v) * kWidth, rows[n]);
      }
}

// Copies a few rows of channels, with zeros past the image's border.
void copy_rows(const WeightGradient& g, const Blocking& b, const float* in, int channels,
               int first_row, int rows, float* to) {
  for (int i = 0; i < channels; i++, in += g.in_plane * kLanes) {
    float* at = to + i * b.plane * b.cell;
    for (int y = first_row; y < first_row + rows; y++)
      for (int x = -g.pad_w; x < int(b.width) - g.pad_w; x++, at += b.cell) {
        const bool inside =
            unsigned(y) < unsigned(g.in_height) && unsigned(x) < unsigned(g.in_width);
        const float* from = in + (long(y) * g.in_width + x) * kLanes;
        if (b.cell == kLanes)
          for (int lane = 0; lane < kLanes; lane += kWidth)
            store(at + lane, inside ? load(from + lane) : Floats{});
        else
          for (int n = 0; n < b.cell; n++) at[n] = inside ? from[n] : 0.0f;
      }
  }
}

// The loop over a block of the input or its copy: `rows` of `runs` of `run` values, with strides in
// floats. The transposed gradient is one contiguous run of vectors.
struct Traversal {
  int rows, runs, run;
  long row, step, cell;
};

// sums[r][k] += Σ of tap k of row r · dys. `Whole` means that a cell has kLanes values.
template <int V, int R, int K, bool Whole>
void accumulate(const Traversal& traversal, const float* const* rows, const float* dys, bool first,
                float* sums, long next) {
  const long cell = Whole ? kLanes : traversal.cell;
  Floats s[R][K][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int k = 0; k < K; k++)
#pragma GCC unroll 2
      for (int v = 0; v < V; v++)
        s[r][k][v] = first ? Floats{} : load(sums + r * next + (k * V + v) * kWidth);
  for (int y = 0; y < traversal.rows; y++)
    for (int x = 0; x < traversal.runs; x++) {
      const float* at[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) at[r] = rows[r] + y * traversal.row + x * traversal.step;
#pragma GCC unroll 1
      for (long n = 0; n < traversal.run; n++, dys += V * kWidth) {
        Floats b[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) b[v] = load(dys + v * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 3
          for (int k = 0; k < K; k++) {
            Floats a = splat(at[r][n + k * cell]);
            if (V > 1) keep_in_register(a);
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) s[r][k][v] += a * b[v];
          }
      }
    }
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int k = 0; k < K; k++)
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) store(sums + r * next + (k * V + v) * kWidth, s[r][k][v]);
}

// Rows of taps at a time: a power of two, at most 8.
constexpr int max_rows(int sums) { return sums >= 8 ? 8 : sums >= 4 ? 4 : sums >= 2 ? 2 : 1; }

// Accumulates K taps from tap `k` on, for each of `count` rows of taps.
template <int V, int K>
void sweep(const WeightGradient& g, const Blocking& b, const Traversal& traversal, const float* in,
           int count, int k, const float* dys, bool first, float* sums) {
  constexpr int kRows = max_rows(kSums / (V * K));
  const long next = long(g.kernel_w) * V * kWidth;
  sums += k * V * kWidth;
  int r = 0;
  while (r < count) {
    const float* rows[kRows];
    const int size = min(kRows, count - r);
    for (int i = 0; i < size; i++)
      rows[i] = in + ((r + i) / g.kernel_h * b.plane + (r + i) % g.kernel_h * b.width + k) * b.cell;
    float* to = sums + r * next;
    const auto accumulate_rows = [&]<int R>() {
      if (b.cell == kLanes)
        accumulate<V, R, K, true>(traversal, rows, dys, first, to, next);
      else
        accumulate<V, R, K, false>(traversal, rows, dys, first, to, next);
      r += R;
    };
    if (kRows >= 8 && size >= 8)
      accumulate_rows.template operator()<kRows >= 8 ? 8 : 1>();
    else if (kRows >= 4 && size >= 4)
      accumulate_rows.template operator()<kRows >= 4 ? 4 : 1>();
    else if (kRows >= 2 && size >= 2)
      accumulate_rows.template operator()<kRows >= 2 ? 2 : 1>();
    else
      accumulate_rows.template operator()<1>();
  }
}

// The gradients of V vectors of outputs, of which `valid` outputs exist.
template <int V>
void accumulate_outputs(const WeightGradient& g, const Blocking& b, const float* in,
                        const float* dout, int valid, int lanes, float* scratch, bool add,
                        float* gradient) {
  float* transposed = scratch;
  float* copy = transposed + b.transposed;
  float* sums = copy + b.copy;
  const long plane = g.out_plane * kLanes;
  for (int y = 0; y < g.out_height; y += b.rows) {
    const int rows = min(b.rows, g.out_height - y), top = y * g.stride_h - g.pad_h;
    transpose_gradient<V>(dout + long(y) * g.out_width * kLanes, plane, valid, rows * g.out_width,
                          lanes, transposed);
    const bool one_run = g.stride_w == 1 && lanes == b.cell;
    const Traversal traversal = {
        rows, one_run ? 1 : g.out_width, one_run ? g.out_width * lanes : lanes,
        g.stride_h * b.width * b.cell, long(g.stride_w) * b.cell, b.cell};
    for (int i = 0; i < g.inputs; i += b.inputs) {
      const int inputs = min(b.inputs, g.inputs - i);
      const float* from = in + i * g.in_plane * kLanes;
      if (b.copied) {
        copy_rows(g, b, from, inputs, top, (rows - 1) * g.stride_h + g.kernel_h, copy);
        from = copy;
      } else {
        from += long(top) * g.in_width * kLanes;
      }
      float* to = sums + long(i) * g.kernel_h * g.kernel_w * V * kWidth;
      for (int k = 0; k < g.kernel_w; k += kMaxTaps) {
        const int taps = min(kMaxTaps, g.kernel_w - k), count = inputs * g.kernel_h;
        if (taps == 1) sweep<V, 1>(g, b, traversal, from, count, k, transposed, y == 0, to);
        if (taps == 2) sweep<V, 2>(g, b, traversal, from, count, k, transposed, y == 0, to);
        if (taps == 3) sweep<V, 3>(g, b, traversal, from, count, k, transposed, y == 0, to);
      }
    }
  }
  // Transpose the sums back: (outputs, weights).
  const long per_output = long(g.inputs) * g.kernel_h * g.kernel_w;
  for (long s = 0; s < per_output; s += kWidth) {
    const int size = per_output - s < kWidth ? int(per_output - s) : kWidth;
    for (int v = 0; v < V; v++) {
      Floats block[kWidth] = {};
      for (int i = 0; i < size; i++) block[i] = load(sums + ((s + i) * V + v) * kWidth);
      transpose(block);
      for (int o = v * kWidth; o < min(valid, (v + 1) * kWidth); o++) {
        const float* values = reinterpret_cast<const float*>(&block[o - v * kWidth]);
        float* to = gradient + o * per_output + s;
        for (int i = 0; i < size; i++) to[i] = add ? to[i] + values[i] : values[i];
      }
    }
  }
}

}  // namespace

long channels_weight_scratch(const WeightGradient& g) {
  long floats = 0;
  for (int lanes = 1; lanes <= kLanes; lanes++) {
    const Blocking b = blocking_for(g, lanes);
    if (b.transposed + b.copy + b.sums > floats) floats = b.transposed + b.copy + b.sums;
  }
  return floats;
}

void channels_weight_gradient(const WeightGradient& g, const float* in, const float* dout,
                              int lanes, float* scratch, bool add, float* gradient) {
  const Blocking b = blocking_for(g, lanes);
  const long per_output = long(g.inputs) * g.kernel_h * g.kernel_w;
  for (int group = 0; group < g.groups; group++) {
    for (int first = 0; first < g.outputs;) {
      const int left = g.outputs - first;
      const float* from = dout + first * g.out_plane * kLanes;
      if (vectors_at_once(left) == 2)
        accumulate_outputs<2>(g, b, in, from, left, lanes, scratch, add,
                              gradient + first * per_output);
      else
        accumulate_outputs<1>(g, b, in, from, left, lanes, scratch, add,
                              gradient + first * per_output);
      first += vectors_at_once(left) * kWidth;
    }
    in += g.inputs * g.in_plane * kLanes;
    dout += g.outputs * g.out_plane * kLanes;
    gradient += per_output * g.outputs;
  }
}

}  // namespace kilonet::KILONET_ISA
