/* A session: one sequence of tokens and its recurrent state; its life, one call at a time, and its settings. */
#include "chm_spans.h"

CHM_COLD_BEGIN

/* ---- one call at a time ---- */

/* Calls with sessions of the bundle count themselves; below zero the number of its threads is being changed. */
static bool begin_call(chm_bundle *bundle) {
  int32_t calls = __atomic_load_n(&bundle->calls, __ATOMIC_RELAXED);
  do {
    if (calls < 0) return false;
  } while (!__atomic_compare_exchange_n(&bundle->calls, &calls, calls + 1, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
  return true;
}

static int32_t in_call(void) { return chm_fail(CHM_ERROR_STATE, "the session is in another call"); }

/* Not inlined, and neither is leaving: every function has them, and modules of web bundles are to be small. */
__attribute__((noinline)) int32_t chm_session_enter(chm_session *session) {
  if (!session) return chm_fail(CHM_ERROR_ARGUMENT, "the session is NULL");
  if (!chm_take(&session->busy)) return in_call();
  if (begin_call(session->bundle)) return CHM_OK;
  chm_give(&session->busy);
  return chm_fail(CHM_ERROR_STATE, "the bundle's number of threads is being changed");
}

__attribute__((noinline)) int32_t chm_session_leave(chm_session *session, int32_t status) {
  __atomic_fetch_sub(&session->bundle->calls, 1, __ATOMIC_RELEASE);
  chm_give(&session->busy);
  return status;
}

/* ---- memory ---- */

typedef struct chm_layout {
  uint64_t state, arena, logits, scores, mass, order, table, spans, kept, rows, total;
} chm_layout;

static bool lay_out(chm_layout *layout) {
  uint64_t row = (uint64_t)chm_model.vocab * 4, end = 0;
  const uint64_t sizes[] = {sizeof(chm_session), chm_model.state_bytes, chm_model.arena_bytes, row, row, row, row,
                            chm_state_table_bytes()};
  uint64_t *const starts[] = {NULL, &layout->state, &layout->arena, &layout->logits, &layout->scores, &layout->mass,
                              &layout->order, &layout->table};
  for (int i = 0; i < 8; ++i) {
    if (starts[i]) *starts[i] = end;
    if (!chm_add(end, sizes[i], &end) || !chm_align(end, &end)) return false;
  }
  if (chm_speculates() && !chm_spans_lay_out(&layout->spans, &layout->kept, &layout->rows, &end)) return false;
  layout->total = end;
  return end <= SIZE_MAX / 2;
}

size_t chm_session_bytes(void) {
  chm_layout layout;
  return lay_out(&layout) ? (size_t)layout.total : 0;
}

const chm_cache_desc *chm_cache_of(int32_t state) {
  for (int32_t i = 0; i < chm_model.n_caches; ++i)
    if (chm_model.caches[i].state == state) return &chm_model.caches[i];
  return NULL;
}

chm_rows chm_state_rows(int32_t state, int32_t position) {
  const chm_cache_desc *cache = chm_cache_of(state);
  uint64_t bytes = chm_model.states[state].bytes;
  if (!cache) return (chm_rows){1, bytes, bytes};
  uint64_t stride = (uint64_t)cache->rows * cache->row_bytes;
  int32_t used = position < cache->rows ? position : cache->rows;
  return (chm_rows){bytes / stride, stride, (uint64_t)used * cache->row_bytes};
}

void chm_session_start(chm_session *session) {
  chm_spans_commit(session); /* brings back rows of caches that guesses took */
  chm_spans_start(session->spans);
  for (int32_t i = 0; i < chm_model.n_states; ++i) {
    const chm_state_desc *state = &chm_model.states[i];
    chm_rows used = chm_state_rows(i, session->sequence.position);
    for (uint64_t block = 0; block < used.blocks; ++block)
      memset(session->state + state->offset + block * used.stride, 0, (size_t)used.bytes);
    if (state->init_section == CHM_NO_SECTION) continue;
    uint64_t slice = state->bytes / (uint64_t)state->iterations;
    for (int32_t iteration = 0; iteration < state->iterations; ++iteration)
      memcpy(session->state + state->offset + slice * (uint64_t)iteration,
             session->bundle->weights[state->init_section], (size_t)slice);
  }
  memset(session->logits, 0, (size_t)chm_model.vocab * 4);
  session->unanswered = 0;
  memset(&session->sequence, 0, sizeof session->sequence);
  session->sequence.remaining = INT32_MAX;
  session->text_bytes = 0;
  session->scored = false;
  session->score = 0.0f;
}

/* Zeros. Caches are most of a session, and longer than most texts: what no text reaches is to take no memory. */
static uint8_t *allocate_zeros(const chm_allocator *allocator, uint64_t bytes) {
  uint8_t *block = chm_allocate(allocator, bytes);
  if (block && allocator->allocate != chm_default_allocator.allocate) memset(block, 0, (size_t)bytes);
  return block;
}

int32_t chm_session_open(chm_bundle *bundle, const chm_allocator *allocator, chm_session **session_out) {
  if (session_out) *session_out = NULL;
  if (!bundle || !session_out) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_open: a pointer is NULL");
  if (!allocator) allocator = &bundle->allocator;
  chm_layout layout;
  if (!lay_out(&layout)) return chm_fail(CHM_ERROR_MEMORY, "a session does not fit the address space");
  uint8_t *block = allocate_zeros(allocator, layout.total);
  if (!block) return CHM_ERROR_MEMORY;
  chm_session *session = (chm_session *)(void *)block;
  session->bundle = bundle;
  session->allocator = *allocator;
  session->allocated = layout.total;
  session->state = block + layout.state;
  session->arena = block + layout.arena;
  session->logits = (float *)(void *)(block + layout.logits);
  session->scores = (float *)(void *)(block + layout.scores);
  session->mass = (float *)(void *)(block + layout.mass);
  session->order = (uint32_t *)(void *)(block + layout.order);
  session->table = block + layout.table;
  if (chm_speculates()) {
    session->spans = (chm_spans *)(void *)(block + layout.spans);
    session->spans->kept = block + layout.kept;
    session->spans->logits = (float *)(void *)(block + layout.rows);
    session->spans->most = 1;
    chm_spans_open(session->spans);
  }
  session->loops = chm_model.default_loops;
  session->sampling = (chm_sampling){.top_p = 1.0f, .repetition_penalty = 1.0f};
  memcpy(session->stop_tokens, bundle->stop_tokens, sizeof session->stop_tokens);
  session->n_stop_tokens = bundle->n_stop_tokens;
  chm_session_start(session);
  __atomic_fetch_add(&bundle->sessions, 1, __ATOMIC_ACQ_REL);
  *session_out = session;
  return CHM_OK;
}

int32_t chm_session_close(chm_session *session) {
  if (!session) return CHM_OK;
  if (!chm_take(&session->busy)) return in_call();
  chm_allocator allocator = session->allocator;
  if (session->spans) chm_bank_use(&session->spans->bank, NULL);
  __atomic_fetch_sub(&session->bundle->sessions, 1, __ATOMIC_ACQ_REL);
  chm_release(&allocator, session, session->allocated);
  return CHM_OK;
}

int32_t chm_session_reset(chm_session *session) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  chm_session_start(session);
  return chm_session_leave(session, CHM_OK);
}

/* ---- running ---- */

/* Give loop iterations that were never used the state of the deepest one that was. */
static void spread_states(chm_session *session, int32_t loops) {
  int32_t deepest = session->sequence.deepest;
  if (!deepest || loops <= deepest) return;
  for (int32_t i = 0; i < chm_model.n_states; ++i) {
    const chm_state_desc *state = &chm_model.states[i];
    uint64_t slice = state->bytes / (uint64_t)state->iterations;
    uint8_t *start = session->state + state->offset;
    for (int32_t to = deepest; to < loops && to < state->iterations; ++to)
      memcpy(start + slice * (uint64_t)to, start + slice * (uint64_t)(deepest - 1), (size_t)slice);
  }
}

/* Run an entry; usual: its calls take about as long as one another, which the number of threads is chosen by. */
static void run_entry(chm_session *session, const chm_entry_desc *entry, chm_call *call, bool usual) {
  call->weights = session->bundle->weights;
  call->state = session->state;
  call->arena = session->arena;
  chm_turn turn = chm_pool_begin(chm_pool_of(session->bundle), (int32_t)(entry - chm_model.entries), usual);
  call->pool = chm_turn_pool(&turn);
  call->profile = &session->profile;
#if CHM_HAS_CLOCK
  if (session->profile.nanoseconds) {
    entry->measured(call);
    chm_join(call->pool);
    chm_profile_step(call->profile, -1);
  } else
#endif
    entry->run(call);
  chm_pool_end(&turn);
}

void chm_session_run_beside(chm_session *session, const chm_entry_desc *entry, chm_call *call) {
  session->unanswered = 0; /* what its logits would be computed of may be overwritten */
  call->loops = 1;
  run_entry(session, entry, call, true);
}

void chm_session_run(chm_session *session, const chm_entry_desc *entry, chm_call *call) {
  chm_sequence *sequence = &session->sequence;
  bool whole = call->without != CHM_WITHOUT_STATES; /* else a call is completed */
  if (whole && entry != session->bundle->commit && sequence->position % chm_model.block == 0) {
    chm_valve_route(session);
    if (chm_model.knot.calls) chm_model.knot.calls->read(session);
  }
  int32_t loops = chm_valve_loops(session);
  if (whole) spread_states(session, loops);
  session->unanswered = call->without == CHM_WITHOUT_LOGITS ? call->n : 0;
  if (entry != session->bundle->commit) call->position = sequence->position - (whole ? 0 : call->n);
  call->loops = loops;
  call->exit_threshold = session->exit_threshold;
  call->iterations = whole ? loops : sequence->iterations;
  run_entry(session, entry, call, call->n == entry->tokens && whole);
  int32_t iterations = call->iterations < 1 ? 1 : call->iterations > loops ? loops : call->iterations;
  __atomic_store_n(&sequence->iterations, iterations, __ATOMIC_RELAXED); /* other threads may ask for it */
  if (iterations > sequence->deepest) sequence->deepest = iterations;
  if (chm_model.knot.calls && whole && entry != session->bundle->verify && entry != session->bundle->commit)
    chm_model.knot.calls->take(session, call->tokens, call->n);
}

/* ---- settings ---- */

int32_t chm_session_set_loops(chm_session *session, int32_t loops) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  int32_t least = chm_model.min_loops > 1 ? chm_model.min_loops : 1;
  if (loops && (loops < least || loops > chm_model.max_loops))
    status = chm_fail(CHM_ERROR_ARGUMENT, "%d loops; %d to %d are possible, or 0 for the default", (int64_t)loops,
                      (int64_t)least, (int64_t)chm_model.max_loops);
  else {
    chm_spans_commit(session); /* with the number it was verified with */
    session->loops = loops ? loops : chm_model.default_loops;
  }
  return chm_session_leave(session, status);
}

