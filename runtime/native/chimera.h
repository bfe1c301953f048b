/* The C interface of a chimera bundle: load the weights, open a session, generate text; or, of a module that is no language
 * model, call it with tensors.
 *
 * Every function that can fail returns a chm_status: CHM_OK, CHM_FINISHED or an error; chm_last_error() then has the
 * whole sentence. No function prints, exits or keeps a pointer to an argument unless it says so. After a session is
 * open, nothing is allocated but by chm_session_prompt, which needs scratch memory for the text it encodes.
 *
 * A bundle may be used from several threads at a time, and a session or grammar from any thread, by one call at a time: a
 * second call while one runs answers CHM_ERROR_STATE and does nothing, and so does closing. Only chm_session_position
 * and chm_session_iterations may be asked meanwhile. The other functions that return no status, and the memory they point
 * to, are for between calls. Nothing may be called with a handle that was closed. Functions with handles accept NULL
 * and answer CHM_ERROR_ARGUMENT, 0 or NULL. Strings are UTF-8 and end with a zero byte unless a length is given.
 *
 * Compatibility: functions are added, not changed, within one CHM_ABI_MAJOR.
 */
#ifndef CHIMERA_H
#define CHIMERA_H

#include <stddef.h>
#include <stdint.h>

#include "chm_format.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define CHM_API __attribute__((visibility("default")))
#define CHM_POSIX_API CHM_API /* absent from wasm modules */
#define CHM_WASM_API CHM_API  /* only in wasm modules */
#define CHM_SHARED_API CHM_API /* only in wasm modules with threads */
#define CHM_TENSOR_API CHM_API /* absent from wasm modules of language models */

typedef struct chm_bundle chm_bundle;   /* weights and tokenizer, read only */
typedef struct chm_session chm_session; /* one sequence of tokens, or of calls, and its recurrent state */
typedef struct chm_bank chm_bank;       /* spans of tokens to guess from, read only */
typedef struct chm_pack chm_pack;       /* grammars in a container, read only */
typedef struct chm_names chm_names;     /* the names of a home, read only */
typedef struct chm_grammar chm_grammar; /* one grammar, a place in a text, and masks that were made before */

/* Where memory comes from. allocate returns 64-byte aligned memory or NULL; release gets the same number of bytes. */
typedef struct chm_allocator {
  void *(*allocate)(void *user, size_t bytes);
  void (*release)(void *user, void *block, size_t bytes);
  void *user;
} chm_allocator;

/* ---- The model compiled into this library. ---- */

CHM_API uint32_t chm_abi_version(void); /* CHM_ABI_MAJOR * 65536 + CHM_ABI_MINOR */
CHM_API const char *chm_model_name(void);
CHM_API const char *chm_model_target(void);
CHM_API const char *chm_model_config_sha256(void);
CHM_API const char *chm_model_weights_sha256(void);
/* 0 of a module that is no language model: it has no tokens, and functions of tokens answer CHM_ERROR_STATE. */
CHM_API int32_t chm_vocab_size(void);
CHM_API int32_t chm_max_loops(void);
CHM_API int32_t chm_default_loops(void);
/* Most tokens of a sequence, prompts and answers together; 0: 2^31 - 1. */
CHM_API int32_t chm_context(void);
/* Bytes that chm_session_open allocates, in one block; 0 if they do not fit the address space. */
CHM_API size_t chm_session_bytes(void);

/* ---- Kernels: a library may have some for several kinds of processor, all of which compute the same bits. ---- */

/* Use the kernels of this name, or with NULL the best that this processor runs; opening a bundle does the latter, or
 * takes those that the environment variable CHIMERA_CPU names. No session may be in a call.
 * CHM_ERROR_ARGUMENT: there are none of that name, or the processor cannot run them. */
CHM_POSIX_API int32_t chm_cpu_select(const char *name);
/* Name of the kernels in use. */
CHM_POSIX_API const char *chm_cpu_selected(void);
/* Names of all kernels by index, from plain to best; NULL from the first index on that has none. */
CHM_POSIX_API const char *chm_cpu_kernels(int32_t index);

/* ---- Errors. ---- */

/* The meaning of a status; never NULL. */
CHM_POSIX_API const char *chm_status_text(int32_t status);
/* What went wrong in the last failed call of this thread; never NULL. */
CHM_API const char *chm_last_error(void);

