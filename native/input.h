// A network's input: augments a batch's uint8 images, normalizes them and lays them out in lanes.
// Each chunk's images are processed by the thread that takes the chunk.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "augment/transforms.h"
#include "kernels.h"
#include "threads.h"

namespace kilonet {

struct Batch {
  const std::uint8_t* images;  // (n, height, width, channels)
  const std::int64_t* labels;  // (n), or null
  int count;
  const float* table;  // (channels, 256): the normalized value of each pixel value
  // Augmentation's random numbers depend on these; without an index, images are not augmented.
  const std::int64_t* index = nullptr;  // (n): each image's position in the training set
  std::uint64_t seed = 0;
  std::uint32_t epoch = 0;
};

class Input {
 public:
  Input(const Kernels&, int threads, int channels, int height, int width);

  const Size& size() const { return size_; }
  // Adds a transform; transforms are applied in the order of the calls.
  void append(TransformPointer);

  // Writes a chunk as (channels, cells, kLanes), with channels `plane` cells apart. Lanes past the
  // batch's last image repeat that image, so that they hold ordinary values. Allocates nothing.
  void lay_out(const Batch&, int chunk, int thread, long plane, float* out);

  // A whole batch as a training step would see it, for inspection: augmented images as (n, height,
  // width, channels), and augmented, normalized images as (n, channels, height, width).
  void augmented(ThreadPool&, const Batch&, std::uint8_t* out);
  void normalized(ThreadPool&, const Batch&, float* out);

 private:
  void lane_images(const Batch&, int chunk, int thread, const std::uint8_t** images);

  const Kernels& kernels_;
  int threads_;
  Size size_;
  std::vector<TransformPointer> transforms_;
  // For each thread, a chunk's images and one spare image: transforms alternate between two
  // buffers.
  std::unique_ptr<std::uint8_t[]> scratch_;
};

}  // namespace kilonet
