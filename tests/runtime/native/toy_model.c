/* A hand-written model.c: a looped recurrence of width 8, one state a loop iteration and one outside of the loop. With
 * TOY_SPECULATES it verifies trees; with TOY_ROUTED the first numbers of a token's row say how often the next block loops;
 * with TOY_DRAFTS it has a draft head; with TOY_MEMORY it reads one. */
#include "chm_driver.h"
#include "chm_math.h"

#define WIDTH 8
#ifndef VOCAB
#define VOCAB 288
#endif
#define BLOCK 16
#define MAX_LOOPS 4
#ifndef TOY_DECODE
#define TOY_DECODE CHM_ROLE_DECODE
#endif
#ifndef TOY_PREFILL
#define TOY_PREFILL BLOCK
#endif

enum { EMBEDDING, MIX, HEAD, INITIAL, SECTIONS };
#define LOOPED_OFFSET 0
#define TRACE_OFFSET 128
#define ROUTER_OFFSET (TRACE_OFFSET + WIDTH * 4)
#if defined(TOY_ROUTED)
#define OWN_STATES 3
#define MEMORY_OFFSET (ROUTER_OFFSET + MAX_LOOPS * 4)
#else
#define OWN_STATES 2
#define MEMORY_OFFSET ROUTER_OFFSET
#endif
#define MEMORY_BITS 256
#define SKETCH_OFFSET (MEMORY_OFFSET + MEMORY_BITS / 8)
#define HIT_OFFSET (SKETCH_OFFSET + MEMORY_BITS)
#if defined(TOY_MEMORY)
#define STATES (OWN_STATES + 3)
#define STATE_BYTES (HIT_OFFSET + 4)
#else
#define STATES OWN_STATES
#define STATE_BYTES MEMORY_OFFSET
#endif

static const chm_section_desc sections[SECTIONS] = {
    {"embedding", VOCAB * WIDTH * 4}, {"mix", WIDTH * WIDTH * 4}, {"head", WIDTH * VOCAB * 4}, {"initial", WIDTH * 4}};

static const chm_state_desc states[STATES] = {
    {"looped", LOOPED_OFFSET, MAX_LOOPS * WIDTH * 4, INITIAL, MAX_LOOPS, "F32", "4,8"},
    {"trace", TRACE_OFFSET, WIDTH * 4, CHM_NO_SECTION, 1, "F32", "8"},
#if defined(TOY_ROUTED)
    {CHM_ROUTER_STATE, ROUTER_OFFSET, MAX_LOOPS * 4, CHM_NO_SECTION, 1, "F32", "1,4"},
#endif
#if defined(TOY_MEMORY)
    {"knot.memory", MEMORY_OFFSET, MEMORY_BITS / 8, CHM_NO_SECTION, 1, "U8", "32"},
    {"knot.sketch", SKETCH_OFFSET, MEMORY_BITS, CHM_NO_SECTION, 1, "I8", "256"},
    {"knot.hit", HIT_OFFSET, 4, CHM_NO_SECTION, 1, "F32", "1"},
#endif
};

#if CHM_HAS_CLOCK
static const chm_step_desc steps[2] = {{"cell", "recurrence", 2 * WIDTH * WIDTH * 4}, {"head", "linear", WIDTH * VOCAB * 4}};
#endif

static const float *section(const chm_call *call, int index) { return (const float *)(const void *)call->weights[index]; }

#if defined(TOY_MEMORY)
/* Towards the first bits of what was read, as far as it was near; snapshots may say anything of that. */
static void remind(const chm_call *call, float *trace) {
  float hit;
  memcpy(&hit, call->state + HIT_OFFSET, sizeof hit);
  if (!(hit > 0.0f && hit <= 1.0f)) return;
  for (int i = 0; i < WIDTH; ++i) trace[i] = trace[i] + (call->state[MEMORY_OFFSET] >> i & 1 ? hit : -hit);
}
#endif

