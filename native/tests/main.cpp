// Tests every kernel of every instruction set that the machine has, against plain loops in double.
//
//   kernel_tests [--scale N] [--isa NAME] [--seed N]
//
// Prints one line per kernel; the exit status is 1 if any kernel failed.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "check.h"

namespace {

using kilonet::Kernels;

std::vector<const Kernels*> instruction_sets() {
  std::vector<const Kernels*> found = {&kilonet::baseline_kernels()};
#ifdef KILONET_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) found.push_back(&kilonet::avx2_kernels());
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    found.push_back(&kilonet::avx512_kernels());
#endif
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace kilonet::tests;
  int scale = 1;
  unsigned long long seed = 1;
  std::string only;
  for (int i = 1; i < argc; i += 2) {
    const std::string option = argv[i];
    if (i + 1 == argc || (option != "--scale" && option != "--isa" && option != "--seed")) {
      std::fprintf(stderr, "usage: kernel_tests [--scale N] [--isa NAME] [--seed N]\n");
      return 2;
    }
    if (option == "--scale") scale = std::atoi(argv[i + 1]);
    if (option == "--seed") seed = std::strtoull(argv[i + 1], nullptr, 10);
    if (option == "--isa") only = argv[i + 1];
  }

  std::vector<Test> tests;
  for (const auto& topic :
       {convolution_tests(), pointwise_tests(), dropout_tests(), normalization_tests(),
        group_norm_tests(), pooling_tests(), norm_pool_tests(), loss_tests(), update_tests(),
        muon_tests(), ceiling_tests()})
    tests.insert(tests.end(), topic.begin(), topic.end());

  bool passed = true, any = false;
  for (const Kernels* kernels : instruction_sets()) {
    if (!only.empty() && only != kernels->name) continue;
    any = true;
    for (const Test& test : tests) {
      // Seeded by name: the same cases for every instruction set, whatever other tests there are.
      std::uint64_t hash = seed;
      for (const char* c = test.name; *c; c++) hash = hash * 1099511628211u + std::uint64_t(*c);
      Random random(hash);
      Checker checker(*kernels, test.name);
      test.run(*kernels, random, test.cases * scale, checker);
      passed = checker.report() && passed;
      std::fflush(stdout);
    }
  }
  if (!any) std::fprintf(stderr, "no instruction set of this machine is called %s\n", only.c_str());
  return passed && any ? 0 : 1;
}
