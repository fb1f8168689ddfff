// Which method a convolution is done by.
#pragma once

#include "kernels.h"

namespace kilonet {

// The one that should take the least time, with `images` of a chunk's lanes in use; `width` is the
// instruction set's. All but `method` is set.
Method quickest(const Convolution&, int images, int width);
Method quickest(const WeightGradient&, int images, int width);

}  // namespace kilonet
