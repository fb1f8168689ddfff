// Memory for vectors: aligned to a cache line and, if large, in huge pages.
#pragma once

#include <memory>

namespace kilonet {

constexpr long kLineFloats = 16;  // floats in a cache line

struct FreeDeleter {
  void operator()(float* p) const;
};
using AlignedBuffer = std::unique_ptr<float[], FreeDeleter>;

// Throws std::bad_alloc. The contents are uninitialized.
AlignedBuffer allocate(long floats);

// Rounds up to whole cache lines.
long align_up(long floats);

}  // namespace kilonet
