// The augmentation transforms: each draws its parameters and applies them to one image.

#include "transforms.h"

#include <math.h>

#include <cstdlib>
#include <cstring>
#include <utility>

#include "color.h"
#include "elastic.h"

namespace kilonet {
namespace {

constexpr std::uint32_t kErasingAttempts = 10;

void copy(const Size& size, const std::uint8_t* in, std::uint8_t* out) {
  std::memcpy(out, in, std::size_t(size.bytes()));
}

class Rotation : public Transform {
 public:
  Rotation(const Size& size, Range degrees, Resampling resampling)
      : size_(size), degrees_(degrees), resampling_(resampling) {}

  void apply(const Draws& draws, const std::uint8_t* in, std::uint8_t* out) const override {
    const double degrees = degrees_.at(draws.block(0).u[0]);
    resample(resampling_, rotation_matrix(degrees, size_.height, size_.width), size_, in, out);
  }

 private:
  Size size_;
  Range degrees_;
  Resampling resampling_;
};

// A whole-pixel shift in [−max_shift, max_shift]; halves round to even.
double whole_pixels(double max_shift, double u) { return rint(Range{-max_shift, max_shift}.at(u)); }

class Affine : public Transform {
 public:
  Affine(const Size& size, const AffineRanges& ranges, Resampling resampling)
      : size_(size), ranges_(ranges), resampling_(resampling) {}

  void apply(const Draws& draws, const std::uint8_t* in, std::uint8_t* out) const override {
    const Block first = draws.block(0), second = draws.block(1);
    const AffineParameters parameters = {
        ranges_.degrees.at(first.u[0]),
        whole_pixels(ranges_.right, first.u[1]),
        whole_pixels(ranges_.down, first.u[2]),
        ranges_.scale.at(first.u[3]),
        ranges_.shear_x.at(second.u[0]),
        ranges_.shear_y.at(second.u[1]),
    };
    resample(resampling_, affine_matrix(parameters, size_.height, size_.width), size_, in, out);
  }

 private:
  Size size_;
  AffineRanges ranges_;
  Resampling resampling_;
};

class Crop : public Transform {
 public:
  Crop(const Size& size, int padding, std::uint8_t fill)
      : size_(size), padding_(padding), fill_(fill) {}

  void apply(const Draws& draws, const std::uint8_t* in, std::uint8_t* out) const override {
    const Block block = draws.block(0);
    // The shift of the image, down and right.
    const int down = padding_ - uniform_index(2 * padding_ + 1, block.u[0]);
    const int right = padding_ - uniform_index(2 * padding_ + 1, block.u[1]);
    const int rows = size_.height - std::abs(down), columns = size_.width - std::abs(right);
    std::memset(out, fill_, std::size_t(size_.bytes()));
    if (rows <= 0 || columns <= 0) return;
    const long stride = long(size_.width) * size_.channels;
    in += (down < 0 ? -down : 0) * stride + (right < 0 ? -right : 0) * size_.channels;
    out += (down > 0 ? down : 0) * stride + (right > 0 ? right : 0) * size_.channels;
    for (int row = 0; row < rows; row++)
      std::memcpy(out + row * stride, in + row * stride, std::size_t(columns) * size_.channels);
  }

 private:
  Size size_;
  int padding_;
  std::uint8_t fill_;
};

class ColorJitter : public Transform {
 public:
  ColorJitter(const Size& size, std::vector<Adjustment> adjustments)
      : size_(size), adjustments_(std::move(adjustments)) {}

  void apply(const Draws& draws, const std::uint8_t* in, std::uint8_t* out) const override {
    copy(size_, in, out);
    const Block values = draws.block(0), keys = draws.block(1);
    const int count = int(adjustments_.size());
    // Sort by ascending keys; equal keys keep the order of the list.
    int order[4];
    for (int i = 0; i < count; i++) {
      int at = i;
      for (; at > 0 && key(keys, order[at - 1]) > key(keys, i); at--) order[at] = order[at - 1];
      order[at] = i;
    }
    for (int i = 0; i < count; i++) {
      const Adjustment& adjustment = adjustments_[order[i]];
      adjust(adjustment.word, adjustment.range.at(values.u[adjustment.word]), out);
    }
  }

