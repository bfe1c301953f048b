/* Feeds damaged packs to the engine and uses what it accepts; built with sanitizers.
 *
 * grammar_driver WEIGHTS TOKENIZER PACK SEED COUNT   random damage with checksums off; prints how many packs were opened
 * grammar_driver WEIGHTS TOKENIZER PACK cuts         every prefix of up to 4 KiB less and a sample; prints the same
 */
#include <string.h>

#include "../hostile.h"
#include "chm_internal.h"

static void use_grammar(chm_bundle *bundle, chm_grammar *grammar) {
  static uint32_t mask[8192];
  uint8_t text[256], place[2048];
  size_t words = chm_grammar_mask_words(grammar), size = chm_grammar_state_bytes(), bytes;
  for (int text_number = 0; text_number < 3; ++text_number) {
    chm_grammar_start(grammar);
    for (int step = 0; step < 30; ++step) {
      int32_t left = next_random(2) ? -1 : (int32_t)next_random(50);
      if (chm_grammar_mask(grammar, left, mask, words) || chm_grammar_save(grammar, place, size)) break;
      chm_grammar_complete(grammar);
      chm_grammar_closing(grammar);
      if (step % 8 == 0) chm_grammar_forced(grammar, text, sizeof text, &bytes);
      uint32_t first = next_random((uint32_t)words), token = UINT32_MAX;
      for (size_t i = 0; i < words && token == UINT32_MAX; ++i) {
        uint32_t word = (uint32_t)((first + i) % words);
        if (mask[word]) token = 32 * word + (uint32_t)__builtin_ctz(mask[word]);
      }
      if (token == UINT32_MAX) break;
      for (int k = 0; k < 4; ++k) chm_grammar_accept(grammar, (int32_t)next_random((uint32_t)chm_vocab_size()));
      chm_grammar_restore(grammar, place, size);
      if (chm_grammar_accept(grammar, (int32_t)token)) break;
    }
    for (size_t i = 0; i < size; ++i)
      if (!next_random(40)) place[i] = (uint8_t)next_random(256);
    if (!chm_grammar_restore(grammar, place, size)) chm_grammar_mask(grammar, 9, mask, words);
  }
  chm_session *session;
  int32_t token;
  if (chm_session_open(bundle, NULL, &session)) exit(4);
  chm_session_set_grammar(session, grammar);
  chm_session_prompt(session, (const uint8_t *)"a", 1);
  chm_session_begin_generation(session, 12);
  for (int i = 0; i < 14; ++i)
    if (chm_session_generate(session, &token)) break;
  chm_session_close(session);
}

static int open_pack(chm_bundle *bundle, const uint8_t *data, size_t size) {
  void *copy = NULL; /* exactly as large as the data, so that the sanitizer sees the first byte too many */
  if (posix_memalign(&copy, 64, size ? size : 1)) exit(3);
  memcpy(copy, data, size);
  chm_pack *pack;
  int opened = !chm_pack_open(bundle, NULL, copy, size, CHM_OPEN_SKIP_CHECKSUMS, NULL, &pack);
  if (!opened && !chm_last_error()[0]) exit(5);
  if (opened) {
    opened = 0;
    for (int32_t i = 0; i < chm_pack_count(pack); ++i) {
      chm_grammar *grammar;
      if (chm_grammar_open(pack, chm_pack_name(pack, i), NULL, &grammar)) continue;
      opened = 1;
      use_grammar(bundle, grammar);
      chm_grammar_close(grammar);
    }
    if (chm_pack_close(pack)) exit(6);
  }
  free(copy);
  return opened;
}

/* Wrong words in the tables: small numbers, numbers near those that are there, limits, and anything. */
static void damage(uint8_t *data, size_t size, size_t start) {
  for (uint32_t edits = 1 + next_random(3); edits; --edits) {
    size_t at = next_random(16) ? start + next_random((uint32_t)(size - start)) : 8 + next_random((uint32_t)start - 8);
    uint32_t word;
    if (next_random(3) && at + 4 <= size) {
      at &= ~(size_t)1;
      memcpy(&word, data + at, 4);
      static const uint32_t special[] = {0, 1, 0xFFFE, 0xFFFF, 0xFFFFFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 64, 255};
      uint32_t kind = next_random(4);
      word = kind == 0 ? special[next_random(10)] : kind == 1 ? word + 1 - 2 * next_random(2) : kind == 2 ? next_random(300) : word ^ 1u << next_random(32);
      memcpy(data + at, &word, 4);
    } else {
      data[at] ^= (uint8_t)(1u << next_random(8));
    }
  }
}

int main(int count, char **arguments) {
  if (count < 5) return 2;
  buffer weights = read_file(arguments[1]), tokenizer = read_file(arguments[2]), pack = read_file(arguments[3]);
  chm_bundle *bundle;
  if (chm_bundle_open(weights.data, weights.size, tokenizer.data, tokenizer.size, 0, NULL, &bundle)) return 7;
  if (!open_pack(bundle, pack.data, pack.size)) return 8;
  unsigned long opened = 0;
  uint64_t header;
  memcpy(&header, pack.data, 8);
  if (!strcmp(arguments[4], "cuts")) {
    for (size_t size = 0; size < pack.size; size += size < 64 ? 1 : 997) opened += (unsigned long)open_pack(bundle, pack.data, size);
  } else {
    random_state = strtoull(arguments[4], NULL, 10);
    uint8_t *copy = malloc(pack.size);
    if (!copy) return 3;
    for (long rounds = atol(arguments[5]); rounds; --rounds) {
      memcpy(copy, pack.data, pack.size);
      damage(copy, pack.size, (size_t)header + 8);
      opened += (unsigned long)open_pack(bundle, copy, pack.size);
    }
    free(copy);
  }
  printf("%lu\n", opened);
  if (chm_bundle_close(bundle)) return 9;
  free(weights.data);
  free(tokenizer.data);
  free(pack.data);
  return 0;
}
