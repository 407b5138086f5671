#include "symeig.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 256 // terms of a product summed before they are added to the rest
#define PANEL 384 // the same for Gram matrices
#define BLOCK 256 // side of the blocks that symmetric_times copies
#define SHORT 64  // rows that a Householder reflector sums before they are added
#define SWEEPS 8  // sweeps that go down a band together

#define INLINE static inline __attribute__((always_inline))

typedef float f4 __attribute__((vector_size(16)));
typedef float f8 __attribute__((vector_size(32)));
typedef float f16 __attribute__((vector_size(64)));
typedef double d2 __attribute__((vector_size(16)));
typedef double d4 __attribute__((vector_size(32)));
typedef double d8 __attribute__((vector_size(64)));

#define LOW4(x) __builtin_shufflevector(x, x, 0, 1, 2, 3)
#define HIGH4(x) __builtin_shufflevector(x, x, 4, 5, 6, 7)

INLINE float sum_f4(f4 x) {
  x += __builtin_shufflevector(x, x, 2, 3, 0, 1);
  return x[0] + x[1];
}
INLINE float sum_f8(f8 x) { return sum_f4(LOW4(x) + HIGH4(x)); }
INLINE float sum_f16(f16 x) {
  return sum_f8(__builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15));
}
INLINE double sum_d2(d2 x) { return x[0] + x[1]; }
INLINE double sum_d4(d4 x) { return sum_d2(__builtin_shufflevector(x, x, 0, 1) + __builtin_shufflevector(x, x, 2, 3)); }
INLINE double sum_d8(d8 x) { return sum_d4(LOW4(x) + HIGH4(x)); }

INLINE float single(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// A finite IEEE half: its exponent and fraction, moved to where a float has them, lack
// only the difference of the two exponents' biases.
INLINE float half(uint16_t h) {
  float size = single((uint32_t)(h & 0x7fff) << 13) * 0x1p112f;
  return h & 0x8000 ? -size : size;
}

// LANES-1-i numbers into such a table lies a vector whose first i+1 lanes are set.
static const int32_t lower4[32] = {-1, -1, -1, -1};
static const int32_t lower8[32] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int32_t lower16[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t wide2[16] = {-1, -1};
static const int64_t wide4[16] = {-1, -1, -1, -1};
static const int64_t wide8[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

// The bandwidths were chosen by time: 64 numbers of single precision, 32 of double.
#define BAND_FLOAT 64
#define BAND_DOUBLE 32

#define FN static
#define VB 16
#define NV 2
#define T float
#define W int32_t
#define B BAND_FLOAT
#define SUM sum_f4
#define LOWER lower4
#define NAME(x) x##_base_float
#include "template.h"
#define T double
#define W int64_t
#define B BAND_DOUBLE
#define SUM sum_d2
#define LOWER wide2
#define NAME(x) x##_base_double
#include "template.h"
#undef FN
#undef VB
#undef NV

#if defined(__x86_64__)
#define FN static __attribute__((target("avx2,fma")))
#define VB 32
#define NV 2
#define T float
#define W int32_t
#define B BAND_FLOAT
#define SUM sum_f8
#define LOWER lower8
#define NAME(x) x##_avx2_float
#include "template.h"
#define T double
#define W int64_t
#define B BAND_DOUBLE
#define SUM sum_d4
#define LOWER wide4
#define NAME(x) x##_avx2_double
#include "template.h"
#undef FN
#undef VB
#undef NV

#define FN static __attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")))
#define VB 64
#define NV 4
#define T float
#define W int32_t
#define B BAND_FLOAT
#define SUM sum_f16
#define LOWER lower16
#define NAME(x) x##_avx512_float
#include "template.h"
#define T double
#define W int64_t
#define B BAND_DOUBLE
#define SUM sum_d8
#define LOWER wide8
#define NAME(x) x##_avx512_double
#include "template.h"
#endif

typedef struct {
  int (*gram)(int, const void *, long, long, double, void *, long);
  int (*tridiagonal)(long, void *, long, double *, double *);
} routines;

static const routines table[SYMEIG_LEVELS][2] = {
  {{gram_base_float, tridiagonal_base_float}, {gram_base_double, tridiagonal_base_double}},
#if defined(__x86_64__)
  {{gram_avx2_float, tridiagonal_avx2_float}, {gram_avx2_double, tridiagonal_avx2_double}},
  {{gram_avx512_float, tridiagonal_avx512_float}, {gram_avx512_double, tridiagonal_avx512_double}},
#endif
};

int symeig_level(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) return SYMEIG_AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return SYMEIG_AVX2;
#endif
  return SYMEIG_BASE;
}

void symeig_widen(int format, const void *src, long count, double *out) {
  widen_base_double(format, src, 0, count, 1, out);
}

int symeig_gram(int level, int wide, int format, const void *src, long rows, long cols, double scale, void *gram, long stride) {
  return table[level][wide].gram(format, src, rows, cols, scale, gram, stride);
}

int symeig_tridiagonal(int level, int wide, long n, void *gram, long stride, double *d, double *e) {
  return table[level][wide].tridiagonal(n, gram, stride, d, e);
}

// The largest magnitude is found among the bits without the sign, which are in the
// order of the numbers, with NaN and the infinities above all others.
#define SCAN(type, magnitude, infinite)                               \
  {                                                                   \
    const type *bits = src;                                           \
    type most = 0;                                                    \
    for (long i = 0; i < count; i++) {                                \
      type size = bits[i] & (magnitude);                              \
      most = size > most ? size : most;                               \
    }                                                                 \
    if (most >= (infinite))                                           \
      for (long i = 0;; i++)                                          \
        if ((bits[i] & (magnitude)) >= (infinite)) return i;          \
    found = most;                                                     \
  }

long symeig_scan(int format, const void *src, long count, double *largest) {
  uint64_t found = 0;
  switch (format) {
  case SYMEIG_F64:
    SCAN(uint64_t, 0x7fffffffffffffff, 0x7ff0000000000000)
    memcpy(largest, &found, sizeof *largest);
    break;
  case SYMEIG_F32:
    SCAN(uint32_t, 0x7fffffff, 0x7f800000)
    *largest = single((uint32_t)found);
    break;
  case SYMEIG_F16:
    SCAN(uint16_t, 0x7fff, 0x7c00)
    *largest = half((uint16_t)found);
    break;
  case SYMEIG_BF16:
    SCAN(uint16_t, 0x7fff, 0x7f80)
    *largest = single((uint32_t)found << 16);
    break;
  }
  return -1;
}
