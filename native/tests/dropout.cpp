// Tests dropout's masks against a plain Philox, and their application.

#include <array>

#include "check.h"

namespace kilonet::tests {
namespace {

constexpr std::uint32_t kPurposeDropout = 4;  // as in kilonet/randomness.py

using Words = std::array<std::uint32_t, 4>;

Words philox(Words c, std::uint64_t seed) {
  std::uint32_t k0 = std::uint32_t(seed), k1 = std::uint32_t(seed >> 32);
  for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
    const std::uint64_t p0 = std::uint64_t(0xD2511F53u) * c[0], p1 = std::uint64_t(0xCD9E8D57u) * c[2];
    c = {std::uint32_t(p1 >> 32) ^ c[1] ^ k0, std::uint32_t(p1), std::uint32_t(p0 >> 32) ^ c[3] ^ k1,
         std::uint32_t(p0)};
  }
  return c;
}

void dropout_bits_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  // Known answers from the authors' Random123 confirm the reference above.
  checker.begin("Random123's known answers");
  checker.expect(philox({0, 0, 0, 0}, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                 "the reference is not Philox");
  checker.expect(
      philox({~0u, ~0u, ~0u, ~0u}, ~0ull) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
      "the reference is not Philox");
  for (int n = 0; n < cases; n++) {
    const std::uint64_t seed = random.word() >> 1;
    const std::uint32_t step = std::uint32_t(random.word() >> 40), block = std::uint32_t(random.word());
    const std::uint32_t threshold = n % 8 ? std::uint32_t(random.integer(0, 65535)) : 0;
    const std::uint32_t first = std::uint32_t(kLanes * random.integer(0, 40));
    const std::uint32_t elements = std::uint32_t(random.integer(1, 200)), groups = (elements + 7) / 8;
    checker.begin("%u elements, from image %u, threshold %u", elements, first, threshold);
    Buffer<std::uint32_t> bits(elements);
    k.dropout_bits(seed, step, block, threshold, first, elements, bits.data());
    for (std::uint32_t e = 0; e < elements; e++) {
      std::uint32_t mask = 0;
      for (std::uint32_t lane = 0; lane < kLanes; lane++) {
        const Words words =
            philox({(first + lane) * groups + e / 8, step, block, kPurposeDropout}, seed);
        const std::uint32_t half = words[e % 8 / 2] >> (e % 2 * 16) & 0xFFFFu;
        mask |= std::uint32_t(half >= threshold) << lane;
      }
      checker.near(bits[e], mask, 0.0, e);
    }
    checker.expect(bits.guards_intact(), "wrote outside the masks");
  }
}

void dropout_tests(const Kernels& k, Random& random, int cases, Checker& checker) {
  for (int n = 0; n < cases; n++) {
    const bool add = random.boolean();
    const float keep_scale = random.uniform(1.0f, 4.0f);
    ChunkTensor x(1, random.integer(1, 70), 0), y(1, x.cells, 0), before(1, x.cells, 0);
    checker.begin("%d cells, add %d", x.cells, add);
    Buffer<std::uint32_t> bits(x.cells);
    for (int i = 0; i < x.cells; i++) bits[i] = std::uint32_t(random.word());
    x.fill(random, -1.0f, 1.0f);
    if (add) y.fill(random, -1.0f, 1.0f);
    before.copy(y);
    for (int i = 0; i < x.cells; i++)
      for (int lane = 0; lane < kLanes; lane++)  // dropped values may be anything
        if (!(bits[i] >> lane & 1u) && random.boolean()) x.at(0, i)[lane] = NAN;
    k.dropout(x.data(), bits.data(), keep_scale, y.data(), x.cells, add);
    for (int i = 0; i < x.cells; i++)
      for (int lane = 0; lane < kLanes; lane++) {
        const double old = add ? before.at(0, i)[lane] : 0.0;
        const bool kept = bits[i] >> lane & 1u;
        const double value = kept ? double(x.at(0, i)[lane]) * keep_scale : 0.0;
        const double bound = kept ? kUnit * (2 * std::fabs(value) + std::fabs(old)) : 0.0;
        checker.near(y.at(0, i)[lane], old + value, bound, i);
      }
    checker.expect(y.guards_intact(), "wrote outside the output");
  }
}

}  // namespace

std::vector<Test> dropout_tests() {
  return {{"dropout_bits", 40, dropout_bits_tests}, {"dropout", 40, dropout_tests}};
}

}  // namespace kilonet::tests
