/* Masks: stored ones, walks over the trie, and a memory of those that were made.
 *
 * The memory has a fixed size. A mask in it is good for every configuration that agrees with what its walk depended on.
 */
#include "chm_grammar.h"

#define BIT(bits, token) ((bits)[(token) >> 5] |= 1u << ((token) & 31))
#define NO_BIT(bits, token) ((bits)[(token) >> 5] &= ~(1u << ((token) & 31)))

/* ---- making masks ---- */

/* The stored mask of a configuration, or NULL. */
static const uint32_t *stored_entry(const chm_grammar *grammar, const chm_configuration *at) {
  const chm_automaton *a = &grammar->automaton;
  if (!a->first || grammar->cap != a->cap || grammar->has_slots) return NULL;
  uint32_t top = at->depth ? at->frames[at->depth - 1].state : CHM_NO_TOP;
  for (uint32_t i = a->first[at->state]; i < a->first[at->state + 1u]; ++i) {
    const uint32_t *entry = a->entry + 8 * (size_t)i;
    if (entry[0] != top) continue;
    bool usable = (!at->space || (entry[6] >> 8 & CHM_ENTRY_ANY_SPACE)) && at->depth + (entry[6] & 0xFF) <= CHM_FRAMES;
    return usable ? entry : NULL;
  }
  return NULL;
}

/* Returns frames above the start that the stored mask took into account. */
static uint32_t expand(chm_grammar *grammar, const chm_configuration *at, const uint32_t *entry, uint32_t *bits) {
  const chm_vocabulary *v = grammar->vocabulary;
  const chm_tokenizer *tokenizer = v->tokenizer;
  chm_walker *w = &grammar->walker;
  const uint32_t *list = grammar->automaton.data + entry[3], *uncertain = grammar->automaton.data + entry[5];
  size_t size = 4 * (size_t)v->words;
  if (entry[1] == CHM_STORE_BITMAP) {
    memcpy(bits, list, size);
  } else if (entry[1] == CHM_STORE_ACCEPTED) {
    memset(bits, 0, size);
    for (uint32_t i = 0; i < entry[2]; ++i) BIT(bits, list[i]);
  } else {
    memcpy(bits, v->with_bytes, size);
    for (uint32_t i = 0; i < entry[2]; ++i) NO_BIT(bits, list[i]);
    for (uint32_t i = 0; i < entry[4]; ++i) NO_BIT(bits, uncertain[i]);
  }
  if (entry[1] != CHM_STORE_REJECTED) /* a damaged one could name specials */
    for (uint32_t i = 0; i < v->words; ++i) bits[i] &= v->with_bytes[i];
  for (uint32_t i = 0; i < entry[4]; ++i) {
    uint32_t token = uncertain[i];
    const chm_cursor *end = chm_walk_bytes(grammar, tokenizer->bytes + tokenizer->offsets[token], tokenizer->lengths[token]);
    if (!end || end == w->levels) continue; /* the latter: a damaged list names a token without bytes */
    BIT(bits, token);
    chm_walk_note_rise(grammar, end);
  }
  if (at->depth && !w->reach) w->reach = 1;
  w->bottom |= !at->depth;
  w->space |= !(entry[6] >> 8 & CHM_ENTRY_ANY_SPACE);
  if (w->rise < entry[6] >> 16) w->rise = entry[6] >> 16;
  return entry[6] & 0xFF;
}

static uint32_t slice_kind(const chm_grammar *grammar, uint32_t state) {
  return state < grammar->automaton.n_states ? grammar->automaton.state[4 * (size_t)state + 1] >> 8 : 0;
}

/* Whether the slice tokens that are allowed depend on the count. */
static bool slice_counts(const chm_grammar *grammar, uint32_t state) {
  const chm_automaton *a = &grammar->automaton;
  return slice_kind(grammar, state) == 2 && a->loop[4 * (size_t)a->state[4 * (size_t)state + 2] + 1] != CHM_UNLIMITED;
}

