// Convolutions and gradients to weights with a vector's lanes for output channels, not for images.
//
// The work is that of the images alone, and most of a chunk's lanes may be idle: at the end of an
// epoch, or with batches of a few images. The weights' gradients gain by it elsewhere too. Their sums
// over images need no lanes of their own then: a layer's fit into the first-level cache, where those
// of weight_gradient.cpp and winograd.cpp are kLanes times as many. That pays where there are many
// weights for few places.
//
// Tensors stay as they are, (channels, height, width, kLanes): one side is read a value at a time,
// the other is turned around.

#include "channels.h"

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

// Of the 32 registers of AVX-512 up to 24 hold sums, of the 16 of the others 12.
constexpr int kSums = kWidth == 16 ? 24 : 12;
constexpr int kMostVectors = 2;  // of outputs at a time
constexpr int kMostTaps = 3;
constexpr long kCachedFloats = 6 << 10;  // of the gradient turned around, and of what went in: 24 KiB

inline int least(int a, int b) { return a < b ? a : b; }

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
  for (int r = 0; r < count;) {
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

// A convolution's input packed together: (lanes, channels, height, width). Where neighbouring outputs
// take inputs a fixed step apart the padding is around it, and all outputs take all the taps.
struct Packed {
  bool padded;
  int height, width;
  long image;  // floats

  explicit Packed(const Convolution& c)
      : padded(c.y_step && c.x_step),
        height(padded ? (c.out_height - 1) * c.y_step + c.kernel_h : c.in_height),
        width(padded ? (c.out_width - 1) * c.x_step + c.kernel_w : c.in_width),
        image(long(c.inputs) * height * width) {}

  Taps rows(const Convolution& c, int y) const {
    return padded ? Taps{0, c.kernel_h, y * c.y_step} : c.rows[y];
  }
  Taps columns(const Convolution& c, int x) const {
    return padded ? Taps{0, c.kernel_w, x * c.x_step} : c.columns[x];
  }
};

void pack_input(const Convolution& c, const Packed& p, const float* in, int lanes, float* to) {
  const int above = p.padded ? c.pad_h : 0, before = p.padded ? c.pad_w : 0;
  for (int i = 0; i < c.inputs; i++, in += c.in_plane * kLanes)
    for (int y = -above; y < p.height - above; y++)
      for (int x = -before; x < p.width - before; x++, to++) {
        const bool inside =
            unsigned(y) < unsigned(c.in_height) && unsigned(x) < unsigned(c.in_width);
        const float* from = in + (long(y) * c.in_width + x) * kLanes;
        for (int n = 0; n < lanes; n++) to[n * p.image] = inside ? from[n] : 0.0f;
      }
}

// What the places of a tile have in common: the taps they take, and inputs `step` apart.
struct Window {
  Taps rows, columns;
  long step;
};

// V vectors of outputs at X places, of one image.
template <int V, int X>
void places(const Convolution& c, const Packed& p, const Window& window, const float* in,
            const float* weights, float* sums) {
  Floats s[X][V] = {};
  in += long(window.rows.position) * p.width + window.columns.position;
  weights += (long(window.rows.k) * c.kernel_w + window.columns.k) * V * kWidth;
  const long row = long(c.k_step_h) * c.kernel_w * V * kWidth, tap = long(c.k_step_w) * V * kWidth;
  for (int i = 0; i < c.inputs; i++) {
    for (int h = 0; h < window.rows.count; h++) {
      const float* at = in + h * p.width;
      const float* weight = weights + h * row;
      for (int w = 0; w < window.columns.count; w++, at++, weight += tap) {
        Floats b[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) b[v] = load(weight + v * kWidth);
#pragma GCC unroll 8
        for (int x = 0; x < X; x++) {
          Floats a = splat(at[x * window.step]);
          if (V > 1) keep(a);
#pragma GCC unroll 2
          for (int v = 0; v < V; v++) s[x][v] += a * b[v];
        }
      }
    }
    in += long(p.height) * p.width;
    weights += long(c.kernel_h) * c.kernel_w * V * kWidth;
  }
#pragma GCC unroll 8
  for (int x = 0; x < X; x++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) store(sums + (x * V + v) * kWidth, s[x][v]);
}

template <int V>
void places(int count, const Convolution& c, const Packed& p, const Window& window, const float* in,
            const float* weights, float* sums) {
  switch (count) {
    case 1: return places<V, 1>(c, p, window, in, weights, sums);
    case 2: return places<V, 2>(c, p, window, in, weights, sums);
    case 3: return places<V, 3>(c, p, window, in, weights, sums);
    case 4: return places<V, 4>(c, p, window, in, weights, sums);
    case 5: return places<V, 5>(c, p, window, in, weights, sums);
    case 6: return places<V, 6>(c, p, window, in, weights, sums);
#if defined(__AVX512F__)
    case 7: return places<V, 7>(c, p, window, in, weights, sums);
    case 8: return places<V, 8>(c, p, window, in, weights, sums);
#endif
  }
}

constexpr int kPlaces = kWidth == 16 ? 8 : 6;

// How many places from x on, `apart` from each other, take the same taps, one input further each.
int alike(const Convolution& c, const Packed& p, int x, int apart) {
  int count = 1;
  for (const Taps first = p.columns(c, x); count < kPlaces && x + count * apart < c.out_width;
       count++) {
    const Taps next = p.columns(c, x + count * apart);
    if (next.k != first.k || next.count != first.count ||
        (!p.padded && next.position != first.position + count))
      break;
  }
  return count;
}

// The sums of one place turned around, `sums` being (lanes, vectors): to (channels, kLanes). Lanes of
// no image are written too, or they would keep what they held.
void turn_back(const Finish& f, const float* sums, long image, int lanes, int channel, int valid,
               long plane, float* to) {
  Floats block[kWidth] = {};
  for (int n = 0; n < lanes; n++) block[n] = load(sums + n * image);
  transpose(block);
  for (int o = 0; o < least(valid, kWidth); o++, to += plane)
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      const Floats sum = lane ? Floats{} : block[o];
      const Floats value = finished(f, channel + o, sum + (f.bias ? f.bias[channel + o] : 0.0f));
      store(to + lane, f.add ? load(to + lane) + value : value);
    }
}