/* ---- Bundles. ---- */

/* Do not compare the sections' CRC-32: for files whose bytes were just verified in another way. */
#define CHM_OPEN_SKIP_CHECKSUMS 1u

/* Check a weights container and, unless NULL, a tokenizer container in memory. The weights must be 64-byte aligned and
 * both must stay unchanged until the bundle is closed. allocator NULL: the default one; otherwise it is copied. */
CHM_API int32_t chm_bundle_open(const void *weights, size_t weights_bytes, const void *tokenizer,
                                size_t tokenizer_bytes, uint32_t flags, const chm_allocator *allocator,
                                chm_bundle **bundle);
/* The same for files, which are mapped. tokenizer_path may be NULL. */
CHM_POSIX_API int32_t chm_bundle_open_files(const char *weights_path, const char *tokenizer_path, uint32_t flags,
                                            const chm_allocator *allocator, chm_bundle **bundle);
/* CHM_ERROR_STATE, and nothing done, while sessions of the bundle are open. */
CHM_API int32_t chm_bundle_close(chm_bundle *bundle);

/* Let every call with a session of the bundle use up to this many threads, the calling one included: 1 to
 * CHM_MAX_THREADS, or 0 for the number of cores, at most 8. A new bundle has 1: no thread is started unless asked for.
 * Results do not depend on the number. The others are started here, sleep when nothing is to be done, and end with
 * chm_bundle_close. Sessions that compute at the same time share them. After a fork the child's sessions compute alone
 * until it calls this. CHM_ERROR_STATE, and nothing done, while a session of the bundle is in a call. CHM_ERROR_MEMORY:
 * they cannot be started; there is 1. */
CHM_API int32_t chm_bundle_set_threads(chm_bundle *bundle, int32_t threads);
CHM_API int32_t chm_bundle_threads(const chm_bundle *bundle);

/* ---- Tokenizer (CHM_ERROR_STATE if the bundle has none). ---- */

/* Encode text; no special token comes from the text. *count is the number of tokens, even where it is over capacity:
 * then nothing but *count is written and the result is CHM_ERROR_LIMIT. tokens may be NULL if capacity is 0. */
CHM_API int32_t chm_tokenizer_encode(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, int32_t *tokens,
                                     size_t capacity, size_t *count);
/* The same for a text that follows special tokens, or another text: some tokenizers put a space before a text that begins
 * a sequence, and none before this one. */
CHM_API int32_t chm_tokenizer_encode_more(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, int32_t *tokens,
                                          size_t capacity, size_t *count);
/* As chm_tokenizer_encode, but names of special tokens in the text, as `<|endoftext|>`, become these tokens: the first, of several there
 * the longest. Only for text of your own: a stranger's could end turns and speak as the system. */
CHM_API int32_t chm_tokenizer_encode_with_specials(chm_bundle *bundle, const uint8_t *text, size_t text_bytes,
                                                   int32_t *tokens, size_t capacity, size_t *count);
/* Tokens that a text of so many bytes has at most. */
CHM_API size_t chm_tokenizer_room(const chm_bundle *bundle, size_t text_bytes);
/* Encode a long text in parts, in time for something else between two of them: the pieces of it (no merge crosses their
 * ends) that begin in the most_bytes from *at on, at least one. *at moves on to the first piece that is left, and is
 * text_bytes after the last. There must be room for chm_tokenizer_room of the bytes that are left. Together the parts
 * give the tokens of chm_tokenizer_encode. A text that the tokenizer changes before it cuts it is one part. */
CHM_API int32_t chm_tokenizer_encode_part(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, size_t *at,
                                          size_t most_bytes, int32_t *tokens, size_t capacity, size_t *count);
/* Bytes of a token: points into the tokenizer; 0 bytes for specials, holes and unknown ids. */
CHM_API const uint8_t *chm_tokenizer_token(const chm_bundle *bundle, int32_t token, size_t *bytes);
/* The first special token of a role ("begin", "end", "control", "pad", "reserved", "answer"), or -1. */
CHM_API int32_t chm_tokenizer_special(const chm_bundle *bundle, const char *role);

/* ---- Sessions. ---- */