/* One token; returns the iterations it took. */
static int32_t step(const chm_call *call, int32_t token) {
  const float *mix = section(call, MIX);
  float *trace = (float *)(void *)(call->state + TRACE_OFFSET);
  float *x = (float *)(void *)call->arena; /* [WIDTH] */
  float *next = x + WIDTH;                 /* [WIDTH] */
  for (int i = 0; i < WIDTH; ++i) x[i] = section(call, EMBEDDING)[token * WIDTH + i];
  int32_t iteration = 0;
  while (iteration < call->loops) {
    float *h = (float *)(void *)(call->state + LOOPED_OFFSET) + iteration * WIDTH;
    float moved = 0.0f;
    for (int i = 0; i < WIDTH; ++i) {
      float sum = x[i];
      for (int j = 0; j < WIDTH; ++j) sum = sum + mix[i * WIDTH + j] * h[j];
      next[i] = chm_tanh(sum);
    }
    for (int i = 0; i < WIDTH; ++i) {
      float before = x[i];
      h[i] = next[i];
      x[i] = before * 0.5f + next[i];
      moved = chm_max(chm_absolute(x[i] - before), moved);
    }
    ++iteration;
    if (call->exit_threshold > 0.0f && moved < call->exit_threshold) break;
  }
  for (int i = 0; i < WIDTH; ++i) trace[i] = trace[i] * 0.75f + x[i];
#if defined(TOY_MEMORY)
  remind(call, trace);
#endif
#if defined(TOY_ROUTED)
  memcpy(call->state + ROUTER_OFFSET, section(call, EMBEDDING) + token * WIDTH, MAX_LOOPS * 4);
#endif
  return iteration;
}

#define PARTS 3 /* kernels of the head, which are shared together */

/* Logits begin to end - 1 of a kernel's third. */
static void head_part(const void *const *arguments, int32_t n, int32_t begin, int32_t end) {
  const float *head = (const float *)arguments[0], *trace = (const float *)arguments[1];
  float *logits = (float *)(uintptr_t)arguments[2];
  int first = (int)(intptr_t)arguments[3];
  (void)n;
  for (int v = first + begin; v < first + end; ++v) {
    float product[WIDTH];
    for (int i = 0; i < WIDTH; ++i) product[i] = head[i * VOCAB + v] * trace[i];
    logits[v] = chm_lanes8_sum(product, WIDTH);
  }
}

/* The work is made out to be large, so that threads share it. */
CHM_KERNELS finish(chm_call *call, const int measured) {
  CHM_STEP(1);
  for (int i = 0; i < PARTS; ++i) {
    int first = VOCAB * i / PARTS, end = VOCAB * (i + 1) / PARTS;
    const void *const arguments[] = {section(call, HEAD), call->state + TRACE_OFFSET, call->logits, CHM_PASS(first)};
    chm_share(call->pool, head_part, arguments, 4, 1, end - first, 100000);
  }
}

CHM_KERNELS decode_kernels(chm_call *call, const int measured) {
  if (call->without != CHM_WITHOUT_STATES) {
    CHM_STEP(0);
    call->iterations = step(call, call->tokens[0]);
  }
  if (call->without != CHM_WITHOUT_LOGITS) finish(call, measured);
}
CHM_GRAPH(decode)

CHM_KERNELS prefill_kernels(chm_call *call, const int measured) {
  int32_t first = call->position / BLOCK, last = (call->position + call->n - 1) / BLOCK;
  if (call->n < 1 || call->n > BLOCK || first != last) __builtin_trap();
  if (call->without != CHM_WITHOUT_STATES) {
    CHM_STEP(0);
    for (int32_t k = 0; k < call->n; ++k) call->iterations = step(call, call->tokens[k]);
  }
  if (call->without != CHM_WITHOUT_LOGITS) finish(call, measured);
}
CHM_GRAPH(prefill)

#if defined(TOY_SPECULATES)
#define SLOT_BYTES 512    /* of a state, aligned */
#define SLOTS_OFFSET 128  /* of the states in what is kept, after the tokens */
#define KEPT_BYTES (SLOTS_OFFSET + 4 * SLOT_BYTES)
_Static_assert(SLOT_BYTES >= STATE_BYTES && SLOTS_OFFSET >= CHM_MOST_NODES * 4, "room for what is kept");

CHM_KERNELS verify_kernels(chm_call *call, const int measured) {
  uint8_t *slots = call->kept + SLOTS_OFFSET;
  int32_t nodes = 0;
  memcpy(call->kept, call->tokens, (size_t)call->n * 4);
  for (const chm_path *path = call->paths; path < call->paths + call->n_paths; ++path) {
    if (path->begin != nodes || path->slot < 0 || path->slot > 3 || path->source > 3) __builtin_trap();
    nodes += path->count;
    chm_branch(path, slots, SLOT_BYTES, call->state, STATE_BYTES);
    for (int32_t i = path->begin; i < nodes; ++i) {
      chm_call one = *call;
      one.state = slots + path->slot * SLOT_BYTES;
      one.logits = call->logits + (size_t)i * VOCAB;
      CHM_STEP(0);
      call->iterations = step(&one, call->tokens[i]);
      finish(&one, measured);
      CHM_JOIN(); /* before the state changes */
    }
  }
  if (nodes != call->n) __builtin_trap();
}
CHM_GRAPH(verify)

