/* [3x3 convolution - max pooling - ReLU]: of a square's four pixels one is kept.

   Few channels are convolved as they are. With 16, the four pixels of a square come from a tile of
   4 x 4 in 16 products instead of 36: F(2 x 2, 3 x 3) of Lavin and Gray, "Fast Algorithms for
   Convolutional Neural Networks", CVPR 2016, eq. 13. Its tiles are the squares of the pooling. */

#include "convolution.h"
#include "pooling.h"

_Static_assert(sizeof(numbers) == sizeof(lanes), "pooled at once: the channels of a vector");

/* Four pixels of a square, plus bias, to the greatest and its code. */
INLINE void keep(lanes a, lanes b, lanes c, lanes d, const float *bias, float *out,
                 uint8_t *code) {
    const lanes base = *(const lanes *)bias;
    const lanes square[4] = {a + base, b + base, c + base, d + base};
    pool_block((const uint32_t *)square, 2 * LANES, LANES, (uint32_t *)out, code);
}

/* filter: [3][3 * c][filters], a multiple of VECTOR; out and code: [n][h / 2][w / 2][filters];
   stride: of the images' n, c, h, w; space: (h + 2) * (w + 2) * c floats, all zero; work: as below,
   for winograd alone. */
#define ARGUMENTS                                                                              \
    const float *images, const int64_t *stride, const float *filter, const float *bias,        \
    float *space, float *work, float *out, uint8_t *code, int64_t n, int64_t c, int64_t h,     \
    int64_t w, int64_t filters

INLINE void direct_part(ARGUMENTS) {
    (void)work;
    const int64_t row = (w + 2) * c;
    for (int64_t i = 0; i < n; i++) {
        frame(images + i * stride[0], stride, c, h, w, space);
        for (int64_t y = 0; y < h / 2; y++)
            for (int64_t x = 0; x < w / 2; x++)
                for (int64_t f = 0; f < filters; f += VECTOR, out += VECTOR, code += VECTOR) {
                    const float *corner = space + 2 * y * row + 2 * x * c, *own = filter + f;
                    lanes sum[4][PIECES] = {0};
                    for (int line = 0; line < 3; line++, corner += row)
                        for (int64_t t = 0; t < 3 * c; t++, own += filters) {
                            const float *pixel = corner + t;
                            UNROLL
                            for (int p = 0; p < PIECES; p++) {
                                const lanes weight = *(const lanes *)(own + p * LANES);
                                sum[0][p] += pixel[0] * weight;
                                sum[1][p] += pixel[c] * weight;
                                sum[2][p] += pixel[row] * weight;
                                sum[3][p] += pixel[row + c] * weight;
                            }
                        }
                    UNROLL
                    for (int p = 0; p < PIECES; p++)
                        keep(sum[0][p], sum[1][p], sum[2][p], sum[3][p], bias + f + p * LANES,
                             out + p * LANES, code + p * LANES);
                }
    }
}

#define CALL(c)                                                                                \
    direct_part(images, stride, filter, bias, space, work, out, code, n, c, h, w, filters)
void direct(ARGUMENTS) {
    switch (c) {  /* constants make straight lines of the loops */
    case 1: CALL(1); break;
    case 3: CALL(3); break;
    default: CALL(c);
    }
}

#define TILES (12 / PIECES)  /* as many as fill 12 registers with sums */

/* The filters [16 channels] as [16 places of a tile][16 channels][filters]: G g G^T. */
INLINE void transform_filter(const float *filter, int64_t filters, float *to) {
    for (int64_t k = 0; k < VECTOR; k++)
        for (int64_t f = 0; f < filters; f += LANES) {
            lanes half[4][3];
            UNROLL
            for (int j = 0; j < 3; j++) {
                const float *from = filter + (j * VECTOR + k) * filters + f;
                const lanes a = *(const lanes *)from;
                const lanes b = *(const lanes *)(from + 3 * VECTOR * filters);
                const lanes c = *(const lanes *)(from + 6 * VECTOR * filters);
                half[0][j] = a, half[1][j] = .5f * (a + c + b), half[2][j] = .5f * (a + c - b);
                half[3][j] = c;
            }
            UNROLL
            for (int i = 0; i < 4; i++) {
                const lanes a = half[i][0], b = half[i][1], c = half[i][2];
                const lanes whole[4] = {a, .5f * (a + c + b), .5f * (a + c - b), c};
                UNROLL
                for (int j = 0; j < 4; j++)
                    *(lanes *)(to + ((i * 4 + j) * VECTOR + k) * filters + f) = whole[j];
            }
        }
}

