/* Threads of the runtime, for a sanitizer: threads_driver WEIGHTS TOKENIZER [crowd|within|chains]
 *
 * Two sessions of one bundle, each in a thread of its own, share a pool; prints the logits' hashes. With "crowd" several
 * threads call one session at the same time: prints how many calls were done and how many refused. With "chains" kernels that follow others are computed by pools of
 * several sizes: prints how many results were wrong.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chimera.h"
#include "chm_internal.h"
#include "chm_threads.h"

#define TOKENS 300

static chm_bundle *bundle;

static void need(int32_t status) {
  if (!status) return;
  fprintf(stderr, "%s\n", chm_last_error());
  exit(1);
}

static void *run(void *hash) {
  chm_session *session;
  need(chm_session_open(bundle, NULL, &session));
  for (int32_t i = 0; i < TOKENS; ++i) need(chm_session_decode(session, i % chm_vocab_size()));
  need(chm_session_logits_hash(session, hash));
  chm_session_close(session);
  return NULL;
}

/* ---- a crowd: every call is done or refused, and what is done stays right ---- */

#define CALLS 400
#define CROWD 4

static chm_session *shared;
static uint32_t done, refused;

static void tally(int32_t status) {
  if (status && status != CHM_FINISHED && status != CHM_ERROR_STATE) need(status);
  __atomic_fetch_add(status == CHM_ERROR_STATE ? &refused : &done, 1, __ATOMIC_RELAXED);
}

static void *crowd(void *number) {
  int32_t tokens[64], token;
  uint64_t hash;
  static _Thread_local uint8_t snapshot[65536];
  size_t bytes = chm_session_snapshot_bytes(shared);
  for (int32_t i = 0; i < 64; ++i) tokens[i] = i;
  for (int32_t i = 0; i < CALLS; ++i) {
    switch ((i + *(int *)number) % 9) {
      case 0: tally(chm_session_prefill(shared, tokens, 64)); break;
      case 1: tally(chm_session_generate(shared, &token)); break;
      case 2: tally(chm_session_set_loops(shared, 1 + i % 3)); break;
      case 3: tally(chm_session_state_hash(shared, &hash)); break;
      case 4: tally(chm_session_prompt(shared, (const uint8_t *)"hello", 5)); break;
      case 5: tally(chm_session_begin_generation(shared, 8)); break;
      case 6: tally(bytes <= sizeof snapshot ? chm_session_snapshot(shared, snapshot, bytes) : CHM_ERROR_LIMIT); break;
      case 7: tally(chm_bundle_set_threads(bundle, 1 + i % 3)); break;
      default: (void)chm_session_position(shared); /* may be asked at any time */
    }
  }
  return NULL;
}

static uint64_t hash_of(chm_session *session) {
  uint64_t hash;
  need(chm_session_reset(session));
  need(chm_session_set_loops(session, 2));
  for (int32_t i = 0; i < 40; ++i) need(chm_session_decode(session, i));
  need(chm_session_state_hash(session, &hash));
  return hash;
}

static int run_crowd(void) {
  pthread_t threads[CROWD];
  int numbers[CROWD];
  need(chm_session_open(bundle, NULL, &shared));
  uint64_t before = hash_of(shared);
  for (int i = 0; i < CROWD; ++i) {
    numbers[i] = 2 * i;
    if (pthread_create(&threads[i], NULL, crowd, &numbers[i])) return 1;
  }
  for (int i = 0; i < CROWD; ++i) pthread_join(threads[i], NULL);
  if (hash_of(shared) != before) return 3;
  printf("%u %u\n", done, refused);
  need(chm_session_close(shared));
  return chm_bundle_close(bundle);
}

/* A call from within a call, by the allocator that chm_session_prompt asks for memory: refused, closing as well. */
static int32_t inside[3];

