/* Times a kernel that threads share, over copies of its weights, with pools of one and of several threads in turn, and
 * plain reading of the same weights by the same threads. Compiled by matvec.py together with the runtime; KERNEL is the
 * kernel's symbol. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "chm_internal.h"
#include "chm_threads.h"

#define STREAMS 2 /* as many per thread as read fastest here; more make pages of memory collide */

const chm_model_desc chm_model = {0};
void KERNEL(const void *, const void *, const void *, const void *, void *, int32_t, int32_t, int32_t);

static void multiply(const void *const *a, int32_t n, int32_t begin, int32_t end) {
  KERNEL(a[0], a[1], a[2], a[3], (void *)(uintptr_t)a[4], n, begin, end);
}

typedef uint64_t vector __attribute__((vector_size(32), aligned(8)));
static uint64_t bytes_per_unit;
static uint64_t result; /* so that nothing is optimised away */

static void read_only(const void *const *a, int32_t n, int32_t begin, int32_t end) {
  (void)n;
  uint64_t size = bytes_per_unit * (uint64_t)(end - begin) / STREAMS / 128 * 128;
  const uint8_t *start = (const uint8_t *)a[2] + bytes_per_unit * (uint64_t)begin;
  vector sums[4] = {{0}};
  for (uint64_t i = 0; i < size; i += 128)
    for (int stream = 0; stream < STREAMS; ++stream)
      for (int j = 0; j < 4; ++j) sums[j] ^= *(const vector *)(start + stream * size + i + 32 * j);
  vector all = sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
  __atomic_fetch_xor(&result, all[0] ^ all[1] ^ all[2] ^ all[3], __ATOMIC_RELAXED);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* durations[4][calls]: multiplying with one thread and with all of them, reading with one and with all; they take turns,
 * 20 calls at a time. */
CHM_API int32_t measure(const void *const *operands, const uint64_t *strides, int32_t copies, int32_t n, int32_t units,
                        int32_t work, int32_t threads, int32_t calls, double *durations) {
  chm_bundle bundle;
  memset(&bundle, 0, sizeof bundle);
  bundle.pool.threads = 1;
  bundle.allocator = chm_default_allocator;
  int32_t status = chm_pool_resize(&bundle, threads);
  if (status) return status;
  bytes_per_unit = strides[2] / (uint64_t)units;
  int32_t copy = 0;
  for (int32_t call = 0; call < 4 * calls; ++call) {
    int32_t what = call / 20 % 4;
    const void *arguments[5];
    for (int i = 0; i < 5; ++i) arguments[i] = (const uint8_t *)operands[i] + (uint64_t)copy * strides[i];
    copy = (copy + 1) % copies;
    double begun = now();
    chm_turn turn = chm_pool_begin(what % 2 ? chm_pool_of(&bundle) : NULL, CHM_PACES, false);
    chm_share(chm_turn_pool(&turn), what / 2 ? read_only : multiply, arguments, 5, n, units, work);
    chm_pool_end(&turn);
    durations[what * calls + call / 80 * 20 + call % 20] = now() - begun;
  }
  return chm_pool_resize(&bundle, 1);
}
