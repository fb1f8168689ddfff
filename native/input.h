// A network's input: the batch's uint8 images, augmented, normalised and laid out in lanes a chunk
// at a time, in the thread that takes the chunk.
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
  const std::int64_t* labels;  // (n), or none
  int count;
  const float* table;  // (channels, 256): what a pixel becomes
  // What augmentation draws from; without an index there is none.
  const std::int64_t* index = nullptr;  // (n): each image's position in the training set
  std::uint64_t seed = 0;
  std::uint32_t epoch = 0;
};

class Input {
 public:
  Input(const Kernels&, int threads, int channels, int height, int width);

  const Size& size() const { return size_; }
  // Transforms are applied in the order in which they are appended.
  void append(TransformPointer);

  // A chunk's lanes, each channel `plane` cells after the one before. Lanes past the batch's last
  // image hold it again, so that nothing odd is computed in them. Allocates nothing.
  void lay_out(const Batch&, int chunk, int thread, long plane, float* out);

  // What `lay_out` sees of a whole batch, to look at: the images augmented, (n, height, width,
  // channels), and normalised too, (n, channels, height, width).
  void augmented(Pool&, const Batch&, std::uint8_t* out);
  void normalised(Pool&, const Batch&, float* out);

 private:
  void images_of(const Batch&, int chunk, int thread, const std::uint8_t** images);

  const Kernels& kernels_;
  int threads_;
  Size size_;
  std::vector<TransformPointer> transforms_;
  // For each thread a chunk's images, and one more to go back and forth between.
  std::unique_ptr<std::uint8_t[]> scratch_;
};

}  // namespace kilonet
