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
  clocks_[thread].aside = 0;
}

void Profile::lap(int thread, Pass pass, int layer) {
  Clock& clock = clocks_[thread];
  const std::int64_t time = now();
  if (clock.aside) add(clock, clock.aside_for, layer, clock.aside);
  add(clock, pass, layer, time - clock.last);
  clock.aside = 0;
  clock.last = time;
}

void Profile::part(int thread, Pass pass) {
  Clock& clock = clocks_[thread];
  const std::int64_t time = now();
  clock.aside += time - clock.last;
  clock.aside_for = pass;
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
