/* The interface of grammars: one with its place in a text, and the memory it works in. */
#include "chm_grammar.h"

CHM_COLD_BEGIN

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

/* Number the states that stand for entries, and find what the grammar is now. */
static int32_t place_slots(chm_grammar *grammar) {
  uint64_t next = grammar->automaton.n_states, parts[1 + CHM_SLOTS] = {grammar->tables};
  for (uint32_t kind = 0; kind < CHM_SLOTS; ++kind) {
    chm_words *words = &grammar->slots[kind];
    words->first = (uint32_t)next;
    next += words->count;
    parts[1 + kind] = words->given ? words->hash : 0;
  }
  grammar->identity = chm_hash_words((const uint8_t *)parts, sizeof parts) | 1;
  return next <= UINT16_MAX ? CHM_OK : chm_fail(CHM_ERROR_ARGUMENT, "the grammar, the request and the lists are too large together");
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
  grammar->identity = grammar->tables = identity | 1; /* 0 is no grammar */
  grammar->has_slots = automaton.flags / CHM_GRAMMAR_SLOT & ((1u << CHM_SLOTS) - 1);
  grammar->cap = automaton.cap;
  grammar->memos = (chm_memo *)(void *)(block + memo_start);
  grammar->n_memos = (uint32_t)memos;
  grammar->walker.links = (chm_link *)(void *)(block + link_start);
  grammar->bits = (uint32_t *)(void *)(block + bits_start);
  if (grammar->has_slots) (void)place_slots(grammar); /* there are no words yet */
  chm_configuration_start(grammar, &grammar->now);
  __atomic_fetch_add(&pack->uses, 1, __ATOMIC_ACQ_REL);
  *grammar_out = grammar;
  return CHM_OK;
}

static void close_all(chm_words *words, const chm_allocator *allocator) {
  for (uint32_t kind = 0; kind < CHM_SLOTS; ++kind) chm_words_close(&words[kind], allocator);
}

static void release_text(const chm_grammar *grammar, chm_text text) {
  if (text.text) chm_release(&grammar->allocator, (void *)(uintptr_t)text.text, (uint64_t)text.bytes + 1);
}