CHM_API int32_t chm_session_open(chm_bundle *bundle, const chm_allocator *allocator, chm_session **session);
/* CHM_ERROR_STATE, and nothing done, while the session is in a call; CHM_OK for NULL. */
CHM_API int32_t chm_session_close(chm_session *session);
/* Back to position 0 and the initial state; settings stay. */
CHM_API int32_t chm_session_reset(chm_session *session);

/* Iterations of the looped layers, 1..chm_max_loops(); 0 = the model's default. May change between any two calls. */
CHM_API int32_t chm_session_set_loops(chm_session *session, int32_t loops);
/* Leave the loop early when the iterate moves less than this, relatively; 0..1, 0 = never. While it is not 0, prompts
 * run token by token, so that each token finds its own depth. */
CHM_API int32_t chm_session_set_exit_threshold(chm_session *session, float threshold);
/* temperature 0 (greedy) or 0.01..100; top_p 0..1, 1 = all; top_k >= 0, 0 = all; repetition_penalty 0.1..10, 1 = none;
 * the seed is 64 bits in two halves; streams of one seed are independent. Default: 0, 1, 0, 1, seed 0, stream 0. */
CHM_API int32_t chm_session_set_sampling(chm_session *session, float temperature, float top_p, int32_t top_k,
                                         float repetition_penalty, uint32_t seed_low, uint32_t seed_high,
                                         uint32_t stream);
/* Tokens that end a generation, instead of the tokenizer's specials of role "end"; count <= CHM_MAX_STOP_TOKENS. */
CHM_API int32_t chm_session_set_stop_tokens(chm_session *session, const int32_t *tokens, size_t count);

/* Run tokens through the model. All of them are checked first; CHM_ERROR_CONTEXT, and nothing done: they are more than
 * the sequence has room for. Any way of cutting a prompt gives the same bits: who wants
 * to be able to stop, or to tell how far it is, runs some tokens a call, best up to the next multiple of 64 of the
 * position. */
CHM_API int32_t chm_session_prefill(chm_session *session, const int32_t *tokens, size_t count);
/* The same of tokens that others will follow: what only logits need is left out. Who asks for the logits all the same
 * (chm_session_logits, chm_session_generate, a hash, a snapshot) waits for them then. */
CHM_API int32_t chm_session_prefill_part(chm_session *session, const int32_t *tokens, size_t count);
/* Run one token: the same as prefill of one. */
CHM_API int32_t chm_session_decode(chm_session *session, int32_t token);
/* Encode text, with the begin token before it if the session is at position 0 and the tokenizer has one, and with the
 * answer token after it if the tokenizer has one, and run it. It is the request of the session's grammar. To continue a text without an answer token, encode it and
 * use chm_session_prefill. */
CHM_API int32_t chm_session_prompt(chm_session *session, const uint8_t *text, size_t text_bytes);
/* What chm_session_prompt puts between a request and the answer token where the tokenizer has a token of the role heard and the
 * session's grammar knows a request and lists: this token, and the names that the request says; else none. CHM_ERROR_LIMIT: they do not
 * fit. For those who run the tokens of a prompt themselves. */
#define CHM_HINT_BYTES 6192 /* most bytes of the text of these tokens but the first */
CHM_API int32_t chm_session_hint(chm_session *session, int32_t *tokens, size_t capacity, size_t *count);

/* Allow max_tokens more tokens to be generated, 0..2^31-1, and forget that a generation has finished. At the end of the
 * context a generation finishes as at max_tokens. CHM_ERROR_CONTEXT, and nothing done: what is left of it may not do for the
 * grammar's shortest text. */
CHM_API int32_t chm_session_begin_generation(chm_session *session, int32_t max_tokens);
/* Choose the next token. CHM_OK: *token was chosen. CHM_FINISHED: *token is the stop token that was chosen, or -1 at
 * max_tokens; the text of the call is what was left of an unfinished character. Needs a token run before. The chosen
 * token itself is run by the next call that needs its state: generate, prefill, decode, prompt, logits_hash. */
CHM_API int32_t chm_session_generate(chm_session *session, int32_t *token);
/* The text that became complete with the last chm_session_generate: UTF-8, invalid bytes replaced by U+FFFD. Valid
 * until the next call with this session. */
CHM_API const uint8_t *chm_session_text(const chm_session *session, size_t *bytes);