static void *allocate_within(void *user, size_t bytes) {
  (void)user;
  if (shared) {
    inside[0] = chm_session_reset(shared);
    inside[1] = chm_session_close(shared);
    inside[2] = chm_bundle_set_threads(bundle, 2);
  }
  return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void release_within(void *user, void *block, size_t bytes) {
  (void)user;
  (void)bytes;
  free(block);
}

static int call_within(char **words) {
  const chm_allocator allocator = {allocate_within, release_within, NULL};
  need(chm_bundle_open_files(words[1], words[2], 0, &allocator, &bundle));
  chm_session *opened;
  need(chm_session_open(bundle, NULL, &opened));
  shared = opened;
  need(chm_session_prompt(shared, (const uint8_t *)"hello", 5));
  printf("%d %d %d %d\n", (int)inside[0], (int)inside[1], (int)inside[2], (int)chm_session_position(shared));
  shared = NULL;
  need(chm_session_close(opened));
  return chm_bundle_close(bundle);
}

/* ---- chains: two products, an element-wise kernel of the first, and one of that and of the second ---- */

#define ELEMENTS 96

static int32_t made[4][ELEMENTS], computed[4][ELEMENTS]; /* by kernel: the last one is of all */

static void step(const void *const *arguments, int32_t each, int32_t begin, int32_t end) {
  int32_t kernel = (int32_t)(intptr_t)arguments[0], round = (int32_t)(intptr_t)arguments[1];
  for (int32_t i = begin * each; i < end * each; ++i) {
    int32_t *to = &made[kernel][i];
    *to = kernel == 0 ? 3 * i + round : kernel == 1 ? 5 * i : kernel == 2 ? made[0][i] + 1 : made[2][i] + made[1][i];
    ++computed[kernel][i];
  }
}

static void step1(const void *const *a, int32_t n, int32_t begin, int32_t end) { (void)n, step(a, 1, begin, end); }
static void step2(const void *const *a, int32_t n, int32_t begin, int32_t end) { (void)n, step(a, 2, begin, end); }
static void step4(const void *const *a, int32_t n, int32_t begin, int32_t end) { (void)n, step(a, 4, begin, end); }

#define FROM(kernel, round) (const void *[]){(const void *)(intptr_t)(kernel), (const void *)(intptr_t)(round)}, 2

static int run_chains(void) {
  int32_t rounds = 0, wrong = 0;
  for (int32_t threads = 1; threads <= 9; threads += 2) {
    need(chm_bundle_set_threads(bundle, threads));
    for (int32_t i = 0; i < 200; ++i) {
      int32_t round = ++rounds, work = i % 3 ? 20000 : 100; /* the latter is for the calling thread alone */
      chm_turn turn = chm_pool_begin(chm_pool_of(bundle), CHM_PACES, false);
      chm_pool *pool = chm_turn_pool(&turn);
      chm_share(pool, step1, FROM(0, round), 1, ELEMENTS, work);
      chm_share(pool, step4, FROM(1, round), 1, ELEMENTS / 4, 4 * work);
      chm_follow(pool, 2, step2, FROM(2, round), 1, ELEMENTS / 2, 50);
      chm_follow(pool, 3, step1, FROM(3, round), 1, ELEMENTS, 50);
      chm_pool_end(&turn);
      for (int32_t k = 0; k < ELEMENTS; ++k) {
        wrong += made[3][k] != 8 * k + round + 1;
        for (int32_t kernel = 0; kernel < 4; ++kernel) wrong += computed[kernel][k] != round;
      }
    }
  }
  printf("%d of %d\n", (int)wrong, (int)rounds);
  return chm_bundle_close(bundle);
}

int main(int count, char **words) {
  if (count < 3) return 2;
  if (count == 4 && !strcmp(words[3], "within")) return call_within(words);
  need(chm_bundle_open_files(words[1], words[2], 0, NULL, &bundle));
  if (count == 4 && !strcmp(words[3], "crowd")) return run_crowd();
  if (count == 4 && !strcmp(words[3], "chains")) return run_chains();
  const int32_t threads[] = {1, 3, 2, 0, 5, 1};
  for (unsigned i = 0; i < sizeof threads / sizeof *threads; ++i) {
    need(chm_bundle_set_threads(bundle, threads[i]));
    uint64_t hashes[2];
    pthread_t other;
    if (pthread_create(&other, NULL, run, &hashes[1])) return 1;
    run(&hashes[0]);
    pthread_join(other, NULL);
    printf("%016llx %016llx\n", (unsigned long long)hashes[0], (unsigned long long)hashes[1]);
  }
  need(chm_bundle_set_threads(bundle, 4)); /* closing ends the workers */
  need(chm_bundle_close(bundle));
  return 0;
}
