// Kernels whose vector lanes are output channels instead of images.
//
// Their work grows with the number of images, not with kLanes. That pays if most lanes of a chunk
// are idle: in small batches and at the end of an epoch. It also pays for weight gradients of
// layers with many weights and few positions: the sums over images need no lanes of their own, so a
// layer's sums fit in the first-level cache, while weight_gradient.cpp and winograd_gradient.cpp
// keep kLanes times as many.
//
// Tensors keep their layout, (channels, height, width, kLanes): one operand is read one value at a
// time, the other is transposed.
#pragma once

#include "vector.h"

namespace kilonet::KILONET_ISA {

// In channels.cpp.
long channels_packed_size(const Convolution&);
void channels_pack(const Convolution&, const float* weights, bool transposed, float* packed);
long channels_scratch(const Convolution&);
void channels_convolve(const Convolution&, const float* in, const float* packed, const Epilogue&,
                       int lanes, float* scratch, float* out);

// In channels_gradient.cpp.
long channels_weight_scratch(const WeightGradient&);
void channels_weight_gradient(const WeightGradient&, const float* in, const float* dout, int lanes,
                              float* scratch, bool add, float* gradient);

namespace {

// Vectors of outputs to process together if `left` outputs remain.
inline int vectors_at_once(int left) { return left > kWidth ? 2 : 1; }

}  // namespace
}  // namespace kilonet::KILONET_ISA
