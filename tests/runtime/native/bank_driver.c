/* Reads banks of spans and looks up what may follow; built with sanitizers.
 *
 * bank_driver TOKENIZER BANK find FLAGS [SHARES …] a text of token ids on each line of standard input: prints span:known:score …
 * bank_driver TOKENIZER BANK certificates      prints each span's in hexadecimal and its rejections at each level, or why
 * bank_driver TOKENIZER BANK rank              counters, vector and spans on each line; prints the spans in order
 * bank_driver TOKENIZER BANK damage SEED N    random damage with checksums off; prints how many were opened
 * bank_driver TOKENIZER BANK cuts             every prefix, or a sample of them; prints the same
 */
#include <string.h>

#include "chm_bank.h"
#include "hostile.h"

static chm_bundle bundle;

static int32_t read_bank(chm_bank *bank, const void *data, size_t size, uint32_t flags) {
  *bank = (chm_bank){.allocator = chm_default_allocator, .bundle = &bundle};
  return chm_bank_read(bank, data, size, flags);
}

static chm_shares shares = {48, 128, 64, 65536, 22938};

static void print_candidates(const chm_bank *bank, const int32_t *last, uint32_t known) {
  chm_candidate found[CHM_CANDIDATES], best;
  uint32_t count = chm_bank_find(bank, last, known, &shares, found);
  while (chm_bank_best(found, &count, &best)) printf("%u:%u:%d ", best.span, best.known, best.score);
  puts("");
}

static void print_lines(const chm_bank *bank) {
  char line[4096];
  while (fgets(line, sizeof line, stdin)) {
    int32_t text[512], last[CHM_LAST_TOKENS];
    uint32_t count = 0, known = 0;
    for (char *at = strtok(line, " \n"); at && count < 512; at = strtok(NULL, " \n")) text[count++] = atoi(at);
    for (; known < count && known < CHM_LAST_TOKENS; ++known) last[known] = text[count - 1 - known];
    print_candidates(bank, last, known);
  }
}

static void print_certificates(const chm_bank *bank) {
  uint8_t bytes[CHM_CERTIFICATE_BYTES];
  for (int32_t span = 0; span < chm_bank_count(bank); ++span) {
    int32_t status = chm_bank_certificate(bank, span, bytes, sizeof bytes);
    for (size_t i = 0; !status && i < sizeof bytes; ++i) printf("%02x", bytes[i]);
    if (status) puts(chm_last_error());
    for (int32_t level = 0; !status && level < CHM_LEVELS; ++level)
      printf("%s%d", level ? " " : "\n", chm_bank_reject(bank, &(chm_candidate){.span = (uint32_t)span}, level));
    if (!status) puts("");
  }
}

/* Of each line, bytes of counters and vector in hexadecimal and the numbers of spans: these in the order of their energy. */
static void print_ranks(const chm_bank *bank) {
  static char line[1 << 17];
  static uint8_t bytes[9 << 12];
  while (fgets(line, sizeof line, stdin)) {
    chm_candidate spans[CHM_MOST_RANKED] = {{0}};
    uint32_t size = 0, count = 0;
    char *at = strtok(line, " \n");
    for (; at && at[2 * size] && size < sizeof bytes; ++size) bytes[size] = (uint8_t)strtoul((char[]){at[2 * size], at[2 * size + 1], 0}, NULL, 16);
    while ((at = strtok(NULL, " \n")) && count < CHM_MOST_RANKED) spans[count++].span = (uint32_t)atoi(at);
    chm_knot_rank((const int8_t *)bytes, bytes + size / 9 * 8, size / 9 / 8, bank, spans, count);
    for (uint32_t i = 0; i < count; ++i) printf("%u ", spans[i].span);
    puts("");
  }
}

/* Open a copy that is exactly as large as the data, and use it. */
static long rejected;

