// The Winograd kernels that convolution.cpp and weight_gradient.cpp dispatch to.
#pragma once

#include "../kernels.h"

namespace kilonet::KILONET_ISA {

// In winograd.cpp.
long winograd_packed_size(const Convolution&);
void winograd_pack(const Convolution&, const float* weights, bool transposed, float* packed);
long winograd_scratch(const Convolution&);
void winograd_convolve(const Convolution&, const float* in, const float* packed, const Epilogue&,
                       float* scratch, float* out);

// In winograd_gradient.cpp.
long winograd_weight_scratch(const WeightGradient&);
void winograd_weight_gradient(const WeightGradient&, const float* in, const float* dout,
                              float* scratch, float* gradient);

}  // namespace kilonet::KILONET_ISA