int32_t chm_grammar_close(chm_grammar *grammar) {
  int32_t status = grammar ? enter(grammar) : CHM_OK;
  if (status || !grammar) return status;
  chm_allocator allocator = grammar->allocator;
  __atomic_fetch_sub(&grammar->pack->uses, 1, __ATOMIC_ACQ_REL);
  for (uint32_t kind = 0; kind < CHM_SLOTS; ++kind) release_text(grammar, grammar->given[kind]);
  close_all(grammar->slots, &allocator);
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

/* ---- slots ---- */

/* The text as the tokenizer has it, in memory of its own. */
static int32_t changed_text(const chm_grammar *grammar, const uint8_t *text, size_t bytes, uint8_t **copy, uint64_t *size,
                            size_t *used) {
  uint32_t rules = grammar->vocabulary->tokenizer->rules & CHM_BUILT_RULES;
  *size = 4 * (uint64_t)bytes + 1;
  *copy = chm_allocate(&grammar->allocator, *size);
  if (!*copy) return CHM_ERROR_MEMORY;
  uint8_t *tidy = *copy + 3 * bytes;
  *used = bytes;
  if (rules & CHM_RULE_TIDY) *used = chm_tidy(text, bytes, tidy);
  else memcpy(tidy, text, bytes);
  if (rules & CHM_RULE_NFC) return chm_normalize(tidy, *used, &grammar->allocator, *copy, used);
  memmove(*copy, tidy, *used);
  return CHM_OK;
}

static int32_t make_words(const chm_grammar *grammar, uint32_t kind, chm_text text, chm_words *made) {
  bool json = grammar->automaton.flags & CHM_GRAMMAR_JSON_SLOTS;
  int32_t status = kind ? chm_words_of_list(made, text.text, text.bytes, json, &grammar->allocator)
                        : chm_words_of_request(made, text.text, text.bytes, json, &grammar->allocator);
  if (status) return status;
  made->given = true;
  made->hash = chm_hash_words(made->text, made->bytes);
  return CHM_OK;
}

/* What slots may be after the request and the lists; where the request says names of a list, these. */
static int32_t make_all(const chm_grammar *grammar, chm_words *made) {
  uint64_t room = 0;
  for (uint32_t kind = 1; kind < CHM_SLOTS; ++kind) room += grammar->given[kind].bytes + 1;
  uint8_t *to = chm_allocate(&grammar->allocator, room);
  if (!to) return CHM_ERROR_MEMORY;
  chm_text heard[CHM_SLOTS];
  int32_t status = chm_heard(grammar->given, heard, to, &grammar->allocator);
  for (uint32_t kind = 0; kind < CHM_SLOTS && !status; ++kind)
    if (heard[kind].text) status = make_words(grammar, kind, heard[kind], &made[kind]);
  if (status) close_all(made, &grammar->allocator);
  chm_release(&grammar->allocator, to, room);
  return status;
}

/* A text in memory of the grammar's own, with room for a byte more: a list that is one, or what the tokenizer makes of a request. */
static int32_t keep_text(const chm_grammar *grammar, uint32_t kind, const uint8_t *text, size_t bytes, chm_text *kept) {
  const chm_allocator *allocator = &grammar->allocator;
  uint8_t *changed = NULL;
  uint64_t size = 0;
  size_t used = bytes;
  int32_t status = CHM_OK;
  if (kind) {
    chm_words checked = {0};
    status = make_words(grammar, kind, (chm_text){text, bytes}, &checked);
    chm_words_close(&checked, allocator);
  } else {
    status = changed_text(grammar, text, bytes, &changed, &size, &used);
  }
  uint8_t *copy = status ? NULL : chm_allocate(allocator, (uint64_t)used + 1);
  if (!status && !copy) status = CHM_ERROR_MEMORY;
  if (copy && used) memcpy(copy, changed ? changed : text, used);
  chm_release(allocator, changed, size);
  *kept = (chm_text){copy, used};
  return status;
}

static int32_t set_words(chm_grammar *grammar, int32_t kind, const uint8_t *text, size_t bytes) {
  if (kind < 0 || kind >= (int32_t)CHM_SLOTS)
    return chm_fail(CHM_ERROR_ARGUMENT, "there is no kind %d of slots", (int64_t)kind);
  chm_text before = grammar->given[kind], kept = {NULL, 0};
  if (kind && text && before.text && bytes == before.bytes && !memcmp(text, before.text, bytes)) { /* as it was */
    chm_configuration_start(grammar, &grammar->now);
    return CHM_OK;
  }
  int32_t status = text ? keep_text(grammar, (uint32_t)kind, text, bytes, &kept) : CHM_OK;
  if (status) return status;
  chm_words made[CHM_SLOTS] = {{0}}, last[CHM_SLOTS];
  memcpy(last, grammar->slots, sizeof last);
  grammar->given[kind] = kept;
  status = make_all(grammar, made);
  if (!status) {
    memcpy(grammar->slots, made, sizeof made);
    status = place_slots(grammar);
  }
  if (status) { /* go back */
    memcpy(grammar->slots, last, sizeof last);
    memcpy(last, made, sizeof made);
    grammar->given[kind] = before;
    before = kept;
    (void)place_slots(grammar);
  }
  close_all(last, &grammar->allocator);
  release_text(grammar, before);
  chm_configuration_start(grammar, &grammar->now);
  return status;
}

int32_t chm_grammar_set_words(chm_grammar *grammar, int32_t kind, const uint8_t *text, size_t bytes) {
  if (!text && bytes) return chm_fail(CHM_ERROR_ARGUMENT, "chm_grammar_set_words: the text is NULL");
  int32_t status = enter(grammar);
  if (status) return status;
  return leave(grammar, grammar->has_slots ? set_words(grammar, kind, text, bytes) : CHM_OK);
}

int32_t chm_slots_missing(const chm_grammar *grammar) {
  for (uint32_t kind = 0; kind < CHM_SLOTS; ++kind) {
    if (!(grammar->automaton.flags & CHM_GRAMMAR_SLOT << kind)) continue;
    const chm_words *words = &grammar->slots[grammar->slots[kind].given ? kind : 0];
    if (!words->given) return chm_fail(CHM_ERROR_STATE, "the grammar copies words of the request, and none was given");
    if (!words->count && !(grammar->automaton.flags & CHM_GRAMMAR_JSON_SLOTS))
      return chm_fail(CHM_ERROR_ARGUMENT, "the grammar copies words of the request, and it has none");
  }
  return CHM_OK;
}

int32_t chm_grammar_slots(const chm_grammar *grammar) {
  return grammar ? (int32_t)(grammar->automaton.flags / CHM_GRAMMAR_SLOT & ((1u << CHM_SLOTS) - 1)) : 0;
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

/* only_byte where bytes of a class may differ, in slots. */
static int32_t only_byte_of_all(chm_grammar *grammar, const chm_configuration *at, chm_configuration *to) {
  int32_t found = -1;
  chm_walk_start(grammar, at);
  for (uint32_t value = 0; value < 256; ++value) {
    uint8_t byte = (uint8_t)value;
    const chm_cursor *end = chm_walk_bytes(grammar, &byte, 1);
    if (!end) continue;
    if (found >= 0) return -1;
    found = byte;
    chm_walk_store(grammar, end, to);
  }
  return found;
}

/* The only byte that is allowed, or -1; *to is the configuration after it. */
static int32_t only_byte(chm_grammar *grammar, const chm_configuration *at, const uint8_t *example,
                         const uint32_t *members, chm_configuration *to) {
  int32_t found = -1;
  if (grammar->has_slots) return only_byte_of_all(grammar, at, to);
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

CHM_COLD_END
