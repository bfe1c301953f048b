/* Speculation: a tree of guessed tokens is verified in one pass, and what the model would have chosen anyway is taken.
 *
 * A tree lives from one pass to the next: chm_decode.c moves along it while the tokens that are chosen are in it, and the
 * states become those of the path when it ends. docs/spans.md has a tree, step by step.
 */
#ifndef CHM_SPANS_H
#define CHM_SPANS_H

#include "chm_bank.h"
#include "chm_gain.h"

#define CHM_PAST 4096 /* tokens that are looked through for what may come; a power of two */

typedef struct chm_tree {
  int32_t n; /* nodes, 0: there is no tree */
  int32_t tokens[CHM_MOST_NODES];
  int32_t parents[CHM_MOST_NODES];
  uint8_t guessers[CHM_MOST_NODES];
  bool later[CHM_MOST_NODES]; /* there is a guess in the node's place that is likelier */
  int32_t base; /* position of node 0 */
  int32_t span; /* levels */
  int32_t n_path, path[CHM_MOST_NODES]; /* nodes that were taken, from node 0 on */
  uint8_t wrong; /* who guessed first in the last place where that was so */
  bool missed; /* a token was chosen in whose place there were guesses */
} chm_tree;

/* The span of a bank that the text is in. */
typedef struct chm_inside {
  chm_candidate candidate; /* with as many of its tokens as the text has */
  chm_span span;           /* count 0: the text is in none */
} chm_inside;

struct chm_spans {
  int32_t most; /* nodes of a tree: 0 no trees, 1 as many as pay, else so many at most whether they pay or not */
  chm_drafter drafter; /* or NULL */
  void *context;
  chm_bank *bank;       /* or NULL */
  chm_inside inside;
  uint32_t shares[CHM_SHARES];
  uint8_t *kept; /* [kept_bytes], at least those of the draft head's state, which is here while the head guesses */
  int64_t headed; /* nanoseconds of that, of the last guesses */
  float *logits; /* [CHM_MOST_NODES, vocab] */
  chm_tree tree;
  uint32_t seen; /* tokens put into past */
  int32_t past[CHM_PAST];
  chm_gain gain;
  uint64_t counters[CHM_COUNTERS];
  uint64_t rollbacks[CHM_GUESSERS]; /* by who guessed what was wrong */
  uint64_t rejected[CHM_REJECTED];
};

/* ---- chm_spans.c ---- */

/* Take a token that was chosen, where the tree has it: its logits become the session's. */
bool chm_spans_take(chm_session *session, int32_t token);
/* End the tree: the states become those after its path. */
void chm_spans_commit(chm_session *session);
/* Run the pending tokens together with guesses of what follows them; false, and nothing done, where there are none. */
bool chm_spans_verify(chm_session *session);
/* Note a token of the text, which may go on in a span. */
void chm_spans_remember(chm_session *session, int32_t token);
/* Once, where a session is opened. */
void chm_spans_open(chm_spans *spans);
/* What a sequence, and a generation begins with: no text and nothing known of guesses, and no counts. */
void chm_spans_start(chm_spans *spans);
void chm_spans_forget_counts(chm_spans *spans);
/* A time, 0 if it is not wanted; that so many tokens were run since then without a tree; and that so many pending ones need
 * not be run but for those that are pending still, since a tree had them. */
int64_t chm_spans_clock(const chm_session *session);
void chm_spans_note_run(chm_session *session, int32_t tokens, int64_t begun);
void chm_spans_note_saved(chm_session *session, int32_t pending);
/* Where a session of the model has what speculation needs, from an offset on: the end. */
bool chm_spans_lay_out(uint64_t *spans, uint64_t *kept, uint64_t *logits, uint64_t *end);

/* ---- chm_drafts.c ---- */

/* Who may guess: a bit for each. */
uint32_t chm_drafts_guessers(const chm_session *session);
/* Add guesses of what follows the tree's nodes, which are a path: to at most so many nodes and levels. */
void chm_drafts_add(chm_session *session, int32_t most, int32_t levels);
/* The paths of the tree that do not branch, in the order of their nodes; their number. */
int32_t chm_tree_paths(const chm_tree *tree, chm_path *paths);
/* Put nodes into the order in which the smallest subtree comes first. */
void chm_tree_sort(chm_tree *tree);

#endif
