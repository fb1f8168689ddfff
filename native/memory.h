// Memory for vectors: it begins with a line of the cache, and where it is large lies in huge pages.
#pragma once

#include <memory>

namespace kilonet {

constexpr long kAligned = 16;  // floats in a line of the cache

struct Free {
  void operator()(float* p) const;
};
using Memory = std::unique_ptr<float[], Free>;

// Throws std::bad_alloc. What is in it is not set.
Memory allocate(long floats);

// The next whole number of lines.
long aligned(long floats);

}  // namespace kilonet
