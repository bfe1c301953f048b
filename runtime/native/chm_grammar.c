/* The interface of grammars: one with its place in a text, and the memory it works in. */
#include "chm_grammar.h"

static int32_t no_grammar(void) { return chm_fail(CHM_ERROR_ARGUMENT, "the grammar is NULL"); }

/* Begin a call that writes to the grammar; CHM_ERROR_STATE, and nothing done, while another one runs. */
__attribute__((noinline)) static int32_t enter(chm_grammar *grammar) {
  if (!grammar) return no_grammar();
  return chm_take(&grammar->busy) ? CHM_OK : chm_fail(CHM_ERROR_STATE, "the grammar is in another call");
}

__attribute__((noinline)) static int32_t leave(chm_grammar *grammar, int32_t status) {
  chm_give(&grammar->busy);
  return status;
}

/* Index of the grammar of a name; without a name the default one, or the only one. */
static int32_t find_grammar(const chm_pack *pack, const char *name, uint32_t *index) {
  *index = 0;
  int32_t chosen = name ? -1 : pack->count == 1 ? 0 : chm_pack_default(pack);
  for (int32_t i = 0; name && i < (int32_t)pack->count; ++i) {
    const char *a = name, *b = chm_pack_name(pack, i);
    while (*a && *a == *b) ++a, ++b;
    if (*a == *b) chosen = i;
  }
  if (chosen >= 0) {
    *index = (uint32_t)chosen;
    return CHM_OK;
  }
  if (!name) return chm_fail(CHM_ERROR_GRAMMAR, "no grammar is the default");
  size_t bytes = 0;
  while (bytes < 64 && name[bytes]) ++bytes;
  return chm_fail(CHM_ERROR_GRAMMAR, "there is no grammar %q", name, bytes);
}

int32_t chm_grammar_open(chm_pack *pack, const char *name, const chm_allocator *allocator, chm_grammar **grammar_out) {
  if (grammar_out) *grammar_out = NULL;
  if (!pack || !grammar_out) return chm_fail(CHM_ERROR_ARGUMENT, "chm_grammar_open: a pointer is NULL");
  uint32_t index;
  chm_automaton automaton;
  uint64_t identity;
  int32_t status = find_grammar(pack, name, &index);
  if (!status) status = chm_automaton_open(pack, index, &automaton, &identity);
  if (status) return status;

  const chm_vocabulary *v = pack->vocabulary;
  uint64_t bitmap = 4 * (uint64_t)v->words, memos = bitmap ? CHM_MEMO_BYTES / bitmap : 16;
  memos = memos < 16 ? 16 : memos > 256 ? 256 : memos;
  uint64_t links = 1 + CHM_FRAMES * (1 + (uint64_t)v->tokenizer->longest);
  uint64_t memo_start, link_start, bits_start, total;
  if (!chm_align(sizeof(chm_grammar), &memo_start) || !chm_align(memo_start + memos * sizeof(chm_memo), &link_start) ||
      !chm_align(link_start + links * sizeof(chm_link), &bits_start) || !chm_add(bits_start, (memos + 1) * bitmap, &total))
    return chm_fail(CHM_ERROR_MEMORY, "a grammar does not fit the address space");
  if (!allocator) allocator = &pack->allocator;
  uint8_t *block = chm_allocate(allocator, total);
  if (!block) return CHM_ERROR_MEMORY;
  memset(block, 0, (size_t)bits_start); /* bitmaps are written before they are read */
  chm_grammar *grammar = (chm_grammar *)(void *)block;
  grammar->allocator = *allocator;
  grammar->allocated = total;
  grammar->pack = pack;
  grammar->vocabulary = v;
  grammar->automaton = automaton;
  grammar->identity = identity | 1; /* 0 is no grammar */
  grammar->cap = automaton.cap;
  grammar->memos = (chm_memo *)(void *)(block + memo_start);
  grammar->n_memos = (uint32_t)memos;
  grammar->walker.links = (chm_link *)(void *)(block + link_start);
  grammar->bits = (uint32_t *)(void *)(block + bits_start);
  chm_configuration_start(grammar, &grammar->now);
  __atomic_fetch_add(&pack->uses, 1, __ATOMIC_ACQ_REL);
  *grammar_out = grammar;
  return CHM_OK;
}

int32_t chm_grammar_close(chm_grammar *grammar) {
  int32_t status = grammar ? enter(grammar) : CHM_OK;
  if (status || !grammar) return status;
  chm_allocator allocator = grammar->allocator;
  __atomic_fetch_sub(&grammar->pack->uses, 1, __ATOMIC_ACQ_REL);
  chm_release(&allocator, grammar, grammar->allocated);
  return CHM_OK;
}