/* How likely an answer was: while on is not 0, generations that begin count the sum of the natural logarithms of their tokens'
 * probabilities, each among the tokens that the grammar and the tokenizer allowed there, by the model's logits as they are
 * (no temperature, no penalty, no weights of a grammar). A token without an alternative counts 0, and so does the end by
 * itself; a stop token counts. Off at first: it takes an exponential for each of these tokens. */
CHM_API int32_t chm_session_set_scoring(chm_session *session, int32_t on);
/* That sum, up to now, of the last generation; 0 or less, and 0 where it was not counted. A snapshot does not hold it, and what
 * begins or restores a sequence sets it to 0. */
CHM_API float chm_session_score(const chm_session *session);

/* The entropy valve, docs/valve.md: where what comes next is certain, the tokens of a block are run with fewer loop iterations.
 * Three levels, a sequence begins with the high one. From medium_bits and high_bits of entropy on, where a block begins, the
 * next level may be gone up to. loops: the most of each level; those of the session are the most of all. All 0: no
 * valve, which sessions begin with. metrics: what counts beside the entropy. May change between any two calls; the level stays. */
enum { CHM_VALVE_BRANCHING = 1, CHM_VALVE_PRESSURE = 2 };
CHM_API int32_t chm_session_set_valve(chm_session *session, float medium_bits, float high_bits, int32_t low_loops,
                                      int32_t medium_loops, int32_t high_loops, uint32_t metrics);
/* The level that tokens are run with now: 0 low, 1 medium, 2 high. A part of the sequence, which snapshots hold. */
CHM_API int32_t chm_session_level(const chm_session *session);
/* The entropy in bits that the valve saw last; 0 before. */
CHM_API float chm_session_entropy(const chm_session *session);
/* Tokens since the last chm_session_begin_generation by the level that they are run with: low, medium, high; count is 3. */
CHM_API int32_t chm_session_levels(chm_session *session, uint64_t *tokens, size_t count);

/* The ledger of open obligations, docs/ledger.md: what the text of a generation with a grammar has to close. obligations: those
 * that count, as bits in the order of the numbers of chm_session_ledger; 0: no ledger, which sessions begin with. outstanding:
 * most that are open, 0 to 64; of sentences and lists none are counted beyond. weight: what the closers of these are
 * favoured by in logits, in 1/256 nat, 0 to 65535, times the pressure. A ledger begins with a generation. */
CHM_API int32_t chm_session_set_ledger(chm_session *session, uint32_t obligations, uint32_t outstanding, uint32_t weight);
/* How many are open: brackets, strings, fences, objects and arrays, which are the frames of the place in the grammar;
 * sentences; lists; and the pressure of them all, in 32640ths. count is 7. */
#define CHM_OBLIGATIONS 6
#define CHM_LEDGER_NUMBERS 7
#define CHM_LEDGER_WHOLE 32640
CHM_API int32_t chm_session_ledger(chm_session *session, uint32_t *numbers, size_t count);

/* Speculation: several tokens are guessed and run in one pass, and those that would have been chosen anyway are taken, so
 * that tokens, logits and states are the same as without it, to the bit; docs/spans.md. Guesses are what followed the same
 * last tokens before, what a draft head says, and what a grammar leaves. With an exit threshold each token is run by itself. */

/* 1 if the bundle was built with speculation, else 0. */
CHM_API int32_t chm_speculates(void);
/* 1 if the model has a draft head that guesses, else 0. */
CHM_API int32_t chm_has_draft_head(void);
/* nodes: 0 no speculation; 1 as much as pays, which sessions begin with; 2 to 20: guess as much as there is room for in
 * passes of so many tokens, whether it pays or not. CHM_ERROR_STATE: the bundle was built without. */
CHM_API int32_t chm_session_set_speculation(chm_session *session, int32_t nodes);
/* Numbers since the last chm_session_begin_generation: passes; guesses; those that were taken; passes of which not all were
 * taken; guesses and taken ones by who guessed: text after the same 4 or 5 tokens, the grammar, a drafter, spans of the bank
 * that the text is in, those that follow its last two tokens, those with near keys, text after the same 2 or 3 tokens, and
 * the model's draft head. */
enum {
  CHM_COUNTER_PASSES = 0,
  CHM_COUNTER_ROLLBACKS = 1,
  CHM_COUNTER_PROPOSED = 2, /* and 4, 6, …, 18 by who guessed */
  CHM_COUNTER_ACCEPTED = 3  /* and 5, 7, …, 19 */
};
#define CHM_COUNTERS 20
CHM_API int32_t chm_session_counters(chm_session *session, uint64_t *counters, size_t count);
/* The passes of them of which not all guesses were taken, by who made the first one in the place where that was found, in the
 * order of the counters; where none was in that place it was nobody. */
