/* Max pooling over squares of 2, then ReLU; and the gradient of the images. See pooling.h. */

#include "pooling.h"

/* A value that orders as the number it stands for does: 0 for what ReLU stops, NaN above all. */
INLINE int32_t rectify(uint32_t bits) {
    const int32_t number = (int32_t)bits, size = number & MAGNITUDE;
    return size > INFINITE || number > 0 ? size : 0;
}

INLINE void pool(const uint32_t *in, int64_t row, int64_t c, uint32_t *restrict out,
                 uint8_t *restrict code, int64_t count) {
    if (count == LANES) {
        pool_block(in, row, c, out, code);
        return;
    }
    for (int64_t k = 0; k < count; k++) {
        const uint32_t rest[3] = {in[k + c], in[k + row], in[k + row + c]};
        int32_t best = rectify(in[k]), place = 0;
        for (int32_t i = 0; i < 3; i++) {
            const int32_t value = rectify(rest[i]);
            place = value > best ? i + 1 : place;
            best = value > best ? value : best;
        }
        out[k] = (uint32_t)best;
        code[k] = (uint8_t)(best ? place : 4);
    }
}

INLINE void spread(const uint32_t *restrict gradient, const uint8_t *restrict code,
                   uint32_t *restrict a, uint32_t *restrict b, uint32_t *restrict d,
                   uint32_t *restrict e, int64_t count) {
    for (int64_t k = 0; k < count; k++) {
        const uint32_t value = gradient[k], place = code[k];
        a[k] = place == 0 ? value : 0;
        b[k] = place == 1 ? value : 0;
        d[k] = place == 2 ? value : 0;
        e[k] = place == 3 ? value : 0;
    }
}

/* calls DO(offset in, offset out, channels) for all pixels of the result, MOST channels at a time;
   the constant count is what makes a loop over few channels fit the registers */
#define EACH_PIXEL(DO, MOST)                                        \
    int64_t o = 0, row = w * c;                                     \
    for (int64_t i = 0; i < n; i++)                                 \
        for (int64_t y = 0; y < h / 2; y++)                         \
            for (int64_t x = 0; x < w / 2; x++, o += c) {           \
                int64_t p = ((i * h + 2 * y) * w + 2 * x) * c, k;   \
                for (k = 0; k + MOST <= c; k += MOST)               \
                    DO(p + k, o + k, MOST);                         \
                if (k < c)                                          \
                    DO(p + k, o + k, c - k);                        \
            }

/* in [n][h][w][c] to out and code [n][h / 2][w / 2][c]. */
void forward(const uint32_t *in, uint32_t *out, uint8_t *code, int64_t n, int64_t h, int64_t w,
             int64_t c) {
#define POOL(p, o, count) pool(in + (p), row, c, out + (o), code + (o), count)
    EACH_PIXEL(POOL, LANES)
}

/* gradient and code [n][h / 2][w / 2][c] to in [n][h][w][c]; an odd side's last pixels stay as
   they are. */
void backward(const uint32_t *gradient, const uint8_t *code, uint32_t *in, int64_t n, int64_t h,
              int64_t w, int64_t c) {
#define SPREAD(p, o, count)                                                                   \
    spread(gradient + (o), code + (o), in + (p), in + (p) + c, in + (p) + row,                \
           in + (p) + row + c, count)
    EACH_PIXEL(SPREAD, 16)
}
