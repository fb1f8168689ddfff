// The interface of an instruction set: a table of kernels, and the plain data that they take.
//
// The files in kernels/ are compiled once for each instruction set. The rest of the engine calls
// them only through the table. No function in this header may have a body: an inline function would
// be compiled with each set's flags, and the linker would keep one copy, possibly one that the
// machine cannot run.
//
// A *chunk* is kLanes images. A chunk of a tensor is stored as (channels, height, width, lanes), so
// that a vector holds the same value of consecutive images, whatever the shape of the layer. The
// kLanes values of one channel and position are a *cell*; `plane` is the distance between channels,
// in cells.
#pragma once

#include <cstdint>

namespace kilonet {

constexpr int kLanes = 16;
constexpr int kSmallBatch = 4;  // the most images that Method::channels convolves

enum class Activation { none, relu, leaky_relu, silu, hardswish };

// The algorithm of a convolution or of the gradient to its weights.
enum class Method {
  direct,     // a vector holds one channel's values of several images
  winograd2,  // the same layout, Winograd's F(2 × 2, 3 × 3): 3 × 3 taps and stride 1 only
  winograd4,  // the same layout, F(4 × 4, 3 × 3)
  channels,   // direct, but a vector holds one image's values of several output channels
  depthwise,  // the layout of `direct`: 3 × 3 taps, stride 1, one input and one output a group
};

// The taps of one row (or column) of the output that are inside the input: `count` taps starting at
// tap `k`, which read the input rows starting at `position`, in the steps of the convolution.
struct Taps {
  int k;
  int count;
  int position;
};

// A convolution, or the gradient to its input. Channels are counted per group.
struct Convolution {
  int groups, inputs, outputs;
  int kernel_h, kernel_w;
  // The taps that one output uses are a step of taps apart and read inputs a step of inputs apart:
  // taps 1 and inputs `dilation`; in a gradient to the input, with stride s and dilation d, taps
  // s / gcd(s, d) and inputs d / gcd(s, d).
  int k_step_h, k_step_w;
  int in_step_h, in_step_w;  // above 1, Method::direct only
  int y_step, x_step;      // input step between consecutive outputs; 0 if it varies
  int pad_h, pad_w;        // if it does not vary: output 0's first tap reads row −pad_h
  Method method;
  int in_height, in_width;
  long in_plane;
  int out_height, out_width;
  long out_plane;
  const Taps* rows;     // out_height
  const Taps* columns;  // out_width
};

// The outputs whose tap is inside the input: [first, end).
struct Span {
  int first, end;
};

// The epilogue of a convolution: y = scale · activation(sum + bias) + shift, with one bias, scale
// and shift per channel; `add` adds y to the output. A null pointer skips its term. The activation
// is none, relu or leaky_relu.
struct Epilogue {
  const float* bias = nullptr;
  Activation activation = Activation::none;
  float slope = 0;
  const float* scale = nullptr;  // a batch norm's, in evaluation
  const float* shift = nullptr;
  bool add = false;
};

struct WeightGradient {
  int groups, inputs, outputs;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
  int dilation_h, dilation_w;  // above 1, Method::direct only
  Method method;
  int in_height, in_width;
  long in_plane;
  int out_height, out_width;
  long out_plane;
  const Span* rows;     // kernel_h
  const Span* columns;  // kernel_w
};

struct Pooling {
  int channels;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
  int in_height, in_width;
  long in_plane;
  int out_height, out_width;
  long out_plane;
};

// Count, mean and sum of squared deviations from it.
struct Moments {
  double count, mean, m2;
};

// A batch norm's backward pass for one channel: dx = scale·g − constant − slope·(x − mean), where g
// is the gradient to the output and x the input.
struct NormGradient {
  float mean, scale, constant, slope;
};

// A batch norm with a dropout and a max pool after it, for one channel. The pool's input is
// scale·x + shift where the mask's bit is set, and 0 elsewhere. `bits` is as in Kernels, or null.
struct NormPool {
  float scale, shift, mean;
  float keep_scale;  // of the dropout
  const std::uint32_t* bits;
};

// A group of channels that is normalized image by image; `cells` a channel.
struct GroupNorm {
  int channels, cells;
  long plane;
  float eps;
};

struct Loss {
  double sum;  // over the lanes in use, nats
  int correct;
};

struct Sgd {
  float lr, momentum, weight_decay;
  bool nesterov;
};

// Adam with bias corrections precomputed: p −= step_size · m / (√v / bias_correction2_sqrt + eps).
struct Adam {
  float step_size, one_minus_beta1, beta2, one_minus_beta2, bias_correction2_sqrt, eps;
  float weight_decay;  // added to the gradient
  float decay_factor;  // decoupled weight decay: p *= decay_factor
};

// Muon: p ← decay_factor · p − step_size · O, O the nearly orthogonal direction.
struct Muon {
  float step_size, momentum, one_minus_momentum, decay_factor;
  bool nesterov;
  int steps;  // Newton–Schulz iterations
};

struct Kernels {
  const char* name;
  int width;  // floats in a vector

  // Packed weights are in the order in which `convolve` reads them. Packed weights and scratch
  // memory are aligned to a cache line.
  long (*packed_size)(const Convolution&);
  void (*pack)(const Convolution&, const float* weights, bool transposed, float* packed);
  long (*convolve_scratch)(const Convolution&);  // floats
  // For `lanes` images; Method::channels takes at most kSmallBatch.
  void (*convolve)(const Convolution&, const float* in, const float* packed, const Epilogue&,
                   int lanes, float* scratch, float* out);

