/* Times activations to int8 and a product with packed trits, over copies of the weights, with the runtime's own pool.
 * Compiled by matvec_ours.py; QUANTISE and PRODUCT are the symbols of the kernels. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "chm_internal.h"
#include "chm_threads.h"

const chm_model_desc chm_model = {0};
void QUANTISE(const void *, void *, void *, int32_t);
void PRODUCT(const void *, const void *, const void *, const void *, void *, int32_t, int32_t, int32_t);

static chm_bundle bundle;

static void part(const void *const *a, int32_t n, int32_t begin, int32_t end) {
  PRODUCT(a[0], a[1], a[2], a[3], (void *)(uintptr_t)a[4], n, begin, end);
}

CHM_API int32_t set_threads(int32_t threads) {
  bundle.allocator = chm_default_allocator;
  if (!bundle.pool.threads) bundle.pool.threads = 1;
  return chm_pool_resize(&bundle, threads);
}

/* Seconds of one product of n rows of activations x, the mean over all copies. operands: codes, scales, weights, weight
 * scales, result; strides: bytes from one copy to the next. */
CHM_API double sweep(const void *x, const void *const *operands, const uint64_t *strides, int32_t copies, int32_t n,
                     int32_t units, int32_t work) {
  struct timespec begun, ended;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  for (int32_t copy = 0; copy < copies; ++copy) {
    const void *arguments[5];
    for (int i = 0; i < 5; ++i) arguments[i] = (const uint8_t *)operands[i] + (uint64_t)copy * strides[i];
    QUANTISE(x, (void *)(uintptr_t)arguments[0], (void *)(uintptr_t)arguments[1], n);
    chm_turn turn = chm_pool_begin(chm_pool_of(&bundle), CHM_PACES, false); /* with all threads that were asked for */
    chm_share(chm_turn_pool(&turn), part, arguments, 5, n, units, work);
    chm_pool_end(&turn);
  }
  clock_gettime(CLOCK_MONOTONIC, &ended);
  return ((double)(ended.tv_sec - begun.tv_sec) + 1e-9 * (double)(ended.tv_nsec - begun.tv_nsec)) / copies;
}