#define CHM_ROLLBACKS ((CHM_COUNTERS - 4) / 2)
CHM_API int32_t chm_session_rollbacks(chm_session *session, uint64_t *rollbacks, size_t count);
/* Spans of the bank that were not guessed from when it was their turn, since then: their certificate is not that of their tokens; or
 * they go on otherwise too often for the level of the valve; or a grammar forbids them from their first token on. */
enum { CHM_REJECTED_DAMAGED, CHM_REJECTED_RISK, CHM_REJECTED_GRAMMAR };
#define CHM_REJECTED 3
CHM_API int32_t chm_session_rejected(chm_session *session, uint64_t *spans, size_t count);
/* How many candidates the sources give at most where a tree is made: spans with near keys; tokens that the grammar leaves; what followed
 * the same tokens before, and spans of the bank that the text is in or that follow its last two tokens; a draft head. The share of a head, and
 * of a grammar where there is none, is added to that of spans that follow. 0: the source is not asked. Each up to 256. Then what counts where spans are
 * ranked, up to 2^20, 65536 for 1: how near their keys are, and how likely they begin. numbers NULL: as sessions begin with. */
enum { CHM_SHARE_NEAR, CHM_SHARE_GRAMMAR, CHM_SHARE_TEXT, CHM_SHARE_HEAD, CHM_WEIGHT_NEARNESS, CHM_WEIGHT_BOUNDARY };
#define CHM_SHARES 6
CHM_API int32_t chm_session_set_shares(chm_session *session, const uint32_t *numbers, size_t count);
/* What passes of 1 to count nodes, 20 at most, take as far as this session knows, in passes of one: it measures them as it
 * goes, and guesses what was not measured yet. */
CHM_API int32_t chm_session_costs(chm_session *session, float *costs, size_t count);
/* Guesses of the caller's own, in place of others: a tree below the last token of the text, of which position tokens are
 * known. Sets tokens and parents, each a node before it or -1 for that token, of at most most nodes, and returns their
 * number; it may be called in the middle of any call that generates. NULL: none. */
typedef int32_t (*chm_drafter)(void *context, int32_t position, int32_t *tokens, int32_t *parents, int32_t most);
CHM_POSIX_API int32_t chm_session_set_drafter(chm_session *session, chm_drafter drafter, void *context);

/* Open a bank of spans, docs/sfpack.md, aligned to 8 bytes, which stays unchanged, and the bundle open, until it is closed. Without
 * checksums only sizes are looked at: what is wrong in it leads to wrong guesses only. allocator NULL: the bundle's.
 * CHM_ERROR_STATE: the bundle was built without speculation, or has no tokenizer. CHM_ERROR_SPANS: no bank for this tokenizer. */
CHM_API int32_t chm_bank_open(chm_bundle *bundle, const void *data, size_t bytes, uint32_t flags,
                              const chm_allocator *allocator, chm_bank **bank);
/* The same for a file, which is mapped. */
CHM_POSIX_API int32_t chm_bank_open_file(chm_bundle *bundle, const char *path, uint32_t flags,
                                         const chm_allocator *allocator, chm_bank **bank);
/* CHM_ERROR_STATE, and nothing done, while sessions guess from it. */
CHM_API int32_t chm_bank_close(chm_bank *bank);
/* Its spans. */
CHM_POSIX_API int32_t chm_bank_count(const chm_bank *bank);
/* The certificate of a span, docs/sfpack.md, made of its record and its tokens. count: CHM_CERTIFICATE_BYTES. CHM_ERROR_SPANS: the
 * record keeps the digest of another one, or is out of range. */
#define CHM_CERTIFICATE_BYTES 1119
CHM_POSIX_API int32_t chm_bank_certificate(const chm_bank *bank, int32_t span, uint8_t *bytes, size_t count);
/* Guess from a bank of the same bundle too, until the session is closed or told another one; NULL: from none. */
CHM_API int32_t chm_session_set_bank(chm_session *session, chm_bank *bank);

