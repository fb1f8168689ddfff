#include "memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace kilonet {
namespace {

constexpr std::size_t kHugePage = std::size_t(1) << 21;

}  // namespace

void Free::operator()(float* p) const { std::free(p); }

Memory allocate(long floats) {
  const std::size_t bytes = sizeof(float) * (floats + kAligned);
  void* memory = nullptr;
  if (posix_memalign(&memory, bytes < kHugePage ? 64 : kHugePage, bytes)) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return Memory(static_cast<float*>(memory));
}

long aligned(long floats) { return (floats + kAligned - 1) / kAligned * kAligned; }

}  // namespace kilonet
