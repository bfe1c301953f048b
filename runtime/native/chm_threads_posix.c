/* The pool's workers as POSIX threads. They take no signals, and sleep when nothing came for a moment. */
#if defined(__linux__)
#define _GNU_SOURCE /* sched_getaffinity */
#else
#define _POSIX_C_SOURCE 200809L
#define _DARWIN_C_SOURCE /* sysctlbyname */
#endif

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "chm_internal.h"
#include "chm_threads.h"

#define BUSY_NANOSECONDS 1000000 /* longer than what lies between two kernels, or two tokens of most callers */
#define EXPECTING_NANOSECONDS 20000000 /* in a call, whose next kernel may be for this worker */
#define POLITE_NANOSECONDS 20000 /* after it another program's thread that wants the core gets it */
#define STACK_BYTES ((size_t)1 << 20)
#define SENSIBLE_THREADS 8 /* a matrix-vector product is bound by memory before that */

typedef struct chm_workers {
  pthread_mutex_t mutex; /* for sleeping only */
  pthread_cond_t news;
  pid_t process; /* that started them: a fork copies the pool without its threads */
  int32_t count;
  pthread_t threads[CHM_MAX_THREADS - 1];
} chm_workers;

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield" ::: "memory");
#endif
}

void chm_pool_pause(uint32_t round) {
  if (round < CHM_BUSY_ROUNDS)
    relax();
  else
    sched_yield(); /* whom we wait for may need this processor */
}

static int64_t nanoseconds_of(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t chm_pool_nanoseconds(void) { return nanoseconds_of(CLOCK_MONOTONIC); }

int64_t chm_thread_nanoseconds(void) { return nanoseconds_of(CLOCK_THREAD_CPUTIME_ID); }

void chm_pool_wait(chm_pool *pool, int32_t worker) {
  chm_workers *workers = pool->workers;
  int64_t begun = chm_pool_nanoseconds(), waited = 0;
  int expects;
  do {
    for (int i = 0; i < 64; ++i) {
      if (chm_pool_has_news(pool, worker)) return;
      relax();
    }
    waited = chm_pool_nanoseconds() - begun;
    if (waited > POLITE_NANOSECONDS) sched_yield();
    expects = chm_pool_expects(pool, worker);
  } while (waited < (expects ? EXPECTING_NANOSECONDS : BUSY_NANOSECONDS));
  pthread_mutex_lock(&workers->mutex);
  __atomic_fetch_or(&pool->asleep, (uint64_t)1 << worker, __ATOMIC_SEQ_CST);
  /* a call that began meanwhile has not seen the bit */
  if (!chm_pool_has_news(pool, worker) && (expects || !chm_pool_expects(pool, worker)))
    pthread_cond_wait(&workers->news, &workers->mutex);
  __atomic_fetch_and(&pool->asleep, ~((uint64_t)1 << worker), __ATOMIC_SEQ_CST);
  pthread_mutex_unlock(&workers->mutex);
}

void chm_pool_wake(chm_pool *pool) {
  chm_workers *workers = pool->workers;
  pthread_mutex_lock(&workers->mutex);
  pthread_cond_broadcast(&workers->news);
  pthread_mutex_unlock(&workers->mutex);
}

static void *work(void *pool) {
  chm_pool_work(pool);
  return NULL;
}

static void stop_workers(chm_pool *pool, const chm_allocator *allocator) {
  chm_workers *workers = pool->workers;
  if (!workers) return;
  if (workers->process == getpid()) { /* else there is nobody to stop, and the mutex may be locked for ever */
    __atomic_store_n(&pool->stop, 1, __ATOMIC_SEQ_CST);
    chm_pool_wake(pool);
    for (int32_t i = 0; i < workers->count; ++i) pthread_join(workers->threads[i], NULL);
    pthread_cond_destroy(&workers->news);
    pthread_mutex_destroy(&workers->mutex);
  }
  chm_release(allocator, workers, sizeof *workers);
  memset(pool, 0, sizeof *pool); /* after a fork it may be as it was in the middle of a kernel */
  pool->threads = 1;
}

static int start_workers(chm_pool *pool, chm_workers *workers, int32_t count) {
  sigset_t all, before;
  pthread_attr_t attributes;
  int error = pthread_attr_init(&attributes);
  if (error) return error;
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited: signals are the program's own business */
  for (; !error && workers->count < count; workers->count += !error)
    error = pthread_create(&workers->threads[workers->count], &attributes, work, pool);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return error;
}

int32_t chm_pool_resize(chm_bundle *bundle, int32_t threads) {
  chm_pool *pool = &bundle->pool;
  chm_workers *workers = pool->workers;
  if (threads == pool->threads && (!workers || workers->process == getpid())) return CHM_OK;
  stop_workers(pool, &bundle->allocator);
  if (threads == 1) return CHM_OK;
  workers = chm_allocate(&bundle->allocator, sizeof *workers);
  if (!workers) return CHM_ERROR_MEMORY;
  memset(workers, 0, sizeof *workers);
  workers->process = getpid();
  pthread_mutex_init(&workers->mutex, NULL);
  pthread_cond_init(&workers->news, NULL);
  pool->workers = workers;
  int error = start_workers(pool, workers, threads - 1);
  if (error) {
    stop_workers(pool, &bundle->allocator);
    return chm_fail(CHM_ERROR_MEMORY, "%d threads cannot be started: %s", (int64_t)threads, strerror(error));
  }
  pool->threads = threads;
  return CHM_OK;
}

chm_pool *chm_pool_of(chm_bundle *bundle) {
  chm_workers *workers = bundle->pool.workers;
  return workers && workers->process == getpid() ? &bundle->pool : NULL;
}

#if defined(__linux__)
/* The start of a small file of the kernel as text; empty if there is none. */
static void read_text(const char *path, char text[64]) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t count = file < 0 ? 0 : read(file, text, 63);
  if (file >= 0) close(file);
  text[count > 0 ? count : 0] = 0;
}
#endif

/* Processor cores that this process may use. */
static long cores(void) {
#if defined(__linux__)
  cpu_set_t allowed;
  char text[64];
  long count = sched_getaffinity(0, sizeof allowed, &allowed) ? 1 : CPU_COUNT(&allowed);
  read_text("/sys/devices/system/cpu/smt/active", text);
  if (text[0] == '1') count = (count + 1) / 2; /* two threads of a core share what a kernel needs */
  read_text("/sys/fs/cgroup/cpu.max", text);   /* "quota period" of a container, or "max period" */
  char *rest;
  long quota = strtol(text, &rest, 10), period = strtol(rest, NULL, 10);
  if (quota > 0 && period > 0 && quota / period < count) count = quota / period;
  return count;
#elif defined(__APPLE__)
  int count = 0;
  size_t size = sizeof count;
  if (!sysctlbyname("hw.perflevel0.physicalcpu", &count, &size, NULL, 0) && count > 0) return count;
  size = sizeof count;
  return sysctlbyname("hw.physicalcpu", &count, &size, NULL, 0) ? 1 : count;
#else
  return sysconf(_SC_NPROCESSORS_ONLN);
#endif
}

int32_t chm_default_threads(void) {
  long count = cores();
  return count < 1 ? 1 : count > SENSIBLE_THREADS ? SENSIBLE_THREADS : (int32_t)count;
}
