/* What the files of chimera-run share: the bundle it was linked with, and what the command line or a request asks for. */
#ifndef CHM_RUN_H
#define CHM_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chimera.h"

/* File names of the bundle, from its build; the last two may be NULL. */
extern const char *const chm_run_weights;
extern const char *const chm_run_tokenizer;
extern const char *const chm_run_grammars;

/* What the bundle's build chose where an option is not given; modes end with a name that is NULL. */
typedef struct chm_run_mode {
  const char *name;
  int32_t loops;
  const uint32_t *shares; /* [CHM_SHARES] of its own, or NULL */
} chm_run_mode;
extern const float chm_run_temperature, chm_run_top_p, chm_run_repetition_penalty, chm_run_exit_threshold;
extern const int32_t chm_run_max_tokens;
extern const chm_run_mode chm_run_modes[];

/* Its valve, as of chm_session_set_valve; zeros: it has none. */
extern const float chm_run_valve_bits[2];
extern const int32_t chm_run_valve_loops[3];
extern const uint32_t chm_run_valve_metrics;
extern const uint32_t chm_run_shares[CHM_SHARES]; /* as of chm_session_set_shares */
extern const uint32_t chm_run_ledger[3]; /* as of chm_session_set_ledger; zeros: it has none */

/* The text in place of an answer of the default grammar whose probability e^(score / temperature) is below the threshold; NULL:
 * none is refused. */
extern const char *const chm_run_refusal;
extern const float chm_run_refusal_threshold, chm_run_refusal_temperature;

/* What was asked for. */
typedef struct chm_run_settings {
  float temperature, top_p, repetition_penalty, exit_threshold;
  uint64_t seed;
  uint32_t stream;
  int32_t max_tokens, top_k, loops, threads;
  const char *kernels, *folder, *prompt, *grammar, *mode;
  const uint32_t *shares; /* of the mode; NULL: the bundle's */
  bool serve, info, no_speculation, no_valve;
} chm_run_settings;

/* What is open; NULL before. */
typedef struct chm_runner {
  chm_bundle *bundle;
  chm_session *session;
  chm_grammar *grammar; /* in use */
} chm_runner;
extern chm_runner chm_run;

/* Statuses beside the library's: what only this program finds. */
#define CHM_RUN_BAD_REQUEST (-1)
#define CHM_RUN_NO_MEMORY (-2)

/* What a status means, in a sentence. */
const char *chm_run_sentence(int32_t status);
/* After the last line: 0 if it was one, and the reading did not fail. */
int chm_run_end_of_input(void);
/* Numbers: all of the text or nothing. */
bool chm_run_read_u64(const char *text, uint64_t *value);
bool chm_run_read_i32(const char *text, int32_t *value);

/* ---- chm_run_bundle.c; all return a status ---- */

/* Open the bundle in the folder that was asked for, or in that of this program. */
int32_t chm_run_open(const chm_run_settings *s, const char *program);
void chm_run_close(void);
/* Use loops and sampling; of apply_all also everything else, and the bundle's defaults. */
int32_t chm_run_apply(const chm_run_settings *s);
int32_t chm_run_apply_all(const chm_run_settings *s);
/* Whether answers may be refused. */
bool chm_run_refuses(const chm_run_settings *s);
/* Use a grammar of the bundle: NULL for the default one, if there is one. */
int32_t chm_run_use_grammar(const char *name);
/* Use the grammar of a pack, whose bytes are kept. */
int32_t chm_run_use_compiled(const void *data, size_t bytes);

/* ---- chm_run_serve.c ---- */

/* Answer requests on standard input, the first line saying how opening the bundle went; the program's status. */
int chm_run_serve(int32_t opened);

#endif
