/* Times what is done with a bank of spans for a tree: span_bank BANK COUNT prints, in microseconds of processor time, mean and longest of COUNT
 * looks, of ranking what each found by the energy of a knot, and of checking a certificate, each the least of ROUNDS; between two rounds
 * all others are done, so that caches have forgotten it, and other programs disturb few of them all. Then the mean of candidates found. Texts are tokens
 * of the bank's own pool, so that every source has something to find. Last, what a memory of 32,768 vectors takes: a read where none is near, one where some are, and a token. */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "chm_bank.h"

enum { MEMORY, SKETCH, HIT };
#define BITS 8192
static const chm_state_desc states[] = {
    [MEMORY] = {"memory", 0, BITS / 8, CHM_NO_SECTION, 1, "I32", ""},
    [SKETCH] = {"sketch", BITS / 8, BITS, CHM_NO_SECTION, 1, "I8", ""},
    [HIT] = {"hit", BITS / 8 + BITS, 4, CHM_NO_SECTION, 1, "F32", ""},
};
const chm_model_desc chm_model = {
    .vocab = 1 << 18, .states = states, .n_states = 3, .knot = {&chm_knots_with_memory, MEMORY, HIT, SKETCH, 163, 3, 0.3f, 1e-4f}};

#define ROUNDS 5
#define RANKED 16 /* candidates that a tree may be made of */

static int8_t counters[BITS];
static uint8_t memory[BITS / 8];

typedef struct step {
  double look, rank, check;
} step;

static void least(double *kept, double took, int round) {
  if (!round || took < *kept) *kept = took;
}

static uint32_t draw(uint64_t *random) {
  *random = *random * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*random >> 33);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

/* Least microseconds of reading a memory of random vectors, the first NEAR of which are a fifth away from the sketch or no nearer than
 * others, and of counting a token: what a session with a memory does where a block begins, and after each token. */
#define NEAR 4
static int read_memory(bool near, double *reading, double *taking) {
  static uint8_t state[BITS / 8 + BITS + 4];
  static chm_session session;
  uint64_t random = 5;
  size_t bytes = (size_t)CHM_MOST_MEMORY * BITS / 8;
  uint8_t *vectors = malloc(bytes);
  if (!vectors) return 3;
  for (size_t i = 0; i < bytes; ++i) vectors[i] = (uint8_t)draw(&random);
  for (size_t i = 0; near && i < NEAR * BITS / 8; ++i) vectors[i] = i % 5 ? 0xFF : 0; /* a sketch without tokens is all ones */
  session.state = state;
  for (int round = 0; round < 4 * ROUNDS; ++round) {
    int32_t token = (int32_t)round;
    memset(state, 0, sizeof state);
    if (chm_knots_with_memory.set(&session, vectors, BITS / 8, CHM_MOST_MEMORY)) return 3;
    double begun = now();
    chm_knots_with_memory.read(&session);
    least(reading, now() - begun, round);
    begun = now();
    chm_knots_with_memory.take(&session, &token, 1);
    least(taking, now() - begun, round);
  }
  free(vectors);
  return 0;
}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  FILE *file = fopen(arguments[1], "rb");
  if (!file || fseek(file, 0, SEEK_END)) return 3;
  size_t size = (size_t)ftell(file);
  void *data = NULL;
  if (posix_memalign(&data, 4096, size)) return 3;
  rewind(file);
  if (fread(data, 1, size, file) != size) return 3;
  fclose(file);
  chm_bundle bundle = {0};
  chm_container container;
  if (chm_container_open(data, size, CHM_KIND_SPANS, "spans", 1, &chm_default_allocator, &container)) return 4;
  bundle.tokenizer.contents = container.tokenizer;
  bundle.tokenizer.contents_bytes = container.tokenizer_bytes;
  chm_bank bank = {.allocator = chm_default_allocator, .bundle = &bundle};
  if (chm_bank_read(&bank, data, size, CHM_OPEN_SKIP_CHECKSUMS)) return 5;
  long looks = atol(arguments[2]);
  uint64_t found_all = 0;
  step *steps = calloc((size_t)looks, sizeof *steps);
  if (!steps) return 3;
  for (int round = 0; round < ROUNDS; ++round) {
    uint64_t random = 1;
    found_all = 0;
    for (long i = 0; i < looks; ++i) {
      int32_t last[CHM_LAST_TOKENS];
      chm_candidate found[CHM_CANDIDATES], best[RANKED];
      uint32_t start = draw(&random) % (bank.pool - CHM_LAST_TOKENS), n = 0;
      for (uint32_t k = 0; k < CHM_LAST_TOKENS; ++k) last[k] = chm_bank_token(&bank, start + CHM_LAST_TOKENS - 1 - k);
      const chm_shares shares = {48, 128, 64, 65536, 22938};
      double begun = now();
      uint32_t count_found = chm_bank_find(&bank, last, CHM_LAST_TOKENS, &shares, found);
      least(&steps[i].look, now() - begun, round);
      found_all += count_found;
      while (n < RANKED && chm_bank_best(found, &count_found, &best[n])) ++n;
      begun = now();
      chm_knot_rank(counters, memory, BITS / 64, &bank, best, n);
      least(&steps[i].rank, now() - begun, round);
      uint32_t span = draw(&random) % bank.count;
      begun = now();
      if (!chm_bank_certified(&bank, span)) return 6; /* each time, since there is no room to note it */
      least(&steps[i].check, now() - begun, round);
    }
  }
  const double *firsts[] = {&steps->look, &steps->rank, &steps->check};
  for (int kind = 0; kind < 3; ++kind) {
    double total = 0, longest = 0;
    for (long i = 0; i < looks; ++i) {
      double took = *(const double *)((const char *)firsts[kind] + (size_t)i * sizeof *steps);
      total += took;
      if (took > longest) longest = took;
    }
    printf("%.1f %.1f ", total / (double)looks, longest);
  }
  double far, near, taken;
  if (read_memory(false, &far, &taken) || read_memory(true, &near, &taken)) return 3;
  printf("%.1f %.1f %.1f %.2f\n", (double)found_all / (double)looks, far, near, taken);
  free(steps);
  return 0;
}
