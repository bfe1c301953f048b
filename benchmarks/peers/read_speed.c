/* How fast threads read memory: each its own part, as one stream from beginning to end, or as several at a time. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define LINE 64
#define MOST_THREADS 64
#define MOST_STREAMS 16

typedef uint64_t vector __attribute__((vector_size(32)));
typedef struct {
  const uint8_t *data;
  uint64_t bytes;
  int streams;
  uint64_t sum;
} range;

static inline __attribute__((always_inline)) vector read_streams(const uint8_t *data, uint64_t each, int streams) {
  vector sums[MOST_STREAMS] = {0};
  for (uint64_t offset = 0; offset < each; offset += LINE)
    for (int stream = 0; stream < streams; ++stream) {
      const vector *line = (const vector *)(data + (uint64_t)stream * each + offset);
      sums[stream] ^= line[0] + line[1];
    }
  vector all = {0};
  for (int stream = 0; stream < streams; ++stream) all ^= sums[stream];
  return all;
}

static void *read_range(void *given) {
  range *r = given;
  uint64_t each = r->bytes / (uint64_t)r->streams / LINE * LINE;
  /* constants, so that the sums are in registers */
  vector sum = r->streams == 8 ? read_streams(r->data, each, 8) : read_streams(r->data, each, 1);
  r->sum = sum[0] ^ sum[1] ^ sum[2] ^ sum[3];
  return NULL;
}

/* Seconds of reading all bytes once with so many threads, each with 1 or 8 streams; adds to *sum what it read. */
__attribute__((visibility("default"))) double read_all(const uint8_t *data, uint64_t bytes, int threads, int streams,
                                                       uint64_t *sum) {
  pthread_t others[MOST_THREADS];
  range ranges[MOST_THREADS];
  struct timespec begun, ended;
  uint64_t each = bytes / (uint64_t)threads / LINE * LINE;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  for (int i = 0; i < threads; ++i) {
    ranges[i] = (range){data + (uint64_t)i * each, each, streams, 0};
    if (i && pthread_create(&others[i], NULL, read_range, &ranges[i])) return -1;
  }
  read_range(&ranges[0]);
  for (int i = 1; i < threads; ++i) pthread_join(others[i], NULL);
  clock_gettime(CLOCK_MONOTONIC, &ended);
  for (int i = 0; i < threads; ++i) *sum += ranges[i].sum;
  return (double)(ended.tv_sec - begun.tv_sec) + 1e-9 * (double)(ended.tv_nsec - begun.tv_nsec);
}
