// Depthwise convolutions of 3 × 3 taps with stride 1, and their gradients.
//
// With one input channel to a sum there is nothing to share between channels. What can be shared
// are the inputs of neighboring outputs: the kernel slides along the rows, loads each input once
// for the rows of outputs that it computes together, and adds it to the three outputs of each row
// that use it. Rows outside the input are read as zeros.

#include "depthwise.h"

namespace kilonet::KILONET_ISA {
namespace {

// Rows of outputs at a time. With nine weights and three sums a row, four fill AVX-512's registers.
constexpr int kRows = kWidth == 16 ? 4 : 2;

// Points to N rows of a channel, from row `first` on, or to zeros where there is no such row.
template <int N>
void find_rows(const float* channel, const float* zeros, int first, int height, int width,
               long lane, const float* (&rows)[N]) {
  for (int i = 0; i < N; i++)
    rows[i] = unsigned(first + i) < unsigned(height)
                  ? channel + long(first + i) * width * kLanes + lane
                  : zeros;
}

inline void store_output(const Epilogue& f, int channel, Floats sum, float* to) {
  const Floats y = apply_epilogue(f, channel, sum);
  store(to, f.add ? load(to) + y : y);
}

// Computes R rows of one channel from row y on.
template <int R>
void convolve_rows(const Convolution& c, const float* in, const float* taps, const Epilogue& f,
                   int channel, const float* zeros, int y, float* out) {
  const Floats bias = splat(f.bias ? f.bias[channel] : 0.0f);
  Floats w[9];
#pragma GCC unroll 9
  for (int k = 0; k < 9; k++) w[k] = splat(taps[k]);
  for (int lane = 0; lane < kLanes; lane += kWidth) {
    const float* rows[R + 2];
    find_rows(in, zeros, y - c.pad_h, c.in_height, c.in_width, lane, rows);
    const long row = long(c.in_width) * kLanes, out_row = long(c.out_width) * kLanes;
    const float* next = in + (y - c.pad_h + R + 2) * row + lane;  // the rows to be read after these
    float* to = out + long(y) * c.out_width * kLanes + lane;
    // The sums of three neighboring outputs; the input in column x is tap 2 of the first.
    Floats sums[3][R];
#pragma GCC unroll 4
    for (int r = 0; r < R; r++) sums[0][r] = sums[1][r] = sums[2][r] = bias;
    const auto finish = [&](int x) {
      if (unsigned(x) >= unsigned(c.out_width)) return;
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        float* at = to + (long(r) * c.out_width + x) * kLanes;
        store_output(f, channel, sums[0][r], at);
        prefetch_for_write(at + R * out_row);
      }
    };
    const auto shift = [&] {
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) {
        sums[0][r] = sums[1][r];
        sums[1][r] = sums[2][r];
        sums[2][r] = bias;
      }
    };
    int first = c.pad_w - 2;  // of the three outputs
    for (int x = 0; x < first; x++) finish(x);  // they read only padding
    for (int x = 0; x < c.in_width; x++, first++) {
      Floats a[R + 2];
#pragma GCC unroll 6
      for (int i = 0; i < R + 2; i++) a[i] = load(rows[i] + long(x) * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++) prefetch(next + r * row + long(x) * kLanes);
#pragma GCC unroll 3
      for (int h = 0; h < 3; h++)
#pragma GCC unroll 4
        for (int r = 0; r < R; r++) {
          sums[0][r] += a[r + h] * w[3 * h + 2];
          sums[1][r] += a[r + h] * w[3 * h + 1];
          sums[2][r] += a[r + h] * w[3 * h];
        }
      finish(first);
      shift();
    }
    for (; first < c.out_width; first++) {
      finish(first);
      shift();
    }
  }
}

