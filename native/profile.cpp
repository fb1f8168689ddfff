// The per-thread clocks of a step, and the table of times that they add up to.

#include "profile.h"

#include <chrono>

namespace kilonet {
namespace {

constexpr int kPasses = int(Pass::sum) + 1;

std::int64_t now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

}  // namespace

void Profile::reset(int threads, int layers) {
  clocks_.clear();
  clocks_.resize(threads);
  for (Clock& clock : clocks_) clock.entries.resize(kPasses * (layers + 1));
}

void Profile::start(int thread) {
  clocks_[thread].last = now();
  clocks_[thread].split_time = 0;
}

void Profile::lap(int thread, Pass pass, int layer) {
  Clock& clock = clocks_[thread];
  const std::int64_t time = now();
  if (clock.split_time) add(clock, clock.split_pass, layer, clock.split_time);
  add(clock, pass, layer, time - clock.last);
  clock.split_time = 0;
  clock.last = time;
}

void Profile::split(int thread, Pass pass) {
  Clock& clock = clocks_[thread];
  const std::int64_t time = now();
  clock.split_time += time - clock.last;
  clock.split_pass = pass;
  clock.last = time;
}

void Profile::add(Clock& clock, Pass pass, int layer, std::int64_t nanoseconds) {
  Entry& entry = clock.entries[kPasses * (layer + 1) + int(pass)];
  entry.nanoseconds += nanoseconds;
  entry.calls++;
}

std::vector<Profile::Row> Profile::rows() const {
  std::vector<Row> rows;
  const int size = clocks_.empty() ? 0 : int(clocks_[0].entries.size());
  for (int i = 0; i < size; i++) {
    Row row = {i / kPasses - 1, Pass(i % kPasses), 0, 0};
    for (const Clock& clock : clocks_) {
      row.nanoseconds += clock.entries[i].nanoseconds;
      row.calls += clock.entries[i].calls;
    }
    if (row.calls) rows.push_back(row);
  }
  return rows;
}

}  // namespace kilonet
