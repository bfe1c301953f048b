/* A session: one sequence of tokens, its recurrent state, and the decode loop. */
#include "chm_session.h"

_Static_assert(CHM_MAX_TEXT_BYTES >= 3 * (255 + 4), "the text of a token of 255 bytes, all replaced");

static int32_t no_session(void) { return chm_fail(CHM_ERROR_ARGUMENT, "the session is NULL"); }

/* ---- memory ---- */

typedef struct chm_layout {
  uint64_t state, arena, logits, scores, mass, order, table, total;
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
  layout->total = end;
  return end <= SIZE_MAX / 2;
}

size_t chm_session_bytes(void) {
  chm_layout layout;
  return lay_out(&layout) ? (size_t)layout.total : 0;
}

void chm_session_start(chm_session *session) {
  memset(session->state, 0, (size_t)chm_model.state_bytes);
  for (int32_t i = 0; i < chm_model.n_states; ++i) {
    const chm_state_desc *state = &chm_model.states[i];
    if (state->init_section == CHM_NO_SECTION) continue;
    uint64_t slice = state->bytes / (uint64_t)state->iterations;
    for (int32_t iteration = 0; iteration < state->iterations; ++iteration)
      memcpy(session->state + state->offset + slice * (uint64_t)iteration,
             session->bundle->weights[state->init_section], (size_t)slice);
  }
  memset(session->logits, 0, (size_t)chm_model.vocab * 4);
  memset(&session->sequence, 0, sizeof session->sequence);
  session->sequence.remaining = INT32_MAX;
  session->text_bytes = 0;
}

int32_t chm_session_open(chm_bundle *bundle, const chm_allocator *allocator, chm_session **session_out) {
  if (session_out) *session_out = NULL;
  if (!bundle || !session_out) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_open: a pointer is NULL");
  if (!allocator) allocator = &bundle->allocator;
  chm_layout layout;
  if (!lay_out(&layout)) return chm_fail(CHM_ERROR_MEMORY, "a session does not fit the address space");
  uint8_t *block = chm_allocate(allocator, layout.total);
  if (!block) return CHM_ERROR_MEMORY;
  memset(block, 0, (size_t)layout.total);
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
  session->loops = chm_model.default_loops;
  session->sampling = (chm_sampling){.top_p = 1.0f, .repetition_penalty = 1.0f};
  memcpy(session->stop_tokens, bundle->stop_tokens, sizeof session->stop_tokens);
  session->n_stop_tokens = bundle->n_stop_tokens;
  chm_session_start(session);
  __atomic_fetch_add(&bundle->sessions, 1, __ATOMIC_ACQ_REL);
  *session_out = session;
  return CHM_OK;
}

void chm_session_close(chm_session *session) {
  if (!session) return;
  chm_allocator allocator = session->allocator;
  __atomic_fetch_sub(&session->bundle->sessions, 1, __ATOMIC_ACQ_REL);
  chm_release(&allocator, session, session->allocated);
}

int32_t chm_session_reset(chm_session *session) {
  if (!session) return no_session();
  chm_session_start(session);
  return CHM_OK;
}

/* ---- settings ---- */

int32_t chm_session_set_loops(chm_session *session, int32_t loops) {
  if (!session) return no_session();
  int32_t least = chm_model.min_loops > 1 ? chm_model.min_loops : 1;
  if (loops && (loops < least || loops > chm_model.max_loops))
    return chm_fail(CHM_ERROR_ARGUMENT, "%d loops; %d to %d are possible, or 0 for the default", (int64_t)loops,
                    (int64_t)least, (int64_t)chm_model.max_loops);
  session->loops = loops ? loops : chm_model.default_loops;
  return CHM_OK;
}

int32_t chm_session_set_exit_threshold(chm_session *session, float threshold) {
  if (!session) return no_session();
  if (!(threshold >= 0.0f && threshold <= 1.0f))
    return chm_fail(CHM_ERROR_ARGUMENT, "the exit threshold is not between 0 and 1");
  session->exit_threshold = threshold;
  return CHM_OK;
}