/* Set bits to the slice tokens that are allowed in a state that has them. */
static void slice(chm_grammar *grammar, const chm_configuration *at, int64_t limit, uint32_t *bits) {
  const chm_vocabulary *v = grammar->vocabulary;
  const uint16_t *state = grammar->automaton.state + 4 * (size_t)at->state;
  const uint16_t *loop = grammar->automaton.loop + 4 * (size_t)state[2];
  uint32_t room = CHM_UNLIMITED;
  size_t size = 4 * (size_t)v->words;
  if (slice_counts(grammar, at->state)) room = loop[1] > at->count ? (uint32_t)loop[1] - at->count : 0;
  /* where the text must be closed, only a character that was missing brings the end nearer */
  bool nearer = slice_kind(grammar, at->state) == 2 && loop[2] && loop[0] > at->count;
  if (limit != CHM_NO_LIMIT && !nearer && chm_configuration_closing(grammar, at) > limit) room = 0;
  if (!room) {
    memset(bits, 0, size);
    return;
  }
  uint32_t which = room < CHM_SHORT_SLICES ? room : CHM_SHORT_SLICES;
  memcpy(bits, v->slices + (which - 1) * (size_t)v->words, size);
  if (room >= CHM_SHORT_SLICES && room < v->most_chars)
    for (uint32_t i = 0; i < v->n_large; ++i)
      if (v->chars[v->large[i]] > room) NO_BIT(bits, v->large[i]);
}

/* Add the tokens that are allowed, all but those of the slice where the state has one. */
static void walk(chm_grammar *grammar, const chm_configuration *at, int64_t limit, uint32_t *bits) {
  const chm_vocabulary *v = grammar->vocabulary;
  bool sliced = slice_kind(grammar, at->state) != 0;
  chm_walk_trie(grammar, sliced ? v->rest : v->trie, sliced ? v->rest_nodes : v->nodes, limit, bits);
}

/* 0, 1 or 2 for more bits; *single is the bit if there is one. */
static uint32_t amount(const uint32_t *bits, uint32_t words, int32_t *single) {
  *single = -1;
  for (uint32_t i = 0; i < words; ++i) {
    if (!bits[i]) continue;
    if (*single >= 0 || bits[i] & (bits[i] - 1)) {
      *single = -1;
      return 2;
    }
    *single = (int32_t)(32 * i + (uint32_t)__builtin_ctz(bits[i]));
  }
  return *single >= 0;
}

/* ---- the memory ---- */

static uint32_t bucket_of(uint32_t state) { return (state ^ state >> 8) % CHM_MEMO_BUCKETS; }

static bool fits(const chm_memo *memo, const chm_configuration *at) {
  if (memo->state != at->state || at->count < memo->low || at->count > memo->high) return false;
  if (memo->space >= 0 && memo->space != at->space) return false;
  if (memo->bottom ? at->depth != memo->reach : at->depth < memo->reach) return false;
  if (at->depth + memo->peak > CHM_FRAMES) return false;
  for (uint32_t i = 0; i < memo->reach; ++i) {
    const chm_frame *frame = &at->frames[at->depth - 1u - i];
    if (frame->state != memo->frames[i].state || frame->count < memo->frames[i].low ||
        frame->count > memo->frames[i].high)
      return false;
  }
  return true;
}

static uint32_t find(const chm_grammar *grammar, const chm_configuration *at) {
  uint32_t index = grammar->buckets[bucket_of(at->state)];
  while (index && !fits(&grammar->memos[index - 1], at)) index = grammar->memos[index - 1].next;
  return index;
}

static void forget(chm_grammar *grammar, uint32_t index) {
  uint32_t *place = &grammar->buckets[bucket_of(grammar->memos[index - 1].state)];
  while (*place != index) place = &grammar->memos[*place - 1].next;
  *place = grammar->memos[index - 1].next;
}

/* A free slot: one never used, or the next that was not asked for lately. */
static uint32_t free_slot(chm_grammar *grammar) {
  if (grammar->n_used < grammar->n_memos) return ++grammar->n_used;
  for (;;) {
    grammar->hand = (grammar->hand + 1) % grammar->n_memos;
    chm_memo *memo = &grammar->memos[grammar->hand];
    if (!memo->recent) break;
    memo->recent = false;
  }
  if (grammar->memos[grammar->hand].kept) forget(grammar, grammar->hand + 1);
  return grammar->hand + 1;
}

