/* Trees of guessed tokens: verifying, moving along and committing. */
#include "chm_spans.h"

CHM_COLD_BEGIN

/* ---- memory ---- */

bool chm_spans_lay_out(uint64_t *spans, uint64_t *kept, uint64_t *logits, uint64_t *end) {
  uint64_t row = (uint64_t)chm_model.vocab * 4 * CHM_MOST_NODES;
  uint64_t kept_bytes = chm_model.kept_bytes, head = chm_model.draft_scores ? chm_model.states[chm_model.draft_state].bytes : 0;
  const uint64_t parts[] = {sizeof(chm_spans), kept_bytes > head ? kept_bytes : head, row};
  uint64_t *const starts[] = {spans, kept, logits};
  for (int i = 0; i < 3; ++i) {
    *starts[i] = *end;
    if (!chm_add(*end, parts[i], end) || !chm_align(*end, end)) return false;
  }
  return true;
}

static const uint32_t first_shares[CHM_SHARES] = {64, 48, 48, 32, 65536, 22938}; /* docs/sfpack.md */

void chm_spans_open(chm_spans *spans) { memcpy(spans->shares, first_shares, sizeof first_shares); }

void chm_spans_start(chm_spans *spans) {
  if (!spans) return;
  spans->seen = 0;
  spans->inside.span.count = 0;
  chm_gain_start(&spans->gain);
}

void chm_spans_forget_counts(chm_spans *spans) {
  if (!spans) return;
  memset(spans->counters, 0, sizeof spans->counters);
  memset(spans->rollbacks, 0, sizeof spans->rollbacks);
  memset(spans->rejected, 0, sizeof spans->rejected);
}

void chm_spans_remember(chm_session *session, int32_t token) {
  chm_spans *spans = session->spans;
  if (!spans) return;
  spans->past[spans->seen++ % CHM_PAST] = token;
  chm_inside *inside = &spans->inside;
  if (!inside->span.count) return;
  uint32_t at = inside->candidate.known++;
  if (at >= inside->span.count || chm_bank_token(spans->bank, inside->span.at + at) != token) inside->span.count = 0;
}

/* ---- times ---- */

int64_t chm_spans_clock(const chm_session *session) {
  return session->spans && session->spans->most == 1 ? chm_thread_nanoseconds() : 0;
}

void chm_spans_note_run(chm_session *session, int32_t tokens, int64_t begun) {
  if (session->spans && session->spans->most == 1)
    chm_gain_ran(&session->spans->gain, tokens, begun ? chm_thread_nanoseconds() - begun : 0);
}

void chm_spans_note_saved(chm_session *session, int32_t pending) {
  if (session->spans) chm_gain_saved(&session->spans->gain, pending, session->sequence.n_pending);
}

/* ---- the tree ---- */

bool chm_spans_take(chm_session *session, int32_t token) {
  chm_spans *spans = session->spans;
  if (!spans || !spans->tree.n) return false;
  chm_tree *tree = &spans->tree;
  int32_t above = tree->path[tree->n_path - 1];
  for (int32_t node = above + 1; node < tree->n; ++node) {
    if (tree->parents[node] != above) continue;
    if (!tree->later[node]) chm_gain_judged(&spans->gain, tree->guessers[node], tree->tokens[node] == token);
    tree->missed = true;
    if (!tree->later[node]) tree->wrong = tree->guessers[node];
  }
  for (int32_t node = above + 1; node < tree->n; ++node) {
    if (tree->parents[node] != above || tree->tokens[node] != token) continue;
    tree->missed = false;
    tree->path[tree->n_path++] = node;
    ++spans->counters[CHM_COUNTER_ACCEPTED];
    ++spans->counters[CHM_COUNTER_ACCEPTED + 2 * tree->guessers[node]];
    memcpy(session->logits, spans->logits + (size_t)node * (size_t)chm_model.vocab, (size_t)chm_model.vocab * 4);
    __atomic_store_n(&session->sequence.position, session->sequence.position + 1, __ATOMIC_RELAXED);
    return true;
  }
  return false;
}

/* Levels of the tree. */
static int32_t levels_of(const chm_tree *tree) {
  int32_t levels = 0;
  for (int32_t node = 0; node < tree->n; ++node) {
    int32_t depth = 1;
    for (int32_t above = tree->parents[node]; above >= 0; above = tree->parents[above]) ++depth;
    if (depth > levels) levels = depth;
  }
  return levels;
}

/* The path that was taken, as runs of nodes that follow one another. */
static int32_t runs_of(const chm_tree *tree, chm_path *runs) {
  int32_t n = 0;
  for (int32_t i = 0; i < tree->n_path; ++i) {
    if (n && runs[n - 1].begin + runs[n - 1].count == tree->path[i]) ++runs[n - 1].count;
    else runs[n++] = (chm_path){.begin = tree->path[i], .count = 1, .depth = i};
  }
  return n;
}