int32_t chm_session_set_sampling(chm_session *session, float temperature, float top_p, int32_t top_k,
                                 float repetition_penalty, uint32_t seed_low, uint32_t seed_high, uint32_t stream) {
  if (!session) return no_session();
  if (!(temperature == 0.0f || (temperature >= 0.01f && temperature <= 100.0f)))
    return chm_fail(CHM_ERROR_ARGUMENT, "the temperature is neither 0 nor between 0.01 and 100");
  if (!(top_p >= 0.0f && top_p <= 1.0f)) return chm_fail(CHM_ERROR_ARGUMENT, "top_p is not between 0 and 1");
  if (top_k < 0) return chm_fail(CHM_ERROR_ARGUMENT, "top_k is negative");
  if (!(repetition_penalty >= 0.1f && repetition_penalty <= 10.0f))
    return chm_fail(CHM_ERROR_ARGUMENT, "the repetition penalty is not between 0.1 and 10");
  session->sampling = (chm_sampling){.temperature = temperature,
                                     .top_p = top_p,
                                     .repetition_penalty = repetition_penalty,
                                     .top_k = top_k,
                                     .seed_low = seed_low,
                                     .seed_high = seed_high,
                                     .stream = stream};
  return CHM_OK;
}

static int32_t check_tokens(const int32_t *tokens, size_t count) {
  for (size_t i = 0; i < count; ++i)
    if (tokens[i] < 0 || tokens[i] >= chm_model.vocab)
      return chm_fail(CHM_ERROR_ARGUMENT, "token %d is not in the vocabulary of %d", (int64_t)tokens[i],
                      (int64_t)chm_model.vocab);
  return CHM_OK;
}

int32_t chm_session_set_stop_tokens(chm_session *session, const int32_t *tokens, size_t count) {
  if (!session) return no_session();
  if ((!tokens && count) || count > CHM_MAX_STOP_TOKENS)
    return chm_fail(CHM_ERROR_ARGUMENT, "at most %u stop tokens are possible", (uint64_t)CHM_MAX_STOP_TOKENS);
  int32_t status = check_tokens(tokens, count);
  if (status) return status;
  for (size_t i = 0; i < count; ++i) session->stop_tokens[i] = tokens[i];
  session->n_stop_tokens = (uint32_t)count;
  return CHM_OK;
}

/* ---- grammars ---- */

static uint64_t identity_of(const chm_grammar *grammar) { return grammar ? grammar->identity : 0; }

/* Whether the generation follows the session's grammar. */
static bool follows(const chm_session *session) {
  const uint32_t *identity = session->sequence.grammar;
  return ((uint64_t)identity[1] << 32 | identity[0]) == identity_of(session->grammar);
}

static void start_grammar(chm_session *session) {
  chm_sequence *sequence = &session->sequence;
  uint64_t identity = identity_of(session->grammar);
  sequence->grammar[0] = (uint32_t)identity;
  sequence->grammar[1] = (uint32_t)(identity >> 32);
  sequence->rhythm = (chm_rhythm){0, 0};
  memset(&sequence->place, 0, sizeof sequence->place);
  if (session->grammar) chm_configuration_start(session->grammar, &sequence->place);
}

int32_t chm_session_set_grammar(chm_session *session, chm_grammar *grammar) {
  if (!session) return no_session();
  if (grammar && grammar->pack->bundle != session->bundle)
    return chm_fail(CHM_ERROR_ARGUMENT, "the grammar is of another bundle");
  session->grammar = grammar;
  return CHM_OK;
}

int32_t chm_session_complete(const chm_session *session) {
  if (!session) return 0;
  if (!session->grammar) return 1;
  const chm_configuration *place = &session->sequence.place;
  return follows(session) && chm_configuration_valid(session->grammar, place) &&
         chm_configuration_complete(session->grammar, place);
}

