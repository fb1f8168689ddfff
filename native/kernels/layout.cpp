// Converts images, one byte per value, to a chunk's lanes in floats.
//
// Each byte is looked up in a table, which reproduces the bits of any normalization, whatever its
// rounding. Blocks of bytes are transposed first, so that the bytes of a cell's lanes are
// contiguous and stores go to consecutive cells.

#include "vector.h"

namespace kilonet::KILONET_ISA {
namespace {

constexpr int kBytes = 16;  // of an image that are transposed at once

typedef uint8_t Lanes[kLanes];

#if defined(__SSE2__)
// Transposes 16 images × 16 bytes: interleaves pairs of images, then fours, eights and sixteens.
inline void transpose_bytes(const uint8_t* const* images, long from, uint8_t* to) {
  __m128i a[16], b[16];
  for (int i = 0; i < 16; i++)
    a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(images[i] + from));
  for (int i = 0; i < 8; i++) {
    b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
    b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
  }
  for (int i = 0; i < 8; i++) {
    a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
    a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
  }
  for (int i = 0; i < 8; i++) {
    b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
    b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
  }
  for (int i = 0; i < 8; i++) {
    a[2 * i] = _mm_unpacklo_epi8(b[i], b[i + 8]);
    a[2 * i + 1] = _mm_unpackhi_epi8(b[i], b[i + 8]);
  }
  for (int i = 0; i < 16; i++)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i * kLanes), a[i]);
}
#else
inline void transpose_bytes(const uint8_t* const* images, long from, uint8_t* to) {
  for (int image = 0; image < 16; image++)
    for (int i = 0; i < kBytes; i++) to[i * kLanes + image] = images[image][from + i];
}
#endif

#if defined(__AVX512F__)
// The table in 16 registers of 16 floats. The byte's five low bits index each pair of registers,
// and its three high bits select the pair.
class Table {
 public:
  explicit Table(const float* table) {
    for (int i = 0; i < 16; i++) part_[i] = _mm512_loadu_ps(table + 16 * i);
  }

  void look_up(const uint8_t* bytes, float* out) const {
    for (int lane = 0; lane < kLanes; lane += kWidth) {
      const __m512i at = _mm512_cvtepu8_epi32(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + lane)));
      const __mmask16 bit5 = _mm512_test_epi32_mask(at, _mm512_set1_epi32(32));
      const __mmask16 bit6 = _mm512_test_epi32_mask(at, _mm512_set1_epi32(64));
      const __mmask16 bit7 = _mm512_test_epi32_mask(at, _mm512_set1_epi32(128));
      __m512 value[8];
      for (int i = 0; i < 8; i++)
        value[i] = _mm512_permutex2var_ps(part_[2 * i], at, part_[2 * i + 1]);
      for (int i = 0; i < 4; i++)
        value[i] = _mm512_mask_blend_ps(bit5, value[2 * i], value[2 * i + 1]);
      for (int i = 0; i < 2; i++)
        value[i] = _mm512_mask_blend_ps(bit6, value[2 * i], value[2 * i + 1]);
      _mm512_store_ps(out + lane, _mm512_mask_blend_ps(bit7, value[0], value[1]));
    }
  }

 private:
  __m512 part_[16];
};
#else
// The index of the lowest of eight bytes loaded at once, and the step to the next.
constexpr int kFirst = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0 : 7;
constexpr int kNext = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 1 : -1;

class Table {
 public:
  explicit Table(const float* table) : table_(table) {}

  // One load of eight bytes takes a quarter less time than a load for each byte.
  void look_up(const uint8_t* bytes, float* out) const {
    for (int lane = 0; lane < kLanes; lane += 8) {
      uint64_t eight;
      __builtin_memcpy(&eight, bytes + lane, 8);
      for (int i = 0; i < 8; i++) out[lane + kFirst + i * kNext] = table_[eight >> (8 * i) & 255];
    }
  }

 private:
  const float* table_;
};
#endif

}  // namespace

void lay_out(const uint8_t* const* images, int channels, int cells, long plane, const float* table,
             float* out) {
  // Cells at once: enough to make loading the table rare.
  constexpr int kBlock = 64;
  Lanes block[kBlock];
  const long bytes = long(cells) * channels;
  for (long first = 0; first < bytes; first += kBlock) {
    const int count = bytes - first < kBlock ? int(bytes - first) : kBlock;
    int transposed = 0;
    for (; transposed + kBytes <= count; transposed += kBytes)
      for (int lane = 0; lane < kLanes; lane += 16)
        transpose_bytes(images + lane, first + transposed, block[transposed] + lane);
    for (; transposed < count; transposed++)
      for (int lane = 0; lane < kLanes; lane++)
        block[transposed][lane] = images[lane][first + transposed];
    for (int c = 0; c < channels; c++) {
      const Table lookup(table + 256 * c);
      // The block's first byte of this channel.
      int i = int((c - first % channels + channels) % channels);
      float* to = out + (c * plane + (first + i) / channels) * kLanes;
      for (; i < count; i += channels, to += kLanes) lookup.look_up(block[i], to);
    }
  }
}

}  // namespace kilonet::KILONET_ISA
