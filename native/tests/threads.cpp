// Tests of the thread pool alone: no wake-up is lost, an interrupt is seen by a caller that waits,
// and waiting threads use no processor. It prints one line; the exit status is 1 on a failure, and
// a lost wake-up ends it by SIGALRM.

#include "../threads.h"

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

namespace {

using kilonet::ThreadPool;

constexpr unsigned kDeadline = 120;  // seconds
constexpr int kThreads = 3;

int failures = 0;

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "failed: %s\n", what);
  failures++;
}

void work_for(int microseconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
  while (std::chrono::steady_clock::now() < end) {
  }
}

// Threads arrive up to 0.2 ms apart: some still spin, some begin to sleep, some are asleep.
void test_no_wake_up_is_lost() {
  struct Job {
    ThreadPool pool{kThreads};
    std::atomic<long> work{0};
    long completions = 0;
    unsigned draw = 1;
  } job;
  constexpr int kRuns = 1500, kBarriers = 4;
  for (int i = 0; i < kRuns; i++) {
    job.draw = job.draw * 1664525u + 1013904223u;
    job.pool.run(
        [](void* context, int thread) {
          Job& job = *static_cast<Job*>(context);
          for (int barrier = 0; barrier < kBarriers; barrier++) {
            work_for((job.draw >> (8 + 4 * thread + barrier)) % 200);
            job.work++;
            job.pool.barrier([](void* context) { static_cast<Job*>(context)->completions++; },
                             context);
          }
        },
        &job);
    work_for(job.draw >> 12 & 127);  // workers wait for the next run meanwhile
  }
  check(job.work == long(kRuns) * kBarriers * kThreads, "every thread did all of its work");
  check(job.completions == long(kRuns) * kBarriers, "each barrier completed once");
}

void test_a_waiting_caller_sees_an_interrupt() {
  ThreadPool pool(2);
  pool.set_interrupt_check([] { return true; });
  pool.run(
      [](void* context, int thread) {
        ThreadPool& pool = *static_cast<ThreadPool*>(context);
        while (thread == 1 && !pool.should_stop(thread)) std::this_thread::yield();
      },
      &pool);
  check(pool.stopped(), "the run ended early");
}

void test_waiting_threads_sleep() {
  ThreadPool pool(8);
  pool.run([](void*, int) {}, nullptr);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // until all have ceased to spin
  rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  getrusage(RUSAGE_SELF, &after);
  // Eight threads that looked every 50 µs would wake 160,000 times.
  check(after.ru_nvcsw - before.ru_nvcsw < 50, "waiting threads do not wake up");
  const auto microseconds = [](const rusage& use) {
    return 1000000L * (use.ru_utime.tv_sec + use.ru_stime.tv_sec) + use.ru_utime.tv_usec +
           use.ru_stime.tv_usec;
  };
  check(microseconds(after) - microseconds(before) < 10000, "waiting threads use no processor");
}

}  // namespace

int main() {
  alarm(kDeadline);
  test_no_wake_up_is_lost();
  test_a_waiting_caller_sees_an_interrupt();
  test_waiting_threads_sleep();
  if (!failures) std::printf("no wake-up is lost, and waiting threads sleep\n");
  return failures ? 1 : 0;
}
