/* Guesses of the tokens that follow: what followed the same tokens before, what the model's draft head and a bank say, what the
 * grammar leaves, what the caller says. */
#include "chm_spans.h"

#define MOST_SUFFIX 5 /* tokens that a place in the past has in common with the end of the text, */
#define LEAST_SUFFIX 2
#define SURE_SUFFIX 4 /* and that says more than a bank of spans */
#define WIDTH 4       /* different guesses of the token after the text */
#define MOST_TRIED 16 /* spans of a bank */
#define MOST_OF_HEAD 4 /* tokens that the draft head guesses */

/* ---- trees ---- */

static int32_t size_below(const chm_tree *tree, int32_t node) {
  bool below[CHM_MOST_NODES] = {false};
  int32_t size = 1;
  below[node] = true;
  for (int32_t i = node + 1; i < tree->n; ++i)
    if (below[tree->parents[i]]) below[i] = true, ++size;
  return size;
}

/* The children of a node, in their order; their number. */
static int32_t children_of(const chm_tree *tree, int32_t node, int32_t *children) {
  int32_t n = 0;
  for (int32_t i = node + 1; i < tree->n; ++i)
    if (tree->parents[i] == node) children[n++] = i;
  return n;
}

void chm_tree_sort(chm_tree *tree) {
  int32_t order[CHM_MOST_NODES], place[CHM_MOST_NODES], open[CHM_MOST_NODES], n_open = 1, n = 0;
  open[0] = 0;
  while (n_open) { /* the last that was opened comes next: the largest subtree is opened first */
    int32_t node = open[--n_open], first = n_open;
    place[node] = n;
    order[n++] = node;
    n_open += children_of(tree, node, open + n_open);
    for (int32_t i = first + 1; i < n_open; ++i) /* insertion: stable, so that equal trees have equal orders */
      for (int32_t k = i; k > first && size_below(tree, open[k]) > size_below(tree, open[k - 1]); --k) {
        int32_t other = open[k];
        open[k] = open[k - 1];
        open[k - 1] = other;
      }
  }
  chm_tree sorted = *tree;
  for (int32_t i = 0; i < n; ++i) {
    sorted.tokens[i] = tree->tokens[order[i]];
    sorted.guessers[i] = tree->guessers[order[i]];
    sorted.later[i] = tree->later[order[i]];
    sorted.parents[i] = i ? place[tree->parents[order[i]]] : -1;
  }
  *tree = sorted;
}

int32_t chm_tree_paths(const chm_tree *tree, chm_path *paths) {
  int32_t children[CHM_MOST_NODES], slots[CHM_MOST_NODES], depths[CHM_MOST_NODES], n = 0;
  for (int32_t node = 0; node < tree->n; ++node) {
    int32_t above = tree->parents[node], count = above < 0 ? 0 : children_of(tree, above, children);
    depths[node] = above < 0 ? 0 : depths[above] + 1;
    if (count == 1) {
      slots[node] = slots[above];
      ++paths[n - 1].count;
      continue;
    }
    bool last = count && children[count - 1] == node;
    slots[node] = above < 0 ? 0 : slots[above] + !last; /* the last child goes on where its parent was */
    paths[n++] = (chm_path){.begin = node, .count = 1, .depth = depths[node],
                            .source = above < 0 ? -1 : slots[above], .slot = slots[node]};
  }
  return n;
}

/* ---- adding guesses ---- */

typedef struct chm_guesses {
  chm_session *session;
  chm_tree *tree;
  int32_t most, levels; /* nodes and levels that the tree may have */
  int32_t end;          /* the last node that was chosen */
} chm_guesses;

static int32_t depth_of(const chm_tree *tree, int32_t node) {
  int32_t depth = 0;
  while ((node = tree->parents[node]) >= 0) ++depth;
  return depth;
}

/* The child of a node with a token, added if need be; -1 if it cannot be. */
static int32_t add(chm_guesses *guesses, int32_t above, int32_t token, uint8_t guesser) {
  chm_tree *tree = guesses->tree;
  int32_t children[CHM_MOST_NODES], n = children_of(tree, above, children);
  for (int32_t i = 0; i < n; ++i)
    if (tree->tokens[children[i]] == token) return children[i];
  if (tree->n >= guesses->most || n >= WIDTH || depth_of(tree, above) + 1 >= guesses->levels || token < 0 ||
      token >= chm_model.vocab)
    return -1;
  tree->tokens[tree->n] = token;
  tree->parents[tree->n] = above;
  tree->guessers[tree->n] = guesser;
  tree->later[tree->n] = n > 0;
  return tree->n++;
}

