/* Steps of grammars over bytes: one token, or a whole trie of them.
 *
 * A walk also finds out what of the configuration it started from mattered: how many frames it read, and for each count
 * the range in which every comparison comes out the same. A mask made by a walk holds wherever these agree.
 */
#include "chm_grammar.h"

static inline uint32_t close_of(const chm_automaton *a, uint32_t state) { return a->state[4 * state]; }
static inline uint32_t room_of(const chm_automaton *a, uint32_t state) { return a->state[4 * state + 1] & 0xFF; }

/* Bytes for the items that are still missing. */
static inline uint32_t extra_of(const chm_automaton *a, uint32_t state, uint32_t count) {
  const uint16_t *loop = a->loop + 4u * a->state[4 * state + 2];
  return loop[0] > count ? (uint32_t)loop[2] * (loop[0] - count) : 0;
}

CHM_COLD_BEGIN

const chm_words *chm_words_of_state(const chm_grammar *grammar, uint32_t state, uint32_t *entry) {
  if (state < grammar->automaton.n_states) return NULL;
  for (uint32_t kind = 0; kind < CHM_SLOTS; ++kind) {
    const chm_words *words = &grammar->slots[kind];
    if (state < words->first || state - words->first >= words->count) continue;
    *entry = state - words->first;
    return words;
  }
  return NULL;
}

/* Bytes to the end of the frame. */
static uint32_t rest_of(const chm_grammar *grammar, uint32_t state, uint32_t count) {
  uint32_t entry;
  const chm_words *words = grammar->has_slots ? chm_words_of_state(grammar, state, &entry) : NULL;
  if (words) return chm_words_closing(words, entry, count);
  return close_of(&grammar->automaton, state) + extra_of(&grammar->automaton, state, count);
}

CHM_COLD_END

/* The same for a count that may be any, if it comes from before the walk. */
static inline uint32_t extra_bound(const chm_automaton *a, uint32_t state, uint32_t count, uint32_t origin) {
  return extra_of(a, state, origin == CHM_NO_ORIGIN ? count : 0);
}

/* Counts of this origin outside of the range would have come out differently. */
static void bound(chm_walker *w, uint32_t origin, uint32_t least, uint32_t most) {
  if (least > w->low[origin]) w->low[origin] = least;
  if (most < w->high[origin]) w->high[origin] = most;
}

void chm_walk_start(chm_grammar *grammar, const chm_configuration *from) {
  const chm_automaton *a = &grammar->automaton;
  chm_walker *w = &grammar->walker;
  w->base = from->depth;
  w->links[0] = (chm_link){.origin = CHM_NO_ORIGIN};
  for (uint32_t i = 0; i < from->depth; ++i) {
    const chm_frame *frame = &from->frames[i];
    uint32_t origin = from->depth - i, close = close_of(a, frame->state);
    w->count[origin] = frame->count;
    w->links[i + 1] = (chm_link){.parent = i,
                                 .below = w->links[i].below + close + extra_of(a, frame->state, frame->count),
                                 .upper = w->links[i].upper + close,
                                 .state = frame->state,
                                 .count = frame->count,
                                 .origin = origin};
  }
  w->count[0] = from->count;
  for (uint32_t i = 0; i <= from->depth; ++i) {
    w->low[i] = 0;
    w->high[i] = CHM_UNLIMITED;
  }
  w->levels[0] = (chm_cursor){.state = from->state,
                              .count = from->count,
                              .space = from->space,
                              .depth = from->depth,
                              .top = from->depth,
                              .used = from->depth + 1u};
  w->reach = 0;
  w->highest = from->depth;
  w->rise = 0;
  w->calm = (int64_t)(from->state < a->n_states ? close_of(a, from->state) : rest_of(grammar, from->state, from->count)) +
            w->links[from->depth].upper;
  w->bottom = w->space = w->unique = false;
}

/* Whether count >= least, which is remembered. */
static bool at_least(chm_walker *w, const chm_cursor *at, uint32_t least) {
  bool enough = at->count >= least;
  if (at->origin != CHM_NO_ORIGIN) {
    uint32_t grown = at->count - w->count[at->origin];
    if (least > grown) {
      if (enough) bound(w, at->origin, least - grown, CHM_UNLIMITED);
      else bound(w, at->origin, 0, least - grown - 1);
    }
  }
  return enough;
}

