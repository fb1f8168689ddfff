// Chooses the method for each convolution.
#pragma once

#include "kernels.h"

namespace kilonet {

// The method with the lowest estimated time if `images` of a chunk's lanes are in use. `width` is
// the instruction set's floats per vector. All fields but `method` must be set.
Method fastest_method(const Convolution&, int images, int width);
Method fastest_method(const WeightGradient&, int images, int width);

}  // namespace kilonet
