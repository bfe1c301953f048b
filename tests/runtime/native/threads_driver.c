/* Threads of the runtime, for a sanitizer: threads_driver WEIGHTS TOKENIZER [crowd]
 *
 * Two sessions of one bundle, each in a thread of its own, share a pool; prints the logits' hashes. With "crowd" several
 * threads call one session at the same time: prints how many calls were done and how many refused.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chimera.h"

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

int main(int count, char **words) {
  if (count < 3) return 2;
  if (count == 4 && !strcmp(words[3], "within")) return call_within(words);
  need(chm_bundle_open_files(words[1], words[2], 0, NULL, &bundle));
  if (count == 4 && !strcmp(words[3], "crowd")) return run_crowd();
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
