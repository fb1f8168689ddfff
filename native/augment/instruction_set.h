// Compiles a loop twice, for the baseline and for AVX2; the engine's instruction set decides which
// one runs. Bits are the same: contraction is off in both, and no sum is reordered.
//
// The loop is a KILONET_INLINE function, which is expanded in a function of each kind. Its vectors
// are those of GCC and Clang, which on the baseline are split into shorter ones.
#pragma once

#include <cstdint>
#include <cstring>

#define KILONET_INLINE inline __attribute__((always_inline))

#if defined(__x86_64__)
#define KILONET_AVX2 __attribute__((target("avx2")))
#else
#define KILONET_AVX2
#endif

namespace kilonet {

typedef float Floats8 __attribute__((vector_size(32)));
typedef double Doubles4 __attribute__((vector_size(32)));
typedef std::int64_t Longs4 __attribute__((vector_size(32)));
typedef int Ints4 __attribute__((vector_size(16)));

// Memory of any alignment. By reference, as a vector that is returned has a calling convention of
// the instruction set.
template <class Vector, class Element>
KILONET_INLINE void load(Vector& vector, const Element* from) {
  std::memcpy(&vector, from, sizeof vector);
}

template <class Vector, class Element>
KILONET_INLINE void store(const Vector& vector, Element* to) {
  std::memcpy(to, &vector, sizeof vector);
}

}  // namespace kilonet