/* Guess tokens one after the other, as far as the grammar allows them; false where it allows none. */
static bool add_chain(chm_guesses *guesses, const int32_t *tokens, uint32_t count, uint8_t guesser) {
  chm_grammar *grammar = guesses->session->grammar;
  chm_configuration place = guesses->session->sequence.place;
  int32_t node = guesses->end;
  for (uint32_t i = 0; i < count && node >= 0; ++i) {
    if (grammar && !chm_configuration_accept(grammar, &place, tokens[i])) return i > 0;
    node = add(guesses, node, tokens[i], guesser);
  }
  return true;
}

/* The token k before the end of the text; tokens are counted on for ever, and the last CHM_PAST are there. */
static int32_t before_end(const chm_spans *spans, uint32_t end, uint32_t k) { return spans->past[(end - 1 - k) % CHM_PAST]; }

/* What followed the same last tokens before, at least so many: long suffixes first, then the latest. */
static void look_up(chm_guesses *guesses, uint32_t most, uint32_t least) {
  const chm_spans *spans = guesses->session->spans;
  if (!spans->shares[CHM_SHARE_TEXT]) return;
  uint32_t end = spans->seen, known = end < CHM_PAST ? end : CHM_PAST;
  uint32_t oldest = end - known;
  for (uint32_t suffix = most; suffix >= least; --suffix) {
    if (known <= suffix) continue;
    for (uint32_t at = end - 1; at - oldest >= suffix; --at) { /* the tokens before at are compared */
      uint32_t same = 0;
      while (same < suffix && before_end(spans, at, same) == before_end(spans, end, same)) ++same;
      if (same < suffix) continue;
      int32_t tokens[CHM_MOST_NODES];
      uint32_t count = 0;
      while (count < CHM_MOST_NODES && at + count != end) {
        tokens[count] = spans->past[(at + count) % CHM_PAST];
        ++count;
      }
      add_chain(guesses, tokens, count, suffix < SURE_SUFFIX ? CHM_LOOSE : CHM_LOOKED_UP);
      if (guesses->tree->n >= guesses->most) return;
    }
    if (guesses->tree->n > guesses->end + 1) return; /* shorter suffixes say less */
  }
}

/* The rest of a span from the bank; false where the grammar allows none of it. */
static bool add_candidate(chm_guesses *guesses, const chm_bank *bank, const chm_candidate *candidate) {
  chm_span span = chm_bank_span(bank, candidate->span);
  int32_t tokens[CHM_MOST_NODES];
  uint32_t count = 0;
  for (uint32_t i = candidate->known; i < span.count && count < CHM_MOST_NODES; ++i)
    tokens[count++] = chm_bank_token(bank, span.at + i);
  return add_chain(guesses, tokens, count, candidate->source);
}

static chm_shares shares_of(const chm_session *session) {
  const uint32_t *given = session->spans->shares;
  uint32_t others = (session->bundle->draft ? 0 : given[CHM_SHARE_HEAD]) + (session->grammar ? 0 : given[CHM_SHARE_GRAMMAR]);
  return (chm_shares){.begun = given[CHM_SHARE_TEXT], .following = given[CHM_SHARE_TEXT] + others, .near = given[CHM_SHARE_NEAR],
                      .nearness = given[CHM_WEIGHT_NEARNESS], .boundary = given[CHM_WEIGHT_BOUNDARY]};
}

/* The best candidates, in the order of the knot's energy where a memory was read, else in that of their scores; their number. */
static uint32_t best_candidates(const chm_session *session, chm_candidate *found, uint32_t count, chm_candidate *best) {
  uint32_t n = 0;
  while (n < MOST_TRIED && chm_bank_best(found, &count, &best[n])) ++n;
  if (chm_model.knot.calls) chm_model.knot.calls->rank(session, session->spans->bank, best, n);
  return n;
}