/* Bytes of a vector of the memory that the model's span knots read; 0 of a model that reads none. */
CHM_API int32_t chm_reads_memory(void);
/* Let the session read a memory where a block of tokens begins: count vectors of chm_reads_memory() bytes, at most 32,768, which stay
 * where they are until the session is closed or told another one. The tokens from then on are its sketch. count 0: none.
 * CHM_ERROR_STATE: the model reads none. */
CHM_API int32_t chm_session_set_memory(chm_session *session, const void *vectors, size_t bytes, size_t count);

/* float[vocab] after the last token that was run, NULL before the first. Valid until the next token is run. */
CHM_API const float *chm_session_logits(const chm_session *session);
/* Number of tokens that were run, of a module without tokens that of calls. Of a call that runs, those up to now. */
CHM_API int32_t chm_session_position(const chm_session *session);
/* Tokens that the sequence has room for: those of the context less those that were run or chosen. */
CHM_API int32_t chm_session_room(const chm_session *session);
/* Loop iterations of the last call. */
CHM_API int32_t chm_session_iterations(const chm_session *session);

/* 64-bit hash of the recurrent state, or of the logits, for comparing targets; docs/runtime.md defines it. A token that
 * was generated but not run yet is run first. */
CHM_API int32_t chm_session_state_hash(chm_session *session, uint64_t *hash);
CHM_API int32_t chm_session_logits_hash(chm_session *session, uint64_t *hash);

/* The sequence (state, logits, position, history; not the settings) as a container of kind "state", docs/bundle.md, that
 * every runtime of the same config and weights restores and continues to the same bits. The size is the same for all
 * sequences of a model, but for caches of attention, of which the rows of the text are in it: ask again after tokens. Nothing is allocated. A snapshot that is refused changes nothing: CHM_ERROR_NOT_A_CONTAINER to
 * CHM_ERROR_CHECKSUM for bytes that are none, CHM_ERROR_MISMATCH for another model, CHM_ERROR_ARGUMENT for numbers out of
 * range. */
CHM_API size_t chm_session_snapshot_bytes(const chm_session *session);
CHM_API int32_t chm_session_snapshot(chm_session *session, void *snapshot, size_t bytes);
CHM_API int32_t chm_session_restore(chm_session *session, const void *snapshot, size_t bytes);

/* ---- Modules that are no language models: tensors in, tensors out, as often as somebody calls. ---- */

typedef enum chm_element { CHM_FLOAT32 = 1, CHM_INT32 = 2 } chm_element; /* of 4 bytes each; truth values are 0 and 1 */

/* An input or a result of an entry, in row-major order. */
typedef struct chm_tensor_info {
  const char *name;
  int32_t element;      /* chm_element */
  int32_t rank;
  const int32_t *shape; /* [rank] extents, -1 for the axis that varies */
  int32_t low, high;    /* of integers: least and greatest value that an input may have */
} chm_tensor_info;

/* A tensor of the caller, aligned to 4 bytes. */
typedef struct chm_tensor {
  const char *name;
  void *data;   /* inputs are not written to */
  size_t bytes; /* exact */
} chm_tensor;

/* Name of an entry by its number; NULL from the first number on that has none. A language model has none. */
CHM_TENSOR_API const char *chm_entry_name(int32_t entry);
/* Greatest extent of the axis that varies: 1 where none does; 0 if there is no such entry. */
CHM_TENSOR_API int32_t chm_entry_most(int32_t entry);
/* The inputs and results of an entry by their numbers; NULL from the first number on that has none. */
CHM_TENSOR_API const chm_tensor_info *chm_entry_input(int32_t entry, int32_t index);
CHM_TENSOR_API const chm_tensor_info *chm_entry_result(int32_t entry, int32_t index);
/* Run an entry: every input and every result once, in any order; results get their values, and the session its next
 * state. n: extent of the axis that varies, from 1 to chm_entry_most; 1 where none does. No result may overlap another
 * tensor. CHM_ERROR_ARGUMENT, and nothing done: a name, a size, an alignment or n is wrong, or an integer of an input is
 * outside of its range. */
CHM_TENSOR_API int32_t chm_session_call(chm_session *session, const char *entry, const chm_tensor *inputs,
                                        size_t n_inputs, const chm_tensor *results, size_t n_results, int32_t n);

/* ---- Measuring: where the time goes, and what this machine can do. docs/bench.md shows what to make of it. ---- */

