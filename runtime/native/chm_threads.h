/* A pool of threads that share the outputs of one kernel at a time.
 *
 * The calling thread cuts a kernel's units (independent outputs) into chunks; it and the pool's workers take chunks until
 * none is left. Who computes a chunk does not change its bits, and a worker that comes late, or never, costs nothing but
 * its help. A pool serves one kernel at a time: a session that finds it taken computes alone.
 */
#ifndef CHM_THREADS_H
#define CHM_THREADS_H

#include <stdint.h>

#include "chm_format.h"
#include "chm_model.h"

#define CHM_CHUNKS_PER_THREAD 4

struct chm_pool {
  _Alignas(64) uint64_t ticket; /* number of the kernel << 32 | chunks that nobody has taken yet */
  _Alignas(64) uint32_t done;   /* chunks that were computed */
  _Alignas(64) uint32_t taken;  /* 1 while a session has the pool */
  uint32_t sleeping;            /* 1 while a worker may have to be woken */
  uint32_t stop;                /* workers end */
  uint32_t crowded;             /* 1: a worker was stopped to let other programs run */
  int32_t threads;              /* calling thread and workers */
  void *workers;                /* of the host */
  uint32_t alone, penalty;      /* kernels that will not be shared, and how many it was the last time */
  /* the kernel; written while no chunk is left */
  chm_part part;
  const void *const *arguments;
  int32_t n, units, chunk, chunks;
};

/* Compute chunks until the pool is stopped: what a worker does. */
void chm_pool_work(chm_pool *pool);
/* Whether a worker has something to do or must end. */
int chm_pool_has_news(const chm_pool *pool);

/* ---- chm_threads_posix.c, chm_threads_wasm.c ---- */

struct chm_bundle;
/* Wait until chm_pool_has_news: busily for a moment, then asleep. */
void chm_pool_wait(chm_pool *pool);
/* Wake all sleepers. */
void chm_pool_wake(chm_pool *pool);
/* A short wait of a thread that knows what it waits for will come; round counts from 0, and after CHM_BUSY_ROUNDS others
 * get the processor. */
#define CHM_BUSY_ROUNDS 1000u
void chm_pool_pause(uint32_t round);
/* A clock, or always 0 where there is none. */
int64_t chm_pool_nanoseconds(void);
/* Replace the workers by others, threads - 1 of them. No session of the bundle is in a call. */
int32_t chm_pool_resize(struct chm_bundle *bundle, int32_t threads);
/* The pool, or NULL where its workers cannot be of help: none, or in the child of a fork. */
chm_pool *chm_pool_of(struct chm_bundle *bundle);
/* How many threads to use when the caller leaves it to the runtime. */
int32_t chm_default_threads(void);

#endif
