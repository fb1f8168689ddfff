// A pool of threads that a step passes through together: persistent, with a barrier cheap enough to
// be met a dozen times in a few milliseconds.
#pragma once

#include <memory>

namespace kilonet {

class Pool {
 public:
  explicit Pool(int threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return threads_; }

  // `job(context, thread)` on every thread, the caller's being thread 0; returns when all are done.
  // After a fork the child's first run starts threads of its own. Throws std::runtime_error where
  // the system has no threads left to give.
  void run(void (*job)(void*, int), void* context);

  // To be called by every thread of a job. The last to come calls `join(context)` before any goes on.
  void meet(void (*join)(void*), void* context);

  // From now on `interrupted` is asked ten times a second, in the thread that called `run`, whether
  // the job is to end early.
  void ask(bool (*interrupted)()) { interrupted_ = interrupted; }
  // Whether the job is to end early: to be asked between pieces of work by whoever does one. The
  // threads need not agree at once, so each goes on to every `meet`, and leaves out the work only.
  bool stopping(int thread);
  // Whether the last run ended early: what it computed is not to be used.
  bool stopped() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
  int threads_;
  bool (*interrupted_)() = nullptr;
};

}  // namespace kilonet
