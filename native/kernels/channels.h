// The kernels of channels.cpp, for convolution.cpp and weight_gradient.cpp to hand on to.
#pragma once

#include "../kernels.h"

namespace kilonet::KILONET_ISA {

long channels_packed_size(const Convolution&);
void channels_pack(const Convolution&, const float* weights, bool transposed, float* packed);
long channels_scratch(const Convolution&);
void channels_convolve(const Convolution&, const float* in, const float* packed, const Finish&,
                       int lanes, float* scratch, float* out);
long channels_weight_scratch(const WeightGradient&);
void channels_weight_gradient(const WeightGradient&, const float* in, const float* dout, int lanes,
                              float* scratch, bool add, float* gradient);

}  // namespace kilonet::KILONET_ISA