static bool count_one(chm_walker *w, chm_cursor *at, uint32_t most) {
  if (most != CHM_UNLIMITED) {
    if (at_least(w, at, most)) return false;
  } else if (at->origin != CHM_NO_ORIGIN) { /* nor is it counted beyond the largest number */
    if (at->count == CHM_UNLIMITED) w->unique = true;
    else bound(w, at->origin, 0, CHM_UNLIMITED - 1 - (at->count - w->count[at->origin]));
  }
  if (at->count < CHM_UNLIMITED) ++at->count;
  return true;
}

static bool pop(chm_walker *w, chm_cursor *at) {
  if (!at->top) {
    w->bottom = true;
    return false;
  }
  const chm_link *link = &w->links[at->top];
  if (at->top <= w->base && w->base - at->top >= w->reach) w->reach = w->base - at->top + 1;
  at->state = link->state;
  at->count = link->count;
  at->origin = (uint8_t)link->origin;
  at->top = link->parent;
  --at->depth;
  return true;
}

static bool push(const chm_automaton *a, chm_walker *w, chm_cursor *at, uint32_t state) {
  if (at->depth == CHM_FRAMES || at->depth + room_of(a, state) > CHM_FRAMES) {
    w->unique = true;
    return false;
  }
  const chm_link *parent = &w->links[at->top];
  uint32_t close = close_of(a, state);
  w->links[at->used] = (chm_link){.parent = at->top,
                                  .below = parent->below + close + extra_of(a, state, at->count),
                                  .upper = parent->upper + close + extra_bound(a, state, at->count, at->origin),
                                  .state = (uint16_t)state,
                                  .count = at->count,
                                  .origin = at->origin};
  at->top = at->used++;
  at->origin = CHM_NO_ORIGIN;
  at->count = 0;
  if (++at->depth > w->highest) w->highest = at->depth;
  return true;
}

/* A step whose cell is not a plain shift. */
static bool step_slowly(chm_grammar *grammar, const chm_cursor *from, uint32_t class, bool first, chm_cursor *to) {
  const chm_automaton *a = &grammar->automaton;
  chm_walker *w = &grammar->walker;
  chm_cursor at = *from;
  uint32_t cell = a->delta[at.state * a->n_classes + class];
  while (cell != CHM_CELL_REJECT && (cell & 0xFFFF) == CHM_CELL_RETURN) {
    for (const uint32_t *op = a->op + (cell >> 16); *op & 0xFF; ++op)
      if (!at_least(w, &at, *op >> 16)) return false;
    if (!pop(w, &at)) return false;
    cell = a->delta[at.state * a->n_classes + class];
  }
  if (cell == CHM_CELL_REJECT) return false;
  at.state = (uint16_t)cell;
  at.space = 0;
  for (const uint32_t *op = a->op + (cell >> 16); *op & 0xFF; ++op) {
    uint32_t argument = *op >> 16;
    switch (*op & 0xFF) {
      case CHM_OP_CHECK:
        if (!at_least(w, &at, argument)) return false;
        break;
      case CHM_OP_COUNT:
        if (!count_one(w, &at, argument)) return false;
        break;
      case CHM_OP_LIMIT: /* no more than the argument, which is never the largest number in a good table */
        if (at_least(w, &at, argument + 1)) return false;
        break;
      case CHM_OP_PUSH:
        if (!push(a, w, &at, argument)) return false;
        break;
      case CHM_OP_POP:
        if (!pop(w, &at)) return false;
        break;
      default: /* space */
        w->space |= first;
        if (from->space >= grammar->cap) return false;
        at.space = (uint8_t)(from->space + 1);
    }
  }
  if (at.depth + room_of(a, at.state) > CHM_FRAMES) {
    w->unique = true;
    return false;
  }
  *to = at;
  return true;
}

/* A step through the tables from one of their states. */
static inline bool table_step(chm_grammar *grammar, const chm_cursor *from, uint32_t byte, bool first, chm_cursor *to) {
  const chm_automaton *a = &grammar->automaton;
  uint32_t class = a->classes[byte], cell = a->delta[from->state * a->n_classes + class];
  if (cell < CHM_CELL_RETURN && from->depth + a->max_room <= CHM_FRAMES) {
    *to = *from;
    to->state = (uint16_t)cell;
    to->space = 0;
    return true;
  }
  return cell != CHM_CELL_REJECT && step_slowly(grammar, from, class, first, to);
}