static void commit(chm_session *session) {
  chm_spans *spans = session->spans;
  chm_tree *tree = &spans->tree;
  chm_path runs[CHM_MOST_NODES];
  int32_t taken = 0;
  for (int32_t i = 0; i < tree->n_path; ++i) taken += tree->guessers[tree->path[i]] != CHM_CHOSEN;
  chm_gain_ended(&spans->gain, taken, tree->missed);
  if (tree->n_path < tree->n) ++spans->counters[CHM_COUNTER_ROLLBACKS];
  if (tree->missed) ++spans->rollbacks[tree->wrong];
  chm_call call = {.paths = runs, .n_paths = runs_of(tree, runs), .n = tree->n_path, .position = tree->base,
                   .span = tree->span, .kept = spans->kept};
  int64_t begun = chm_thread_nanoseconds();
  chm_session_run(session, session->bundle->commit, &call);
  if (chm_model.knot.calls) {
    int32_t tokens[CHM_MOST_NODES];
    for (int32_t i = 0; i < tree->n_path; ++i) tokens[i] = tree->tokens[tree->path[i]];
    chm_model.knot.calls->take(session, tokens, tree->n_path);
  }
  chm_gain_committed(&spans->gain, tree->n_path, chm_thread_nanoseconds() - begun);
  tree->n = 0;
}

/* The nodes that were chosen already are a path, and taken. */
static void begin_tree(chm_session *session, chm_tree *tree) {
  const chm_sequence *sequence = &session->sequence;
  *tree = (chm_tree){.base = sequence->position, .n = sequence->n_pending};
  for (int32_t i = 0; i < tree->n; ++i) {
    tree->tokens[i] = sequence->pending[i];
    tree->parents[i] = i - 1;
  }
}

static void run_tree(chm_session *session, chm_tree *tree, int32_t chosen) {
  chm_spans *spans = session->spans;
  chm_sequence *sequence = &session->sequence;
  chm_path paths[CHM_MOST_NODES];
  for (int32_t node = 0; node < tree->n; ++node) {
    if (!tree->guessers[node]) continue;
    ++spans->counters[CHM_COUNTER_PROPOSED];
    ++spans->counters[CHM_COUNTER_PROPOSED + 2 * tree->guessers[node]];
  }
  ++spans->counters[CHM_COUNTER_PASSES];
  chm_call call = {.tokens = tree->tokens, .parents = tree->parents, .logits = spans->logits, .n = tree->n,
                   .paths = paths, .n_paths = chm_tree_paths(tree, paths), .span = tree->span, .kept = spans->kept,
                   .position = tree->base};
  int64_t begun = chm_thread_nanoseconds();
  chm_session_run(session, session->bundle->verify, &call);
  chm_gain_passed(&spans->gain, chosen, tree->n, chm_thread_nanoseconds() - begun);
  int32_t node = chosen - 1; /* no node before it has two children */
  for (tree->n_path = 0; tree->n_path < chosen; ++tree->n_path) tree->path[tree->n_path] = tree->n_path;
  memcpy(session->logits, spans->logits + (size_t)node * (size_t)chm_model.vocab, (size_t)chm_model.vocab * 4);
  __atomic_store_n(&sequence->position, sequence->position + chosen, __ATOMIC_RELAXED);
}

/* How many nodes of the tree are worth a pass. */
static int32_t worth_of(chm_gain *gain, const chm_tree *tree, int32_t chosen) {
  float chances[CHM_MOST_NODES];
  for (int32_t node = 0; node < tree->n; ++node)
    chances[node] = node < chosen ? 1.0f
                                  : chances[tree->parents[node]] * chm_gain_chance(gain, tree->guessers[node], !tree->later[node]);
  return chm_gain_nodes(gain, chosen, chances, tree->n);
}

/* Make a tree; false where there is nothing to guess, or nothing that is worth it. */
static bool guess(chm_session *session, int32_t chosen, int32_t most, int32_t levels) {
  chm_spans *spans = session->spans;
  chm_tree *tree = &spans->tree;
  int64_t begun = chm_thread_nanoseconds();
  begin_tree(session, tree);
  spans->headed = 0;
  chm_drafts_add(session, most, levels);
  chm_gain_guessed(&spans->gain, chm_thread_nanoseconds() - begun - spans->headed);
  if (spans->most == 1) tree->n = worth_of(&spans->gain, tree, chosen);
  if (tree->n == chosen) {
    tree->n = 0;
    return false;
  }
  chm_tree_sort(tree);
  tree->span = levels_of(tree);
  return true;
}

static int verify(chm_session *session) {
  chm_spans *spans = session->spans;
  const chm_sequence *sequence = &session->sequence;
  if (!spans->most || session->exit_threshold > 0.0f || !sequence->n_pending) return false;
  int32_t room = chm_model.block - sequence->position % chm_model.block;
  if (chm_model.context && chm_model.context - sequence->position < room) room = chm_model.context - sequence->position;
  if (sequence->remaining <= room - sequence->n_pending) /* the last token need not be run */
    room = sequence->n_pending + sequence->remaining - 1;
  if (room <= sequence->n_pending) return false;
  int32_t chosen = sequence->n_pending, most = CHM_MOST_NODES < room ? CHM_MOST_NODES : room;
  most = spans->most == 1 ? chosen + chm_gain_guesses(&spans->gain, most - chosen, chm_drafts_guessers(session)) : spans->most;
  if (most <= chosen || !guess(session, chosen, most, room)) return false;
  run_tree(session, &spans->tree, chosen);
  return true;
}

