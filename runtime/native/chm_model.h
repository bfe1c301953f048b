/* What the compiler generates for a model and the C runtime calls: the border between model.c and the rest.
 *
 * The generated driver runs kernels over three memory regions it does not own: weights (read only, one pointer per
 * section of the weights file), state (recurrent state of one session) and arena (scratch, contents free between calls).
 * It allocates nothing and keeps nothing between calls.
 */
#ifndef CHM_MODEL_H
#define CHM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chimera.h"
#include "chm_cpu.h"

#define CHM_MODEL_ABI 13u
#define CHM_NO_SECTION (-1)

/* Whether a driver can be told to measure its steps: a wasm module has no clock. */
#if defined(__wasm__)
#define CHM_HAS_CLOCK 0
#else
#define CHM_HAS_CLOCK 1
#endif

/* Whether kernels can be computed by several threads. */
#if defined(__wasm__) && !defined(__wasm_atomics__)
#define CHM_HAS_THREADS 0
#else
#define CHM_HAS_THREADS 1
#endif

typedef struct chm_pool chm_pool; /* threads that share the work of a kernel: chm_threads.h */

/* A kernel's outputs begin to end - 1, for n tokens. */
typedef void (*chm_part)(const void *const *arguments, int32_t n, int32_t begin, int32_t end);

#define CHM_MOST_ARGUMENTS 24

/* Compute all units of a kernel, on several threads if that pays, at the latest in the next chm_join: until then other
 * kernels may come that neither need its results nor overwrite what it reads. work: multiply-adds of a unit for a token;
 * count: of the arguments, at most CHM_MOST_ARGUMENTS, which are copied. pool may be NULL. */
void chm_share(chm_pool *pool, chm_part part, const void *const *arguments, size_t count, int32_t n, int32_t units,
               int32_t work);
/* The same of a kernel that needs of kernels before it, for each part of its units, the same part of theirs only: it is
 * computed with them, part by part. Numbers of units are multiples of the least one. Bit i of back: the kernel i + 1
 * before it. */
void chm_follow(chm_pool *pool, uint32_t back, chm_part part, const void *const *arguments, size_t count, int32_t n,
                int32_t units, int32_t work);
/* Have the kernels computed that were shared since the last time. */
void chm_join(chm_pool *pool);

/* The time that each step of a driver takes: chm_profile.c. */
typedef struct chm_profile {
  int64_t *nanoseconds; /* [n_steps] sums; NULL: nothing is measured */
  int64_t since;        /* when the running step began */
  int32_t step;         /* the running step, -1 between calls */
} chm_profile;

/* A step begins, and the one that ran ends; -1: the call ends. */
void chm_profile_step(chm_profile *profile, int32_t step);

/* Nodes of a tree of tokens that follow one another, begin to begin + count - 1: each but the first is the child of the one
 * before it. */
typedef struct chm_path {
  int32_t begin, count;
  int32_t depth;  /* of the first: its position less that of the call */
  int32_t source; /* slot with the states that it begins with, -1 for those of the session */
  int32_t slot;   /* that its states are in, 0 to 3: no tree needs more whose smallest subtrees come first */
} chm_path;

#define CHM_MOST_NODES 20 /* of a tree */

/* What a call of decode or prefill leaves out. What only logits need comes after all that changes states, and may be computed
 * by a call of its own: with the same n and position, before anything else uses the arena or changes a state. */
#define CHM_WITHOUT_LOGITS 1
#define CHM_WITHOUT_STATES 2

/* One forward call over n consecutive tokens, 1 <= n <= block, that crosses no absolute position divisible by block; or, of
 * an entry of tensors, over tensors whose axis that varies has the extent n. */
typedef struct chm_call {
  const uint8_t *const *weights; /* [n_sections] start of each section, 64-byte aligned */
  uint8_t *state;                /* [state_bytes] 64-byte aligned */
  uint8_t *arena;                /* [arena_bytes] 64-byte aligned */
  const int32_t *tokens;         /* [n] each in 0..vocab-1 */
  float *logits;                 /* [vocab] of the last of the n tokens; of verify [n, vocab] */
  int32_t n;
  int32_t position;              /* absolute position of tokens[0]; of tensors, the number of calls before this one */
  int32_t loops;                 /* iterations of the looped region, 1..max_loops */
  float exit_threshold;          /* > 0: leave the loop early when the iterate moves less than this, relatively */
  int32_t iterations;            /* out: iterations that were run */
  chm_pool *pool;                /* NULL: the calling thread alone */
  chm_profile *profile;          /* of the functions that measure */
  /* of verify, whose tokens are the nodes of a tree, and of commit, whose paths are the one that was chosen */
  const chm_path *paths;  /* [n_paths] in the order of their nodes */
  const int32_t *parents; /* [n] of verify: each node's, -1 of node 0 */
  uint8_t *kept;          /* [kept_bytes] what commit needs of verify */
  int32_t n_paths;
  int32_t span;           /* positions that the tree has tokens at */
  const void *const *inputs;     /* [n_inputs] of an entry of tensors, aligned to their elements, like the next */
  void *const *results;          /* [n_results] neither overlaps an input nor another one */
  int32_t without;               /* of decode and prefill: 0, or one of CHM_WITHOUT_… */
} chm_call;

typedef struct chm_section_desc {
  const char *name; /* section name in the weights file */
  uint64_t bytes;   /* exact size */
} chm_section_desc;

typedef struct chm_state_desc {
  const char *name;
  uint64_t offset;      /* in the state region, 64-byte aligned */
  uint64_t bytes;       /* of all iterations together */
  int32_t init_section; /* section that holds the initial value of one iteration, or CHM_NO_SECTION for zeros */
  int32_t iterations;   /* copies: one per loop iteration, 1 outside loops */
  const char *dtype;    /* as in containers, for example "F32" */
  const char *shape;    /* extents with commas between them, the copies first where there are several: "4,8" */
} chm_state_desc;