/* Spans of the bank, the best first; the text may go on in the first one. */
static void ask_bank(chm_guesses *guesses) {
  chm_spans *spans = guesses->session->spans;
  chm_inside *inside = &spans->inside;
  if (!spans->bank) return;
  chm_candidate found[CHM_CANDIDATES], best[MOST_TRIED];
  int32_t last[CHM_LAST_TOKENS];
  uint32_t known = spans->seen < CHM_LAST_TOKENS ? spans->seen : CHM_LAST_TOKENS;
  for (uint32_t i = 0; i < known; ++i) last[i] = before_end(spans, spans->seen, i);
  chm_shares shares = shares_of(guesses->session);
  uint32_t count = chm_bank_find(spans->bank, last, known, &shares, found);
  if (inside->span.count && inside->candidate.known < inside->span.count) {
    inside->candidate.source = CHM_BEGUN;
    found[count++] = inside->candidate;
  }
  inside->span.count = 0;
  count = best_candidates(guesses->session, found, count, best);
  for (uint32_t i = 0; i < count && guesses->tree->n < guesses->most; ++i) {
    int32_t why = chm_bank_reject(spans->bank, &best[i], CHM_LEVEL_HIGH - guesses->session->sequence.lowered);
    if (why >= 0) {
      ++spans->rejected[why];
      continue;
    }
    if (!inside->span.count) *inside = (chm_inside){best[i], chm_bank_span(spans->bank, best[i].span)};
    spans->rejected[CHM_REJECTED_GRAMMAR] += !add_candidate(guesses, spans->bank, &best[i]);
  }
}

/* ---- the draft head ---- */

/* The token with the best of some scores that may come, the first one scored of equal ones; -1 where there is none, or where all scores
 * are equal, as those of a head that is not trained. */
static int32_t best_of(const chm_session *session, const float *scores, const uint32_t *allowed, uint32_t words) {
  const uint8_t *excluded = session->bundle->has_tokenizer ? session->bundle->excluded : NULL;
  int32_t best = -1;
  bool differ = false;
  for (int32_t i = 0; i < chm_model.draft_scores; ++i) {
    differ |= scores[i] < scores[0] || scores[i] > scores[0];
    if (best >= 0 && !(scores[i] > scores[best])) continue;
    int32_t id = chm_model.draft_ids[i];
    bool may = allowed ? (uint32_t)id / 32 < words && allowed[id / 32] >> (id & 31) & 1
                       : !excluded || !(excluded[id >> 3] >> (id & 7) & 1);
    if (may && scores[i] == scores[i]) best = i;
  }
  return differ && best >= 0 ? chm_model.draft_ids[best] : -1;
}

/* What the head guesses at a place in the grammar, of which `left` tokens are left. */
static int32_t guess_of_head(const chm_session *session, const chm_configuration *place, int64_t left) {
  const float *scores = session->spans->logits;
  if (!session->grammar) return best_of(session, scores, NULL, 0);
  if (left <= 0 || place->finished) return -1;
  chm_allowed allowed = chm_grammar_allowed(session->grammar, place, left);
  if (!allowed.amount) return -1;
  return allowed.amount == 1 ? allowed.single : best_of(session, scores, allowed.bits, session->grammar->vocabulary->words);
}

static void run_head(chm_session *session, int32_t token) {
  chm_call call = {.tokens = &token, .logits = session->spans->logits, .n = 1, .position = session->sequence.position};
  chm_session_run_beside(session, session->bundle->draft, &call);
}

/* The head reads what the last token that was run left in its state, and the tokens after it, one by one. */
static void ask_head(chm_guesses *guesses) {
  chm_session *session = guesses->session;
  chm_spans *spans = session->spans;
  chm_tree *tree = guesses->tree;
  int32_t chosen = guesses->end + 1, most = guesses->most - chosen;
  if (!session->bundle->draft || tree->n > chosen) return;
  if (most > MOST_OF_HEAD) most = MOST_OF_HEAD;
  if (spans->most == 1) most = chm_gain_head(&spans->gain, chosen, most);
  if (most <= 0) return;
  const chm_state_desc *state = &chm_model.states[chm_model.draft_state];
  uint8_t *last = session->state + state->offset;
  chm_configuration place = session->sequence.place;
  int64_t begun = chm_thread_nanoseconds(), left = session->sequence.remaining;
  int32_t runs = chosen, node = guesses->end;
  memcpy(spans->kept, last, (size_t)state->bytes);
  for (int32_t i = 0; i < chosen; ++i) run_head(session, tree->tokens[i]);
  for (; node >= 0; --most, --left) {
    int32_t token = guess_of_head(session, &place, left);
    if (token < 0 || (node = add(guesses, node, token, CHM_HEAD)) < 0 || most == 1) break;
    if (session->grammar && !chm_configuration_accept(session->grammar, &place, token)) break;
    run_head(session, token);
    ++runs;
  }
  memcpy(last, spans->kept, (size_t)state->bytes);
  chm_gain_headed(&spans->gain, runs, spans->headed = chm_thread_nanoseconds() - begun);
}

