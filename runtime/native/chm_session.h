/* A session, for the files that look into it: chm_session.c has its life, chm_decode.c runs it, chm_state.c saves and
 * restores it. */
#ifndef CHM_SESSION_H
#define CHM_SESSION_H

#include "chm_grammar.h"

/* What is open in the text of a generation; docs/ledger.md. */
typedef struct chm_ledger {
  uint32_t on;                 /* 1 where there is a ledger */
  uint32_t tokens;             /* of the generation */
  uint32_t sentence, list;     /* number of the token that opened it, 0 where there is none */
  uint32_t line;               /* how the line begins */
  uint32_t opened[CHM_FRAMES]; /* [depth of the place] numbers of the tokens that opened its frames */
} chm_ledger;

typedef struct chm_ledger_settings {
  uint32_t obligations; /* bits of chimera.h; 0: there is no ledger */
  uint32_t outstanding, weight;
} chm_ledger_settings;

/* What a snapshot keeps besides state and logits. */
typedef struct chm_sequence {
  int32_t position;   /* tokens that were run */
  int32_t deepest;    /* loop iterations whose states are in use, 0 before the first token */
  int32_t iterations; /* of the last call */
  int32_t n_pending;  /* tokens that were chosen but not run yet */
  int32_t finished;
  int32_t remaining; /* tokens that may still be generated */
  uint32_t seen;     /* tokens put into history */
  int32_t lowered;   /* levels of the valve that it is below the high one */
  int32_t routed;    /* most iterations of the block, as its router predicts; 0: all, or none was run that began one */
  int32_t history[CHM_HISTORY_TOKENS];
  chm_utf8 utf8;
  int32_t pending[CHM_MAX_PENDING]; /* [n_pending] more than one only where the grammar left no choice */
  uint32_t grammar[2]; /* identity of the generation's grammar, low half first; 0 without */
  chm_rhythm rhythm;
  chm_configuration place; /* of the generation in the grammar */
  chm_ledger ledger;
} chm_sequence;

typedef struct chm_spans chm_spans; /* chm_spans.h */

enum { CHM_LEVEL_LOW, CHM_LEVEL_MEDIUM, CHM_LEVEL_HIGH, CHM_LEVELS };

/* The entropy valve; docs/valve.md. */
typedef struct chm_valve {
  float bits[CHM_LEVELS];    /* from which on a level is right; of the low one nothing */
  int32_t loops[CHM_LEVELS]; /* most iterations; 0: there is no valve */
  uint32_t metrics;
  float entropy; /* in bits, where the valve looked last */
  int32_t may_come; /* tokens, there */
  uint64_t chosen[CHM_LEVELS]; /* tokens of the last generation by the level they are run with */
} chm_valve;

struct chm_session {
  chm_bundle *bundle;
  chm_allocator allocator;
  uint64_t allocated;
  uint32_t busy;   /* 1 while a call runs */
  uint8_t *state;  /* [state_bytes] */
  uint8_t *arena;  /* [arena_bytes] */
  float *logits;   /* [vocab] */
  float *scores;   /* [vocab] scratch of the sampler, like the next two */
  float *mass;     /* [vocab] */
  uint32_t *order; /* [vocab] */
  uint8_t *table;  /* [chm_state_table_bytes()] room for the sections of a snapshot that is read */
  int32_t loops;
  float exit_threshold;
  chm_valve valve;
  chm_ledger_settings ledger; /* of the generations that begin from now on, and of what weighs */
  chm_sampling sampling;
  int32_t stop_tokens[CHM_MAX_STOP_TOKENS];
  uint32_t n_stop_tokens;
  chm_grammar *grammar; /* or NULL */
  chm_spans *spans;     /* NULL of a model that verifies no trees */
  const uint8_t *memory; /* [n_memory] vectors of the caller, of a model that reads them */
  uint32_t n_memory;
  chm_profile profile;
  int32_t unanswered; /* tokens of the last call, whose logits were left out and can be computed still; 0: there are logits */
  bool scoring;      /* of the generations that begin from now on */
  bool scored;       /* of the one that runs or ran last */
  float score;       /* the sum of its tokens' log probabilities, as far as it is */
  chm_sequence sequence;
  size_t text_bytes;
  uint8_t text[CHM_MAX_TEXT_BYTES];
};

