// Kernels with a vector's lanes for output channels, not for images.
//
// The work is that of the images alone, and most of a chunk's lanes may be idle: at the end of an
// epoch, or with batches of a few images. The weights' gradients gain by it elsewhere too. Their sums
// over images need no lanes of their own then: a layer's fit into the first-level cache, where those
// of weight_gradient.cpp and winograd_gradient.cpp are kLanes times as many. That pays where there
// are many weights for few places.
//
// Tensors stay as they are, (channels, height, width, kLanes): one side is read a value at a time,
// the other is turned around.
#pragma once

#include "vector.h"

namespace kilonet::KILONET_ISA {

// In channels.cpp.
long channels_packed_size(const Convolution&);
void channels_pack(const Convolution&, const float* weights, bool transposed, float* packed);
long channels_scratch(const Convolution&);
void channels_convolve(const Convolution&, const float* in, const float* packed, const Finish&,
                       int lanes, float* scratch, float* out);

// In channels_gradient.cpp.
long channels_weight_scratch(const WeightGradient&);
void channels_weight_gradient(const WeightGradient&, const float* in, const float* dout, int lanes,
                              float* scratch, bool add, float* gradient);

namespace {

// Of outputs that are worked on together, where `left` are left.
inline int vectors(int left) { return left > kWidth ? 2 : 1; }

}  // namespace
}  // namespace kilonet::KILONET_ISA
