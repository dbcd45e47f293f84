/* What convolution's kernels share: 3x3, stride 1, an image in a frame of zeros.

   VECTOR: filters come in multiples of so many floats, which lie in PIECES vectors. */

#ifndef FEDCORE_CONVOLUTION_H
#define FEDCORE_CONVOLUTION_H

#include "vectors.h"

#ifndef VECTOR
#define VECTOR 16
#endif
#ifndef MOST_FILTERS
#define MOST_FILTERS 64
#endif
#define PIECES (VECTOR / LANES)

/* at any address: by memcpy a vector may be copied in halves, and what uses it has to wait */
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* One image, pixel by pixel, in a frame of zeros. stride: of n, c, h, w. */
INLINE void frame(const float *in, const int64_t *stride, int64_t c, int64_t h, int64_t w,
                  float *out) {
    for (int64_t y = 0; y < h; y++) {
        float *row = out + ((y + 1) * (w + 2) + 1) * c;
        const float *from = in + y * stride[2];
        if ((c == 1 || stride[1] == 1) && stride[3] == c)
            memcpy(row, from, sizeof(float) * w * c);
        else
            for (int64_t x = 0; x < w; x++)
                for (int64_t k = 0; k < c; k++)
                    row[x * c + k] = from[x * stride[3] + k * stride[1]];
    }
}

#endif