/* Steps of a decoded token: all kernels of one op in one part of the model. */
CHM_POSIX_API int32_t chm_profile_steps(void);
/* The part, as "layers.3.mixer", and the op, as "ternary_matmul", of a step; NULL if there is no such step. */
CHM_POSIX_API const char *chm_profile_part(int32_t step);
CHM_POSIX_API const char *chm_profile_op(int32_t step);
/* Bytes of weights that the step reads for a token with the default number of loop iterations; of experts those of the
 * chosen ones; each iteration counts. */
CHM_POSIX_API uint64_t chm_profile_weight_bytes(int32_t step);
/* From the next call on add the time of each step to nanoseconds[chm_profile_steps()], which the session keeps until it is
 * told another place, or NULL to measure no more. Together the steps are all of the model's time; choosing tokens and
 * making text of them is not in it. Results do not change. CHM_ERROR_ARGUMENT: count is not chm_profile_steps(). */
CHM_POSIX_API int32_t chm_session_profile(chm_session *session, int64_t *nanoseconds, size_t count);
/* Read memory from beginning to end with some threads, 1 to CHM_MAX_THREADS, each of which reads its part of it as 1 to
 * CHM_MAX_STREAMS streams side by side, and tell how long that took. bytes is rounded down to whole blocks. */
#define CHM_MAX_STREAMS 8
CHM_POSIX_API int32_t chm_measure_reading(const void *memory, size_t bytes, int32_t threads, int32_t streams,
                                          int64_t *nanoseconds);

/* ---- Grammars: which tokens may come; docs/fstpack.md. ---- */

/* Open a container of grammars, which must stay unchanged until the pack is closed and be aligned to 4 bytes. The bundle
 * must have a tokenizer, and stays open as long. A container that was made for a tokenizer, and has its tables, must be
 * for this one. Others use the tables of base, a pack of the same bundle, which then stays open as long too; without a
 * base they are made, which takes time. data NULL: no grammars but the tables, to be a base. allocator NULL: the
 * bundle's. CHM_ERROR_GRAMMAR: the tables are not valid or for another tokenizer. */
CHM_API int32_t chm_pack_open(chm_bundle *bundle, chm_pack *base, const void *data, size_t bytes, uint32_t flags,
                              const chm_allocator *allocator, chm_pack **pack);
/* CHM_ERROR_STATE, and nothing done, while its grammars or packs that it is the base of are open. */
CHM_API int32_t chm_pack_close(chm_pack *pack);
CHM_API int32_t chm_pack_count(const chm_pack *pack);
/* Name of a grammar by index, NULL if there is none. */
CHM_API const char *chm_pack_name(const chm_pack *pack, int32_t index);
/* Index of the grammar that holds where none is asked for, or -1. */
CHM_API int32_t chm_pack_default(const chm_pack *pack);

/* Check and open the grammar of a name; NULL: the only one, or the default one. It is at the start of a text. Several of
 * one pack may be used by different threads, each by one at a time. Up to 4 MiB are for masks that were made before. */
CHM_API int32_t chm_grammar_open(chm_pack *pack, const char *name, const chm_allocator *allocator, chm_grammar **grammar);
/* As of chm_session_close. */
CHM_API int32_t chm_grammar_close(chm_grammar *grammar);
/* Most optional whitespace in a row, 0..255; -1: the grammar's own. */
CHM_POSIX_API int32_t chm_grammar_set_whitespace(chm_grammar *grammar, int32_t most);

/* Say what may stand in a grammar's slots (docs/grammar.md): kind 0, the request, whose words may be copied; kinds 1 to 3,
 * the lists of names, areas and floors, one a line, each perhaps with other names of it after tabs; where the request says
 * some of them, only these may stand there. UTF-8; nothing is kept of text. NULL: no list, and the request's words
 * in its place. The grammar, and a generation that follows it, start anew. Without effect on a grammar without slots.
 * CHM_ERROR_ARGUMENT, and nothing done: too long, or no list of names. */
CHM_API int32_t chm_grammar_set_words(chm_grammar *grammar, int32_t kind, const uint8_t *text, size_t bytes);
/* Kinds of slots that a grammar has, as bits. */
CHM_API int32_t chm_grammar_slots(const chm_grammar *grammar);

/* The following work with the grammar's own place in a text; a session keeps a place of its own. */