/* A tile [4][4][16 channels] as [16 places, TILES apart][16 channels]: B^T d B. */
INLINE void transform_tile(const float *corner, int64_t row, float *to) {
    for (int p = 0; p < PIECES; p++) {
        lanes half[4][4];
        UNROLL
        for (int j = 0; j < 4; j++) {
            const float *from = corner + j * VECTOR + p * LANES;
            const lanes a = *(const lanes *)from, b = *(const lanes *)(from + row);
            const lanes c = *(const lanes *)(from + 2 * row), d = *(const lanes *)(from + 3 * row);
            half[0][j] = a - c, half[1][j] = b + c, half[2][j] = c - b, half[3][j] = b - d;
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            const lanes a = half[i][0], b = half[i][1], c = half[i][2], d = half[i][3];
            const lanes whole[4] = {a - c, b + c, c - b, b - d};
            UNROLL
            for (int j = 0; j < 4; j++)
                *(lanes *)(to + (i * 4 + j) * TILES * VECTOR + p * LANES) = whole[j];
        }
    }
}

/* Products of TILES tiles with VECTOR filters, place by place: to [16][TILES][VECTOR]. */
INLINE void multiply(const float *tiles, const float *filter, int64_t filters, float *to) {
    for (int place = 0; place < 16; place++, to += TILES * VECTOR, tiles += TILES * VECTOR) {
        lanes sum[TILES][PIECES] = {0};
        for (int k = 0; k < VECTOR; k++, filter += filters) {
            UNROLL
            for (int t = 0; t < TILES; t++) {
                UNROLL
                for (int p = 0; p < PIECES; p++)
                    sum[t][p] += tiles[t * VECTOR + k] * *(const lanes *)(filter + p * LANES);
            }
        }
        UNROLL
        for (int t = 0; t < TILES; t++) {
            UNROLL
            for (int p = 0; p < PIECES; p++)
                *(lanes *)(to + t * VECTOR + p * LANES) = sum[t][p];
        }
    }
}

/* The square of a tile, A^T m A, and what is kept of it. */
INLINE void finish(const float *products, const float *bias, float *out, uint8_t *code) {
    for (int p = 0; p < PIECES; p++) {
        lanes half[2][4];
        UNROLL
        for (int j = 0; j < 4; j++) {
            const float *from = products + j * TILES * VECTOR + p * LANES;
            const lanes a = *(const lanes *)from;
            const lanes b = *(const lanes *)(from + 4 * TILES * VECTOR);
            const lanes c = *(const lanes *)(from + 8 * TILES * VECTOR);
            const lanes d = *(const lanes *)(from + 12 * TILES * VECTOR);
            half[0][j] = a + b + c, half[1][j] = b - c - d;
        }
        keep(half[0][0] + half[0][1] + half[0][2], half[0][1] - half[0][2] - half[0][3],
             half[1][0] + half[1][1] + half[1][2], half[1][1] - half[1][2] - half[1][3],
             bias + p * LANES, out + p * LANES, code + p * LANES);
    }
}

/* The same for 16 channels. work: 256 * filters floats, and 32 * TILES * VECTOR more. */
void winograd(ARGUMENTS) {
    const int64_t row = (w + 2) * VECTOR, pw = w / 2, squares = h / 2 * pw;
    float *tiles = work + 256 * filters, *products = tiles + 16 * TILES * VECTOR;
    transform_filter(filter, filters, work);
    for (int64_t i = 0; i < n; i++, out += squares * filters, code += squares * filters) {
        frame(images + i * stride[0], stride, c, h, w, space);
        for (int64_t start = 0; start < squares; start += TILES) {
            const int64_t count = squares - start < TILES ? squares - start : TILES;
            for (int64_t t = 0; t < count; t++)
                transform_tile(space + 2 * ((start + t) / pw * row + (start + t) % pw * VECTOR),
                               row, tiles + t * VECTOR);
            for (int64_t f = 0; f < filters; f += VECTOR) {
                multiply(tiles, work + f, filters, products);
                for (int64_t t = 0; t < count; t++)
                    finish(products + t * VECTOR, bias + f, out + (start + t) * filters + f,
                           code + (start + t) * filters + f);
            }
        }
    }
}
