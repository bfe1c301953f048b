/* Times looks into a bank of spans: span_bank BANK COUNT prints the mean and the longest of COUNT looks in microseconds of processor time, and
 * the mean of candidates found, then mean and longest of as many checks of certificates. Texts are tokens of the bank's own pool, so that every source has something to find. */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "chm_bank.h"

const chm_model_desc chm_model = {.vocab = 1 << 18};

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
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
  uint64_t random = 1, found_all = 0;
  double total = 0, longest = 0;
  long looks = atol(arguments[2]);
  for (long i = 0; i < looks; ++i) {
    int32_t last[CHM_LAST_TOKENS];
    chm_candidate found[CHM_CANDIDATES];
    random = random * 6364136223846793005u + 1442695040888963407u;
    uint32_t start = (uint32_t)(random >> 33) % (bank.pool - CHM_LAST_TOKENS);
    for (uint32_t k = 0; k < CHM_LAST_TOKENS; ++k) last[k] = chm_bank_token(&bank, start + CHM_LAST_TOKENS - 1 - k);
    const chm_shares shares = {48, 128, 64, 65536, 22938};
    double begun = now();
    found_all += chm_bank_find(&bank, last, CHM_LAST_TOKENS, &shares, found);
    double took = now() - begun;
    total += took;
    if (took > longest) longest = took;
  }
  printf("%.1f %.1f %.1f ", total / (double)looks, longest, (double)found_all / (double)looks);
  total = longest = 0;
  for (long i = 0; i < looks; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    uint32_t span = (uint32_t)(random >> 33) % bank.count;
    double begun = now();
    if (!chm_bank_certified(&bank, span)) return 6; /* each time, since there is no room to note it */
    double took = now() - begun;
    total += took;
    if (took > longest) longest = took;
  }
  printf("%.1f %.1f\n", total / (double)looks, longest);
  return 0;
}