/* Back to the start of a text. */
CHM_POSIX_API int32_t chm_grammar_start(chm_grammar *grammar);
/* Go on by a token. CHM_FINISHED: it was an end token. CHM_ERROR_GRAMMAR_TOKEN, and nothing done: it is not allowed. */
CHM_POSIX_API int32_t chm_grammar_accept(chm_grammar *grammar, int32_t token);
/* Number of words of a mask: one bit for each token of the tokenizer. */
CHM_POSIX_API size_t chm_grammar_mask_words(const chm_grammar *grammar);
/* Set the bits of the tokens that chm_grammar_accept would take: token t is bit t % 32 of word t / 32. left: tokens that
 * may still be made, end token not counted; then only those that allow an end in time. Negative: no limit. */
CHM_POSIX_API int32_t chm_grammar_mask(chm_grammar *grammar, int32_t left, uint32_t *mask, size_t words);
/* 1 if the text may end here, else 0. */
CHM_POSIX_API int32_t chm_grammar_complete(const chm_grammar *grammar);
/* No more tokens than this are needed to the end. */
CHM_API int32_t chm_grammar_closing(const chm_grammar *grammar);
/* The bytes that must come next, at most capacity and 256: a hint, to be tokenised together with what is around. */
CHM_POSIX_API int32_t chm_grammar_forced(chm_grammar *grammar, uint8_t *text, size_t capacity, size_t *bytes);
/* Copy the place, and go back to a copy; the cost does not depend on the text. */
CHM_POSIX_API size_t chm_grammar_state_bytes(void);
CHM_POSIX_API int32_t chm_grammar_save(const chm_grammar *grammar, void *state, size_t bytes);
CHM_POSIX_API int32_t chm_grammar_restore(chm_grammar *grammar, const void *state, size_t bytes);

/* Make every generation that begins from now on follow a grammar of the same bundle, from its start; NULL: none. The
 * grammar stays open as long, and may serve one session at a time. Tokens that are not allowed are never chosen, the
 * text is closed before max_tokens is reached, and where a single token is allowed it is taken whatever the logits are.
 * chm_session_begin_generation fails where max_tokens is less than chm_grammar_closing at the start. */
CHM_API int32_t chm_session_set_grammar(chm_session *session, chm_grammar *grammar);
/* 1 if the text of the generation may end here, or has no grammar; else 0. */
CHM_POSIX_API int32_t chm_session_complete(const chm_session *session);

/* Read the names of a home, JSON as docs/grammar.md has it, "Copying": {"entities": [{"name", "aliases", "domain", "area"}],
 * "areas": [{"name", "aliases"}], "floors": [{"name", "aliases"}]}. At most 1 MiB; nothing is kept of it. CHM_ERROR_ARGUMENT for anything else, with the
 * place. */
CHM_POSIX_API int32_t chm_names_open(const uint8_t *json, size_t bytes, const chm_allocator *allocator, chm_names **names);
CHM_POSIX_API void chm_names_close(chm_names *names);
/* Kind 0: the text before each request; 1, 2 and 3: the names of things, of areas and of floors, one a line, as
 * chm_grammar_set_words takes them; NULL where there are none. */
CHM_POSIX_API const uint8_t *chm_names_text(const chm_names *names, int32_t kind, size_t *bytes);
/* Start a sequence with that text, and say the lists to the session's grammar, if it has one. A snapshot taken then is what
 * each request starts from: chm_session_restore, chm_session_prompt. NULL: start a sequence, and forget the lists. */
CHM_POSIX_API int32_t chm_session_tell_names(chm_session *session, const chm_names *names);

/* ---- Memory of a wasm module. ---- */

/* Grow the memory once so that allocations of this many bytes in total fit. */
CHM_WASM_API int32_t chm_memory_reserve(size_t bytes);
/* 64-byte aligned memory of the module, or NULL. */
CHM_WASM_API void *chm_memory_allocate(size_t bytes);
CHM_WASM_API void chm_memory_release(void *block, size_t bytes);


/* Only in modules with shared memory: take part in the work of the bundle until its number of threads is set to 1. For
 * the workers of an embedder; each runs its own instance of the module, with a stack of its own. */
CHM_SHARED_API void chm_worker_run(chm_bundle *bundle);

#if defined(__cplusplus)
}
#endif

#endif
