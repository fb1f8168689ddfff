// Allocates aligned memory, and asks the system for huge pages where that pays.

#include "memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace kilonet {
namespace {

constexpr std::size_t kHugePage = std::size_t(1) << 21;

}  // namespace

void FreeDeleter::operator()(float* p) const { std::free(p); }

AlignedBuffer allocate(long floats) {
  const std::size_t bytes = sizeof(float) * (floats + kLineFloats);
  void* memory = nullptr;
  if (posix_memalign(&memory, bytes < kHugePage ? 64 : kHugePage, bytes)) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return AlignedBuffer(static_cast<float*>(memory));
}

long align_up(long floats) { return (floats + kLineFloats - 1) / kLineFloats * kLineFloats; }

}  // namespace kilonet
