/* Which names a request says: an input is the request and three lists, with zero bytes between, as they are and as a grammar
 * takes them. What is heard are lines of the list, in its order; the whole list where nothing of it is. */
#include "fuzz.h"

static chm_grammar *grammar;

static void prepare(void) {
  chm_pack *pack;
  if (grammar) return;
  FUZZ_CHECK(!chm_pack_open(fuzz_bundle(), NULL, fuzz_pack, (size_t)(fuzz_pack_end - fuzz_pack), 0, NULL, &pack));
  FUZZ_CHECK(!chm_grammar_open(pack, "said", NULL, &grammar));
}

static size_t line_end(chm_text text, size_t at) {
  while (at < text.bytes && text.text[at] != '\n') ++at;
  return at;
}

/* Each line of what was heard is the next of the list that is equal to it. */
static void check_lines(chm_text heard, chm_text list) {
  size_t from = 0;
  for (size_t at = 0, end; at < heard.bytes; at = end + 1) {
    end = line_end(heard, at);
    FUZZ_CHECK(end < heard.bytes);
    for (bool found = false; !found;) {
      FUZZ_CHECK(from < list.bytes);
      size_t until = line_end(list, from);
      found = until - from == end - at && !memcmp(list.text + from, heard.text + at, end - at);
      from = until + 1;
    }
  }
}

static void hear(const chm_text *given) {
  chm_text heard[CHM_SLOTS];
  uint64_t room = 0;
  for (uint32_t kind = 1; kind < CHM_SLOTS; ++kind) room += given[kind].bytes + 1;
  uint8_t *to = malloc(room);
  FUZZ_CHECK(to);
  FUZZ_CHECK(!fuzz_status(chm_heard(given, heard, to, &fuzz_allocator)));
  FUZZ_CHECK(heard[0].text == given[0].text && heard[0].bytes == given[0].bytes);
  for (uint32_t kind = 1; kind < CHM_SLOTS; ++kind) {
    if (heard[kind].text == given[kind].text) FUZZ_CHECK(heard[kind].bytes == given[kind].bytes);
    else check_lines(heard[kind], given[kind]);
  }
  free(to);
  size_t used;
  uint8_t *hint = malloc(CHM_HINT_BYTES);
  FUZZ_CHECK(hint && !fuzz_status(chm_hint(given, hint, &used, &fuzz_allocator)) && used <= CHM_HINT_BYTES);
  free(hint);
}

/* What the grammar takes, in an order that the input decides, and a few tokens that it then allows. */
static void follow(const chm_text *given, uint64_t random) {
  uint32_t mask[16];
  size_t words = chm_grammar_mask_words(grammar);
  FUZZ_CHECK(words <= 16);
  bool taken = false;
  for (uint32_t i = 0, first = fuzz_next(&random, CHM_SLOTS); i < CHM_SLOTS; ++i) {
    uint32_t kind = (first + i) % CHM_SLOTS;
    int32_t status = fuzz_status(chm_grammar_set_words(grammar, (int32_t)kind, given[kind].text, given[kind].bytes));
    taken |= !status && !kind;
    FUZZ_CHECK(status || !chm_grammar_set_words(grammar, (int32_t)kind, given[kind].text, given[kind].bytes));
  }
  for (uint32_t i = 0; taken && i < 12 && !chm_grammar_complete(grammar); ++i) {
    if (fuzz_status(chm_grammar_mask(grammar, -1, mask, words))) break;
    uint32_t token = fuzz_next(&random, 288), tries = 0;
    for (; tries < 288 && !(mask[token >> 5] >> (token & 31) & 1); ++tries) token = (token + 1) % 288;
    if (tries == 288 || fuzz_status(chm_grammar_accept(grammar, (int32_t)token))) break;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prepare();
  chm_text given[CHM_SLOTS] = {{0}};
  uint64_t random = fuzz_hash(data, size);
  uint8_t *copies[CHM_SLOTS] = {0};
  bool checked = true; /* lists are checked before names are looked for in them */
  uint32_t kind = 0;
  for (size_t at = 0; kind < CHM_SLOTS && at <= size; ++kind) {
    size_t end = at;
    while (end < size && data[end]) ++end;
    copies[kind] = malloc(end - at + !(end - at)); /* not longer than the text */
    if (end > at) memcpy(copies[kind], data + at, end - at);
    given[kind] = (chm_text){copies[kind], end - at};
    chm_words words = {0};
    if (kind) checked &= !chm_words_of_list(&words, given[kind].text, given[kind].bytes, true, &fuzz_allocator);
    chm_words_close(&words, &fuzz_allocator);
    at = end + 1;
  }
  uint32_t blocks = fuzz_blocks();
  if (checked) hear(given);
  FUZZ_CHECK(fuzz_blocks() == blocks);
  follow(given, random);
  for (uint32_t i = 0; i < CHM_SLOTS; ++i) {
    FUZZ_CHECK(!fuzz_status(chm_grammar_set_words(grammar, (int32_t)i, NULL, 0)));
    free(copies[i]);
  }
  return 0;
}