/* ---- running tokens ---- */

static void remember(chm_sequence *sequence, int32_t token) {
  sequence->history[sequence->seen++ % CHM_HISTORY_TOKENS] = token;
}

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

/* Run checked tokens. A call never crosses a position divisible by the block; with an exit threshold each token is a
 * call of its own, because each finds its own depth. */
static int32_t run(chm_session *session, const int32_t *tokens, size_t count) {
  chm_sequence *sequence = &session->sequence;
  if (count > (size_t)(INT32_MAX - sequence->position))
    return chm_fail(CHM_ERROR_STATE, "the sequence is longer than 2^31 - 1 tokens");
  while (count) {
    int32_t room = chm_model.block - sequence->position % chm_model.block;
    int32_t n = session->exit_threshold > 0.0f ? 1 : count < (size_t)room ? (int32_t)count : room;
    const chm_entry_desc *entry = n == 1 ? session->bundle->decode : session->bundle->prefill;
    spread_states(session, session->loops);
    chm_call call = {.weights = session->bundle->weights,
                     .state = session->state,
                     .arena = session->arena,
                     .tokens = tokens,
                     .logits = session->logits,
                     .n = n,
                     .position = sequence->position,
                     .loops = session->loops,
                     .exit_threshold = session->exit_threshold,
                     .iterations = session->loops,
                     .pool = chm_pool_of(session->bundle),
                     .profile = &session->profile};
#if CHM_HAS_CLOCK
    if (session->profile.nanoseconds) {
      entry->measured(&call);
      chm_profile_step(call.profile, -1);
    } else
#endif
      entry->run(&call);
    int32_t iterations = call.iterations < 1 ? 1 : call.iterations > session->loops ? session->loops : call.iterations;
    sequence->iterations = iterations;
    if (iterations > sequence->deepest) sequence->deepest = iterations;
    sequence->position += n;
    tokens += n;
    count -= (size_t)n;
  }
  return CHM_OK;
}

#if CHM_HAS_CLOCK
int32_t chm_session_profile(chm_session *session, int64_t *nanoseconds, size_t count) {
  if (!session) return no_session();
  if (nanoseconds && count != (size_t)chm_model.n_steps)
    return chm_fail(CHM_ERROR_ARGUMENT, "room for %u steps, the model has %u", (uint64_t)count, (uint64_t)chm_model.n_steps);
  session->profile = (chm_profile){.nanoseconds = nanoseconds, .step = -1};
  return CHM_OK;
}
#endif

/* Run the tokens that were chosen and not run yet. */
static int32_t settle(chm_session *session) {
  chm_sequence *sequence = &session->sequence;
  if (!sequence->n_pending) return CHM_OK;
  int32_t status = run(session, sequence->pending, (size_t)sequence->n_pending);
  if (!status) sequence->n_pending = 0;
  return status;
}

int32_t chm_session_prefill(chm_session *session, const int32_t *tokens, size_t count) {
  if (!session) return no_session();
  if (!tokens && count) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_prefill: no tokens");
  int32_t status = check_tokens(tokens, count);
  if (!status) status = settle(session);
  if (!status) status = run(session, tokens, count);
  if (status) return status;
  for (size_t i = count > CHM_HISTORY_TOKENS ? count - CHM_HISTORY_TOKENS : 0; i < count; ++i)
    remember(&session->sequence, tokens[i]);
  return CHM_OK;
}

int32_t chm_session_decode(chm_session *session, int32_t token) { return chm_session_prefill(session, &token, 1); }