/* What a kind of slot may be. */
static const chm_words *words_of_kind(const chm_grammar *grammar, uint32_t kind) {
  return &grammar->slots[grammar->slots[kind].given ? kind : 0];
}

/* The byte begins what may stand in a slot that comes next. A slot without words is empty. */
static bool enter_slot(chm_grammar *grammar, const chm_cursor *from, uint32_t byte, bool first, chm_cursor *to) {
  const chm_automaton *a = &grammar->automaton;
  for (uint32_t kind = 0; kind < CHM_SLOTS; ++kind) {
    if (!(a->flags & CHM_GRAMMAR_SLOT << kind)) continue;
    chm_cursor at;
    if (!step_slowly(grammar, from, a->classes[CHM_SLOT_MARK(kind)], first, &at)) continue;
    grammar->walker.unique = true;
    const chm_words *words = words_of_kind(grammar, kind);
    if (!words->count) return table_step(grammar, &at, byte, first, to);
    uint32_t entry = chm_words_step(words, 0, 0, (uint8_t)byte);
    if (entry == UINT32_MAX || !push(a, &grammar->walker, &at, at.state)) continue;
    at.state = (uint16_t)(words->first + entry);
    at.count = 1;
    *to = at;
    return true;
  }
  return false;
}

/* A step of a grammar with slots: what follows a slot comes before more words. */
static bool step_with_slots(chm_grammar *grammar, const chm_cursor *from, uint32_t byte, bool first, chm_cursor *to) {
  uint32_t entry;
  if (byte >= CHM_LOWEST_MARK) return false;
  const chm_words *words = chm_words_of_state(grammar, from->state, &entry);
  if (!words) return table_step(grammar, from, byte, first, to) || enter_slot(grammar, from, byte, first, to);
  grammar->walker.unique = true;
  if (!chm_words_closing(words, entry, from->count)) {
    chm_cursor after = *from;
    if (!pop(&grammar->walker, &after)) return false;
    if (table_step(grammar, &after, byte, first, to) || enter_slot(grammar, &after, byte, first, to)) return true;
  }
  uint32_t next = chm_words_step(words, entry, from->count, (uint8_t)byte);
  if (next == UINT32_MAX) return false;
  *to = *from;
  to->state = (uint16_t)(words->first + next);
  ++to->count;
  to->space = 0;
  return true;
}

static inline bool step(chm_grammar *grammar, const chm_cursor *from, uint32_t byte, bool first, chm_cursor *to) {
  return grammar->has_slots ? step_with_slots(grammar, from, byte, first, to) : table_step(grammar, from, byte, first, to);
}

int64_t chm_walk_closing(const chm_grammar *grammar, const chm_cursor *at) {
  return (int64_t)rest_of(grammar, at->state, at->count) + grammar->walker.links[at->top].below;
}

void chm_walk_note_rise(chm_grammar *grammar, const chm_cursor *at) {
  const chm_automaton *a = &grammar->automaton;
  chm_walker *w = &grammar->walker;
  int64_t rest = at->state < a->n_states ? (int64_t)close_of(a, at->state) + extra_bound(a, at->state, at->count, at->origin)
                                         : (int64_t)rest_of(grammar, at->state, at->count);
  int64_t closing = rest + w->links[at->top].upper;
  if (closing - w->calm > w->rise) w->rise = closing - w->calm;
}

const chm_cursor *chm_walk_bytes(chm_grammar *grammar, const uint8_t *data, uint32_t bytes) {
  chm_cursor *levels = grammar->walker.levels;
  for (uint32_t i = 0; i < bytes; ++i)
    if (!step(grammar, &levels[i], data[i], i == 0, &levels[i + 1])) return NULL;
  return &levels[bytes];
}

/* The next node after one that cannot be reached is the one behind its subtree. */
void chm_walk_trie(chm_grammar *grammar, const uint32_t *nodes, uint32_t count, int64_t limit, uint32_t *bits) {
  chm_cursor *levels = grammar->walker.levels;
  uint32_t noted_state = UINT32_MAX, noted_top = 0;
  for (uint32_t i = 1; i < count;) {
    uint32_t node = nodes[2 * i], place = nodes[2 * i + 1], depth = place >> 24;
    chm_cursor *at = &levels[depth];
    if (!step(grammar, at - 1, node >> 24, depth == 1, at)) {
      i += place & 0xFFFFFF;
      continue;
    }
    ++i;
    uint32_t token = node & 0xFFFFFF;
    if (!token--) continue;
    if (limit == CHM_NO_LIMIT) {
      if (at->state != noted_state || at->top != noted_top || at->origin == CHM_NO_ORIGIN) chm_walk_note_rise(grammar, at);
      noted_state = at->state;
      noted_top = at->top;
    } else if (chm_walk_closing(grammar, at) > limit) {
      continue;
    }
    bits[token >> 5] |= 1u << (token & 31);
  }
}

