/* The pool's workers in WebAssembly: the embedder runs chm_worker_run in instances of the module that share its memory.
 *
 * A module without shared memory has one thread; the same file is compiled for it. */
#include "chm_internal.h"
#include "chm_threads.h"

#if defined(__wasm_atomics__)

#define BUSY_ROUNDS 20000 /* some ten microseconds: there is no clock here */

void chm_pool_pause(uint32_t round) {
  (void)round; /* a page's own thread may not wait in any other way than busily */
  for (int i = 0; i < 64; ++i) __asm__ volatile("");
}

void chm_pool_wait(chm_pool *pool) {
  for (int i = 0; i < BUSY_ROUNDS; ++i)
    if (chm_pool_has_news(pool)) return;
  uint32_t *awaited = (uint32_t *)(void *)&pool->ticket + 1; /* the number of the kernel */
  uint32_t seen = __atomic_load_n(awaited, __ATOMIC_SEQ_CST);
  __atomic_store_n(&pool->sleeping, 1, __ATOMIC_SEQ_CST);
  if (!chm_pool_has_news(pool)) __builtin_wasm_memory_atomic_wait32((int *)(void *)awaited, (int)seen, -1);
}

void chm_pool_wake(chm_pool *pool) {
  __builtin_wasm_memory_atomic_notify((int *)(void *)&pool->ticket + 1, CHM_MAX_THREADS);
}

chm_pool *chm_pool_of(chm_bundle *bundle) { return bundle->pool.threads > 1 ? &bundle->pool : NULL; }

int32_t chm_pool_resize(chm_bundle *bundle, int32_t threads) {
  chm_pool *pool = &bundle->pool;
  pool->threads = threads;
  __atomic_store_n(&pool->stop, threads == 1, __ATOMIC_SEQ_CST);
  if (threads == 1) { /* a new number, so that no worker goes to sleep on the old one */
    __atomic_fetch_add(&pool->ticket, (uint64_t)1 << 32, __ATOMIC_SEQ_CST);
    chm_pool_wake(pool);
  }
  return CHM_OK;
}

void chm_worker_run(chm_bundle *bundle) {
  if (bundle) chm_pool_work(&bundle->pool);
}

#else

void chm_pool_pause(uint32_t round) { (void)round; }
void chm_pool_wait(chm_pool *pool) { (void)pool; }
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
int32_t chm_default_threads(void) { return 1; } /* the embedder knows the machine */
