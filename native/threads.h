// A persistent pool of threads. Its barrier is cheap enough for a dozen uses in a step of a few
// milliseconds.
#pragma once

#include <memory>

namespace kilonet {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Runs `job(context, thread)` on every thread and waits for all of them; the caller is thread 0.
  // After a fork, the child's first run starts its own threads. Throws std::runtime_error if the
  // system cannot start the threads.
  void run(void (*job)(void*, int), void* context);

  // Waits until every thread of the job has called it. The last thread to arrive calls
  // `completion(context)`, if there is one, before any thread continues.
  void barrier(void (*completion)(void*), void* context);

  // Sets a function that reports whether the job should end early. The thread that called `run`
  // polls it ten times a second.
  void set_interrupt_check(bool (*interrupted)()) { interrupted_ = interrupted; }
  // Whether the job should end early; each thread checks this between pieces of work. Threads may
  // see the change at different times, so each still calls every `barrier` and skips only the work.
  bool should_stop(int thread);
  // Whether the last run ended early, so that its results are invalid.
  bool stopped() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
  int threads_;
  bool (*interrupted_)() = nullptr;
};

}  // namespace kilonet