/* Where the grammar leaves one token after the end of a path of guesses, it is one. */
static void add_forced(chm_guesses *guesses) {
  chm_session *session = guesses->session;
  chm_tree *tree = guesses->tree;
  if (!session->grammar) return;
  chm_configuration place = session->sequence.place;
  int64_t left = session->sequence.remaining;
  int32_t node = guesses->end, children[CHM_MOST_NODES];
  for (; children_of(tree, node, children); --left) { /* to the end of the first guess */
    node = children[0];
    if (!chm_configuration_accept(session->grammar, &place, tree->tokens[node])) return;
  }
  uint32_t share = session->spans->shares[CHM_SHARE_GRAMMAR];
  for (; share && node >= 0 && tree->n < guesses->most && left > 0 && !place.finished; --share) {
    chm_allowed allowed = chm_grammar_allowed(session->grammar, &place, left--);
    if (allowed.amount != 1 || !chm_configuration_accept(session->grammar, &place, allowed.single)) return;
    node = add(guesses, node, allowed.single, CHM_FORCED);
  }
}

/* What the caller guesses: nodes below the last token of the text, each after its parent, -1 for that token. */
static void ask_drafter(chm_guesses *guesses) {
  chm_session *session = guesses->session;
  const chm_spans *spans = session->spans;
  int32_t tokens[CHM_MOST_NODES], parents[CHM_MOST_NODES], nodes[CHM_MOST_NODES];
  int32_t most = guesses->most - guesses->tree->n;
  int32_t n = spans->drafter(spans->context, session->sequence.position + session->sequence.n_pending, tokens, parents, most);
  for (int32_t i = 0; i < n && i < most; ++i) {
    if (parents[i] < -1 || parents[i] >= i) return;
    int32_t above = parents[i] < 0 ? guesses->end : nodes[parents[i]];
    nodes[i] = above < 0 ? -1 : add(guesses, above, tokens[i], CHM_GIVEN);
  }
}

uint32_t chm_drafts_guessers(const chm_session *session) {
  const uint32_t looked_up = 1u << CHM_LOOKED_UP | 1u << CHM_LOOSE, bank = 1u << CHM_BEGUN | 1u << CHM_FOLLOWING | 1u << CHM_NEAR;
  const uint32_t *shares = session->spans->shares, text = shares[CHM_SHARE_TEXT] ? looked_up : 0;
  if (session->spans->drafter) return 1u << CHM_GIVEN;
  return text | (session->spans->bank ? bank : 0) | (session->bundle->draft && shares[CHM_SHARE_HEAD] ? 1u << CHM_HEAD : 0) |
         (session->grammar && shares[CHM_SHARE_GRAMMAR] ? 1u << CHM_FORCED : 0);
}

void chm_drafts_add(chm_session *session, int32_t most, int32_t levels) {
  chm_spans *spans = session->spans;
  chm_guesses guesses = {session, &spans->tree, most, levels, spans->tree.n - 1};
  if (spans->drafter) {
    ask_drafter(&guesses);
    return;
  }
  bool others = spans->bank || session->bundle->draft;
  look_up(&guesses, MOST_SUFFIX, others ? SURE_SUFFIX : LEAST_SUFFIX);
  ask_bank(&guesses);
  if (spans->shares[CHM_SHARE_HEAD]) ask_head(&guesses);
  if (others) look_up(&guesses, SURE_SUFFIX - 1, LEAST_SUFFIX);
  add_forced(&guesses);
}
