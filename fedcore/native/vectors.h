/* What the kernels know of the processor.

   LANES: floats of a vector. Who compiles a kernel defines it (fedcore/native/source.py), as all
   that stands in "#ifndef" here: what follows there lets a file be compiled and edited alone. */

#ifndef FEDCORE_VECTORS_H
#define FEDCORE_VECTORS_H

#include <stdint.h>
#include <string.h>

#ifndef LANES
#if defined __AVX512F__
#define LANES 16
#elif defined __AVX2__
#define LANES 8
#else
#define LANES 4
#endif
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")  /* else sums would not be registers */

/* Elements of the vectors a and b, by their numbers; mask: a type for as many whole numbers. */
#ifdef __clang__
#define SHUFFLE(mask, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(mask, a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

#endif
