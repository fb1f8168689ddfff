// Measures peak rates: runs the kernels of kernels/ceiling.cpp on all threads and divides by time.

#include "machine.h"

#include <chrono>
#include <cstdint>

namespace kilonet {
namespace {

constexpr long kLine = 16;  // floats in a cache line

float* aligned(std::vector<float>& memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
  return memory.data() + (-address / sizeof(float)) % kLine;
}

}  // namespace

Machine::Machine(const Kernels& kernels, int threads)
    : kernels_(kernels), pool_(threads), x_(threads), y_(threads), done_(threads) {}

double Machine::multiply_adds(long rounds) {
  rounds_ = rounds;
  return rate([](Machine& m, int) { return m.kernels_.multiply_adds(m.rounds_); });
}

double Machine::bandwidth(long count, int sweeps) {
  count_ = count / kLine * kLine;
  sweeps_ = sweeps;
  // Each thread touches its own memory first, so that the system places it near that thread's core;
  // later calls reuse the memory.
  pool_.run(
      [](void* machine, int thread) {
        Machine& m = *static_cast<Machine*>(machine);
        m.x_[thread].resize(m.count_ + kLine);
        m.y_[thread].resize(m.count_ + kLine);
        m.kernels_.scale_add(aligned(m.x_[thread]), aligned(m.y_[thread]), m.count_);
      },
      this);
  return rate([](Machine& m, int thread) {
    long bytes = 0;
    for (int i = 0; i < m.sweeps_; i++)
      bytes += m.kernels_.scale_add(aligned(m.x_[thread]), aligned(m.y_[thread]), m.count_);
    return bytes;
  });
}

// The work of all threads together, divided by the caller's wall-clock time.
double Machine::rate(long (*work)(Machine&, int)) {
  struct Job {
    Machine* machine;
    long (*work)(Machine&, int);
  } job = {this, work};
  const auto start = std::chrono::steady_clock::now();
  pool_.run(
      [](void* context, int thread) {
        const Job& job = *static_cast<Job*>(context);
        job.machine->done_[thread] = job.work(*job.machine, thread);
      },
      &job);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  long done = 0;
  for (const long each : done_) done += each;
  return double(done) / seconds.count();
}

}  // namespace kilonet
