/* The greatest of four pixels after ReLU, as one byte and one number: forward of pooling.

   Images lie pixel by pixel [n, h, w, c], their numbers as bits. A code is 0 to 3 for the pixel of
   the 2 x 2 that is the greatest, the first of equal ones, and 4 where ReLU lets nothing through.
   NaN is greatest of all, and passes ReLU, as in torch. LANES channels, a vector, go at once. */

#ifndef FEDCORE_POOLING_H
#define FEDCORE_POOLING_H

#include "vectors.h"

#define INFINITE 0x7F800000
#define MAGNITUDE 0x7FFFFFFF  /* all bits but the sign */

/* at any address: by memcpy a vector may be copied in halves, and what uses it has to wait */
typedef int32_t numbers __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));

/* The loop of pool for LANES channels: compilers do not see that it is one over vectors. A
   comparison of vectors gives -1 where it holds, and 0 elsewhere. */
INLINE void pool_block(const uint32_t *in, int64_t row, int64_t c, uint32_t *out, uint8_t *code) {
    const uint32_t *pixels[4] = {in, in + c, in + row, in + row + c};
    numbers best = {0}, place = {0}, value, holds;
    for (int32_t i = 0; i < 4; i++) {
        value = *(const numbers *)pixels[i];
        value &= MAGNITUDE & (((value & MAGNITUDE) > INFINITE) | (value > 0));
        holds = value > best;
        best = (value & holds) | (best & ~holds);
        place = (i & holds) | (place & ~holds);
    }
    holds = best == 0;
    place |= 4 & holds;
    *(numbers *)out = best;
#if LANES == 8  /* compilers take this one apart */
    typedef uint8_t all __attribute__((vector_size(32)));
    all narrow = (all)place;
    narrow = SHUFFLE(all, narrow, narrow, 0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28,
                     0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    memcpy(code, &narrow, 8);
#else
    *(bytes *)code = __builtin_convertvector(place, bytes);
#endif
}

#endif
