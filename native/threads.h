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
  // After a fork the child's first run starts threads of its own.
  void run(void (*job)(void*, int), void* context);

  // To be called by every thread of a job. The last to come calls `join(context)` before any goes on.
  void meet(void (*join)(void*), void* context);

 private:
  struct State;
  std::unique_ptr<State> state_;
  int threads_;
};

}  // namespace kilonet
