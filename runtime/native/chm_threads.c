/* Sharing kernels among threads: collecting them, taking chunks, and knowing when all of them are done. */
#include "chm_internal.h"
#include "chm_threads.h"

CHM_COLD_BEGIN

/* Multiply-adds of a chunk: a microsecond or two of one thread. Handing over costs a fifth of that. */
#define LEAST_WORK 131072
/* Multiply-adds for which workers that fell asleep in a call are woken. */
#define WORTH_WAKING 524288

static uint64_t number_of(uint64_t word) { return word >> CHM_BATCH_SHIFT; }
static int32_t chunks_of(uint64_t offered) { return (int32_t)(offered & 0xffff); }
static int32_t width_of(uint64_t offered) { return (int32_t)(offered >> 16 & 127); }

/* Where a thread's share of the chunks begins; the calling thread has one of the first. */
static int32_t share_begin(uint64_t offered, int32_t thread) {
  return (chunks_of(offered) * thread + width_of(offered) - 1) / width_of(offered);
}

/* Take a chunk of a share; returns its number or -1. Who has taken one may read the batch, for the calling thread changes
 * it only after all chunks are done. A share that nobody has begun has the number of an older batch, and as all chunks of
 * a batch are taken, who comes too late for one finds its number or a newer one. */
static int32_t take_chunk(chm_pool *pool, uint64_t offered, int32_t thread) {
  uint64_t *share = &pool->shares[thread].taken, seen = __atomic_load_n(share, __ATOMIC_RELAXED);
  int32_t begin = share_begin(offered, thread), count = share_begin(offered, thread + 1) - begin;
  while (number_of(seen) <= number_of(offered)) {
    int32_t taken = number_of(seen) == number_of(offered) ? chunks_of(seen) : 0;
    if (taken >= count) break;
    uint64_t next = number_of(offered) << CHM_BATCH_SHIFT | (uint32_t)(taken + 1);
    if (__atomic_compare_exchange_n(share, &seen, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return begin + taken;
  }
  return -1;
}

static int32_t least(int32_t a, int32_t b) { return a < b ? a : b; }

static void compute_chunk(const chm_pool *pool, int32_t number) {
  const chm_shared *kernel = pool->batch + pool->kernels - 1;
  while (kernel->begin > number) --kernel;
  int32_t begin = (number - kernel->begin) * kernel->chunk, end = least(begin + kernel->chunk, kernel->whole);
  for (;; kernel = pool->batch + kernel->next) {
    kernel->part(kernel->arguments, kernel->n, begin * kernel->times, least(end * kernel->times, kernel->units));
    if (kernel->next < 0) return;
  }
}

/* Compute chunks of a thread's share until none is left; how many. */
static int32_t compute_share(chm_pool *pool, uint64_t offered, int32_t thread) {
  int32_t computed = 0;
  for (int32_t chunk; (chunk = take_chunk(pool, offered, thread)) >= 0; ++computed) compute_chunk(pool, chunk);
  return computed;
}

/* What a worker does with what is offered: its own share, and then, until there is something new, what others have not
 * come to. It says what it has done before it looks at their lines, which other cores have. */
static void help(chm_pool *pool, int32_t worker) {
  chm_share_of *own = &pool->shares[worker];
  uint64_t offered = __atomic_load_n(&pool->offered, __ATOMIC_ACQUIRE), done = number_of(offered) << CHM_BATCH_SHIFT;
  int32_t width = width_of(offered);
  for (int32_t i = 0; worker < width && i < width; ++i) {
    int32_t computed = compute_share(pool, offered, worker + i < width ? worker + i : worker + i - width);
    if (computed) __atomic_store_n(&own->done, done += (uint32_t)computed, __ATOMIC_RELEASE);
    if (__atomic_load_n(&pool->offered, __ATOMIC_RELAXED) != offered) break;
  }
  own->seen = offered;
}

int chm_pool_expects(const chm_pool *pool, int32_t worker) {
  return worker < __atomic_load_n(&pool->width, __ATOMIC_RELAXED);
}

int chm_pool_has_news(const chm_pool *pool, int32_t worker) {
  bool offered = __atomic_load_n(&pool->offered, __ATOMIC_SEQ_CST) != pool->shares[worker].seen;
  return (offered && chm_pool_expects(pool, worker)) || __atomic_load_n(&pool->stop, __ATOMIC_SEQ_CST);
}

void chm_pool_work(chm_pool *pool) {
  int32_t worker = __atomic_add_fetch(&pool->joined, 1, __ATOMIC_RELAXED);
  if (worker >= (int32_t)CHM_POOL_THREADS) return; /* an embedder's one too many */
  while (!__atomic_load_n(&pool->stop, __ATOMIC_SEQ_CST))
    if (chm_pool_has_news(pool, worker))
      help(pool, worker);
    else
      chm_pool_wait(pool, worker);
}

/* Wake the sleepers that take part in the call. */
static void wake(chm_pool *pool) {
  uint64_t own = pool->width > 63 ? ~(uint64_t)0 : ((uint64_t)1 << pool->width) - 1;
  if (!(__atomic_load_n(&pool->asleep, __ATOMIC_SEQ_CST) & own)) return;
  __atomic_store_n(&pool->asleep, 0, __ATOMIC_SEQ_CST); /* once is enough: who goes on to sleep says so again */
  chm_pool_wake(pool);
}

/* Chunks that workers say they have computed. Of those that say nothing yet, the calling thread computes what is left,
 * and adds it to its own. */
static int32_t computed_by_workers(chm_pool *pool, uint64_t offered, int32_t *own) {
  int32_t computed = 0;
  for (int32_t i = 1; i < width_of(offered); ++i) {
    uint64_t done = __atomic_load_n(&pool->shares[i].done, __ATOMIC_ACQUIRE);
    if (number_of(done) == number_of(offered))
      computed += chunks_of(done);
    else
      *own += compute_share(pool, offered, i);
  }
  return computed;
}

/* Cut the kernels of the batch into chunks of about the same work, and offer them. */
static uint64_t offer(chm_pool *pool, int64_t work) {
  int32_t all = 0;
  for (int32_t i = 0; i < pool->kernels; ++i) {
    chm_shared *kernel = &pool->batch[i];
    if (kernel->first != i) continue;
    int64_t chunks = kernel->work / work;
    if (chunks > kernel->whole) chunks = kernel->whole;
    if (chunks < 1) chunks = 1;
    kernel->chunk = (kernel->whole - 1) / (int32_t)chunks + 1;
    kernel->begin = all;
    all += (kernel->whole - 1) / kernel->chunk + 1;
  }
  uint64_t number = number_of(pool->offered) + 1, offered = number << CHM_BATCH_SHIFT | (uint32_t)(pool->width << 16 | all);
  /* in one order with what a worker does before it sleeps: it sees what is offered, or is seen in wake */
  __atomic_store_n(&pool->offered, offered, __ATOMIC_SEQ_CST);
  return offered;
}

/* Compute the batch with the workers. */
static void compute_together(chm_pool *pool) {
  int64_t work = pool->work / ((int64_t)pool->width * CHM_CHUNKS_PER_THREAD);
  uint64_t offered = offer(pool, work > LEAST_WORK ? work : LEAST_WORK);
  if (pool->work >= WORTH_WAKING) wake(pool);
  int32_t own = compute_share(pool, offered, 0);
  for (uint32_t round = 0;; ++round) {
    int32_t theirs = computed_by_workers(pool, offered, &own);
    if (own + theirs == chunks_of(offered)) return;
    chm_pool_pause(round);
  }
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
  chm_shared *kernel = &pool->batch[pool->kernels];
  kernel->part = part;
  memcpy(kernel->arguments, arguments, count * sizeof *arguments);
  kernel->work = (int64_t)units * work * n;
  kernel->n = n;
  kernel->units = kernel->whole = units;
  kernel->first = pool->kernels++;
  kernel->next = -1;
  kernel->times = 1;
  pool->work += kernel->work;
}

/* Put a chain behind another one. */
static void append(chm_pool *pool, int32_t chain, int32_t other) {
  chm_shared *batch = pool->batch;
  int32_t last = chain;
  while (batch[last].next >= 0) last = batch[last].next;
  batch[last].next = other;
  batch[chain].work += batch[other].work;
  batch[other].begin = INT32_MAX;
  for (int32_t i = other; i >= 0; i = batch[i].next) batch[i].first = chain;
}

_Static_assert(CHM_BATCH <= 32, "a bit for each kernel");

void chm_follow(chm_pool *pool, uint32_t back, chm_part part, const void *const *arguments, size_t count, int32_t n,
                int32_t units, int32_t work) {
  if (n > 1) chm_join(pool); /* units of element-wise kernels are parts of all rows together, not of each */
  chm_share(pool, part, arguments, count, n, units, work);
  if (!pool) return;
  chm_shared *batch = pool->batch;
  int32_t own = pool->kernels - 1, chain = -1;
  for (int32_t i = own - 1; i >= 0; --i) { /* those that were joined meanwhile are done */
    if (!(back >> (own - i - 1) & 1) || batch[i].first == chain) continue;
    if (chain >= 0) append(pool, batch[i].first, chain);
    chain = batch[i].first;
  }
  if (chain < 0) return;
  append(pool, chain, own);
  int32_t whole = units;
  for (int32_t i = chain; i >= 0; i = batch[i].next) whole = least(whole, batch[i].units);
  for (int32_t i = chain; i >= 0; i = batch[i].next) batch[i].times = batch[i].units / whole;
  batch[chain].whole = whole;
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

chm_pool *chm_turn_pool(const chm_turn *turn) { return CHM_HAS_THREADS && turn->pool && turn->pool->width > 1 ? turn->pool : NULL; }

void chm_pool_end(chm_turn *turn) {
  if (!turn->pool) return;
  if (CHM_HAS_THREADS) chm_join(chm_turn_pool(turn)); /* else no kernel was shared */
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

CHM_COLD_END
