/* Two sessions of one bundle, each in a thread of its own, share a pool; prints the logits' hashes. For a sanitizer. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

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

int main(int count, char **words) {
  if (count != 3) return 2;
  need(chm_bundle_open_files(words[1], words[2], 0, NULL, &bundle));
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
