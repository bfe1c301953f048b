/* Sharing kernels among threads: collecting them, taking chunks, and knowing when all of them are done. */
#include "chm_internal.h"
#include "chm_threads.h"

/* Multiply-adds of a chunk: a microsecond or two of one thread. Handing over costs a fifth of that. */
#define LEAST_WORK 131072
/* Multiply-adds for which workers that fell asleep in a call are woken. */
#define WORTH_WAKING 524288

/* Take a chunk; returns its number or -1. Who has taken one may read the batch, for the calling thread changes it only
 * after all chunks are done. */
static int32_t take_chunk(chm_pool *pool) {
  uint64_t ticket = __atomic_load_n(&pool->ticket, __ATOMIC_ACQUIRE);
  while ((uint32_t)ticket)
    if (__atomic_compare_exchange_n(&pool->ticket, &ticket, ticket - 1, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
      return pool->chunks - (int32_t)(uint32_t)ticket;
  return -1;
}

static void compute_chunk(const chm_pool *pool, int32_t number) {
  const chm_shared *kernel = pool->batch + pool->kernels - 1;
  while (kernel->begin > number) --kernel;
  int32_t begin = (number - kernel->begin) * kernel->chunk, rest = kernel->units - begin;
  kernel->part(kernel->arguments, kernel->n, begin, begin + (rest < kernel->chunk ? rest : kernel->chunk));
}

/* Compute chunks until none is left; whether there was one. */
static bool compute_chunks(chm_pool *pool) {
  uint32_t computed = 0;
  for (int32_t number; (number = take_chunk(pool)) >= 0; ++computed) compute_chunk(pool, number);
  if (computed) __atomic_fetch_add(&pool->done, computed, __ATOMIC_RELEASE);
  return computed;
}

int chm_pool_expects(const chm_pool *pool, int32_t worker) {
  return worker < __atomic_load_n(&pool->width, __ATOMIC_RELAXED);
}

int chm_pool_has_news(const chm_pool *pool, int32_t worker) {
  return ((uint32_t)__atomic_load_n(&pool->ticket, __ATOMIC_SEQ_CST) && chm_pool_expects(pool, worker)) ||
         __atomic_load_n(&pool->stop, __ATOMIC_SEQ_CST);
}

void chm_pool_work(chm_pool *pool) {
  int32_t worker = __atomic_add_fetch(&pool->joined, 1, __ATOMIC_RELAXED);
  if (worker >= (int32_t)CHM_MAX_THREADS) return; /* an embedder's one too many */
  while (!__atomic_load_n(&pool->stop, __ATOMIC_SEQ_CST))
    if (!chm_pool_expects(pool, worker) || !compute_chunks(pool)) chm_pool_wait(pool, worker);
}

/* Wake the sleepers that take part in the call. */
static void wake(chm_pool *pool) {
  uint64_t own = pool->width > 63 ? ~(uint64_t)0 : ((uint64_t)1 << pool->width) - 1;
  if (!(__atomic_load_n(&pool->asleep, __ATOMIC_SEQ_CST) & own)) return;
  __atomic_store_n(&pool->asleep, 0, __ATOMIC_SEQ_CST); /* once is enough: who goes on to sleep says so again */
  chm_pool_wake(pool);
}

static bool all_done(const chm_pool *pool) {
  return __atomic_load_n(&pool->done, __ATOMIC_ACQUIRE) == (uint32_t)pool->chunks;
}

/* Cut the kernels of the batch into chunks of about the same work, and offer them. */
static void offer(chm_pool *pool, int64_t work) {
  pool->chunks = 0;
  for (int32_t i = 0; i < pool->kernels; ++i) {
    chm_shared *kernel = &pool->batch[i];
    int64_t chunks = kernel->work / work;
    if (chunks > kernel->units) chunks = kernel->units;
    if (chunks < 1) chunks = 1;
    kernel->chunk = (kernel->units - 1) / (int32_t)chunks + 1;
    kernel->begin = pool->chunks;
    pool->chunks += (kernel->units - 1) / kernel->chunk + 1;
  }
  __atomic_store_n(&pool->done, 0, __ATOMIC_RELAXED);
  uint64_t number = (__atomic_load_n(&pool->ticket, __ATOMIC_RELAXED) >> 32) + 1;
  /* in one order with what a worker does before it sleeps: it sees the ticket, or is seen in wake */
  __atomic_store_n(&pool->ticket, number << 32 | (uint32_t)pool->chunks, __ATOMIC_SEQ_CST);
}

/* Compute the batch with the workers. */
static void compute_together(chm_pool *pool) {
  int64_t work = pool->work / ((int64_t)pool->width * CHM_CHUNKS_PER_THREAD);
  offer(pool, work > LEAST_WORK ? work : LEAST_WORK);
  if (pool->work >= WORTH_WAKING) wake(pool);
  compute_chunks(pool);
  for (uint32_t round = 0; !all_done(pool); ++round) chm_pool_pause(round);
}

void chm_join(chm_pool *pool) {
  if (!pool || !pool->kernels) return;
  if (pool->work >= 2 * LEAST_WORK)
    compute_together(pool);
  else
    for (int32_t i = 0; i < pool->kernels; ++i)
      pool->batch[i].part(pool->batch[i].arguments, pool->batch[i].n, 0, pool->batch[i].units);
  pool->kernels = 0;
  pool->work = 0;
}

void chm_share(chm_pool *pool, chm_part part, const void *const *arguments, size_t count, int32_t n, int32_t units,
               int32_t work) {
  if (!pool) {
    part(arguments, n, 0, units);
    return;
  }
  if (pool->kernels == CHM_BATCH) chm_join(pool);
  chm_shared *kernel = &pool->batch[pool->kernels++];
  kernel->part = part;
  memcpy(kernel->arguments, arguments, count * sizeof *arguments);
  kernel->work = (int64_t)units * work * n;
  kernel->n = n;
  kernel->units = units;
  pool->work += kernel->work;
}

chm_turn chm_pool_begin(chm_pool *pool, int32_t index, bool usual) {
  chm_turn turn = {0};
  if (!pool || __atomic_exchange_n(&pool->taken, 1, __ATOMIC_ACQUIRE)) return turn;
  turn.pool = pool;
  int32_t width = pool->threads;
#if CHM_HAS_CLOCK
  if (index < CHM_PACES) {
    chm_pace *pace = &pool->paces[index];
    width = chm_pace_threads(pace, pool->threads);
    if (usual) {
      turn.pace = pace;
      turn.begun = chm_pool_nanoseconds();
    }
  }
#else /* the number that was asked for */
  (void)index, (void)usual;
#endif
  __atomic_store_n(&pool->width, width, __ATOMIC_SEQ_CST);
  if (width > 1) wake(pool);
  return turn;
}

chm_pool *chm_turn_pool(const chm_turn *turn) { return turn->pool && turn->pool->width > 1 ? turn->pool : NULL; }

void chm_pool_end(chm_turn *turn) {
  if (!turn->pool) return;
  chm_join(chm_turn_pool(turn));
#if CHM_HAS_CLOCK
  if (turn->pace) chm_pace_took(turn->pace, turn->pool->threads, chm_pool_nanoseconds() - turn->begun);
#endif
  __atomic_store_n(&turn->pool->width, 0, __ATOMIC_SEQ_CST);
  __atomic_store_n(&turn->pool->taken, 0, __ATOMIC_RELEASE);
}

int32_t chm_bundle_set_threads(chm_bundle *bundle, int32_t threads) {
  if (!bundle) return chm_fail(CHM_ERROR_ARGUMENT, "chm_bundle_set_threads: NULL");
  if (threads < 0 || threads > (int32_t)CHM_MAX_THREADS)
    return chm_fail(CHM_ERROR_ARGUMENT, "%d threads; 1 to %d are possible, or 0 for the default", (int64_t)threads,
                    (int64_t)CHM_MAX_THREADS);
  int32_t calls = 0;
  if (!__atomic_compare_exchange_n(&bundle->calls, &calls, -1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    return chm_fail(CHM_ERROR_STATE, "a session of the bundle is in a call");
  int32_t status = chm_pool_resize(bundle, threads ? threads : chm_default_threads());
  __atomic_store_n(&bundle->calls, 0, __ATOMIC_RELEASE);
  return status;
}

int32_t chm_bundle_threads(const chm_bundle *bundle) {
  return bundle ? bundle->pool.threads : 0;
}
