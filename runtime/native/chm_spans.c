/* Trees of guessed tokens: verifying, moving along, committing, and whether they pay. */
#include "chm_spans.h"

#define LEAST_RATE 0.5f   /* below, trees rest */
#define ENOUGH_RATE 0.6f  /* at least in a probe, and the rest is over */
#define WINDOW 64.0f      /* passes that the rate is of */
#define PRIOR 2.0f        /* guesses that a session begins with, of which this share was right */
#define FIRST_RATE 0.9f  /* so that trees are tried where they pay with good guesses only */
#define LEAST_REST 128
#define MOST_REST 1024
#define PROBE 2           /* nodes of the first tree, and of one after a rest */
#define WORTH 1.1f        /* times as fast at least: what is measured is not exact */
#define COST_OF_NODE 0.125f /* of a pass of one node, where no time is known */
#define REPLAYS 16.0f     /* that their mean time is of */

static const int32_t sizes[CHM_SIZES] = {1, 2, 4, 8, 12, CHM_MOST_NODES};

/* ---- memory ---- */

bool chm_spans_lay_out(uint64_t *spans, uint64_t *kept, uint64_t *logits, uint64_t *end) {
  uint64_t row = (uint64_t)chm_model.vocab * 4 * CHM_MOST_NODES;
  const uint64_t parts[] = {sizeof(chm_spans), chm_model.kept_bytes, row};
  uint64_t *const starts[] = {spans, kept, logits};
  for (int i = 0; i < 3; ++i) {
    *starts[i] = *end;
    if (!chm_add(*end, parts[i], end) || !chm_align(*end, end)) return false;
  }
  return true;
}

void chm_spans_start(chm_spans *spans) {
  if (!spans) return;
  spans->seen = 0;
  spans->inside.span.count = 0;
  spans->taken = FIRST_RATE * PRIOR;
  spans->judged = PRIOR;
  spans->patience = LEAST_REST;
  spans->rest = spans->probes = 0;
  spans->widest = PROBE;
}

