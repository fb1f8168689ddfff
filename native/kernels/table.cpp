// Fills the table of kernels of one instruction set.

#include "vector.h"

namespace kilonet::KILONET_ISA {

long packed_size(const Convolution&);
void pack(const Convolution&, const float*, bool, float*);
long convolve_scratch(const Convolution&);
void convolve(const Convolution&, const float*, const float*, const Epilogue&, int, float*, float*);
long weight_scratch(const WeightGradient&);
void weight_gradient(const WeightGradient&, const float*, const float*, int, float*, bool, float*);
void channel_sums(const float*, int, int, long, float*);
void activate(Activation, float, const float*, float*, int);
void activate_backward(Activation, float, const float*, const float*, float*, int, bool);
Moments moments(const float*, int, int);
void affine(const float*, float, float, const uint32_t*, float*, int);
void norm_sums(const float*, float, const float*, const uint32_t*, float, int, int, double*,
               double*);
void norm_backward(const NormGradient&, const float*, const float*, const uint32_t*, float,
                   Activation, float, float*, int, int, bool);
void norm_pool(const Pooling&, const NormPool&, const float*, float*);
void norm_pool_sums(const Pooling&, const NormPool&, const float*, const float*, int, double*,
                    double*);
void norm_pool_backward(const Pooling&, const NormPool&, const NormGradient&, Activation, float,
                        const float*, const float*, float*, int, bool);
void group_norm(const GroupNorm&, const float*, const float*, const float*, float*, float*, float*);
void group_norm_backward(const GroupNorm&, const float*, const float*, const float*, const float*,
                         const float*, int, float*, float*, float*, bool);
void gate(const float*, const float*, float*, int);
void gate_backward(const float*, const float*, const float*, int, int, float*, float*, bool);
void dropout_bits(uint64_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t*);
void dropout(const float*, const uint32_t*, float, float*, int, bool);
void max_pool(const Pooling&, const float*, float*);
void max_pool_backward(const Pooling&, const float*, const float*, const float*, float*, bool);
void average_pool(const Pooling&, const float*, float*);
void average_pool_backward(const Pooling&, const float*, float*);
void copy(const float*, float*, int, bool);
void sum(const float*, const float*, float*, int);
void lay_out(const uint8_t* const*, int, int, long, const float*, float*);
Loss cross_entropy(const float*, int, long, const int32_t*, int, float, float, float*);
double distillation(const float*, int, long, const float*, int, float, float, float*);
void add_parts(const float*, long, int, long, float*);
void sgd(const Sgd&, float*, const float*, float*, long);
void adam(const Adam&, float*, const float*, float*, float*, long);
long muon_scratch(int, int);
void muon(const Muon&, int, int, float*, const float*, float*, float*);
void lerp(float, const float*, float*, long);
long multiply_adds(long);
long scale_add(const float*, float*, long);

}  // namespace kilonet::KILONET_ISA

#define KILONET_TEXT_OF(name) #name
#define KILONET_TEXT(name) KILONET_TEXT_OF(name)
#define KILONET_JOIN_OF(a, b) a##b
#define KILONET_JOIN(a, b) KILONET_JOIN_OF(a, b)

namespace kilonet {

const Kernels& KILONET_JOIN(KILONET_ISA, _kernels)() {
  using namespace KILONET_ISA;
  static const Kernels table = {
      KILONET_TEXT(KILONET_ISA),
      kWidth,
      packed_size,
      pack,
      convolve_scratch,
      convolve,
      weight_scratch,
      weight_gradient,
      channel_sums,
      activate,
      activate_backward,
      moments,
      affine,
      norm_sums,
      norm_backward,
      norm_pool,
      norm_pool_sums,
      norm_pool_backward,
      group_norm,
      group_norm_backward,
      gate,
      gate_backward,
      dropout_bits,
      dropout,
      max_pool,
      max_pool_backward,
      average_pool,
      average_pool_backward,
      copy,
      sum,
      lay_out,
      cross_entropy,
      distillation,
      add_parts,
      sgd,
      adam,
      muon_scratch,
      muon,
      lerp,
      multiply_adds,
      scale_add,
  };
  return table;
}

}  // namespace kilonet
