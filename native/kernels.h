// What the plan asks of an instruction set: a table of kernels, and the plain data they take.
//
// The files in kernels/ are compiled once for each instruction set and meet the rest of the engine
// in the table alone. Nothing in this header may have a body: an inline function would be compiled
// with each set's flags, and the linker would keep one copy, perhaps one the machine cannot run.
//
// A *chunk* is kLanes images. A chunk of a tensor is stored as (channels, height, width, lanes), so
// that a vector holds the same value of neighbouring images, whatever the shape of the layer. The
// kLanes values of one channel and position are a *cell*; `plane` is the distance between channels,
// in cells.
#pragma once

#include <cstdint>

namespace kilonet {

constexpr int kLanes = 16;
constexpr int kFewLanes = 4;

enum class Activation { none, relu, leaky_relu, silu, hardswish };

// How a convolution's sums, or those of its weights' gradient, are done.
enum class Method {
  images,     // a vector holds one channel's values of several images
  winograd2,  // so too, by Winograd's algorithm in tiles of 2 × 2: 3 × 3 taps without a stride
  winograd4,  // or of 4 × 4
  channels,   // a vector holds one image's values of several output channels
};

// What one row (or column) of the output takes from the input: `count` taps, from tap `k` on, which
// read the rows from `position` on.
struct Taps {
  int k;
  int count;
  int position;
};

// A sum over windows: a convolution, or the gradient to its input. Channels are those of a group.
struct Convolution {
  int groups, inputs, outputs;
  int kernel_h, kernel_w;
  int k_step_h, k_step_w;  // between the taps of consecutive rows and columns
  int y_step, x_step;      // input from one output to the next; 0 where that varies
  int pad_h, pad_w;        // where it does not: output 0's first tap reads row −pad_h
  Method method;
  int in_height, in_width;
  long in_plane;
  int out_height, out_width;
  long out_plane;
  const Taps* rows;     // out_height
  const Taps* columns;  // out_width
};

// The outputs whose tap lies inside the input: from `first` to before `end`.
struct Span {
  int first, end;
};

// What becomes of a convolution's sums: y = scale · activation(sum + bias) + shift, one of each a
// channel, or added to what is there. Null pointers leave out what they would point to; the
// activation is none, relu or leaky_relu.
struct Finish {
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

// A batch norm's backward pass in a channel: dx = scale·g − constant − slope·(x − mean), where g is
// what came back and x what went in.
struct NormGradient {
  float mean, scale, constant, slope;
};

// A batch norm with a dropout and a max pool after it, in a channel: what the pool sees of x is
// scale·x + shift where a bit is set, and 0 where not. `bits` as below, or none.
struct NormPool {
  float scale, shift, mean;
  float keep_scale;  // of the dropout
  const std::uint32_t* bits;
};

struct Loss {
  double sum;  // over the lanes in use, nats
  int correct;
};

struct Sgd {
  float lr, momentum, weight_decay;
  bool nesterov;
};

// Adam with its bias corrections worked out: p −= rate · m / (√v / root + eps).
struct Adam {
  float rate, one_minus_beta1, beta2, one_minus_beta2, root, eps;
  float weight_decay;  // added to the gradient
  float shrink;        // or taken from the weights directly: p *= shrink
};

struct Kernels {
  const char* name;
  int width;  // floats in a vector

  // Packed weights are in the order in which `convolve` reads them, and begin with a line of the
  // cache; so does scratch memory.
  long (*packed_size)(const Convolution&);
  void (*pack)(const Convolution&, const float* weights, bool transposed, float* packed);
  long (*convolve_scratch)(const Convolution&);  // floats
  // Of `lanes` images; by Method::channels of kFewLanes at most.
  void (*convolve)(const Convolution&, const float* in, const float* packed, const Finish&,
                   int lanes, float* scratch, float* out);

  long (*weight_scratch)(const WeightGradient&);  // floats
  // Of `lanes` images, written or added to what is there. `dout` is zero in the other lanes.
  void (*weight_gradient)(const WeightGradient&, const float* in, const float* dout, int lanes,
                          float* scratch, bool add, float* gradient);
  // Sum of all cells and lanes of each channel.
  void (*channel_sums)(const float* x, int channels, int cells, long plane, float* sums);

  void (*activate)(Activation, float slope, const float* x, float* y, int cells);
  // From the activation's input x; for relu and leaky_relu its output will do as well.
  void (*activate_backward)(Activation, float slope, const float* x, const float* dy, float* dx,
                            int cells, bool add);

  // `bits`, where there are any: a mask for each cell, bit n for lane n; 0 for a dropped value.
  Moments (*moments)(const float* x, int cells, int lanes);
  void (*affine)(const float* x, float scale, float shift, const std::uint32_t* bits, float* y,
                 int cells);
  void (*norm_sums)(const float* x, float mean, const float* dy, const std::uint32_t* bits,
                    float keep_scale, int cells, int lanes, double* sum, double* sum_x);
  void (*norm_backward)(const NormGradient&, const float* x, const float* dy,
                        const std::uint32_t* bits, float keep_scale, Activation, float slope,
                        float* dx, int cells, int lanes, bool add);

  // The three in one, for one channel; every input must be in exactly one window. `dx` may be `x`.
  void (*norm_pool)(const Pooling&, const NormPool&, const float* x, float* y);
  void (*norm_pool_sums)(const Pooling&, const NormPool&, const float* x, const float* dy,
                         int lanes, double* sum, double* sum_x);
  void (*norm_pool_backward)(const Pooling&, const NormPool&, const NormGradient&, Activation,
                             float slope, const float* x, const float* dy, float* dx, int lanes,
                             bool add);

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

  // From kLanes images, (cells, channels) bytes each, through a table of 256 floats a channel.
  void (*lay_out)(const std::uint8_t* const* images, int channels, int cells, long plane,
                  const float* table, float* out);
  // Mean cross-entropy's sum over the lanes in use, and its gradient times `rate`.
  Loss (*cross_entropy)(const float* logits, int classes, long plane, const std::int32_t* labels,
                        int lanes, float smoothing, float rate, float* dlogits);

  // gradient[i] = Σ over parts of partial[part · stride + i], in order.
  void (*add_parts)(const float* partial, long stride, int parts, long count, float* gradient);
  void (*sgd)(const Sgd&, float* p, const float* g, float* buffer, long count);
  void (*adam)(const Adam&, float* p, const float* g, float* m, float* v, long count);
  void (*lerp)(float weight, const float* x, float* average, long count);

  // To measure the machine by: independent multiply-adds in registers, which give the FLOP done; and
  // y = x + y / 2 for a multiple of 16 values, which gives the bytes read and written.
  long (*multiply_adds)(long rounds);
  long (*scale_add)(const float* x, float* y, long count);
};

const Kernels& baseline_kernels();
#ifdef KILONET_X86
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
#endif

}  // namespace kilonet