void convolve_channel(const Convolution& c, const float* in, const float* taps, const Epilogue& f,
                      int channel, const float* zeros, float* out) {
  int y = 0;
  for (; y + kRows <= c.out_height; y += kRows)
    convolve_rows<kRows>(c, in, taps, f, channel, zeros, y, out);
  switch (c.out_height - y) {
    case 1: return convolve_rows<1>(c, in, taps, f, channel, zeros, y, out);
#if defined(__AVX512F__)
    case 2: return convolve_rows<2>(c, in, taps, f, channel, zeros, y, out);
    case 3: return convolve_rows<3>(c, in, taps, f, channel, zeros, y, out);
#endif
  }
}

void clear(float* row, int width) {
  for (long i = 0; i < long(width) * kLanes; i += kWidth) store(row + i, Floats{});
}

}  // namespace

long depthwise_scratch(const Convolution& c) { return long(c.in_width) * kLanes; }

void depthwise_pack(const Convolution& c, const float* weights, bool transposed, float* packed) {
  for (int g = 0; g < c.groups; g++, weights += 9, packed += 9)
    for (int k = 0; k < 9; k++) packed[k] = weights[transposed ? 8 - k : k];
}

void depthwise_convolve(const Convolution& c, const float* in, const float* packed,
                        const Epilogue& f, float* scratch, float* out) {
  clear(scratch, c.in_width);
  for (int g = 0; g < c.groups; g++)
    convolve_channel(c, in + g * c.in_plane * kLanes, packed + 9 * g, f, g, scratch,
                     out + g * c.out_plane * kLanes);
}

long depthwise_weight_scratch(const WeightGradient& g) { return long(g.in_width) * kLanes; }

void depthwise_weight_gradient(const WeightGradient& g, const float* in, const float* dout,
                               float* scratch, bool add, float* gradient) {
  clear(scratch, g.in_width);
  // Where all three columns of taps are inside the input.
  const int first = min(g.pad_w, g.out_width), inside = g.in_width + g.pad_w - 2;
  const int end = min(inside > first ? inside : first, g.out_width);
  for (int i = 0; i < g.groups; i++, gradient += 9) {
    Floats sums[9] = {};
    for (int lane = 0; lane < kLanes; lane += kWidth)
      for (int y = 0; y < g.out_height; y++) {
        const float* rows[3];
        find_rows(in, scratch, y - g.pad_h, g.in_height, g.in_width, lane, rows);
        const float* dy = dout + long(y) * g.out_width * kLanes + lane;
        const float* ahead = in + long(y) * g.in_width * kLanes + lane + kPrefetchFloats;
        const auto at_border = [&](int x) {
          const Floats d = load(dy + long(x) * kLanes);
          for (int w = 0; w < 3; w++) {
            const int column = x + w - g.pad_w;
            if (unsigned(column) >= unsigned(g.in_width)) continue;
#pragma GCC unroll 3
            for (int h = 0; h < 3; h++) sums[3 * h + w] += load(rows[h] + long(column) * kLanes) * d;
          }
        };
        for (int x = 0; x < first; x++) at_border(x);
        for (int x = first; x < end; x++) {
          const Floats d = load(dy + long(x) * kLanes);
          const long column = long(x - g.pad_w) * kLanes;
          prefetch(dy + long(x) * kLanes + kPrefetchFloats);
          prefetch(ahead + long(x) * kLanes);
#pragma GCC unroll 3
          for (int h = 0; h < 3; h++)
#pragma GCC unroll 3
            for (int w = 0; w < 3; w++) sums[3 * h + w] += load(rows[h] + column + w * kLanes) * d;
        }
        for (int x = end; x < g.out_width; x++) at_border(x);
      }
    for (int k = 0; k < 9; k++) {
      const float sum = lane_sum(sums[k]);
      gradient[k] = add ? gradient[k] + sum : sum;
    }
    in += g.in_plane * kLanes;
    dout += g.out_plane * kLanes;
  }
}

}  // namespace kilonet::KILONET_ISA
