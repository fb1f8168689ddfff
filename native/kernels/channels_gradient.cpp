// Gradients to the weights with output channels in the lanes.

#include "channels.h"

namespace kilonet::KILONET_ISA {
namespace {

// Of the 32 registers of AVX-512 up to 24 hold sums, of the 16 of the others 12.
constexpr int kSums = kWidth == 16 ? 24 : 12;
constexpr int kMostVectors = 2;  // of outputs at a time
constexpr int kMostTaps = 3;
constexpr long kCachedFloats = 6 << 10;  // of the gradient turned around, and of what went in: 24 KiB

// How a layer is cut up. What went in is copied, a few rows at a time, where it needs padding or most
// lanes are idle.
struct Blocks {
  bool copied;
  int cell;    // floats of one in what is read: lanes in use, or kLanes
  int rows;    // of the output at a time
  int inputs;  // channels that are copied at a time; all without
  long width, plane;  // of what is read, in cells
  long turned, copy, sums;  // floats of each in the scratch memory
};

int most(long a, long b) { return int(a > b ? a : b); }

Blocks blocks_of(const WeightGradient& g, int lanes) {
  Blocks b;
  b.copied = g.pad_h || g.pad_w || lanes <= kFewLanes;
  b.cell = lanes <= kFewLanes ? lanes : kLanes;
  const long row = long(g.out_width) * lanes * kMostVectors * kWidth;
  b.rows = least(g.out_height, most(1, kCachedFloats / row));
  b.turned = b.rows * row;
  b.inputs = g.inputs;
  b.width = g.in_width;
  b.plane = g.in_plane;
  b.copy = 0;
  if (b.copied) {
    b.width = long(g.out_width - 1) * g.stride_w + g.kernel_w;
    b.plane = b.width * (long(b.rows - 1) * g.stride_h + g.kernel_h);
    b.inputs = least(g.inputs, most(1, kCachedFloats / (b.plane * b.cell)));
    b.copy = (b.inputs * b.plane * b.cell + kWidth - 1) / kWidth * kWidth;
  }
  b.sums = long(g.inputs) * g.kernel_h * g.kernel_w * kMostVectors * kWidth;
  return b;
}

// From (channels, places, kLanes) to (places, lanes, V vectors of channels), the first `valid` of
// which exist.
template <int V>
void turn(const float* dout, long plane, int valid, int places, int lanes, float* to) {
  for (int place = 0; place < places; place++, dout += kLanes, to += lanes * V * kWidth)
    for (int v = 0; v < V; v++)
      for (int lane = 0; lane < lanes; lane += kWidth) {
        const float* from = dout + long(v) * kWidth * plane + lane;
        Floats rows[kWidth];
#pragma GCC unroll 16
        for (int o = 0; o < kWidth; o++)
          rows[o] = v * kWidth + o < valid ? load(from + o * plane) : Floats{};
        transpose(rows);
        const int count = least(kWidth, lanes - lane);
#pragma GCC unroll 16
        for (int n = 0; n < kWidth; n++)
          if (n < count) store(to + ((lane + n) * V + v) * kWidth, rows[n]);
      }
}

// A few rows of channels, with zeros where they reach past the image.
void copy_rows(const WeightGradient& g, const Blocks& b, const float* in, int channels,
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

// Where a sweep over a block goes: `runs` of `run` values in each of `rows`, in floats of what is
// read; the gradient turned around is one run of vectors.
struct Walk {
  int rows, runs, run;
  long row, step, cell;
};

// sums[r][k] += Σ of taps k of row r · dys. `Whole` where a cell is of kLanes.
template <int V, int R, int K, bool Whole>
void accumulate(const Walk& walk, const float* const* rows, const float* dys, bool first,
                float* sums, long next) {
  const long cell = Whole ? kLanes : walk.cell;
  Floats s[R][K][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; r++)
#pragma GCC unroll 3
    for (int k = 0; k < K; k++)
#pragma GCC unroll 2
      for (int v = 0; v < V; v++)
        s[r][k][v] = first ? Floats{} : load(sums + r * next + (k * V + v) * kWidth);
  for (int y = 0; y < walk.rows; y++)
    for (int x = 0; x < walk.runs; x++) {
      const float* at[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; r++) at[r] = rows[r] + y * walk.row + x * walk.step;
#pragma GCC unroll 1
      for (long n = 0; n < walk.run; n++, dys += V * kWidth) {
        Floats b[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) b[v] = load(dys + v * kWidth);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++)
#pragma GCC unroll 3
          for (int k = 0; k < K; k++) {
            Floats a = splat(at[r][n + k * cell]);
            if (V > 1) keep(a);
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

// Rows of taps at a time: 8 or fewer, a power of two.
constexpr int most_rows(int sums) { return sums >= 8 ? 8 : sums >= 4 ? 4 : sums >= 2 ? 2 : 1; }

// Of `count` rows of taps, those from `k` on.
template <int V, int K>
void sweep(const WeightGradient& g, const Blocks& b, const Walk& walk, const float* in, int count,
           int k, const float* dys, bool first, float* sums) {
  constexpr int kRows = most_rows(kSums / (V * K));
  const long next = long(g.kernel_w) * V * kWidth;
  sums += k * V * kWidth;
  int r = 0;
  while (r < count) {
    const float* rows[kRows];
    const int some = least(kRows, count - r);
    for (int i = 0; i < some; i++)
      rows[i] = in + ((r + i) / g.kernel_h * b.plane + (r + i) % g.kernel_h * b.width + k) * b.cell;
    float* to = sums + r * next;
    const auto go = [&]<int R>() {
      if (b.cell == kLanes)
        accumulate<V, R, K, true>(walk, rows, dys, first, to, next);
      else
        accumulate<V, R, K, false>(walk, rows, dys, first, to, next);
      r += R;
    };
    if (kRows >= 8 && some >= 8)
      go.template operator()<kRows >= 8 ? 8 : 1>();
    else if (kRows >= 4 && some >= 4)
      go.template operator()<kRows >= 4 ? 4 : 1>();
    else if (kRows >= 2 && some >= 2)
      go.template operator()<kRows >= 2 ? 2 : 1>();
    else
      go.template operator()<1>();
  }
}

// The gradients of V vectors of outputs, `valid` of which exist.
template <int V>
void outputs(const WeightGradient& g, const Blocks& b, const float* in, const float* dout,
             int valid, int lanes, float* scratch, bool add, float* gradient) {
  float* turned = scratch;
  float* copy = turned + b.turned;
  float* sums = copy + b.copy;
  const long plane = g.out_plane * kLanes;
  for (int y = 0; y < g.out_height; y += b.rows) {
    const int rows = least(b.rows, g.out_height - y), top = y * g.stride_h - g.pad_h;
    turn<V>(dout + long(y) * g.out_width * kLanes, plane, valid, rows * g.out_width, lanes, turned);
    const bool one_run = g.stride_w == 1 && lanes == b.cell;
    const Walk walk = {rows, one_run ? 1 : g.out_width, one_run ? g.out_width * lanes : lanes,
                       g.stride_h * b.width * b.cell, long(g.stride_w) * b.cell, b.cell};
    for (int i = 0; i < g.inputs; i += b.inputs) {
      const int inputs = least(b.inputs, g.inputs - i);
      const float* from = in + i * g.in_plane * kLanes;
      if (b.copied) {
        copy_rows(g, b, from, inputs, top, (rows - 1) * g.stride_h + g.kernel_h, copy);
        from = copy;
      } else {
        from += long(top) * g.in_width * kLanes;
      }
      float* to = sums + long(i) * g.kernel_h * g.kernel_w * V * kWidth;
      for (int k = 0; k < g.kernel_w; k += kMostTaps) {
        const int taps = least(kMostTaps, g.kernel_w - k), count = inputs * g.kernel_h;
        if (taps == 1) sweep<V, 1>(g, b, walk, from, count, k, turned, y == 0, to);
        if (taps == 2) sweep<V, 2>(g, b, walk, from, count, k, turned, y == 0, to);
        if (taps == 3) sweep<V, 3>(g, b, walk, from, count, k, turned, y == 0, to);
      }
    }
  }
  // Turned around once more: (outputs, weights).
  const long each = long(g.inputs) * g.kernel_h * g.kernel_w;
  for (long s = 0; s < each; s += kWidth) {
    const int some = each - s < kWidth ? int(each - s) : kWidth;
    for (int v = 0; v < V; v++) {
      Floats block[kWidth] = {};
      for (int i = 0; i < some; i++) block[i] = load(sums + ((s + i) * V + v) * kWidth);
      transpose(block);
      for (int o = v * kWidth; o < least(valid, (v + 1) * kWidth); o++) {
        const float* values = reinterpret_cast<const float*>(&block[o - v * kWidth]);
        float* to = gradient + o * each + s;
        for (int i = 0; i < some; i++) to[i] = add ? to[i] + values[i] : values[i];
      }
    }
  }
}

}  // namespace

long channels_weight_scratch(const WeightGradient& g) {
  long floats = 0;
  for (int lanes = 1; lanes <= kLanes; lanes++) {
    const Blocks b = blocks_of(g, lanes);
    if (b.turned + b.copy + b.sums > floats) floats = b.turned + b.copy + b.sums;
  }
  return floats;
}

void channels_weight_gradient(const WeightGradient& g, const float* in, const float* dout,
                              int lanes, float* scratch, bool add, float* gradient) {
  const Blocks b = blocks_of(g, lanes);
  const long each = long(g.inputs) * g.kernel_h * g.kernel_w;
  for (int group = 0; group < g.groups; group++) {
    for (int first = 0; first < g.outputs;) {
      const int left = g.outputs - first;
      const float* from = dout + first * g.out_plane * kLanes;
      if (vectors(left) == 2)
        outputs<2>(g, b, in, from, left, lanes, scratch, add, gradient + first * each);
      else
        outputs<1>(g, b, in, from, left, lanes, scratch, add, gradient + first * each);
      first += vectors(left) * kWidth;
    }
    in += g.inputs * g.in_plane * kLanes;
    dout += g.outputs * g.out_plane * kLanes;
    gradient += each * g.outputs;
  }
}

}  // namespace kilonet::KILONET_ISA
