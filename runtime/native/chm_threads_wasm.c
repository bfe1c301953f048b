/* The pool's workers in WebAssembly: the embedder runs chm_worker_run in instances of the module that share its memory.
 *
 * A module without shared memory has one thread; the same file is compiled for it. */
#include "chm_internal.h"
#include "chm_threads.h"

#if defined(__wasm_atomics__)

/* There is no clock here: some ten microseconds, and a millisecond in a call whose next kernel may be for this worker. */
#define BUSY_ROUNDS 20000
#define EXPECTING_ROUNDS 2000000

void chm_pool_pause(uint32_t round) {
  (void)round; /* a page's own thread may not wait in any other way than busily */
  for (int i = 0; i < 64; ++i) __asm__ volatile("");
}

void chm_pool_wait(chm_pool *pool, int32_t worker) {
  uint64_t own = (uint64_t)1 << worker;
  for (int i = 0; i < (chm_pool_expects(pool, worker) ? EXPECTING_ROUNDS : BUSY_ROUNDS); ++i)
    if (chm_pool_has_news(pool, worker)) return;
  uint64_t seen = __atomic_or_fetch(&pool->asleep, own, __ATOMIC_SEQ_CST);
  if (!chm_pool_has_news(pool, worker)) /* who wakes clears the bits first, so that nobody sleeps through it */
    __builtin_wasm_memory_atomic_wait64((int64_t *)(void *)&pool->asleep, (int64_t)seen, -1);
  __atomic_fetch_and(&pool->asleep, ~own, __ATOMIC_SEQ_CST);
}

void chm_pool_wake(chm_pool *pool) {
  __builtin_wasm_memory_atomic_notify((int *)(void *)&pool->asleep, CHM_MAX_THREADS);
}

chm_pool *chm_pool_of(chm_bundle *bundle) { return bundle->pool.threads > 1 ? &bundle->pool : NULL; }

int32_t chm_pool_resize(chm_bundle *bundle, int32_t threads) {
  chm_pool *pool = &bundle->pool;
  pool->threads = threads;
  __atomic_store_n(&pool->stop, threads == 1, __ATOMIC_SEQ_CST);
  if (threads == 1) { /* the workers end; those that come later have numbers from 1 on again */
    __atomic_store_n(&pool->joined, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&pool->asleep, 0, __ATOMIC_SEQ_CST);
    chm_pool_wake(pool);
  }
  return CHM_OK;
}

void chm_worker_run(chm_bundle *bundle) {
  if (bundle) chm_pool_work(&bundle->pool);
}

#else

void chm_pool_pause(uint32_t round) { (void)round; }
void chm_pool_wait(chm_pool *pool, int32_t worker) {
  (void)pool;
  (void)worker;
}
void chm_pool_wake(chm_pool *pool) { (void)pool; }
chm_pool *chm_pool_of(chm_bundle *bundle) {
  (void)bundle;
  return NULL;
}

int32_t chm_pool_resize(chm_bundle *bundle, int32_t threads) {
  (void)bundle;
  return threads == 1 ? CHM_OK : chm_fail(CHM_ERROR_ARGUMENT, "this module has one thread");
}

#endif

int64_t chm_pool_nanoseconds(void) { return 0; }

int64_t chm_thread_nanoseconds(void) { return 0; }
int32_t chm_default_threads(void) { return 1; } /* the embedder knows the machine */