int32_t chm_session_set_exit_threshold(chm_session *session, float threshold) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  if (!(threshold >= 0.0f && threshold <= 1.0f))
    status = chm_fail(CHM_ERROR_ARGUMENT, "the exit threshold is not between 0 and 1");
  else
    session->exit_threshold = threshold;
  return chm_session_leave(session, status);
}

static int32_t check_sampling(float temperature, float top_p, int32_t top_k, float repetition_penalty) {
  if (!(temperature == 0.0f || (temperature >= 0.01f && temperature <= 100.0f)))
    return chm_fail(CHM_ERROR_ARGUMENT, "the temperature is neither 0 nor between 0.01 and 100");
  if (!(top_p >= 0.0f && top_p <= 1.0f)) return chm_fail(CHM_ERROR_ARGUMENT, "top_p is not between 0 and 1");
  if (top_k < 0) return chm_fail(CHM_ERROR_ARGUMENT, "top_k is negative");
  if (!(repetition_penalty >= 0.1f && repetition_penalty <= 10.0f))
    return chm_fail(CHM_ERROR_ARGUMENT, "the repetition penalty is not between 0.1 and 10");
  return CHM_OK;
}

int32_t chm_session_set_sampling(chm_session *session, float temperature, float top_p, int32_t top_k,
                                 float repetition_penalty, uint32_t seed_low, uint32_t seed_high, uint32_t stream) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  status = check_sampling(temperature, top_p, top_k, repetition_penalty);
  if (!status)
    session->sampling = (chm_sampling){.temperature = temperature,
                                       .top_p = top_p,
                                       .repetition_penalty = repetition_penalty,
                                       .top_k = top_k,
                                       .seed_low = seed_low,
                                       .seed_high = seed_high,
                                       .stream = stream};
  return chm_session_leave(session, status);
}