 private:
  double key(const Block& keys, int adjustment) const {
    return keys.u[adjustments_[adjustment].word];
  }

  void adjust(int word, double value, std::uint8_t* image) const {
    switch (word) {
      case 0: return adjust_brightness(size_, float(value), image);
      case 1: return adjust_contrast(size_, float(value), image);
      case 2: return adjust_saturation(size_, float(value), image);
      default: return adjust_hue(size_, std::uint8_t(int(value * 255)), image);
    }
  }

  Size size_;
  std::vector<Adjustment> adjustments_;
};

class Erasing : public Transform {
 public:
  Erasing(const Size& size, double p, Range scale, Range log_ratio, std::uint8_t value)
      : size_(size), p_(p), scale_(scale), log_ratio_(log_ratio), value_(value) {}

  void apply(const Draws& draws, const std::uint8_t* in, std::uint8_t* out) const override {
    copy(size_, in, out);
    if (!(draws.block(0).u[0] < p_)) return;
    for (std::uint32_t attempt = 1; attempt <= kErasingAttempts; attempt++) {
      const Block block = draws.block(attempt);
      const double area = scale_.at(block.u[0]) * (double(size_.height) * size_.width);
      const double ratio = exp(log_ratio_.at(block.u[1]));
      const double real_height = rint(sqrt(area * ratio)), real_width = rint(sqrt(area / ratio));
      if (!(real_height < size_.height && real_width < size_.width)) continue;
      const int height = int(real_height), width = int(real_width);
      const int top = uniform_index(size_.height - height + 1, block.u[2]);
      const int left = uniform_index(size_.width - width + 1, block.u[3]);
      for (int row = top; row < top + height; row++)
        std::memset(out + (long(row) * size_.width + left) * size_.channels, value_,
                    std::size_t(width) * size_.channels);
      return;
    }
  }

 private:
  Size size_;
  double p_;
  Range scale_, log_ratio_;
  std::uint8_t value_;
};

class ElasticTransform : public Transform {
 public:
  ElasticTransform(const Size& size, double alpha, Elastic elastic, Resampling resampling)
      : size_(size), alpha_(alpha), elastic_(std::move(elastic)), resampling_(resampling) {}

  void apply(const Draws& draws, const std::uint8_t* in, std::uint8_t* out) const override {
    Displacement displacement = elastic_.of(draws, resampling_.avx2);
    displacement.scale = alpha_;
    resample(resampling_, displacement, size_, in, out);
  }

 private:
  Size size_;
  double alpha_;
  Elastic elastic_;
  Resampling resampling_;
};

}  // namespace

TransformPointer make_rotation(const Size& size, Range degrees, Resampling resampling) {
  return std::make_unique<Rotation>(size, degrees, resampling);
}

TransformPointer make_affine(const Size& size, const AffineRanges& ranges, Resampling resampling) {
  return std::make_unique<Affine>(size, ranges, resampling);
}

TransformPointer make_crop(const Size& size, int padding, std::uint8_t fill) {
  return std::make_unique<Crop>(size, padding, fill);
}

TransformPointer make_color_jitter(const Size& size, std::vector<Adjustment> adjustments) {
  return std::make_unique<ColorJitter>(size, std::move(adjustments));
}

TransformPointer make_elastic(const Size& size, double alpha, std::vector<float> down,
                              std::vector<float> across, Resampling resampling) {
  return std::make_unique<ElasticTransform>(size, alpha, Elastic(size, down, across), resampling);
}

TransformPointer make_erasing(const Size& size, double p, Range scale, Range log_ratio,
                              std::uint8_t value) {
  return std::make_unique<Erasing>(size, p, scale, log_ratio, value);
}

}  // namespace kilonet
