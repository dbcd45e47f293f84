/* Gradients of [3x3 convolution - max pooling - ReLU], at a quarter of the work.

   Of the gradient that reaches the convolution three values in four are zero, as pooling passes on
   one of four pixels, and ReLU stops some of those. A dense convolution multiplies by all of them.
   Here each value that pooling kept is multiplied once, with the patch that it was computed from
   (for the weights) and with its filter (for the images). */

#include "convolution.h"

typedef float few __attribute__((vector_size(16), aligned(4), may_alias));

/* The gradient where ReLU lets it through, else 0: by a mask, as no branch could be guessed. */
INLINE float passed(float gradient, uint8_t code) {
    uint32_t bits;
    memcpy(&bits, &gradient, sizeof bits);
    bits &= -(uint32_t)(code < 4);
    memcpy(&gradient, &bits, sizeof bits);
    return gradient;
}

/* Of all kernels of weights: total, the gradients of filters [filters][3][3 * c, filled up to
   vectors], and bias get the sums over all images. stride: of the images' n, c, h, w. space:
   (h + 2) * (w + 2) * c floats and a vector more, all zero. work: see wide. */
#define GRADIENT_ARGUMENTS                                                                     \
    const float *images, const int64_t *stride, const float *gradient, const uint8_t *code,    \
    float *space, float *work, float *total, float *bias, int64_t n, int64_t c, int64_t h,     \
    int64_t w, int64_t filters

/* Adds one image's part of BLOCK filters' gradients, ROWS of three from row line on, to total
   [filter][3][WIDTH vectors]: as many as registers hold. A filter's row is three pixels that lie
   side by side; lanes beyond them hold what nobody reads. */
#define WEIGHTS(NAME, TYPE, WIDTH, BLOCK, ROWS)                                                \
INLINE void NAME##_part(const float *framed, const float *gradient, const uint8_t *code,       \
                        int64_t c, int64_t row, int64_t filters, int64_t first, int64_t line,  \
                        int64_t ph, int64_t pw, TYPE *total, float *bias) {                    \
    TYPE sum[BLOCK][ROWS * (WIDTH)] = {0};                                                     \
    float base[BLOCK] = {0};                                                                   \
    for (int64_t y = 0; y < ph; y++)                                                           \
        for (int64_t x = 0; x < pw; x++) {                                                     \
            const float *corner = framed + (2 * y + line) * row + 2 * x * c;                   \
            const int64_t at = (y * pw + x) * filters + first;                                 \
            UNROLL                                                                             \
            for (int b = 0; b < BLOCK; b++) {                                                  \
                const int64_t place = code[at + b] & 3;                                        \
                const float value = passed(gradient[at + b], code[at + b]);                    \
                const float *patch = corner + (place >> 1) * row + (place & 1) * c;            \
                base[b] += value;                                                              \
                UNROLL                                                                         \
                for (int i = 0; i < ROWS; i++)                                                 \
                    UNROLL                                                                     \
                    for (int j = 0; j < WIDTH; j++)                                            \
                        sum[b][i * (WIDTH) + j] +=                                             \
                            value * *(const TYPE *)(patch + i * row + j * LANES);              \
            }                                                                                  \
        }                                                                                      \
    UNROLL                                                                                     \
    for (int b = 0; b < BLOCK; b++) {                                                          \
        bias[first + b] += line ? 0 : base[b];                                                 \
        UNROLL                                                                                 \
        for (int i = 0; i < ROWS * (WIDTH); i++)                                               \
            total[((first + b) * 3 + line) * (WIDTH) + i] += sum[b][i];                        \
    }                                                                                          \
}                                                                                              \
void NAME(GRADIENT_ARGUMENTS) {                                                                \
    (void)work;                                                                                \
    const int64_t pooled = (h / 2) * (w / 2) * filters;                                        \
    for (int64_t i = 0; i < n; i++) {                                                          \
        frame(images + i * stride[0], stride, c, h, w, space);                                 \
        for (int64_t first = 0; first < filters; first += BLOCK)                               \
            for (int64_t line = 0; line < 3; line += ROWS)                                     \
                NAME##_part(space, gradient + i * pooled, code + i * pooled, c, (w + 2) * c,   \
                            filters, first, line, h / 2, w / 2, (TYPE *)total, bias);          \
    }                                                                                          \
}
WEIGHTS(single, few, 1, 4, 3)
WEIGHTS(narrow, lanes, PIECES, (LANES == 16 ? 4 : LANES / 4), 3)

