/* Containers of grammars: what opens is walked with tokens that it allows and some that it may not, alone and by a session. */
#include "fuzz.h"

FUZZ_CONTAINERS

static uint32_t mask[16]; /* of the toy's vocabulary */

static int32_t some_allowed(uint64_t *random, size_t words) {
  uint32_t first = fuzz_next(random, (uint32_t)words);
  for (uint32_t i = 0; i < words; ++i) {
    uint32_t index = (uint32_t)((first + i) % words);
    if (mask[index]) return (int32_t)(32 * index + (uint32_t)__builtin_ctz(mask[index]));
  }
  return -1;
}

static void walk(chm_grammar *grammar, uint64_t *random) {
  uint8_t text[256], place[sizeof(chm_configuration)];
  size_t words = chm_grammar_mask_words(grammar), bytes;
  FUZZ_CHECK(words <= 16);
  FUZZ_CHECK(!chm_grammar_start(grammar));
  for (int step = 0; step < 12; ++step) {
    int32_t left = fuzz_next(random, 2) ? -1 : (int32_t)fuzz_next(random, 50);
    if (fuzz_status(chm_grammar_mask(grammar, left, mask, words))) break;
    FUZZ_CHECK(!chm_grammar_save(grammar, place, sizeof place));
    FUZZ_CHECK(chm_grammar_closing(grammar) >= 0);
    chm_grammar_complete(grammar);
    if (step % 4 == 0) FUZZ_CHECK(!chm_grammar_forced(grammar, text, fuzz_next(random, sizeof text), &bytes));
    int32_t token = some_allowed(random, words);
    if (token < 0) break;
    for (int k = 0; k < 2; ++k) fuzz_status(chm_grammar_accept(grammar, (int32_t)fuzz_next(random, 290)));
    FUZZ_CHECK(!chm_grammar_restore(grammar, place, sizeof place));
    if (fuzz_status(chm_grammar_accept(grammar, token))) break;
  }
  for (uint32_t edits = fuzz_next(random, 6); edits; --edits) place[fuzz_next(random, sizeof place)] = (uint8_t)fuzz_next(random, 256);
  if (fuzz_next(random, 2)) place[5] = (uint8_t)fuzz_next(random, 65); /* deep */
  if (!fuzz_status(chm_grammar_restore(grammar, place, sizeof place))) {
    fuzz_status(chm_grammar_mask(grammar, 9, mask, words));
    fuzz_status(chm_grammar_accept(grammar, (int32_t)fuzz_next(random, 290)));
  }
}

static void generate(chm_grammar *grammar, uint64_t *random) {
  chm_session *session;
  int32_t token;
  FUZZ_CHECK(!chm_session_open(fuzz_bundle(), NULL, &session));
  FUZZ_CHECK(!chm_session_set_grammar(session, grammar));
  if (fuzz_next(random, 2)) FUZZ_CHECK(!chm_session_set_sampling(session, 1.0f, 0.9f, 20, 1.1f, fuzz_next(random, 9), 0, 0));
  FUZZ_CHECK(!chm_session_decode(session, 7));
  int32_t status = fuzz_status(chm_session_begin_generation(session, (int32_t)fuzz_next(random, 20)));
  for (int i = 0; i < 16 && !status; ++i) {
    status = fuzz_status(chm_session_generate(session, &token));
    chm_session_complete(session);
  }
  FUZZ_CHECK(!chm_session_close(session));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  chm_bundle *bundle = fuzz_bundle();
  uint32_t blocks = fuzz_blocks();
  uint64_t random = fuzz_hash(data, size < 6000 ? size : 6000);
  uint8_t *file = fuzz_copy(data, size);
  chm_pack *pack, *base = NULL;
  if (!fuzz_next(&random, 16)) FUZZ_CHECK(!chm_pack_open(bundle, NULL, NULL, 0, 0, NULL, &base));
  int32_t status = fuzz_status(chm_pack_open(bundle, base, file, size, 0, NULL, &pack));
  FUZZ_CHECK(!status == (pack != NULL));
  chm_pack_default(pack);
  for (int32_t i = 0; i < chm_pack_count(pack); ++i) {
    chm_grammar *grammar;
    status = fuzz_status(chm_grammar_open(pack, chm_pack_name(pack, i), NULL, &grammar));
    FUZZ_CHECK(!status == (grammar != NULL));
    if (!grammar) continue;
    if (!fuzz_next(&random, 4)) FUZZ_CHECK(!chm_grammar_set_whitespace(grammar, (int32_t)fuzz_next(&random, 256)));
    walk(grammar, &random);
    generate(grammar, &random);
    FUZZ_CHECK(chm_pack_close(pack) == CHM_ERROR_STATE);
    FUZZ_CHECK(!chm_grammar_close(grammar));
  }
  if (pack) FUZZ_CHECK(!chm_pack_close(pack));
  if (base) FUZZ_CHECK(!chm_pack_close(base));
  FUZZ_CHECK(fuzz_blocks() == blocks);
  free(file);
  return 0;
}