/* A state with a row for each position, those that no token has reached being zeros. */
typedef struct chm_cache_desc {
  int32_t state;      /* its number */
  int32_t rows;       /* extent of the axis of the rows */
  int32_t axis;       /* number of that axis */
  uint64_t row_bytes; /* of all extents after it */
} chm_cache_desc;

/* All kernels of one op in one part of the model. */
typedef struct chm_step_desc {
  const char *part;      /* "embedding", "layers.3.mixer", ..., "head" */
  const char *op;        /* for example "ternary_matmul" */
  uint64_t weight_bytes; /* read for a decoded token with the default number of iterations; of experts the chosen ones */
} chm_step_desc;

/* What an entry computes. The runtime calls the entries of a language model by their roles: it needs one for decode and one
 * for prefill. A model without these has tensors only: no vocabulary, and entries of the role call. */
typedef enum chm_role {
  CHM_ROLE_DECODE = 1,  /* one token, its logits */
  CHM_ROLE_PREFILL = 2, /* some tokens, the logits of the last */
  CHM_ROLE_VERIFY = 3,  /* a tree of tokens, the logits of each; states stay as they are, but for rows of caches */
  CHM_ROLE_CALL = 4,    /* tensors to tensors; several entries may have this role, their names tell them apart */
  CHM_ROLE_COMMIT = 5,  /* after verify: the states after one of the paths */
  CHM_ROLE_DRAFT = 6    /* one token, scores of what may follow it; goes on from draft_state, and changes nothing else */
} chm_role;

typedef struct chm_entry_desc {
  const char *name;
  int32_t role;   /* chm_role */
  int32_t tokens; /* most of a call; decode and draft: 1, prefill: the model's block, verify and commit: CHM_MOST_NODES */
  void (*run)(chm_call *call);
  void (*measured)(chm_call *call); /* as run, tells profile where its steps begin; NULL without CHM_HAS_CLOCK */
  /* of entries of the role call */
  int32_t n_inputs, n_results;
  const chm_tensor_info *inputs, *results;
} chm_entry_desc;

/* What only models that verify trees need of the runtime: others are linked without it. */
struct chm_session;
struct chm_bank;
struct chm_candidate;
typedef struct chm_speculation {
  int (*verify)(struct chm_session *session);
  void (*commit)(struct chm_session *session);
  int (*read_bank)(struct chm_bank *bank, const void *data, size_t bytes, uint32_t flags);
} chm_speculation;
extern const chm_speculation chm_speculation_by_trees; /* chm_spans.c */

/* What only models that read a memory need of it. */
#define CHM_KNOT_BITS 16384u   /* of a sketch at most, a power of two */
#define CHM_MOST_MEMORY 32768u /* vectors */
typedef struct chm_knots {
  void (*read)(struct chm_session *session); /* where a block begins */
  void (*take)(struct chm_session *session, const int32_t *tokens, int32_t count); /* tokens that were run, each once */
  /* put spans into the order of their energy; false, and nothing done, where no memory was read */
  bool (*rank)(const struct chm_session *session, const struct chm_bank *bank, struct chm_candidate *candidates, uint32_t count);
  int32_t (*set)(struct chm_session *session, const void *vectors, size_t bytes, size_t count);
} chm_knots;
extern const chm_knots chm_knots_with_memory; /* chm_knot.c */

/* Of such models: numbers of states, and of the relaxation of the sketch. */
typedef struct chm_knot_desc {
  const chm_knots *calls; /* NULL of a model that reads none */
  int32_t memory, hit, sketch;
  int32_t flips, rounds; /* bits of a round at most */
  float weight, early_exit;
} chm_knot_desc;

typedef struct chm_model_desc {
  uint32_t abi;            /* CHM_MODEL_ABI */
  const char *name;        /* model name */
  const char *target;      /* for example "x86_64-avx2" */
  const char *config_sha256;
  const char *weights_sha256; /* digest over the names, sizes and contents the code was generated for */
  const char *model_sha256;   /* the same of the layout that targets share: what snapshots are tied to */
  int32_t vocab, block; /* vocab: 0 of a model without decode and prefill */
  int32_t context;      /* most tokens of a sequence; 0: as many as there are positions */
  int32_t min_loops, max_loops, default_loops; /* min_loops is max_loops where loops are unrolled */
  uint64_t state_bytes, arena_bytes;
  uint64_t kept_bytes;                /* from verify to commit */
  const chm_speculation *speculation; /* NULL of a model without these */
  int32_t draft_state, draft_scores;  /* of an entry of the role draft: the number of its state, and of its scores */
  const int32_t *draft_ids;           /* [draft_scores], the tokens that these are of */
  chm_knot_desc knot;
  int32_t n_sections, n_states;
  const chm_section_desc *sections;
  const chm_state_desc *states;
  int32_t n_caches;
  const chm_cache_desc *caches; /* [n_caches] of states, in their order */
  int32_t n_entries;
  const chm_entry_desc *entries;
  int32_t n_kernel_sets;             /* 1 where there is nothing to choose */
  const chm_kernel_set *kernel_sets; /* [n_kernel_sets] from plain to best; all compute the same bits */
  int32_t *kernel_set;               /* index of the one in use, 0 to begin with; NULL where there is no choice */
  /* without CHM_HAS_CLOCK 0 and NULL */
  int32_t n_steps;
  const chm_step_desc *steps; /* [n_steps] in order of their first kernel */
} chm_model_desc;

/* Defined by the generated model.c. */
extern const chm_model_desc chm_model;

#endif
