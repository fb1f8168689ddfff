// Max and average pooling, and their gradients.

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

// The part of a window that is inside the input.
struct Window {
  int top, bottom, left, right;
};

inline Window window(const Pooling& p, int y, int x) {
  Window w;
  w.top = y * p.stride_h - p.pad_h;
  w.left = x * p.stride_w - p.pad_w;
  w.bottom = w.top + p.kernel_h < p.in_height ? w.top + p.kernel_h : p.in_height;
  w.right = w.left + p.kernel_w < p.in_width ? w.left + p.kernel_w : p.in_width;
  if (w.top < 0) w.top = 0;
  if (w.left < 0) w.left = 0;
  return w;
}

inline long cell(int width, int y, int x) { return (long(y) * width + x) * kLanes; }

}  // namespace

void max_pool(const Pooling& p, const float* in, float* out) {
  for (int c = 0; c < p.channels; c++, in += p.in_plane * kLanes, out += p.out_plane * kLanes)
    for (int y = 0; y < p.out_height; y++)
      for (int x = 0; x < p.out_width; x++) {
        const Window w = window(p, y, x);
        for (int lane = 0; lane < kLanes; lane += kWidth) {
          Floats max = load(in + cell(p.in_width, w.top, w.left) + lane);
          for (int i = w.top; i < w.bottom; i++)
            for (int j = w.left; j < w.right; j++) {
              Floats v = load(in + cell(p.in_width, i, j) + lane);
              max = ((v > max) | (v != v)) ? v : max;
            }
          store(out + cell(p.out_width, y, x) + lane, max);
        }
      }
}

// The gradient goes to the first maximum of a window, as in PyTorch. It is added to `din`, or
// written if every input is in exactly one window.
template <bool Add>
static void max_backward(const Pooling& p, const float* in, const float* out, const float* dout,
                         float* din) {
  for (int c = 0; c < p.channels; c++) {
    for (int y = 0; y < p.out_height; y++)
      for (int x = 0; x < p.out_width; x++) {
        const Window w = window(p, y, x);
        for (int lane = 0; lane < kLanes; lane += kWidth) {
          const long at = cell(p.out_width, y, x) + lane;
          const Floats max = load(out + at);
          Floats d = load(dout + at);  // zero in the lanes whose maximum was found
          for (int i = w.top; i < w.bottom; i++)
            for (int j = w.left; j < w.right; j++) {
              const long from = cell(p.in_width, i, j) + lane;
              const Ints is_max = load(in + from) == max;
              Floats gradient = is_max ? d : Floats{};
              if (Add) gradient += load(din + from);
              store(din + from, gradient);
              d = is_max ? Floats{} : d;
            }
        }
      }
    in += p.in_plane * kLanes;
    din += p.in_plane * kLanes;
    out += p.out_plane * kLanes;
    dout += p.out_plane * kLanes;
  }
}

void max_pool_backward(const Pooling& p, const float* in, const float* out, const float* dout,
                       float* din, bool add) {
  if (add) return max_backward<true>(p, in, out, dout, din);
  max_backward<false>(p, in, out, dout, din);
}

// Padding counts as zeros.
void average_pool(const Pooling& p, const float* in, float* out) {
  const float scale = 1.0f / float(p.kernel_h * p.kernel_w);
  for (int c = 0; c < p.channels; c++, in += p.in_plane * kLanes, out += p.out_plane * kLanes)
    for (int y = 0; y < p.out_height; y++)
      for (int x = 0; x < p.out_width; x++) {
        const Window w = window(p, y, x);
        for (int lane = 0; lane < kLanes; lane += kWidth) {
          Floats total = {};
          for (int i = w.top; i < w.bottom; i++)
            for (int j = w.left; j < w.right; j++)
              total += load(in + cell(p.in_width, i, j) + lane);
          store(out + cell(p.out_width, y, x) + lane, total * scale);
        }
      }
}

// The gradient is added to `din`.
void average_pool_backward(const Pooling& p, const float* dout, float* din) {
  const float scale = 1.0f / float(p.kernel_h * p.kernel_w);
  for (int c = 0; c < p.channels; c++, din += p.in_plane * kLanes, dout += p.out_plane * kLanes)
    for (int y = 0; y < p.out_height; y++)
      for (int x = 0; x < p.out_width; x++) {
        const Window w = window(p, y, x);
        for (int lane = 0; lane < kLanes; lane += kWidth) {
          const Floats d = load(dout + cell(p.out_width, y, x) + lane) * scale;
          for (int i = w.top; i < w.bottom; i++)
            for (int j = w.left; j < w.right; j++) {
              float* at = din + cell(p.in_width, i, j) + lane;
              store(at, load(at) + d);
            }
        }
      }
}

}  // namespace kilonet::KILONET_ISA
