#include "threads.h"

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace kilonet {
namespace {

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// Until `value` is no longer `old`: spinning while that is likely to be soon, then asleep, so that
// threads without work leave their cores to others.
void await(const std::atomic<std::uint32_t>& value, std::uint32_t old) {
  for (int i = 0; i < 4000; i++) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

}  // namespace

struct Pool::State {
  explicit State(int threads) : threads(threads), owner(getpid()) {
    for (int i = 1; i < threads; i++) workers.emplace_back([this, i] { work(i); });
  }

  ~State() {
    job = nullptr;
    started.fetch_add(1, std::memory_order_release);
    started.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void work(int thread) {
    std::uint32_t seen = 0;
    for (;;) {
      await(started, seen);
      seen++;
      if (!job) return;
      job(context, thread);
      meet(nullptr, nullptr);
    }
  }

  void meet(void (*join)(void*), void* argument) {
    if (threads == 1) {
      if (join) join(argument);
      return;
    }
    const std::uint32_t round = rounds.load(std::memory_order_relaxed);
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
      if (join) join(argument);
      arrived.store(0, std::memory_order_relaxed);
      rounds.store(round + 1, std::memory_order_release);
      rounds.notify_all();
    } else {
      await(rounds, round);
    }
  }

  const int threads;
  const pid_t owner;
  void (*job)(void*, int) = nullptr;
  void* context = nullptr;
  alignas(64) std::atomic<std::uint32_t> started{0};
  alignas(64) std::atomic<std::uint32_t> rounds{0};
  alignas(64) std::atomic<int> arrived{0};
  std::vector<std::thread> workers;
};

Pool::Pool(int threads) : threads_(threads) {}

Pool::~Pool() {
  // The threads of a parent process are not here to be joined.
  if (state_ && state_->owner != getpid()) (void)state_.release();
}

void Pool::run(void (*job)(void*, int), void* context) {
  if (state_ && state_->owner != getpid()) (void)state_.release();
  if (!state_) state_ = std::make_unique<State>(threads_);
  State& state = *state_;
  state.job = job;
  state.context = context;
  if (threads_ > 1) {
    state.started.fetch_add(1, std::memory_order_release);
    state.started.notify_all();
  }
  job(context, 0);
  state.meet(nullptr, nullptr);
}

void Pool::meet(void (*join)(void*), void* context) { state_->meet(join, context); }

}  // namespace kilonet