// Channels `first` to `first + valid` of the output.
template <int V>
void convolve(const Convolution& c, const Packed& p, const float* in, const float* weights,
              const Finish& f, int first, int valid, int lanes, float* out) {
  alignas(64) float sums[kFewLanes][kPlaces * V * kWidth];
  const long image = kPlaces * V * kWidth, plane = c.out_plane * kLanes;
  const int apart = p.padded ? 1 : c.k_step_w;
  for (int y = 0; y < c.out_height; y++)
    for (int phase = 0; phase < apart; phase++)
      for (int x = phase, count; x < c.out_width; x += count * apart) {
        count = alike(c, p, x, apart);
        const Window window = {p.rows(c, y), p.columns(c, x), p.padded ? c.x_step : 1};
        for (int n = 0; n < lanes; n++)
          places<V>(count, c, p, window, in + n * p.image, weights, sums[n]);
        float* to = out + (long(y) * c.out_width + x) * kLanes;
        for (int i = 0; i < count; i++, to += apart * kLanes)
          for (int v = 0; v < V; v++)
            turn_back(f, sums[0] + (i * V + v) * kWidth, image, lanes, first + v * kWidth,
                      valid - v * kWidth, plane, to + v * kWidth * plane);
      }
}

int vectors(int left) { return left > kWidth ? 2 : 1; }

}  // namespace

long channels_packed_size(const Convolution& c) {
  const long outputs = (c.outputs + kWidth - 1) / kWidth * kWidth;
  return long(c.groups) * outputs * c.inputs * c.kernel_h * c.kernel_w;
}

// For each group and one or two vectors of outputs: (inputs, taps, outputs), zeros where there are
// no more. Transposed, as convolution.cpp has it.
void channels_pack(const Convolution& c, const float* weights, bool transposed, float* packed) {
  const int taps = c.kernel_h * c.kernel_w;
  const long each = long(c.inputs) * taps;
  for (int g = 0; g < c.groups; g++, weights += c.outputs * each)
    for (int first = 0, size; first < c.outputs; first += size) {
      size = vectors(c.outputs - first) * kWidth;
      for (int i = 0; i < c.inputs; i++)
        for (int k = 0; k < taps; k++)
          for (int o = first; o < first + size; o++)
            *packed++ = o >= c.outputs ? 0.0f
                        : transposed   ? weights[(long(i) * c.outputs + o) * taps + taps - 1 - k]
                                       : weights[o * each + long(i) * taps + k];
    }
}

long channels_scratch(const Convolution& c) { return kFewLanes * Packed(c).image; }

void channels_convolve(const Convolution& c, const float* in, const float* packed,
                       const Finish& f, int lanes, float* scratch, float* out) {
  const Packed p(c);
  const long each = long(c.inputs) * c.kernel_h * c.kernel_w;
  for (int g = 0; g < c.groups; g++) {
    pack_input(c, p, in, lanes, scratch);
    for (int first = 0; first < c.outputs;) {
      const int left = c.outputs - first, channel = g * c.outputs + first;
      float* to = out + first * c.out_plane * kLanes;
      if (vectors(left) == 2)
        convolve<2>(c, p, scratch, packed, f, channel, left, lanes, to);
      else
        convolve<1>(c, p, scratch, packed, f, channel, left, lanes, to);
      packed += each * vectors(left) * kWidth;
      first += vectors(left) * kWidth;
    }
    in += c.inputs * c.in_plane * kLanes;
    out += c.outputs * c.out_plane * kLanes;
  }
}

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