int32_t chm_session_prompt(chm_session *session, const uint8_t *text, size_t text_bytes) {
  if (!session) return no_session();
  chm_bundle *bundle = session->bundle;
  bool at_start = session->sequence.position == 0 && !session->sequence.n_pending;
  int32_t begin = at_start ? chm_tokenizer_special(bundle, CHM_ROLE_BEGIN) : -1;
  int32_t answer = chm_tokenizer_special(bundle, CHM_ROLE_ANSWER);
  size_t count = 0, first = begin >= 0;
  if (!bundle->has_tokenizer) return chm_fail(CHM_ERROR_STATE, "the bundle has no tokenizer");
  if (!text_bytes && at_start && !first) return chm_fail(CHM_ERROR_ARGUMENT, "the prompt is empty");
  if (text_bytes > (size_t)1 << 28) return chm_fail(CHM_ERROR_ARGUMENT, "the text is over 256 MiB");
  uint64_t scratch_bytes = ((uint64_t)text_bytes + 2) * sizeof(int32_t);
  int32_t *tokens = chm_allocate(&bundle->allocator, scratch_bytes);
  if (!tokens) return CHM_ERROR_MEMORY;
  tokens[0] = begin;
  int32_t status = chm_tokenizer_encode(bundle, text, text_bytes, tokens + first, text_bytes, &count);
  if (!status) {
    count += first;
    if (answer >= 0) tokens[count++] = answer;
    status = chm_session_prefill(session, tokens, count);
  }
  chm_release(&bundle->allocator, tokens, scratch_bytes);
  return status;
}

/* ---- generating ---- */

int32_t chm_session_begin_generation(chm_session *session, int32_t max_tokens) {
  if (!session) return no_session();
  if (max_tokens < 0) return chm_fail(CHM_ERROR_ARGUMENT, "max_tokens is negative");
  if (session->grammar) {
    chm_configuration start;
    chm_configuration_start(session->grammar, &start);
    int64_t closing = chm_configuration_closing(session->grammar, &start);
    if (closing > max_tokens)
      return chm_fail(CHM_ERROR_ARGUMENT, "max_tokens is %d; the grammar's shortest text may need %d", (int64_t)max_tokens, closing);
  }
  session->sequence.remaining = max_tokens;
  session->sequence.finished = 0;
  start_grammar(session);
  return CHM_OK;
}

static int32_t finish(chm_session *session) {
  session->sequence.finished = 1;
  session->text_bytes = chm_utf8_flush(&session->sequence.utf8, session->text);
  return CHM_FINISHED;
}

/* The likeliest or drawn token of those that may come. */
static int32_t sample(chm_session *session, const chm_allowed *allowed) {
  const chm_bundle *bundle = session->bundle;
  const chm_sequence *sequence = &session->sequence;
  const float *logits = session->logits;
  const uint8_t *excluded = bundle->has_tokenizer ? bundle->excluded : NULL;
  if (session->grammar) {
    /* the sampler is done with the logits and the excluded tokens before it writes to mass and order */
    uint32_t words = session->grammar->vocabulary->words, all = ((uint32_t)chm_model.vocab + 31) / 32;
    for (uint32_t i = 0; i < all; ++i) session->order[i] = i < words ? ~allowed->bits[i] : UINT32_MAX;
    excluded = (const uint8_t *)session->order;
    if (chm_soft_applies(session->grammar)) {
      chm_soft_add(session->grammar, &sequence->rhythm, sequence->history, sequence->seen, logits, chm_model.vocab,
                   session->mass);
      logits = session->mass;
    }
  }
  uint32_t n_history = sequence->seen < CHM_HISTORY_TOKENS ? sequence->seen : CHM_HISTORY_TOKENS;
  return chm_sample(&session->sampling, logits, chm_model.vocab, excluded, sequence->history, n_history,
                    sequence->position, session->scores, session->mass, session->order);
}

/* What the grammar allows next; CHM_FINISHED where nothing is left to be said. */
static int32_t ask_grammar(chm_session *session, chm_allowed *allowed) {
  chm_sequence *sequence = &session->sequence;
  if (!follows(session)) return chm_fail(CHM_ERROR_STATE, "the generation was not begun with this grammar");
  if (!session->grammar) return CHM_OK;
  if (!chm_configuration_valid(session->grammar, &sequence->place))
    return chm_fail(CHM_ERROR_STATE, "the place in the grammar is damaged");
  *allowed = chm_grammar_allowed(session->grammar, &sequence->place, sequence->remaining);
  if (allowed->amount) return CHM_OK;
  if (chm_configuration_complete(session->grammar, &sequence->place)) return CHM_FINISHED;
  return chm_fail(CHM_ERROR_GRAMMAR, "the grammar leads to no end");
}

