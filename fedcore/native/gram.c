/* Inner products of all pairs of float32 rows: each pair once, each row once.

   A panel is SIDE rows of a piece of STEPS * LANES coordinates, LANES of each row in turn. A tile
   is the products of a panel with a panel: SIDE * SIDE sums of vectors that stay in registers while
   both panels pass by, the first from the first-level cache, where it stays. To add up the numbers
   of a vector takes long, so that it waits until the sums of PIECES pieces are together. */

#include "vectors.h"

#ifndef SIDE
#define SIDE (LANES == 16 ? 5 : 3)
#define STEPS (LANES == 16 ? 32 : 48)
#define SHARES (LANES == 16 ? 1 : 2)
#define PIECES 8
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float half __attribute__((vector_size(2 * LANES)));
typedef float four __attribute__((vector_size(16)));
typedef int32_t places __attribute__((vector_size(16)));
typedef double sums __attribute__((vector_size(32)));

#define GROUPS ((SIDE * SIDE + 3) / 4)  /* of four products, the last one's rest is 0 */
#define ROOM (4 * GROUPS)               /* vectors of a tile */
#define PANEL (SIDE * STEPS)            /* vectors */
#define PLACE(row) ((row) / SIDE * PANEL + (row) % SIDE)
#define SHARE(rows, t) ((rows) + (t) / SHARES * stride + (t) % SHARES * (STEPS * LANES / SHARES))
#define PICK(a, b, ...) SHUFFLE(places, a, b, __VA_ARGS__)

INLINE four folded(vec v) {
    half halves[2];
    four fours[LANES / 8];
    memcpy(halves, &v, sizeof v);
    halves[0] += halves[1];
    memcpy(fours, halves, sizeof fours);
    return LANES > 8 ? fours[0] + fours[LANES / 8 - 1] : fours[0];
}

/* Adds the products of panels a and b to kept. On the diagonal, where a is b, only those of a row
   with itself and with later ones are made. On the way a share of a row of the next piece, which
   was prefetched, is copied to its panel, and a further one is prefetched: memory keeps pace. */
INLINE void tile(const vec *a, const vec *b, int diagonal, vec *kept,
                 const char *from, vec *to, const char *ahead) {
    vec sum[SIDE * SIDE] = {{0}};
    for (int64_t k = 0; k < STEPS / SHARES; k++, to += SIDE) {
        vec copy;
        memcpy(&copy, from + k * sizeof copy, sizeof copy);
        *to = copy;
        __builtin_prefetch(ahead + k * sizeof copy);
#pragma GCC unroll 8
        for (int s = 0; s < SHARES; s++, a += SIDE, b += SIDE)
#pragma GCC unroll 8
            for (int j = 0; j < SIDE; j++) {
                vec other = b[j];
#pragma GCC unroll 8
                for (int i = 0; i < SIDE; i++)
                    if (!diagonal || i <= j)
                        sum[i * SIDE + j] += a[i] * other;
            }
    }
#pragma GCC unroll 32
    for (int n = 0; n < SIDE * SIDE; n++)
        kept[n] += sum[n];
}

/* Adds the sums of all tiles to out, each as one number, and begins new ones. */
static void settle(vec *kept, int64_t tiles, sums *out) {
    for (; tiles; tiles--, kept += ROOM, out += GROUPS) {
#pragma GCC unroll 8
        for (int g = 0; g < GROUPS; g++) {
            four p = folded(kept[4 * g]), q = folded(kept[4 * g + 1]);
            four r = folded(kept[4 * g + 2]), s = folded(kept[4 * g + 3]);
            p = PICK(p, q, 0, 4, 1, 5) + PICK(p, q, 2, 6, 3, 7);
            r = PICK(r, s, 0, 4, 1, 5) + PICK(r, s, 2, 6, 3, 7);
            p = PICK(p, r, 0, 1, 4, 5) + PICK(p, r, 2, 3, 6, 7);
            out[g] += __builtin_convertvector(p, sums);
        }
        memset(kept, 0, ROOM * sizeof *kept);
    }
}

/* Copies count numbers to their place in a panel, zeros behind them. */
INLINE void fill(const float *from, int64_t count, vec *to) {
    for (int64_t k = 0; k < STEPS; k++, count -= LANES, from += LANES, to += SIDE)
        if (count >= LANES) {
            memcpy(to, from, sizeof *to);
        } else {
            vec rest = {0};
            if (count > 0)
                memcpy(&rest, from, count * sizeof *from);
            else
                from -= LANES;
            *to = rest;
        }
}

/* Adds to out [tiles][ROOM] the products of the rows, k of n numbers that lie stride apart;
   tiles of panels i <= j in order of i, then j. work: zeros, tiles * ROOM vectors of room and 2 *
   panels + 1 panels; the former are zeros again in the end. */
void gram(const float *rows, int64_t stride, int64_t k, int64_t n, vec *work, sums *out) {
    const int64_t width = STEPS * LANES, panels = (k + SIDE - 1) / SIDE;
    const int64_t tiles = panels * (panels + 1) / 2;
    /* a spare one in between: caches tell places a multiple of 4096 bytes apart badly */
    vec *kept = work, *now = kept + tiles * ROOM;
    vec *spare = now + panels * PANEL, *next = spare + PANEL;
    for (int64_t row = 0; row < k; row++)
        fill(rows + row * stride, n, now + PLACE(row));
    for (int64_t piece = 1; n > 0; n -= width, rows += width, piece++) {
        const float *later = rows + width;
        const int64_t left = n - width, copied = left >= width ? SHARES * k : 0;
        int64_t t = 0;
        for (int64_t i = 0; i < panels; i++)
            for (int64_t j = i; j < panels; j++, t++) {
                const char *from = (const char *)spare, *ahead = from;
                vec *to = spare;
                if (t < copied) {
                    from = (const char *)SHARE(later, t);
                    to = next + PLACE(t / SHARES) + t % SHARES * (PANEL / SHARES);
                }
                if (t + SHARES < copied)
                    ahead = (const char *)SHARE(later, t + SHARES);
                else if (t < copied && left >= 2 * width)
                    ahead = (const char *)SHARE(later + width, t + SHARES - copied);
                if (i == j)
                    tile(now + i * PANEL, now + j * PANEL, 1, kept + t * ROOM, from, to, ahead);
                else
                    tile(now + i * PANEL, now + j * PANEL, 0, kept + t * ROOM, from, to, ahead);
            }
        for (int64_t row = (t < copied ? t : copied) / SHARES; left > 0 && row < k; row++)
            fill(later + row * stride, left, next + PLACE(row));
        if (piece % PIECES == 0 || left <= 0)
            settle(kept, tiles, out);
        vec *done = now;
        now = next;
        next = done;
    }
}