/* The same for 16 channels, of which a value is worth more than its place in a list is. work: room
   for an image's pooled values, and as many places. */
#define LINES (LANES == 16 ? 3 : 1)
#define SUMS (LINES * 3 * PIECES)
void wide(GRADIENT_ARGUMENTS) {
    const int64_t row = (w + 2) * VECTOR, squares = (h / 2) * (w / 2);
    int32_t *places = (int32_t *)(work + squares * filters);
    for (int64_t i = 0; i < n; i++) {
        int64_t count[MOST_FILTERS] = {0};
        frame(images + i * stride[0], stride, c, h, w, space);
        for (int64_t y = 0; y < h / 2; y++)
            for (int64_t x = 0; x < w / 2; x++, gradient += filters, code += filters)
                for (int64_t f = 0; f < filters; f++) {
                    const int64_t at = f * squares + count[f], place = code[f] & 3;
                    work[at] = gradient[f];
                    places[at] = (2 * y + (place >> 1)) * row + (2 * x + (place & 1)) * VECTOR;
                    count[f] += code[f] < 4;
                }
        for (int64_t f = 0; f < filters; f++)
            for (int64_t line = 0; line < 3; line += LINES) {
                const float *values = work + f * squares;
                const int32_t *at = places + f * squares;
                lanes *to = (lanes *)total + (f * 3 + line) * 3 * PIECES, sum[SUMS] = {0};
                float base = 0;
                for (int64_t k = 0; k < count[f]; k++) {
                    const float *patch = space + at[k] + line * row;
                    base += values[k];
                    UNROLL
                    for (int j = 0; j < SUMS; j++)
                        sum[j] += values[k] * *(const lanes *)(patch + j / (3 * PIECES) * row +
                                                               j % (3 * PIECES) * LANES);
                }
                bias[f] += line ? 0 : base;
                UNROLL
                for (int j = 0; j < SUMS; j++)
                    to[j] += sum[j];
            }
    }
}

/* Images' gradient [n][h][w][16], from filters [filters][9][16]. space as above, not only zero. */
void wide_images(const float *filter, const float *gradient, const uint8_t *code, float *space,
                 float *out, int64_t n, int64_t h, int64_t w, int64_t filters) {
    const int64_t row = (w + 2) * VECTOR, ph = h / 2, pw = w / 2;
    for (int64_t i = 0; i < n; i++) {
        memset(space, 0, sizeof(float) * (h + 2) * row);
        for (int64_t p = 0; p < ph * pw; p++, gradient += filters, code += filters) {
            uint8_t order[MOST_FILTERS + 1];
            int64_t count = 0;
            for (int64_t f = 0; f < filters; f++) {  /* no branch that could be guessed wrong */
                order[count] = f;
                count += code[f] < 4;
            }
            for (int64_t k = 0; k < count; k++) {
                const int64_t f = order[k], place = code[f];
                const float value = gradient[f], *own = filter + f * 9 * VECTOR;
                float *corner = space + (2 * (p / pw) + (place >> 1)) * row
                              + (2 * (p % pw) + (place & 1)) * VECTOR;
                UNROLL
                for (int t = 0; t < 9; t++) {
                    UNROLL
                    for (int piece = 0; piece < PIECES; piece++) {
                        lanes *to = (lanes *)(corner + t / 3 * row + t % 3 * VECTOR) + piece;
                        *to += value * ((const lanes *)own)[t * PIECES + piece];
                    }
                }
            }
        }
        for (int64_t y = 0; y < h; y++, out += w * VECTOR)
            memcpy(out, space + (y + 1) * row + VECTOR, sizeof(float) * w * VECTOR);
    }
}