int32_t chm_session_generate(chm_session *session, int32_t *token) {
  if (!session || !token) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_generate: a pointer is NULL");
  chm_sequence *sequence = &session->sequence;
  *token = -1;
  session->text_bytes = 0;
  if (!sequence->position) return chm_fail(CHM_ERROR_STATE, "nothing to continue: no token was run yet");
  if (sequence->finished) return CHM_FINISHED;
  if (!sequence->remaining) return finish(session);
  chm_bundle *bundle = session->bundle;
  chm_allowed allowed = {NULL, 2, -1};
  int32_t status = ask_grammar(session, &allowed);
  if (status == CHM_FINISHED) return finish(session);
  bool forced = allowed.amount == 1; /* then no logits are needed, and several tokens are run at once */
  if (!status && (!forced || sequence->n_pending == CHM_MAX_PENDING)) status = settle(session);
  if (status) return status;
  int32_t chosen = forced ? allowed.single : sample(session, &allowed);
  if (chosen < 0) return chm_fail(CHM_ERROR_NO_TOKEN, "every logit at position %d is excluded or not a number",
                                  (int64_t)sequence->position);
  if (session->grammar) {
    if (!chm_configuration_accept(session->grammar, &sequence->place, chosen))
      return chm_fail(CHM_ERROR_GRAMMAR, "the grammar's masks and tables differ for token %d", (int64_t)chosen);
    chm_soft_count(session->grammar, &sequence->rhythm, chosen);
  }
  *token = sequence->pending[sequence->n_pending++] = chosen;
  remember(sequence, chosen);
  --sequence->remaining;
  if (session->grammar && sequence->place.finished) return finish(session);
  for (uint32_t i = 0; i < session->n_stop_tokens; ++i)
    if (session->stop_tokens[i] == chosen) return finish(session);
  size_t bytes;
  const uint8_t *data = chm_tokenizer_token(bundle, chosen, &bytes);
  session->text_bytes = chm_utf8_push(&sequence->utf8, data, bytes, session->text);
  return CHM_OK;
}

/* ---- looking ---- */

const uint8_t *chm_session_text(const chm_session *session, size_t *bytes) {
  if (bytes) *bytes = session ? session->text_bytes : 0;
  return session ? session->text : NULL;
}

const float *chm_session_logits(const chm_session *session) {
  return session && session->sequence.position ? session->logits : NULL;
}

int32_t chm_session_position(const chm_session *session) { return session ? session->sequence.position : 0; }

int32_t chm_session_iterations(const chm_session *session) { return session ? session->sequence.iterations : 0; }

/* Per 64-bit little-endian word, the last one filled up with zeros. */
static uint64_t hash_words(const uint8_t *data, uint64_t bytes) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (uint64_t i = 0; i < bytes; i += 8) {
    uint64_t word = 0;
    memcpy(&word, data + i, bytes - i < 8 ? (size_t)(bytes - i) : 8);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash;
}

int32_t chm_session_state_hash(chm_session *session, uint64_t *hash) {
  if (!session || !hash) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_state_hash: a pointer is NULL");
  int32_t status = settle(session);
  if (!status) *hash = hash_words(session->state, chm_model.state_bytes);
  return status;
}

int32_t chm_session_logits_hash(chm_session *session, uint64_t *hash) {
  if (!session || !hash) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_logits_hash: a pointer is NULL");
  int32_t status = settle(session);
  if (!status) *hash = hash_words((const uint8_t *)session->logits, (uint64_t)chm_model.vocab * 4);
  return status;
}