/* ---- chm_session.c ---- */

/* The memory of a state that is in use: of a cache the rows of positions that were reached. */
typedef struct chm_rows {
  uint64_t blocks, stride, bytes; /* so many pieces of so many bytes, each a stride after the one before */
} chm_rows;
chm_rows chm_state_rows(int32_t state, int32_t position);
/* NULL of a state that is none. */
const chm_cache_desc *chm_cache_of(int32_t state);

/* CHM_ERROR_CONTEXT unless the sequence has room for so many tokens more, and nothing done. */
int32_t chm_session_check_room(const chm_session *session, size_t count);

/* Begin a call; CHM_ERROR_STATE, and nothing done, while another one runs. */
int32_t chm_session_enter(chm_session *session);
/* End it; returns status. */
int32_t chm_session_leave(chm_session *session, int32_t status);
int32_t chm_check_tokens(const int32_t *tokens, size_t count);

/* Back to position 0: the model's initial state, zero logits, an empty sequence. */
void chm_session_start(chm_session *session);

/* Run an entry of the model in a call; the caller counts what was run in the position. A commit begins at the call's. */
void chm_session_run(chm_session *session, const chm_entry_desc *entry, chm_call *call);
/* Run one that is not part of the sequence: the draft head. */
void chm_session_run_beside(chm_session *session, const chm_entry_desc *entry, chm_call *call);

/* ---- chm_call.c ---- */

/* Whether the tensors of an entry of the role call are within the limits. */
bool chm_entry_valid(const chm_entry_desc *entry);

/* ---- chm_decode.c ---- */

/* In a call: run the tokens that were chosen and not run yet; chm_session_answer computes the logits after them. */
int32_t chm_session_settle(chm_session *session);
/* In a call: have the logits after the last token that was run. */
void chm_session_answer(chm_session *session);

/* Whether the generation follows the session's grammar, whose place it is in. */
bool chm_session_follows(const chm_session *session);

/* ---- chm_ledger.c ---- */

/* In a call: the ledger of a generation that begins. */
void chm_ledger_start(chm_session *session);
/* In a call, after the grammar has accepted a token. */
void chm_ledger_take(chm_session *session, int32_t token);
/* Whether the numbers can be those of a ledger. */
bool chm_ledger_valid(const chm_ledger *ledger);
/* From 0 to 1. */
float chm_ledger_pressure(const chm_session *session);
/* The weights of what closes soft obligations. */
chm_closing chm_ledger_closing(const chm_session *session);

/* ---- chm_valve.c ---- */

/* Where a block begins: what the router makes of the token before it. Of a model without one nothing. */
void chm_valve_route(chm_session *session);
/* Most loop iterations of what is run now. */
int32_t chm_valve_loops(const chm_session *session);
/* Whether the token that is chosen next is the first of a block, where the valve looks. */
bool chm_valve_looks(const chm_session *session);
/* In a call, before such a token is taken: the level of its block, from the entropy that was seen, or of a token that is forced.
 * What was chosen before and not run yet is run first if the level changes. */
int32_t chm_valve_turn(chm_session *session, bool forced);
/* In a call: a token was chosen. */
void chm_valve_count(chm_session *session);

/* ---- chm_state.c ---- */

/* Room for the table of the sections of a snapshot: as many as the model's, pads, and some that are not looked at. */
uint64_t chm_state_table_bytes(void);
/* Whether the names of the states can be those of sections. */
bool chm_state_names(void);

#endif
