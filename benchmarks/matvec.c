/* Times a kernel that threads share, over copies of its weights, with pools of one and of several threads in turn.
 * Compiled by matvec.py together with the runtime; KERNEL is the kernel's symbol. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "chm_internal.h"

const chm_model_desc chm_model = {0};
void KERNEL(const void *, const void *, const void *, const void *, void *, int32_t, int32_t, int32_t);

static void part(const void *const *a, int32_t n, int32_t begin, int32_t end) {
  KERNEL(a[0], a[1], a[2], a[3], (void *)(uintptr_t)a[4], n, begin, end);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* durations[2][calls]: with one thread and with all of them; the two take turns, 20 calls at a time. */
CHM_API int32_t measure(const void *const *operands, const uint64_t *strides, int32_t copies, int32_t n, int32_t units,
                        int32_t work, int32_t threads, int32_t calls, double *durations) {
  chm_bundle bundle;
  memset(&bundle, 0, sizeof bundle);
  bundle.pool.threads = 1;
  bundle.allocator = chm_default_allocator;
  int32_t status = chm_pool_resize(&bundle, threads);
  if (status) return status;
  int32_t copy = 0;
  for (int32_t call = 0; call < 2 * calls; ++call) {
    int32_t several = call / 20 % 2;
    const void *arguments[5];
    for (int i = 0; i < 5; ++i) arguments[i] = (const uint8_t *)operands[i] + (uint64_t)copy * strides[i];
    copy = (copy + 1) % copies;
    double begun = now();
    chm_share(several ? chm_pool_of(&bundle) : NULL, part, arguments, n, units, work);
    durations[several * calls + call / 40 * 20 + call % 20] = now() - begun;
  }
  return chm_pool_resize(&bundle, 1);
}
