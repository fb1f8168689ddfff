// The thread pool: workers, the barrier, and the check for an interrupt.

#include "threads.h"

#include <unistd.h>

// Threads sleep on a futex, or elsewhere on a condition variable, which the tests also build here.
#if defined(__linux__) && !defined(KILONET_NO_FUTEX)
#define KILONET_FUTEX
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

#include <atomic>
#include <chrono>
#include <climits>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace kilonet {
namespace {

using Clock = std::chrono::steady_clock;

// A tenth of what a person notices; the cost is one clock reading between pieces of work.
constexpr std::chrono::milliseconds kPollInterval{100};

// About 50 µs: longer than the threads of a step wait for each other if each has a core. After
// that, another program probably has the core and needs it.
constexpr int kSpins = 4000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// A counter that threads wait on: they spin first, because it usually changes soon, then sleep.
// std::atomic::wait would not do: it has no timeout, and the caller has to poll for interrupts.
class EventCount {
 public:
  std::uint32_t count() const { return count_.load(std::memory_order_relaxed); }

  void notify_all() {
    count_.fetch_add(1);
    // Sequentially consistent: a thread that is not yet counted as asleep here sees the new count.
    if (sleeping_.load() > 0) wake();
  }

  // Waits until the count differs from `old`. If `polls`, calls `poll()` between sleeps.
  template <typename Poll>
  void wait(std::uint32_t old, bool polls, Poll poll) {
    for (int i = 0; i < kSpins; i++) {
      if (count_.load(std::memory_order_acquire) != old) return;
      pause();
    }
    sleeping_.fetch_add(1);
    while (count_.load() == old) {
      sleep(old, polls);
      if (polls) poll();
    }
    sleeping_.fetch_sub(1);
  }

 private:
#ifdef KILONET_FUTEX
  // May return early: a signal ends the sleep.
  void sleep(std::uint32_t old, bool polls) {
    const timespec time = {0, 1000000 * long(kPollInterval.count())};
    syscall(SYS_futex, &count_, FUTEX_WAIT_PRIVATE, old, polls ? &time : nullptr, nullptr, 0);
  }
  void wake() { syscall(SYS_futex, &count_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }
#else
  // No wake-up is lost: the count is compared under the mutex, which `wake` takes after it changed.
  void sleep(std::uint32_t old, bool polls) {
    std::unique_lock lock(mutex_);
    if (count_.load() != old) return;
    if (polls)
      changed_.wait_for(lock, kPollInterval);
    else
      changed_.wait(lock);
  }
  void wake() {
    { const std::lock_guard lock(mutex_); }
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
#endif

  std::atomic<std::uint32_t> count_{0};
  std::atomic<int> sleeping_{0};
  static_assert(sizeof(count_) == 4, "a futex is 32 bits");
};

}  // namespace

struct ThreadPool::State {
  explicit State(int threads) : threads(threads), owner_pid(getpid()) {
    try {
      for (int i = 1; i < threads; i++) workers.emplace_back([this, i] { run_worker(i); });
    } catch (const std::system_error& error) {
      join_workers();
      throw std::runtime_error(std::to_string(threads) + " threads could not be started (" +
                               error.code().message() + "); use fewer threads");
    }
  }

  ~State() { join_workers(); }

  void join_workers() {
    job = nullptr;
    start_event.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void run_worker(int thread) {
    std::uint32_t seen = 0;
    for (;;) {
      start_event.wait(seen, false, [] {});
      seen++;
      if (!job) return;
      job(context, thread);
      barrier(nullptr, nullptr);
    }
  }

  void run() {
    caller = std::this_thread::get_id();
    last_poll = Clock::now();
    stop_requested.store(false, std::memory_order_relaxed);
    if (threads > 1) start_event.notify_all();
    job(context, 0);
    barrier(nullptr, nullptr);
  }

  void barrier(void (*completion)(void*), void* argument) {
    if (threads == 1) {
      if (completion) completion(argument);
      return;
    }
    const std::uint32_t old_count = barrier_event.count();
    // Read before arriving: once all threads have arrived, the next run may write `caller`.
    const bool is_caller = std::this_thread::get_id() == caller;
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
      if (completion) completion(argument);
      arrived.store(0, std::memory_order_relaxed);
      barrier_event.notify_all();
    } else {
      barrier_event.wait(old_count, is_caller, [this] { poll(); });
    }
  }

  // Called only by the thread that called `run`.
  void poll() {
    if (!interrupted || stop_requested.load(std::memory_order_relaxed)) return;
    const Clock::time_point now = Clock::now();
    if (now - last_poll < kPollInterval) return;
    if (interrupted()) stop_requested.store(true, std::memory_order_relaxed);
    last_poll = Clock::now();
  }

  const int threads;
  const pid_t owner_pid;
  void (*job)(void*, int) = nullptr;
  void* context = nullptr;
  bool (*interrupted)() = nullptr;
  std::thread::id caller;
  Clock::time_point last_poll;
  alignas(64) std::atomic<bool> stop_requested{false};
  alignas(64) EventCount start_event;
  alignas(64) EventCount barrier_event;
  alignas(64) std::atomic<int> arrived{0};
  std::vector<std::thread> workers;
};

ThreadPool::ThreadPool(int threads) : threads_(threads) {}

ThreadPool::~ThreadPool() {
  // After a fork, the parent's threads do not exist in this process and cannot be joined.
  if (state_ && state_->owner_pid != getpid()) (void)state_.release();
}

void ThreadPool::run(void (*job)(void*, int), void* context) {
  if (state_ && state_->owner_pid != getpid()) (void)state_.release();
  if (!state_) state_ = std::make_unique<State>(threads_);
  state_->job = job;
  state_->context = context;
  state_->interrupted = interrupted_;
  state_->run();
}

void ThreadPool::barrier(void (*completion)(void*), void* context) {
  state_->barrier(completion, context);
}

bool ThreadPool::should_stop(int thread) {
  if (thread == 0) state_->poll();
  return state_->stop_requested.load(std::memory_order_relaxed);
}

bool ThreadPool::stopped() const {
  return state_ && state_->stop_requested.load(std::memory_order_relaxed);
}

}  // namespace kilonet