int32_t chm_grammar_set_whitespace(chm_grammar *grammar, int32_t most) {
  int32_t status = enter(grammar);
  if (status) return status;
  if (most < -1 || most > 255)
    return leave(grammar, chm_fail(CHM_ERROR_ARGUMENT, "a whitespace cap of %d is not in 0..255", (int64_t)most));
  uint32_t cap = most < 0 ? grammar->automaton.cap : (uint32_t)most;
  if (cap == grammar->cap) return leave(grammar, CHM_OK);
  grammar->cap = cap;
  grammar->n_used = grammar->hand = 0; /* masks depend on it */
  memset(grammar->buckets, 0, sizeof grammar->buckets);
  return leave(grammar, CHM_OK);
}

int32_t chm_grammar_start(chm_grammar *grammar) {
  int32_t status = enter(grammar);
  if (status) return status;
  chm_configuration_start(grammar, &grammar->now);
  return leave(grammar, CHM_OK);
}

int32_t chm_grammar_accept(chm_grammar *grammar, int32_t token) {
  int32_t status = enter(grammar);
  if (status) return status;
  if (!chm_configuration_accept(grammar, &grammar->now, token))
    status = chm_fail(CHM_ERROR_GRAMMAR_TOKEN, "the grammar does not allow token %d here", (int64_t)token);
  else
    status = grammar->now.finished ? CHM_FINISHED : CHM_OK;
  return leave(grammar, status);
}

size_t chm_grammar_mask_words(const chm_grammar *grammar) { return grammar ? grammar->vocabulary->words : 0; }

int32_t chm_grammar_mask(chm_grammar *grammar, int32_t left, uint32_t *mask, size_t words) {
  if (!grammar) return no_grammar();
  if (!mask || words != grammar->vocabulary->words)
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_grammar_mask: NULL, or not %u words", (uint64_t)grammar->vocabulary->words);
  int32_t status = enter(grammar);
  if (status) return status;
  if (grammar->now.finished) memset(mask, 0, 4 * words);
  else memcpy(mask, chm_grammar_allowed(grammar, &grammar->now, left).bits, 4 * words);
  return leave(grammar, grammar->now.finished ? CHM_FINISHED : CHM_OK);
}

int32_t chm_grammar_complete(const chm_grammar *grammar) {
  return grammar && chm_configuration_complete(grammar, &grammar->now);
}

int32_t chm_grammar_closing(const chm_grammar *grammar) {
  if (!grammar) return 0;
  int64_t bytes = chm_configuration_closing(grammar, &grammar->now);
  return bytes < INT32_MAX ? (int32_t)bytes : INT32_MAX;
}

/* The only byte that is allowed, or -1; *to is the configuration after it. */
static int32_t only_byte(chm_grammar *grammar, const chm_configuration *at, const uint8_t *example,
                         const uint32_t *members, chm_configuration *to) {
  int32_t found = -1;
  chm_walk_start(grammar, at);
  for (uint32_t class = 0; class + 1 < grammar->automaton.n_classes; ++class) {
    const chm_cursor *end = members[class] ? chm_walk_bytes(grammar, &example[class], 1) : NULL;
    if (!end) continue;
    if (found >= 0 || members[class] > 1) return -1;
    found = example[class];
    chm_walk_store(grammar, end, to);
  }
  return found;
}

int32_t chm_grammar_forced(chm_grammar *grammar, uint8_t *text, size_t capacity, size_t *bytes) {
  if (!grammar) return no_grammar();
  if (!bytes || (!text && capacity)) return chm_fail(CHM_ERROR_ARGUMENT, "chm_grammar_forced: a pointer is NULL");
  int32_t status = enter(grammar);
  if (status) return status;
  uint8_t example[256]; /* a byte of each class */
  uint32_t members[256] = {0};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t class = grammar->automaton.classes[byte];
    example[class] = (uint8_t)byte;
    ++members[class];
  }
  chm_configuration at = grammar->now, after;
  *bytes = 0;
  while (*bytes < capacity && *bytes < CHM_MAX_FORCED_BYTES && !at.finished && !chm_configuration_complete(grammar, &at)) {
    int32_t byte = only_byte(grammar, &at, example, members, &after);
    if (byte < 0) break;
    text[(*bytes)++] = (uint8_t)byte;
    at = after;
  }
  return leave(grammar, CHM_OK);
}

size_t chm_grammar_state_bytes(void) { return sizeof(chm_configuration); }

int32_t chm_grammar_save(const chm_grammar *grammar, void *state, size_t bytes) {
  if (!grammar) return no_grammar();
  if (!state || bytes != sizeof(chm_configuration))
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_grammar_save: NULL, or not chm_grammar_state_bytes() bytes");
  memcpy(state, &grammar->now, bytes);
  return CHM_OK;
}

int32_t chm_grammar_restore(chm_grammar *grammar, const void *state, size_t bytes) {
  if (!grammar) return no_grammar();
  if (!state || bytes != sizeof(chm_configuration))
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_grammar_restore: NULL, or not chm_grammar_state_bytes() bytes");
  chm_configuration found;
  memcpy(&found, state, bytes);
  int32_t status = enter(grammar);
  if (status) return status;
  if (!chm_configuration_valid(grammar, &found)) status = chm_fail(CHM_ERROR_ARGUMENT, "the state is of another grammar");
  else grammar->now = found;
  return leave(grammar, status);
}