static uint32_t make(chm_grammar *grammar, const chm_configuration *at) {
  const chm_vocabulary *v = grammar->vocabulary;
  chm_walker *w = &grammar->walker;
  uint32_t index = free_slot(grammar);
  chm_memo *memo = &grammar->memos[index - 1];
  uint32_t *bits = grammar->bits + (index - 1) * (size_t)v->words;
  chm_walk_start(grammar, at);
  const uint32_t *entry = stored_entry(grammar, at);
  bool sliced = !entry && slice_kind(grammar, at->state), partial = sliced && slice_counts(grammar, at->state);
  uint32_t peak = 0;
  if (entry) {
    peak = expand(grammar, at, entry, bits);
  } else {
    if (sliced && !partial) slice(grammar, at, CHM_NO_LIMIT, bits);
    else memset(bits, 0, 4 * (size_t)v->words);
    walk(grammar, at, CHM_NO_LIMIT, bits);
  }
  uint32_t walked = w->highest - w->base + grammar->automaton.max_room;
  if (walked > peak) peak = walked;
  *memo = (chm_memo){.state = at->state,
                     .low = (uint16_t)w->low[0],
                     .high = (uint16_t)w->high[0],
                     .space = w->space ? (int16_t)at->space : -1,
                     .reach = (uint8_t)w->reach,
                     .peak = (uint8_t)(peak < 255 ? peak : 255),
                     .bottom = w->bottom,
                     .kept = !w->unique && at->depth + peak <= CHM_FRAMES && w->reach <= 16,
                     .recent = true,
                     .partial = partial,
                     .rise = w->rise};
  memo->amount = (uint8_t)amount(bits, v->words, &memo->single);
  if (!memo->kept) return index;
  for (uint32_t i = 0; i < w->reach; ++i) {
    memo->frames[i].state = at->frames[at->depth - 1u - i].state;
    memo->frames[i].low = (uint16_t)w->low[i + 1];
    memo->frames[i].high = (uint16_t)w->high[i + 1];
  }
  uint32_t *bucket = &grammar->buckets[bucket_of(at->state)];
  memo->next = *bucket;
  *bucket = index;
  return index;
}

chm_allowed chm_grammar_allowed(chm_grammar *grammar, const chm_configuration *at, int64_t left) {
  const chm_vocabulary *v = grammar->vocabulary;
  const chm_tokenizer *tokenizer = v->tokenizer;
  uint32_t index = find(grammar, at);
  if (!index) index = make(grammar, at);
  chm_memo *memo = &grammar->memos[index - 1];
  memo->recent = true;
  uint32_t *bits = grammar->bits + (index - 1) * (size_t)v->words;
  chm_allowed allowed = {bits, memo->amount, memo->single};
  int64_t closing = left < 0 ? 0 : chm_configuration_closing(grammar, at);
  if (left >= 0 && closing + memo->rise > left - 1) {
    bits = grammar->bits + grammar->n_memos * (size_t)v->words;
    int64_t limit = left > closing ? left - 1 : closing - 1;
    if (slice_kind(grammar, at->state)) slice(grammar, at, limit, bits);
    else memset(bits, 0, 4 * (size_t)v->words);
    chm_walk_start(grammar, at);
    walk(grammar, at, limit, bits);
    allowed.bits = bits;
    allowed.amount = amount(bits, v->words, &allowed.single);
  } else if (memo->partial) {
    uint32_t *whole = grammar->bits + grammar->n_memos * (size_t)v->words;
    slice(grammar, at, CHM_NO_LIMIT, whole);
    for (uint32_t i = 0; i < v->words; ++i) whole[i] |= bits[i];
    allowed.bits = bits = whole;
    allowed.amount = amount(bits, v->words, &allowed.single);
  }
  bool complete = chm_configuration_complete(grammar, at);
  for (uint32_t i = 0; i < tokenizer->n_specials; ++i) {
    if (tokenizer->specials[i].role != 1) continue;
    uint32_t token = (uint32_t)tokenizer->specials[i].id;
    if (!complete) {
      NO_BIT(bits, token);
      continue;
    }
    BIT(bits, token);
    allowed.single = allowed.amount ? -1 : (int32_t)token;
    allowed.amount = allowed.amount ? 2 : 1;
  }
  return allowed;
}