const chm_speculation chm_speculation_by_trees = {verify, commit, chm_bank_read};

void chm_spans_commit(chm_session *session) {
  if (session->spans && session->spans->tree.n) chm_model.speculation->commit(session);
}

bool chm_spans_verify(chm_session *session) { return session->spans && chm_model.speculation->verify(session); }

/* ---- settings ---- */

int32_t chm_speculates(void) { return chm_model.speculation != NULL; }

int32_t chm_has_draft_head(void) { return chm_model.draft_scores > 0; }

int32_t chm_session_set_speculation(chm_session *session, int32_t nodes) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  if (nodes < 0 || nodes > CHM_MOST_NODES)
    status = chm_fail(CHM_ERROR_ARGUMENT, "trees of %d nodes; 1 to %d are possible, or 0 for none", (int64_t)nodes,
                      (int64_t)CHM_MOST_NODES);
  else if (nodes && !session->spans)
    status = chm_fail(CHM_ERROR_STATE, "the bundle was built without speculation");
  else if (session->spans) {
    chm_spans_commit(session);
    session->spans->most = nodes;
  }
  return chm_session_leave(session, status);
}

int32_t chm_session_set_shares(chm_session *session, const uint32_t *numbers, size_t count) {
  if (numbers && count != CHM_SHARES)
    return chm_fail(CHM_ERROR_ARGUMENT, "there are %u numbers", (uint64_t)CHM_SHARES);
  const uint32_t *given = numbers ? numbers : first_shares;
  for (uint32_t i = 0; i < CHM_SHARES; ++i)
    if (given[i] > (i < CHM_WEIGHT_NEARNESS ? CHM_MOST_SHARE : 1u << 20))
      return chm_fail(CHM_ERROR_ARGUMENT, "a share is at most %u, and a weight 2^20", (uint64_t)CHM_MOST_SHARE);
  int32_t status = chm_session_enter(session);
  if (status) return status;
  if (!session->spans) status = chm_fail(CHM_ERROR_STATE, "the bundle was built without speculation");
  else memcpy(session->spans->shares, given, sizeof first_shares);
  return chm_session_leave(session, status);
}

int32_t chm_session_set_drafter(chm_session *session, chm_drafter drafter, void *context) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  if (session->spans) {
    session->spans->drafter = drafter;
    session->spans->context = context;
  } else {
    status = chm_fail(CHM_ERROR_STATE, "the bundle was built without speculation");
  }
  return chm_session_leave(session, status);
}

int32_t chm_session_counters(chm_session *session, uint64_t *counters, size_t count) {
  if (!counters || !count || count > CHM_COUNTERS)
    return chm_fail(CHM_ERROR_ARGUMENT, "there are %u counters", (uint64_t)CHM_COUNTERS);
  int32_t status = chm_session_enter(session);
  if (status) return status;
  for (size_t i = 0; i < count; ++i) counters[i] = session->spans ? session->spans->counters[i] : 0;
  return chm_session_leave(session, CHM_OK);
}

static int32_t tell(chm_session *session, const uint64_t *counted, uint64_t *numbers, size_t count, size_t most) {
  if (!numbers || !count || count > most)
    return chm_fail(CHM_ERROR_ARGUMENT, "there are %u numbers", (uint64_t)most);
  int32_t status = chm_session_enter(session);
  if (status) return status;
  for (size_t i = 0; i < count; ++i) numbers[i] = session->spans ? counted[i] : 0;
  return chm_session_leave(session, CHM_OK);
}

int32_t chm_session_rollbacks(chm_session *session, uint64_t *rollbacks, size_t count) {
  const uint64_t *counted = session && session->spans ? session->spans->rollbacks + 1 : NULL; /* the first is nobody's */
  return tell(session, counted, rollbacks, count, CHM_ROLLBACKS);
}

int32_t chm_session_rejected(chm_session *session, uint64_t *spans, size_t count) {
  return tell(session, session && session->spans ? session->spans->rejected : NULL, spans, count, CHM_REJECTED);
}

int32_t chm_session_costs(chm_session *session, float *costs, size_t count) {
  if (!costs || !count || count > CHM_MOST_NODES)
    return chm_fail(CHM_ERROR_ARGUMENT, "there are costs of 1 to %u nodes", (uint64_t)CHM_MOST_NODES);
  int32_t status = chm_session_enter(session);
  if (status) return status;
  if (!session->spans) status = chm_fail(CHM_ERROR_STATE, "the bundle was built without speculation");
  for (size_t i = 0; i < count && !status; ++i) costs[i] = chm_gain_pass(&session->spans->gain, (int32_t)i + 1);
  return chm_session_leave(session, status);
}

CHM_COLD_END