  long (*weight_scratch)(const WeightGradient&);  // floats
  // For `lanes` images. `add` adds to the gradient. `dout` is zero in the other lanes.
  void (*weight_gradient)(const WeightGradient&, const float* in, const float* dout, int lanes,
                          float* scratch, bool add, float* gradient);
  // Sum of all cells and lanes of each channel.
  void (*channel_sums)(const float* x, int channels, int cells, long plane, float* sums);

  void (*activate)(Activation, float slope, const float* x, float* y, int cells);
  // x is the activation's input; for relu and leaky_relu it may be the output.
  void (*activate_backward)(Activation, float slope, const float* x, const float* dy, float* dx,
                            int cells, bool add);

  // `bits` is null or has a mask for each cell: bit n is lane n, 0 for a dropped value.
  Moments (*moments)(const float* x, int cells, int lanes);
  void (*affine)(const float* x, float scale, float shift, const std::uint32_t* bits, float* y,
                 int cells);
  void (*norm_sums)(const float* x, float mean, const float* dy, const std::uint32_t* bits,
                    float keep_scale, int cells, int lanes, double* sum, double* sum_x);
  void (*norm_backward)(const NormGradient&, const float* x, const float* dy,
                        const std::uint32_t* bits, float keep_scale, Activation, float slope,
                        float* dx, int cells, int lanes, bool add);

  // Batch norm, dropout and max pool fused, for one channel; every input must be in exactly one
  // window. `dx` may be `x`.
  void (*norm_pool)(const Pooling&, const NormPool&, const float* x, float* y);
  void (*norm_pool_sums)(const Pooling&, const NormPool&, const float* x, const float* dy,
                         int lanes, double* sum, double* sum_x);
  void (*norm_pool_backward)(const Pooling&, const NormPool&, const NormGradient&, Activation,
                             float slope, const float* x, const float* dy, float* dx, int lanes,
                             bool add);

  // y = (x − mean) · inverse · weight + bias for one group. `mean` and `inverse`, one over the
  // standard deviation, are cells: a value for each image. A null weight is one, a null bias zero.
  void (*group_norm)(const GroupNorm&, const float* x, const float* weight, const float* bias,
                     float* mean, float* inverse, float* y);
  // `dweight` and `dbias`, (channels), and `dx` may be null; `dx` may be `dy`.
  void (*group_norm_backward)(const GroupNorm&, const float* x, const float* mean,
                              const float* inverse, const float* weight, const float* dy,
                              int lanes, float* dweight, float* dbias, float* dx, bool add);

  // y = x · sigmoid(logit) for one channel; `logit` is a cell.
  void (*gate)(const float* x, const float* logit, float* y, int cells);
  // `dlogit` may be `logit`; `dx` may be null.
  void (*gate_backward)(const float* x, const float* logit, const float* dy, int cells, int lanes,
                        float* dlogit, float* dx, bool add);

  void (*dropout_bits)(std::uint64_t seed, std::uint32_t step, std::uint32_t block,
                       std::uint32_t threshold, std::uint32_t first_image,
                       std::uint32_t elements, std::uint32_t* bits);
  void (*dropout)(const float* x, const std::uint32_t* bits, float keep_scale, float* y, int cells,
                  bool add);

  void (*max_pool)(const Pooling&, const float* in, float* out);
  // Without `add`, every input must be in exactly one window.
  void (*max_pool_backward)(const Pooling&, const float* in, const float* out, const float* dout,
                            float* din, bool add);
  void (*average_pool)(const Pooling&, const float* in, float* out);
  void (*average_pool_backward)(const Pooling&, const float* dout, float* din);

  // y = x, or y += x.
  void (*copy)(const float* x, float* y, int cells, bool add);
  void (*sum)(const float* a, const float* b, float* y, int cells);

  // From kLanes images, (cells, channels) bytes each, through a table of 256 floats per channel.
  void (*lay_out)(const std::uint8_t* const* images, int channels, int cells, long plane,
                  const float* table, float* out);
  // Sum of the cross-entropy over the lanes in use, and its gradient times `scale`.
  Loss (*cross_entropy)(const float* logits, int classes, long plane, const std::int32_t* labels,
                        int lanes, float smoothing, float scale, float* dlogits);
  // Knowledge distillation: T² times the sum, over the lanes in use, of the divergence of
  // softmax(logits / T) from `targets`, (lanes, classes) probabilities. Adds its gradient times
  // `scale` to `dlogits`.
  double (*distillation)(const float* logits, int classes, long plane, const float* targets,
                         int lanes, float temperature, float scale, float* dlogits);

  // gradient[i] = Σ over parts of partial[part · stride + i], in order.
  void (*add_parts)(const float* partial, long stride, int parts, long count, float* gradient);
  void (*sgd)(const Sgd&, float* p, const float* g, float* buffer, long count);
  void (*adam)(const Adam&, float* p, const float* g, float* m, float* v, long count);
  long (*muon_scratch)(int rows, int columns);  // floats
  // Of one matrix; `scratch` is aligned to a cache line.
  void (*muon)(const Muon&, int rows, int columns, float* p, const float* g, float* buffer,
               float* scratch);
  void (*lerp)(float weight, const float* x, float* average, long count);

  // To measure the machine: independent multiply-adds in registers, which returns the FLOP done;
  // and y = x + y / 2 for a multiple of 16 values, which returns the bytes read and written.
  long (*multiply_adds)(long rounds);
  long (*scale_add)(const float* x, float* y, long count);
};

const Kernels& baseline_kernels();
#ifdef KILONET_X86
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
#endif

}  // namespace kilonet
