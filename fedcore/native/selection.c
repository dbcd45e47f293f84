/* The mean of the middle values of each column, by a selection network that network.h holds.

   A vector of columns goes through the network from end to end. LOAD, LEAST, GREATEST, FIRST, MORE
   and MEAN are all that a network consists of; values have numbers, first those of the rows. */

#include <immintrin.h>

#include "vectors.h"

#if LANES == 16
typedef __m512 vec;
#define OF(operation) _mm512_##operation
#else
typedef __m256 vec;
#define OF(operation) _mm256_##operation
#endif

/* NaN as plus infinity. */
INLINE vec load(const float *from) {
    const vec value = OF(loadu_ps)(from), infinite = OF(set1_ps)(__builtin_inff());
#if LANES == 16
    return _mm512_mask_mov_ps(infinite, _mm512_cmp_ps_mask(value, value, _CMP_ORD_Q), value);
#else
    return _mm256_blendv_ps(infinite, value, _mm256_cmp_ps(value, value, _CMP_ORD_Q));
#endif
}

#define LOAD(row) const vec v##row = load(rows + row * stride + x);
#define LEAST(result, a, b) const vec v##result = OF(min_ps)(v##a, v##b);
#define GREATEST(result, a, b) const vec v##result = OF(max_ps)(v##a, v##b);
#define FIRST(a) vec total = v##a;
#define MORE(a) total = OF(add_ps)(total, v##a);
#define MEAN(count) OF(storeu_ps)(out + x, OF(div_ps)(total, OF(set1_ps)(count)));

/* rows lie stride apart; n is a multiple of LANES. */
void middle(const float *rows, int64_t stride, int64_t n, float *out) {
    for (int64_t x = 0; x < n; x += LANES) {
#include "network.h"
    }
}