int32_t chm_check_tokens(const int32_t *tokens, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (tokens[i] < 0 || tokens[i] >= chm_model.vocab)
      return chm_fail(CHM_ERROR_ARGUMENT, "token %d is not in the vocabulary of %d", (int64_t)tokens[i],
                      (int64_t)chm_model.vocab);
  return CHM_OK;
}

int32_t chm_session_set_stop_tokens(chm_session *session, const int32_t *tokens, size_t count) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  if ((!tokens && count) || count > CHM_MAX_STOP_TOKENS)
    status = chm_fail(CHM_ERROR_ARGUMENT, "at most %u stop tokens are possible", (uint64_t)CHM_MAX_STOP_TOKENS);
  else
    status = chm_check_tokens(tokens, count);
  if (!status) {
    for (size_t i = 0; i < count; ++i) session->stop_tokens[i] = tokens[i];
    session->n_stop_tokens = (uint32_t)count;
  }
  return chm_session_leave(session, status);
}

int32_t chm_session_set_scoring(chm_session *session, int32_t on) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  session->scoring = on != 0;
  return chm_session_leave(session, CHM_OK);
}

int32_t chm_session_set_grammar(chm_session *session, chm_grammar *grammar) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  if (grammar && grammar->pack->bundle != session->bundle)
    status = chm_fail(CHM_ERROR_ARGUMENT, "the grammar is of another bundle");
  else
    session->grammar = grammar;
  return chm_session_leave(session, status);
}

