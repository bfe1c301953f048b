/* A pool of threads that share the outputs of some kernels at a time.
 *
 * The calling thread collects kernels that do not depend on one another in a batch, and cuts their units (independent
 * outputs) into chunks. Each thread has a share of the chunks, the same one of the same batch in every call, and then takes
 * from the shares of others until none is left. Who computes a chunk does not change its bits, and a worker that comes
 * late, or never, costs nothing but its help. A pool serves one call at a time: a session that finds it taken computes
 * alone.
 */
#ifndef CHM_THREADS_H
#define CHM_THREADS_H

#include <stdint.h>

#include "chm_format.h"
#include "chm_model.h"
#include "chm_pace.h"

#define CHM_CHUNKS_PER_THREAD 4
#define CHM_BATCH 16 /* most kernels of a batch */
#define CHM_BATCH_SHIFT 23 /* bits below a batch's number: of threads, and 16 of chunks */
#define CHM_PACES 4 /* entries whose calls are timed: the first ones */
#define CHM_POOL_THREADS (CHM_HAS_THREADS ? CHM_MAX_THREADS : 1) /* without threads, no room for shares of others */

/* A kernel of a batch: its numbers first, so that workers fetch few lines. */
typedef struct chm_shared {
  _Alignas(64) chm_part part;
  int32_t begin; /* number of the chain's first chunk in the batch; INT32_MAX of what follows another */
  int32_t n, units;
  int32_t first, next; /* kernels of the batch: the first one of its chain, and what follows it; -1: nothing */
  int32_t times;       /* units of it in one of the chain */
  int32_t whole, chunk; /* of a chain's first kernel: units of the chain, and those of one chunk */
  int64_t work; /* multiply-adds of all units, of a chain's first kernel those of all in the chain */
  const void *arguments[CHM_MOST_ARGUMENTS];
} chm_shared;

/* A thread's share of the chunks. Others write to the first line only when they have none left, and to the second one
 * never; both are apart, for processors fetch lines in pairs. Words are a batch's number << CHM_BATCH_SHIFT | chunks of it. */
typedef struct chm_share_of {
  _Alignas(64) uint64_t taken; /* chunks that somebody has taken */
  uint8_t apart[128];
  _Alignas(64) uint64_t done;  /* chunks of any share that the thread computed */
  uint64_t seen;               /* what was offered when it found nothing more to take */
  uint8_t behind[64];
} chm_share_of;

/* What other threads wait for is on lines that are written once a batch. */
struct chm_pool {
  _Alignas(64) uint64_t offered; /* number of the batch << CHM_BATCH_SHIFT | threads << 16 | chunks */
  _Alignas(64) uint64_t asleep; /* bit per worker that has to be woken */
  uint32_t taken;               /* 1 while a session has the pool */
  uint32_t stop;                /* workers end */
  int32_t width;                /* threads of this call, the calling one with them; 0 between calls */
  int32_t joined;               /* workers that have a number */
  int32_t threads;              /* calling thread and workers */
  void *workers;                /* of the host */
  chm_pace paces[CHM_PACES];
  chm_share_of shares[CHM_POOL_THREADS];
  /* the batch; written while no chunk is left */
  _Alignas(64) int32_t kernels;
  int64_t work; /* multiply-adds of all kernels */
  chm_shared batch[CHM_BATCH];
};
_Static_assert(CHM_MAX_THREADS <= 64, "a bit for each worker");

/* A call that has the pool, or computes alone. */
typedef struct chm_turn {
  chm_pool *pool; /* NULL: another session has it, or there is none */
  chm_pace *pace; /* NULL: the call is not timed */
  int64_t begun;
} chm_turn;

/* Take the pool for a call of entry number index; usual: of its usual size, so that its time says something. */
chm_turn chm_pool_begin(chm_pool *pool, int32_t index, bool usual);
/* What the call's kernels are shared with: NULL if the calling thread computes alone. */
chm_pool *chm_turn_pool(const chm_turn *turn);
void chm_pool_end(chm_turn *turn);

/* Compute chunks until the pool is stopped: what a worker does. */
void chm_pool_work(chm_pool *pool);
/* Whether a worker has something to do or must end. Workers have numbers from 1 on. */
int chm_pool_has_news(const chm_pool *pool, int32_t worker);
/* Whether it may have something to do soon: a call runs that it takes part in. */
int chm_pool_expects(const chm_pool *pool, int32_t worker);

/* ---- chm_threads_posix.c, chm_threads_wasm.c ---- */

struct chm_bundle;
/* Wait until chm_pool_has_news: busily for a moment, then asleep, with the worker's bit in pool->asleep. */
void chm_pool_wait(chm_pool *pool, int32_t worker);
/* Wake all sleepers, whose bits are cleared: they set them again before they go on to sleep. */
void chm_pool_wake(chm_pool *pool);
/* A short wait of a thread that knows what it waits for will come; round counts from 0, and after CHM_BUSY_ROUNDS others
 * get the processor. */
#define CHM_BUSY_ROUNDS 1000u
void chm_pool_pause(uint32_t round);
/* A clock, or always 0 where there is none. */
int64_t chm_pool_nanoseconds(void);
/* The same without the time that other programs had the processor: what the calling thread worked. */
int64_t chm_thread_nanoseconds(void);
/* Replace the workers by others, threads - 1 of them. No session of the bundle is in a call. */
int32_t chm_pool_resize(struct chm_bundle *bundle, int32_t threads);
/* The pool, or NULL where its workers cannot be of help: none, or in the child of a fork. */
chm_pool *chm_pool_of(struct chm_bundle *bundle);
/* How many threads to use when the caller leaves it to the runtime. */
int32_t chm_default_threads(void);

#endif