CHM_KERNELS commit_kernels(chm_call *call, const int measured) {
  const int32_t *tokens = (const int32_t *)(const void *)call->kept;
  CHM_STEP(0);
  for (const chm_path *path = call->paths; path < call->paths + call->n_paths; ++path)
    for (int32_t i = 0; i < path->count; ++i) call->iterations = step(call, tokens[path->begin + i]);
}
CHM_GRAPH(commit)
#endif

#if defined(TOY_DRAFTS)
/* Scores of some tokens, in no order: of the text, after some tokens none is best, and after some others are no numbers. */
static const int32_t draft_ids[] = {287, 0, 101, 116, 97, 32, 34, 58, 44, 123, 125, 91, 93, 48, 49, 45, 98, 99, 268, 256, 284, 285, 255, 110};
#define DRAFT_SCORES ((int32_t)(sizeof draft_ids / sizeof *draft_ids))

CHM_KERNELS draft_kernels(chm_call *call, const int measured) {
  const float *embedding = section(call, EMBEDDING) + call->tokens[0] * WIDTH, *head = section(call, HEAD);
  float *trace = (float *)(void *)(call->state + TRACE_OFFSET);
  int32_t kind = call->tokens[0] % 16;
  CHM_STEP(0);
  for (int i = 0; i < WIDTH; ++i) trace[i] = trace[i] * 0.75f + embedding[i];
  for (int32_t k = 0; k < DRAFT_SCORES; ++k) {
    float sum = 0.0f;
    for (int i = 0; i < WIDTH; ++i) sum = sum + head[i * VOCAB + draft_ids[k]] * trace[i];
    call->logits[k] = kind == 5 ? 1.0f : kind == 6 && k % 3 == 0 ? __builtin_nanf("") : sum;
  }
}
CHM_GRAPH(draft)
#endif

/* The runtime finds entries by their roles, in any order, beside entries that it does not know. */
static const chm_entry_desc entries[] = {
    CHM_ENTRY(prefill, CHM_ROLE_CALL, BLOCK),
    CHM_ENTRY(prefill, CHM_ROLE_PREFILL, TOY_PREFILL),
    CHM_ENTRY(decode, TOY_DECODE, 1),
#if defined(TOY_SPECULATES)
    CHM_ENTRY(verify, CHM_ROLE_VERIFY, CHM_MOST_NODES),
    CHM_ENTRY(commit, CHM_ROLE_COMMIT, CHM_MOST_NODES),
#endif
#if defined(TOY_DRAFTS)
    CHM_ENTRY(draft, CHM_ROLE_DRAFT, 1),
#endif
};

const chm_model_desc chm_model = {.abi = CHM_MODEL_ABI,
                                  .name = "toy",
                                  .target = TOY_TARGET,
                                  .config_sha256 = "",
                                  .weights_sha256 = TOY_WEIGHTS_SHA256,
                                  .model_sha256 = TOY_WEIGHTS_SHA256,
                                  .vocab = VOCAB,
                                  .block = BLOCK,
                                  .max_loops = MAX_LOOPS,
                                  .default_loops = 2,
                                  .state_bytes = STATE_BYTES,
                                  .arena_bytes = 2 * WIDTH * 4,
#if defined(TOY_SPECULATES)
                                  .kept_bytes = KEPT_BYTES,
                                  .speculation = &chm_speculation_by_trees,
#endif
#if defined(TOY_DRAFTS)
                                  .draft_state = 1,
                                  .draft_scores = DRAFT_SCORES,
                                  .draft_ids = draft_ids,
#endif
#if defined(TOY_MEMORY)
                                  .knot = {&chm_knots_with_memory, OWN_STATES, OWN_STATES + 2, OWN_STATES + 1, 5, 3, 0.3f, 1e-4f},
#endif
                                  .n_sections = SECTIONS,
                                  .n_states = STATES,
                                  .sections = sections,
                                  .states = states,
                                  .n_entries = (int32_t)(sizeof entries / sizeof *entries),
                                  .entries = entries,
#if CHM_HAS_CLOCK
                                  .n_steps = 2,
                                  .steps = steps,
#endif
};
