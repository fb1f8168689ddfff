// Augments, normalizes and lays out the images of a chunk or of a whole batch.

#include "input.h"

#include <atomic>
#include <cstring>
#include <utility>

namespace kilonet {
namespace {

int num_chunks(const Batch& batch) { return (batch.count + kLanes - 1) / kLanes; }

int num_lanes(const Batch& batch, int chunk) {
  const int left = batch.count - chunk * kLanes;
  return left < kLanes ? left : kLanes;
}

// Calls `visit(chunk, thread)` for every chunk; idle threads take the next one.
template <typename Visit>
void for_each_chunk(ThreadPool& pool, const Batch& batch, Visit visit) {
  struct Context {
    Visit& visit;
    std::atomic<int> next;
    int chunks;
  } context = {visit, 0, num_chunks(batch)};
  pool.run(
      [](void* argument, int thread) {
        Context& context = *static_cast<Context*>(argument);
        for (int chunk; (chunk = context.next.fetch_add(1)) < context.chunks;)
          context.visit(chunk, thread);
      },
      &context);
}

}  // namespace

Input::Input(const Kernels& kernels, int threads, int channels, int height, int width)
    : kernels_(kernels), threads_(threads), size_{height, width, channels} {}

void Input::append(TransformPointer transform) {
  transforms_.push_back(std::move(transform));
  const std::size_t images = std::size_t(threads_) * (kLanes + 1);
  if (!scratch_) scratch_.reset(new std::uint8_t[images * size_.bytes()]);
}

// Points each lane to its image: in the batch, or augmented in the thread's scratch memory.
void Input::lane_images(const Batch& batch, int chunk, int thread, const std::uint8_t** images) {
  const long bytes = size_.bytes();
  const int first = chunk * kLanes, lanes = num_lanes(batch, chunk);
  std::uint8_t* const own = scratch_.get() + thread * (kLanes + 1) * bytes;
  for (int lane = 0; lane < lanes; lane++) {
    images[lane] = batch.images + (first + lane) * bytes;
    if (transforms_.empty() || !batch.index) continue;
    Draws draws = {batch.seed, batch.epoch, std::uint32_t(batch.index[first + lane]), 0};
    // Alternate between two buffers so that the last transform writes to the lane's own.
    std::uint8_t* to = own + lane * bytes;
    std::uint8_t* other = own + kLanes * bytes;
    if (transforms_.size() % 2 == 0) std::swap(to, other);
    for (const TransformPointer& transform : transforms_) {
      transform->apply(draws, images[lane], to);
      images[lane] = to;
      std::swap(to, other);
      draws.transform++;
    }
  }
  for (int lane = lanes; lane < kLanes; lane++) images[lane] = images[lanes - 1];
}

void Input::lay_out(const Batch& batch, int chunk, int thread, long plane, float* out) {
  const std::uint8_t* images[kLanes];
  lane_images(batch, chunk, thread, images);
  kernels_.lay_out(images, size_.channels, size_.height * size_.width, plane, batch.table, out);
}

void Input::augmented(ThreadPool& pool, const Batch& batch, std::uint8_t* out) {
  for_each_chunk(pool, batch, [&](int chunk, int thread) {
    const std::uint8_t* images[kLanes];
    lane_images(batch, chunk, thread, images);
    for (int lane = 0; lane < num_lanes(batch, chunk); lane++)
      std::memcpy(out + (chunk * kLanes + lane) * size_.bytes(), images[lane],
                  std::size_t(size_.bytes()));
  });
}

void Input::normalized(ThreadPool& pool, const Batch& batch, float* out) {
  const long cells = long(size_.height) * size_.width;
  const long values = size_.channels * cells;
  struct alignas(64) Cell {
    float lanes[kLanes];
  };
  std::vector<Cell> laid_out(std::size_t(threads_ * values));
  for_each_chunk(pool, batch, [&](int chunk, int thread) {
    Cell* const own = laid_out.data() + thread * values;
    lay_out(batch, chunk, thread, cells, own->lanes);
    for (int lane = 0; lane < num_lanes(batch, chunk); lane++)
      for (long i = 0; i < values; i++)
        out[(chunk * kLanes + lane) * values + i] = own[i].lanes[lane];
  });
}

}  // namespace kilonet