void chm_spans_forget_counts(chm_spans *spans) {
  if (spans) memset(spans->counters, 0, sizeof spans->counters);
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

/* ---- what pays ---- */

/* How many guesses were right, of those that were looked at. */
static float rate_of(const chm_spans *spans) { return spans->taken / spans->judged; }

static int32_t size_of(int32_t nodes) {
  int32_t i = 0;
  while (sizes[i] < nodes) ++i;
  return i;
}

/* The first pass touches memory for the first time, and another program may have had the processor in a long one: what
 * passes cost is about the least that they took. */
static void note_time(chm_spans *spans, int32_t nodes, int64_t nanoseconds) {
  float *cost = &spans->costs[size_of(nodes)], now = (float)nanoseconds;
  if (nanoseconds <= 0 || (nodes > 1 && !spans->timed++)) return;
  if (*cost > 0.0f && now > *cost) *cost += ((now > 2.0f * *cost ? 2.0f * *cost : now) - *cost) / 64.0f;
  else *cost = now;
}

/* What commits take is a mean: it depends on how many tokens they are of. */
static void note_replay(chm_spans *spans, int32_t tokens, int64_t nanoseconds) {
  float now = (float)nanoseconds / (float)tokens;
  if (nanoseconds <= 0) return;
  if (spans->replay == 0.0f) spans->replay = now;
  else spans->replay += ((now > 2.0f * spans->replay ? 2.0f * spans->replay : now) - spans->replay) / REPLAYS;
}

int64_t chm_spans_clock(const chm_session *session) {
  return session->spans && session->spans->most == 1 ? chm_pool_nanoseconds() : 0;
}

void chm_spans_note_decode(chm_session *session, int64_t begun) {
  if (begun) note_time(session->spans, 1, chm_pool_nanoseconds() - begun);
}

/* Of a pass of so many nodes, in passes of one. */
static float cost_of(const chm_spans *spans, int32_t size) {
  if (spans->costs[size] > 0.0f && spans->costs[0] > 0.0f) return spans->costs[size] / spans->costs[0];
  return 1.0f + COST_OF_NODE * (float)(sizes[size] - 1);
}

/* The number of nodes that gives the most tokens for its time, where each guess is right with the probability rate. */
static int32_t best_size(const chm_spans *spans) {
  float best = WORTH, tokens = 1.0f, power = 1.0f, rate = rate_of(spans);
  float replay = spans->costs[0] > 0.0f ? spans->replay / spans->costs[0] : 0.0f;
  int32_t found = 1, n = 1;
  for (int32_t i = 1; i < CHM_SIZES; ++i) {
    for (; n < sizes[i]; ++n) tokens += power *= rate;
    float gain = tokens / (cost_of(spans, i) + tokens * replay);
    if (gain > best) {
      best = gain;
      found = sizes[i];
    }
  }
  return found;
}

/* Nodes of the next tree; 1: none. */
static int32_t nodes_now(chm_spans *spans) {
  if (spans->most != 1) return spans->most;
  if (spans->rest > 0) {
    --spans->rest;
    return 1;
  }
  if (rate_of(spans) < LEAST_RATE || spans->probes) {
    spans->probes = 0;
    return PROBE;
  }
  int32_t best = best_size(spans);
  if (best == 1) { /* too few are right for what passes cost here */
    spans->rest = LEAST_REST;
    spans->probes = 1;
    for (int32_t i = 1; i < CHM_SIZES; ++i) spans->costs[i] *= 0.875f; /* what was measured may not hold for ever */
  }
  return best < spans->widest ? best : spans->widest;
}

/* So many guesses were taken, and perhaps one was not. */
static void note_tree(chm_spans *spans, int32_t taken, bool missed) {
  float judged = (float)taken + (missed ? 1.0f : 0.0f);
  if (judged == 0.0f) return;
  if (!missed) spans->widest = 2 * spans->widest < CHM_MOST_NODES ? 2 * spans->widest : CHM_MOST_NODES;
  if (rate_of(spans) >= LEAST_RATE) {
    spans->taken += (float)taken - spans->taken / WINDOW;
    spans->judged += judged - spans->judged / WINDOW;
  } else if ((float)taken >= ENOUGH_RATE * judged) { /* a probe */
    spans->taken = FIRST_RATE * PRIOR;
    spans->judged = PRIOR;
    spans->patience = LEAST_REST;
  }
  if (rate_of(spans) >= LEAST_RATE) return;
  spans->rest = spans->patience;
  if (spans->patience < MOST_REST) spans->patience *= 2;
}

/* ---- the tree ---- */

bool chm_spans_take(chm_session *session, int32_t token) {
  chm_spans *spans = session->spans;
  if (!spans || !spans->tree.n) return false;
  chm_tree *tree = &spans->tree;
  int32_t above = tree->path[tree->n_path - 1];
  for (int32_t node = above + 1; node < tree->n; ++node) {
    if (tree->parents[node] != above || tree->tokens[node] != token) continue;
    tree->path[tree->n_path++] = node;
    ++spans->counters[CHM_COUNTER_ACCEPTED];
    ++spans->counters[CHM_COUNTER_ACCEPTED + 2 * tree->guessers[node]];
    memcpy(session->logits, spans->logits + (size_t)node * (size_t)chm_model.vocab, (size_t)chm_model.vocab * 4);
    __atomic_store_n(&session->sequence.position, session->sequence.position + 1, __ATOMIC_RELAXED);
    return true;
  }
  for (int32_t node = above + 1; node < tree->n; ++node) tree->missed |= tree->parents[node] == above;
  return false;
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
  note_tree(spans, taken, tree->missed);
  if (tree->n_path < tree->n) ++spans->counters[CHM_COUNTER_ROLLBACKS];
  chm_call call = {.paths = runs, .n_paths = runs_of(tree, runs), .n = tree->n_path, .position = tree->base,
                   .span = tree->span, .kept = spans->kept};
  int64_t begun = chm_pool_nanoseconds();
  chm_session_run(session, session->bundle->commit, &call);
  note_replay(spans, tree->n_path, chm_pool_nanoseconds() - begun);
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

static void run_tree(chm_session *session, chm_tree *tree, int32_t chosen, int64_t begun) {
  chm_spans *spans = session->spans;
  chm_sequence *sequence = &session->sequence;
  chm_path paths[CHM_MOST_NODES];
  for (int32_t node = 0; node < tree->n; ++node) {
    int32_t depth = 0;
    for (int32_t above = tree->parents[node]; above >= 0; above = tree->parents[above]) ++depth;
    if (depth >= tree->span) tree->span = depth + 1;
    if (!tree->guessers[node]) continue;
    ++spans->counters[CHM_COUNTER_PROPOSED];
    ++spans->counters[CHM_COUNTER_PROPOSED + 2 * tree->guessers[node]];
  }
  ++spans->counters[CHM_COUNTER_PASSES];
  chm_call call = {.tokens = tree->tokens, .parents = tree->parents, .logits = spans->logits, .n = tree->n,
                   .paths = paths, .n_paths = chm_tree_paths(tree, paths), .span = tree->span, .kept = spans->kept,
                   .position = tree->base};
  chm_session_run(session, session->bundle->verify, &call);
  note_time(spans, tree->n, chm_pool_nanoseconds() - begun);
  int32_t node = chosen - 1; /* no node before it has two children */
  for (tree->n_path = 0; tree->n_path < chosen; ++tree->n_path) tree->path[tree->n_path] = tree->n_path;
  memcpy(session->logits, spans->logits + (size_t)node * (size_t)chm_model.vocab, (size_t)chm_model.vocab * 4);
  __atomic_store_n(&sequence->position, sequence->position + chosen, __ATOMIC_RELAXED);
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
  int32_t most = nodes_now(spans), chosen = sequence->n_pending;
  if (most <= chosen) return false;
  int64_t begun = chm_pool_nanoseconds(); /* guessing takes its time, too */
  begin_tree(session, &spans->tree);
  chm_drafts_add(session, most, room);
  if (spans->tree.n == chosen) {
    spans->tree.n = 0;
    return false;
  }
  chm_tree_sort(&spans->tree);
  run_tree(session, &spans->tree, chosen, begun);
  return true;
}

const chm_speculation chm_speculation_by_trees = {verify, commit, chm_bank_read};

void chm_spans_commit(chm_session *session) {
  if (session->spans && session->spans->tree.n) chm_model.speculation->commit(session);
}

bool chm_spans_verify(chm_session *session) { return session->spans && chm_model.speculation->verify(session); }

/* ---- settings ---- */

int32_t chm_speculates(void) { return chm_model.speculation != NULL; }

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
