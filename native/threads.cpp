#include "threads.h"

#include <unistd.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace kilonet {
namespace {

using Clock = std::chrono::steady_clock;

// A tenth of what a person would notice; it costs a look at the clock between pieces of work.
constexpr std::chrono::milliseconds kLook{100};

// Some 50 µs: longer than threads of one step wait for each other where each has a core. Beyond that
// somebody else has the core, and needs it.
constexpr int kSpins = 4000;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// A count that threads wait for: spinning while it is likely to move soon, then asleep. In place of
// std::atomic::wait, which cannot wake up after a while to look after something else.
class Gate {
 public:
  std::uint32_t count() const { return count_.load(std::memory_order_relaxed); }

  void open() {
    count_.fetch_add(1);
    // In the order of all such operations: whoever is not seen asleep here sees the new count.
    if (sleeping_.load() > 0) wake();
  }

  // Until the count is no longer `old`. Whoever has something to `look()` after does so meanwhile.
  template <typename Look>
  void await(std::uint32_t old, bool looking, Look look) {
    for (int i = 0; i < kSpins; i++) {
      if (count_.load(std::memory_order_acquire) != old) return;
      pause();
    }
    sleeping_.fetch_add(1);
    while (count_.load() == old) {
      sleep(old, looking);
      if (looking) look();
    }
    sleeping_.fetch_sub(1);
  }

 private:
#ifdef __linux__
  // Both return early at times; a signal ends a sleep.
  void sleep(std::uint32_t old, bool looking) {
    const timespec time = {0, 1000000 * long(kLook.count())};
    syscall(SYS_futex, &count_, FUTEX_WAIT_PRIVATE, old, looking ? &time : nullptr, nullptr, 0);
  }
  void wake() { syscall(SYS_futex, &count_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }
#else
  void sleep(std::uint32_t, bool) { std::this_thread::sleep_for(std::chrono::microseconds(50)); }
  void wake() {}
#endif

  std::atomic<std::uint32_t> count_{0};
  std::atomic<int> sleeping_{0};
  static_assert(sizeof(count_) == 4, "a futex is 32 bits");
};

}  // namespace

struct Pool::State {
  explicit State(int threads) : threads(threads), owner(getpid()) {
    try {
      for (int i = 1; i < threads; i++) workers.emplace_back([this, i] { work(i); });
    } catch (const std::system_error& error) {
      end();
      throw std::runtime_error(std::to_string(threads) + " threads could not be started (" +
                               error.code().message() + "); ask for fewer");
    }
  }

  ~State() { end(); }

  void end() {
    job = nullptr;
    started.open();
    for (std::thread& worker : workers) worker.join();
  }

  void work(int thread) {
    std::uint32_t seen = 0;
    for (;;) {
      started.await(seen, false, [] {});
      seen++;
      if (!job) return;
      job(context, thread);
      meet(nullptr, nullptr);
    }
  }

  void run() {
    caller = std::this_thread::get_id();
    looked = Clock::now();
    stop.store(false, std::memory_order_relaxed);
    if (threads > 1) started.open();
    job(context, 0);
    meet(nullptr, nullptr);
  }

  void meet(void (*join)(void*), void* argument) {
    if (threads == 1) {
      if (join) join(argument);
      return;
    }
    const std::uint32_t round = rounds.count();
    // Before arriving: once all have, the next run may begin and write its caller.
    const bool calling = std::this_thread::get_id() == caller;
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == threads) {
      if (join) join(argument);
      arrived.store(0, std::memory_order_relaxed);
      rounds.open();
    } else {
      rounds.await(round, calling, [this] { look(); });
    }
  }

  // By the caller's thread alone.
  void look() {
    if (!interrupted || stop.load(std::memory_order_relaxed)) return;
    const Clock::time_point now = Clock::now();
    if (now - looked < kLook) return;
    if (interrupted()) stop.store(true, std::memory_order_relaxed);
    looked = Clock::now();
  }

  const int threads;
  const pid_t owner;
  void (*job)(void*, int) = nullptr;
  void* context = nullptr;
  bool (*interrupted)() = nullptr;
  std::thread::id caller;
  Clock::time_point looked;
  alignas(64) std::atomic<bool> stop{false};
  alignas(64) Gate started;
  alignas(64) Gate rounds;
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
  state_->job = job;
  state_->context = context;
  state_->interrupted = interrupted_;
  state_->run();
}

void Pool::meet(void (*join)(void*), void* context) { state_->meet(join, context); }

bool Pool::stopping(int thread) {
  if (thread == 0) state_->look();
  return state_->stop.load(std::memory_order_relaxed);
}

bool Pool::stopped() const { return state_ && state_->stop.load(std::memory_order_relaxed); }

}  // namespace kilonet