#if CHM_HAS_CLOCK
int32_t chm_session_profile(chm_session *session, int64_t *nanoseconds, size_t count) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  if (nanoseconds && count != (size_t)chm_model.n_steps)
    status = chm_fail(CHM_ERROR_ARGUMENT, "room for %u steps, the model has %u", (uint64_t)count, (uint64_t)chm_model.n_steps);
  else
    session->profile = (chm_profile){.nanoseconds = nanoseconds, .step = -1};
  return chm_session_leave(session, status);
}
#endif

/* ---- the context ---- */

int32_t chm_context(void) { return chm_model.context; }

int32_t chm_session_room(const chm_session *session) {
  if (!session) return 0;
  return (chm_model.context ? chm_model.context : INT32_MAX) - chm_session_position(session) - session->sequence.n_pending;
}

int32_t chm_session_check_room(const chm_session *session, size_t count) {
  int32_t room = chm_session_room(session);
  if (!chm_model.context || count <= (size_t)room) return CHM_OK;
  return chm_fail(CHM_ERROR_CONTEXT, "%u tokens more; of the context of %d, %d are left", (uint64_t)count,
                  (int64_t)chm_model.context, (int64_t)room);
}

/* ---- looking ---- */

const uint8_t *chm_session_text(const chm_session *session, size_t *bytes) {
  if (bytes) *bytes = session ? session->text_bytes : 0;
  return session ? session->text : NULL;
}

float chm_session_score(const chm_session *session) { return session && session->scored ? session->score : 0.0f; }

const float *chm_session_logits(const chm_session *session) {
  if (!session || !chm_model.vocab || !session->sequence.position) return NULL;
  if (session->unanswered) {
    chm_session *own = (chm_session *)(uintptr_t)session; /* who asks sees what was there all along */
    if (chm_session_enter(own)) return NULL;
    chm_session_answer(own);
    chm_session_leave(own, CHM_OK);
  }
  return session->logits;
}

/* These two may be asked while a call runs. */
int32_t chm_session_position(const chm_session *session) {
  return session ? __atomic_load_n(&session->sequence.position, __ATOMIC_RELAXED) : 0;
}

int32_t chm_session_iterations(const chm_session *session) {
  return session ? __atomic_load_n(&session->sequence.iterations, __ATOMIC_RELAXED) : 0;
}

uint64_t chm_hash_words(const uint8_t *data, uint64_t bytes) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (uint64_t i = 0; i < bytes; i += 8) {
    uint64_t word = 0;
    memcpy(&word, data + i, bytes - i < 8 ? (size_t)(bytes - i) : 8);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash;
}

static int32_t hash(chm_session *session, const void *data, uint64_t bytes, uint64_t *found) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  status = chm_session_settle(session);
  if (!status && data == session->logits) chm_session_answer(session);
  if (!status) *found = chm_hash_words(data, bytes);
  return chm_session_leave(session, status);
}

int32_t chm_session_state_hash(chm_session *session, uint64_t *found) {
  if (!session || !found) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_state_hash: a pointer is NULL");
  return hash(session, session->state, chm_model.state_bytes, found);
}

int32_t chm_session_logits_hash(chm_session *session, uint64_t *found) {
  if (!session || !found) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_logits_hash: a pointer is NULL");
  return hash(session, session->logits, (uint64_t)chm_model.vocab * 4, found);
}

CHM_COLD_END