static int try_bank(const uint8_t *data, size_t size) {
  void *copy = NULL;
  if (posix_memalign(&copy, 64, size ? size : 1)) exit(3);
  memcpy(copy, data, size);
  chm_bank bank;
  int opened = !read_bank(&bank, copy, size, CHM_OPEN_SKIP_CHECKSUMS);
  for (int text = 0; opened && text < 20; ++text) {
    int32_t last[CHM_LAST_TOKENS];
    chm_candidate found[CHM_CANDIDATES], best;
    uint32_t known = 1 + next_random(CHM_LAST_TOKENS);
    uint32_t start = next_random(bank.pool), used = 0;
    for (uint32_t i = 0; i < known; ++i) last[i] = chm_bank_token(&bank, (start + known - i) % bank.pool);
    uint32_t count = chm_bank_find(&bank, last, known, &shares, found);
    if (count > CHM_CANDIDATES) exit(6);
    while (chm_bank_best(found, &count, &best)) {
      chm_span span = chm_bank_span(&bank, best.span);
      if (chm_bank_reject(&bank, &best, CHM_LEVEL_LOW) == CHM_REJECTED_DAMAGED) ++rejected;
      for (uint32_t i = best.known; i < span.count; ++i) used ^= (uint32_t)chm_bank_token(&bank, span.at + i);
    }
    if (used >> 24) exit(7);
  }
  free(copy);
  return opened;
}

static void damage(uint8_t *data, size_t size, size_t start) {
  for (uint32_t edits = 1 + next_random(40); edits; --edits) {
    size_t at = start + next_random((uint32_t)(size - start - 4));
    static const uint32_t special[] = {0, 1, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFF0, 64, 65};
    uint32_t word = next_random(2) ? special[next_random(8)] : next_random(1u << 31);
    memcpy(data + at, &word, 4);
  }
}

int main(int count, char **arguments) {
  if (count < 4) return 2;
  buffer tokenizer = read_file(arguments[1]), file = read_file(arguments[2]);
  if (chm_tokenizer_open(tokenizer.data, tokenizer.size, chm_model.vocab, 0, &chm_default_allocator, &bundle.tokenizer)) return 8;
  long opened = 0;
  chm_bank bank;
  if (!strcmp(arguments[3], "find")) {
    uint32_t *const places[] = {&shares.begun, &shares.following, &shares.near, &shares.nearness, &shares.boundary};
    for (int i = 5; i < count && i < 10; ++i) *places[i - 5] = (uint32_t)atoi(arguments[i]);
    if (read_bank(&bank, file.data, file.size, (uint32_t)atoi(arguments[4]))) puts(chm_last_error());
    else print_lines(&bank);
  } else if (!strcmp(arguments[3], "certificates")) {
    if (read_bank(&bank, file.data, file.size, CHM_OPEN_SKIP_CHECKSUMS)) puts(chm_last_error());
    else print_certificates(&bank);
  } else if (!strcmp(arguments[3], "rank")) {
    if (read_bank(&bank, file.data, file.size, 0)) puts(chm_last_error());
    else print_ranks(&bank);
  } else if (!strcmp(arguments[3], "cuts")) {
    for (size_t size = 0; size < file.size; size += size < 64 ? 1 : 997) opened += try_bank(file.data, size);
    printf("%ld\n", opened);
  } else {
    uint64_t header;
    memcpy(&header, file.data, 8);
    random_state = strtoull(arguments[4], NULL, 10);
    uint8_t *copy = malloc(file.size);
    if (!copy) return 3;
    for (long rounds = atol(arguments[5]); rounds; --rounds) {
      memcpy(copy, file.data, file.size);
      damage(copy, file.size, (size_t)header + 8);
      opened += try_bank(copy, file.size);
    }
    free(copy);
    printf("%ld %ld\n", opened, rejected);
  }
  chm_tokenizer_close(&bundle.tokenizer, &chm_default_allocator);
  free(tokenizer.data);
  free(file.data);
  return 0;
}