CHM_COLD_BEGIN

void chm_walk_store(chm_grammar *grammar, const chm_cursor *at, chm_configuration *to) {
  memset(to, 0, sizeof *to);
  to->state = at->state;
  to->count = at->count;
  to->space = at->space;
  to->depth = at->depth;
  chm_walker *w = &grammar->walker;
  uint32_t link = at->top;
  w->kept = 0;
  for (uint32_t i = at->depth; i-- > 0; link = w->links[link].parent) {
    const chm_link *it = &w->links[link];
    if (link <= w->base && link > w->kept) w->kept = link;
    to->frames[i].state = it->state;
    to->frames[i].count = it->count;
    to->frames[i].kind = (uint8_t)grammar->automaton.state[4u * it->state + 3];
  }
}

/* ---- configurations ---- */

void chm_configuration_start(const chm_grammar *grammar, chm_configuration *to) {
  memset(to, 0, sizeof *to);
  to->state = (uint16_t)grammar->automaton.start;
}

bool chm_configuration_valid(const chm_grammar *grammar, const chm_configuration *it) {
  uint32_t states = grammar->automaton.n_states, entry;
  const chm_words *words = chm_words_of_state(grammar, it->state, &entry);
  if ((it->state >= states && !words) || it->depth > CHM_FRAMES || it->finished > 1) return false;
  if (words && (!it->depth || !it->count || it->count > words->stop[entry] - words->begin[entry])) return false;
  for (uint32_t i = 0; i < it->depth; ++i)
    if (it->frames[i].state >= states) return false;
  return true;
}

bool chm_configuration_complete(const chm_grammar *grammar, const chm_configuration *it) {
  const chm_automaton *a = &grammar->automaton;
  uint32_t state = it->state, count = it->count, depth = it->depth, entry;
  const chm_words *words = chm_words_of_state(grammar, state, &entry);
  if (words) {
    if (chm_words_closing(words, entry, count)) return false;
    state = it->frames[--depth].state;
    count = it->frames[depth].count;
  }
  for (;; --depth) {
    uint32_t cell = a->delta[state * a->n_classes + a->n_classes - 1];
    if (cell == CHM_CELL_REJECT) return false;
    for (const uint32_t *op = a->op + (cell >> 16); *op & 0xFF; ++op)
      if (count < *op >> 16) return false;
    if (!depth) return true;
    state = it->frames[depth - 1].state;
    count = it->frames[depth - 1].count;
  }
}

int64_t chm_configuration_closing(const chm_grammar *grammar, const chm_configuration *it) {
  const chm_automaton *a = &grammar->automaton;
  int64_t sum = (int64_t)rest_of(grammar, it->state, it->count);
  for (uint32_t i = 0; i < it->depth; ++i) {
    const chm_frame *frame = &it->frames[i];
    sum += (int64_t)close_of(a, frame->state) + extra_of(a, frame->state, frame->count);
  }
  return sum;
}

static bool is_end_token(const chm_tokenizer *tokenizer, int32_t token) {
  for (uint32_t i = 0; i < tokenizer->n_specials; ++i)
    if (tokenizer->specials[i].id == token) return tokenizer->specials[i].role == 1;
  return false;
}

bool chm_configuration_accept(chm_grammar *grammar, chm_configuration *it, int32_t token) {
  const chm_tokenizer *tokenizer = grammar->vocabulary->tokenizer;
  if (it->finished || token < 0 || (uint32_t)token >= tokenizer->count) return false;
  uint32_t bytes = tokenizer->lengths[token];
  if (!bytes) {
    if (!is_end_token(tokenizer, token) || !chm_configuration_complete(grammar, it)) return false;
    it->finished = 1;
    grammar->walker.kept = it->depth;
    return true;
  }
  chm_walk_start(grammar, it);
  const chm_cursor *at = chm_walk_bytes(grammar, tokenizer->bytes + tokenizer->offsets[token], bytes);
  if (at) chm_walk_store(grammar, at, it);
  return at != NULL;
}

CHM_COLD_END
