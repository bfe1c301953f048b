/* How fast this machine reads memory, to compare kernels with that stream weights.
 *
 * A processor keeps several distant reads going better than one: a kernel that reads one row after the other sees the
 * speed of one stream, one that works on several rows at a time that of several. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <sched.h>

#include "chm_internal.h"

#define BLOCK 128 /* bytes of a stream in a round of the loop */
#define VECTORS (BLOCK / 32)

typedef uint64_t vector __attribute__((vector_size(32), aligned(32), may_alias));

typedef struct reader {
  const uint8_t *start;
  size_t stream_bytes; /* a multiple of BLOCK */
  int32_t streams;
  uint32_t *go;        /* 1: begin */
  uint32_t *ready;     /* threads that wait for it */
  uint64_t found;      /* so that the reads are not left out */
  pthread_t thread;
} reader;

static inline __attribute__((always_inline)) uint64_t read_streams(const uint8_t *start, size_t bytes, int streams) {
  vector sums[VECTORS] = {{0}};
  for (size_t at = 0; at < bytes; at += BLOCK)
    for (int k = 0; k < streams; ++k) {
      const vector *from = (const vector *)(const void *)(start + (size_t)k * bytes + at);
      for (int i = 0; i < VECTORS; ++i) sums[i] ^= from[i];
    }
  uint64_t found = 0;
  for (int i = 0; i < VECTORS; ++i) found ^= sums[i][0] ^ sums[i][1] ^ sums[i][2] ^ sums[i][3];
  return found;
}

static void read_part(reader *r) {
  switch (r->streams) { /* the compiler has to know the number to unroll the loop */
    case 1: r->found = read_streams(r->start, r->stream_bytes, 1); break;
    case 8: r->found = read_streams(r->start, r->stream_bytes, 8); break;
    default: r->found = read_streams(r->start, r->stream_bytes, r->streams);
  }
}

static void *work(void *argument) {
  reader *r = argument;
  __atomic_fetch_add(r->ready, 1, __ATOMIC_RELEASE);
  while (!__atomic_load_n(r->go, __ATOMIC_ACQUIRE)) continue;
  read_part(r);
  return NULL;
}

int32_t chm_measure_reading(const void *memory, size_t bytes, int32_t threads, int32_t streams, int64_t *nanoseconds) {
  if (!memory || !nanoseconds) return chm_fail(CHM_ERROR_ARGUMENT, "chm_measure_reading: a pointer is NULL");
  if (threads < 1 || threads > (int32_t)CHM_MAX_THREADS)
    return chm_fail(CHM_ERROR_ARGUMENT, "%d threads; 1 to %d are possible", (int64_t)threads, (int64_t)CHM_MAX_THREADS);
  if (streams < 1 || streams > CHM_MAX_STREAMS)
    return chm_fail(CHM_ERROR_ARGUMENT, "%d streams; 1 to %d are possible", (int64_t)streams, (int64_t)CHM_MAX_STREAMS);
  size_t each = bytes / ((size_t)threads * (size_t)streams) / BLOCK * BLOCK;
  if (!each || (uintptr_t)memory % sizeof(vector))
    return chm_fail(CHM_ERROR_ARGUMENT, "the memory is too small, or not aligned to %u bytes", (uint64_t)sizeof(vector));
  reader readers[CHM_MAX_THREADS];
  uint32_t go = 0, ready = 0;
  int32_t started = 1; /* this thread is one of them */
  for (int32_t i = 0; i < threads; ++i)
    readers[i] = (reader){.start = (const uint8_t *)memory + (size_t)i * (size_t)streams * each,
                          .stream_bytes = each, .streams = streams, .go = &go, .ready = &ready};
  while (started < threads && !pthread_create(&readers[started].thread, NULL, work, &readers[started])) ++started;
  while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < (uint32_t)started - 1) sched_yield();
  int64_t begun = chm_pool_nanoseconds();
  __atomic_store_n(&go, 1, __ATOMIC_RELEASE);
  read_part(&readers[0]);
  for (int32_t i = 1; i < started; ++i) pthread_join(readers[i].thread, NULL);
  *nanoseconds = chm_pool_nanoseconds() - begun;
  volatile uint64_t found = 0;
  for (int32_t i = 0; i < started; ++i) found ^= readers[i].found;
  (void)found;
  return started == threads ? CHM_OK : chm_fail(CHM_ERROR_MEMORY, "%d threads cannot be started", (int64_t)threads);
}
