// Method::depthwise: 3 × 3 taps, stride 1, no dilation, and one input and one output channel a
// group.
#pragma once

#include "vector.h"

namespace kilonet::KILONET_ISA {

long depthwise_scratch(const Convolution&);
void depthwise_pack(const Convolution&, const float* weights, bool transposed, float* packed);
void depthwise_convolve(const Convolution&, const float* in, const float* packed, const Epilogue&,
                        float* scratch, float* out);

long depthwise_weight_scratch(const WeightGradient&);
void depthwise_weight_gradient(const WeightGradient&, const float* in, const float* dout,
                               float* scratch, bool add, float* gradient);

}  // namespace kilonet::KILONET_ISA
