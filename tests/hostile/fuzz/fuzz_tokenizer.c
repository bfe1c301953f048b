/* Tokenizers: what opens encodes texts, whole and in parts, to tokens that are the text again, and serves grammars. */
#include "fuzz.h"

FUZZ_CONTAINERS

static const char text[] =
    "a text with \xc3\xa9 and \xff 'll\n123\xe2\x82 <e> thinging'l\xf0\x9f\x98\x80\xf0\x9f \xcc\x88\xe2\x81\xa3 HELLO World   \r\n"
    "{\"a\": [1, -20.5e3, true, null]}<|end|> the thing in the ing\t\xe6\xbc\xa2\xe5\xad\x97 \xd0\x9f\xd1\x80 1234567";

static void check_bytes(const chm_bundle *bundle, const uint8_t *expected, size_t size, const int32_t *tokens, size_t count) {
  size_t at = 0, bytes;
  for (size_t i = 0; i < count; ++i) {
    const uint8_t *token = chm_tokenizer_token(bundle, tokens[i], &bytes);
    FUZZ_CHECK(bytes && bytes <= size - at && !memcmp(token, expected + at, bytes));
    at += bytes;
  }
  FUZZ_CHECK(at == size);
}

enum { ROOM = 2048 };

static void encode(chm_bundle *bundle, const uint8_t *part, size_t size, size_t step) {
  int32_t tokens[ROOM], again[ROOM];
  size_t count, all = 0, at = 0, room = chm_tokenizer_room(bundle, size);
  uint8_t *copy = fuzz_copy(part, size);
  FUZZ_CHECK(size < 512 && room <= ROOM && !fuzz_status(chm_tokenizer_encode(bundle, copy, size, tokens, room, &count)));
  if (!bundle->tokenizer.rules) check_bytes(bundle, copy, size, tokens, count);
  while (at < size) {
    size_t more, before = at;
    FUZZ_CHECK(!fuzz_status(chm_tokenizer_encode_part(bundle, copy, size, &at, step, again + all, ROOM - all, &more)));
    FUZZ_CHECK(at > before && at <= size);
    all += more;
  }
  FUZZ_CHECK(bundle->tokenizer.rules || (all == count && (!count || !memcmp(tokens, again, count * sizeof *tokens))));
  if (count) FUZZ_CHECK(fuzz_status(chm_tokenizer_encode(bundle, copy, size, tokens, count - 1, &all)) == CHM_ERROR_LIMIT && all == count);
  FUZZ_CHECK(!fuzz_status(chm_tokenizer_encode_with_specials(bundle, copy, size, again, room, &all)) && all <= room);
  FUZZ_CHECK(!fuzz_status(chm_tokenizer_encode_more(bundle, copy, size, again, room, &all)) && all <= room);
  free(copy);
}

static void use_grammars(chm_bundle *bundle) {
  chm_pack *base, *pack;
  chm_grammar *grammar;
  uint32_t mask[16];
  FUZZ_CHECK(!fuzz_status(chm_pack_open(bundle, NULL, NULL, 0, 0, NULL, &base)));
  if (!fuzz_status(chm_pack_open(bundle, base, fuzz_pack, (size_t)(fuzz_pack_end - fuzz_pack), 0, NULL, &pack))) {
    FUZZ_CHECK(chm_pack_close(base) == CHM_ERROR_STATE);
    if (!fuzz_status(chm_grammar_open(pack, chm_pack_name(pack, 0), NULL, &grammar))) {
      size_t words = chm_grammar_mask_words(grammar);
      FUZZ_CHECK(words <= 16 && !fuzz_status(chm_grammar_mask(grammar, 9, mask, words)));
      FUZZ_CHECK(!chm_grammar_close(grammar));
    }
    FUZZ_CHECK(!chm_pack_close(pack));
  }
  FUZZ_CHECK(!chm_pack_close(base));
}

static void use(chm_bundle *bundle, uint64_t random) {
  size_t bytes;
  int32_t token;
  chm_session *session;
  size_t start = fuzz_next(&random, sizeof text - 1), size = fuzz_next(&random, (uint32_t)(sizeof text - start));
  encode(bundle, (const uint8_t *)text, sizeof text - 1, 1 + fuzz_next(&random, 20));
  encode(bundle, (const uint8_t *)text + start, size, 1 + fuzz_next(&random, 20));
  const chm_tokenizer *tokenizer = &bundle->tokenizer; /* its own tokens, side by side */
  uint32_t last = tokenizer->count - 1, all = tokenizer->offsets[last] + tokenizer->lengths[last];
  start = fuzz_next(&random, all);
  encode(bundle, tokenizer->bytes + start, fuzz_next(&random, all - (uint32_t)start < 400 ? all - (uint32_t)start : 400), 7);
  for (int32_t id = -1; id <= chm_vocab_size(); ++id) chm_tokenizer_token(bundle, id, &bytes);
  chm_tokenizer_special(bundle, "end");
  FUZZ_CHECK(!chm_session_open(bundle, NULL, &session));
  int32_t prompted = fuzz_status(chm_session_prompt(session, (const uint8_t *)"hello", 5));
  FUZZ_CHECK(!prompted || bundle->tokenizer.rules & CHM_RULE_DROP); /* of which nothing may be left */
  FUZZ_CHECK(!fuzz_status(chm_session_begin_generation(session, 4)));
  for (int32_t i = 0, status = CHM_OK; i < 5 && !status; ++i) status = fuzz_status(chm_session_generate(session, &token));
  FUZZ_CHECK(!chm_session_close(session));
  if (!fuzz_next(&random, 4)) use_grammars(bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *file = fuzz_copy(data, size);
  chm_bundle *bundle;
  size_t weights = (size_t)(fuzz_weights_end - fuzz_weights);
  int32_t status = fuzz_status(chm_bundle_open(fuzz_weights, weights, file, size, 0, &fuzz_allocator, &bundle));
  FUZZ_CHECK(!status == (bundle != NULL));
  if (bundle) {
    use(bundle, fuzz_hash(data, size < 9000 ? size : 9000));
    FUZZ_CHECK(!chm_bundle_close(bundle));
  }
  FUZZ_CHECK(!fuzz_blocks());
  free(file);
  return 0;
}
