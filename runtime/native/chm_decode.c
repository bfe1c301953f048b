/* The decode loop of a session: running tokens through the model, and choosing the next ones. */
#include "chm_math.h"
#include "chm_spans.h"

CHM_COLD_BEGIN

_Static_assert(CHM_MAX_TEXT_BYTES >= 3 * (255 + 4), "the text of a token of 255 bytes, all replaced");

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

bool chm_session_follows(const chm_session *session) {
  return session->grammar && follows(session) && chm_configuration_valid(session->grammar, &session->sequence.place);
}

int32_t chm_session_complete(const chm_session *session) {
  if (!session) return 0;
  if (!session->grammar) return 1;
  return chm_session_follows(session) && chm_configuration_complete(session->grammar, &session->sequence.place);
}

/* ---- running tokens ---- */

static void remember(chm_session *session, int32_t token) {
  chm_sequence *sequence = &session->sequence;
  sequence->history[sequence->seen++ % CHM_HISTORY_TOKENS] = token;
  chm_spans_remember(session, token);
}

static const chm_entry_desc *entry_of(const chm_session *session, int32_t n) {
  return n == 1 ? session->bundle->decode : session->bundle->prefill;
}

/* Run checked tokens. A call never crosses a position divisible by the block; with an exit threshold each token is a
 * call of its own, because each finds its own depth. Logits are left out, but for those of a last token that is alone if
 * they are wanted: of several tokens chm_session_answer computes them. So calls of a prompt take about as long as one
 * another, which the number of threads is chosen by. */
static int32_t run(chm_session *session, const int32_t *tokens, size_t count, bool wanted) {
  chm_sequence *sequence = &session->sequence;
  if (count > (size_t)(INT32_MAX - sequence->position))
    return chm_fail(CHM_ERROR_STATE, "the sequence is longer than 2^31 - 1 tokens");
  while (count) {
    int32_t room = chm_model.block - sequence->position % chm_model.block;
    int32_t n = session->exit_threshold > 0.0f ? 1 : count < (size_t)room ? (int32_t)count : room;
    bool alone = wanted && n == 1 && count == 1;
    chm_call call = {.tokens = tokens, .logits = session->logits, .n = n, .without = alone ? 0 : CHM_WITHOUT_LOGITS};
    chm_session_run(session, entry_of(session, n), &call);
    __atomic_store_n(&sequence->position, sequence->position + n, __ATOMIC_RELAXED);
    tokens += n;
    count -= (size_t)n;
  }
  return CHM_OK;
}

void chm_session_answer(chm_session *session) {
  if (!session->unanswered) return;
  chm_call call = {.logits = session->logits, .n = session->unanswered, .without = CHM_WITHOUT_STATES};
  chm_session_run(session, entry_of(session, call.n), &call);
}

static int32_t settle(chm_session *session, bool wanted) {
  chm_sequence *sequence = &session->sequence;
  chm_spans_commit(session);
  if (!sequence->n_pending) return CHM_OK;
  int32_t status = run(session, sequence->pending, (size_t)sequence->n_pending, wanted);
  if (!status) sequence->n_pending = 0;
  return status;
}

int32_t chm_session_settle(chm_session *session) { return settle(session, false); }

/* Have the pending tokens run and, where they are wanted, the logits after them: those of a tree that has guessed them, or
 * of a new one, or of their own run. */
static int32_t advance(chm_session *session, bool wanted) {
  chm_sequence *sequence = &session->sequence;
  int32_t known = 0, pending = sequence->n_pending;
  while (known < pending && chm_spans_take(session, sequence->pending[known])) ++known;
  sequence->n_pending -= known;
  memmove(sequence->pending, sequence->pending + known, (size_t)sequence->n_pending * sizeof *sequence->pending);
  if (known) chm_spans_note_saved(session, pending);
  if (!sequence->n_pending) return CHM_OK;
  chm_spans_commit(session);
  pending = sequence->n_pending;
  if (chm_spans_verify(session)) {
    sequence->n_pending = 0;
    return CHM_OK;
  }
  int64_t begun = chm_spans_clock(session);
  int32_t status = settle(session, true);
  if (status || !wanted) return status;
  chm_session_answer(session);
  chm_spans_note_run(session, pending, begun);
  return CHM_OK;
}

static int32_t prefill(chm_session *session, const int32_t *tokens, size_t count, bool wanted) {
  if (!chm_model.vocab) return chm_fail(CHM_ERROR_STATE, CHM_NO_TOKENS);
  if (!tokens && count) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_prefill: no tokens");
  int32_t status = chm_check_tokens(tokens, count);
  if (!status) status = chm_session_check_room(session, count);
  if (!status) status = settle(session, wanted && !count);
  if (!status) status = run(session, tokens, count, wanted);
  if (status) return status;
  if (wanted) chm_session_answer(session);
  size_t kept = session->spans ? CHM_PAST : CHM_HISTORY_TOKENS;
  for (size_t i = count > kept ? count - kept : 0; i < count; ++i) remember(session, tokens[i]);
  return CHM_OK;
}

int32_t chm_session_prefill(chm_session *session, const int32_t *tokens, size_t count) {
  int32_t status = chm_session_enter(session);
  return status ? status : chm_session_leave(session, prefill(session, tokens, count, true));
}

int32_t chm_session_prefill_part(chm_session *session, const int32_t *tokens, size_t count) {
  int32_t status = chm_session_enter(session);
  return status ? status : chm_session_leave(session, prefill(session, tokens, count, false));
}

int32_t chm_session_decode(chm_session *session, int32_t token) { return chm_session_prefill(session, &token, 1); }

/* The special token of the role heard and what the request says of the lists, if the tokenizer has such a token and the session's
 * grammar was told both; room for chm_hint_room(bundle) tokens. */
static int32_t hint(chm_session *session, int32_t *tokens, size_t room, size_t *count) {
  chm_bundle *bundle = session->bundle;
  const chm_grammar *grammar = session->grammar;
  int32_t heard = chm_tokenizer_special(bundle, CHM_ROLE_HEARD);
  *count = 0;
  if (heard < 0 || !grammar || !grammar->given[0].text) return CHM_OK;
  if (!grammar->given[1].text && !grammar->given[2].text && !grammar->given[3].text) return CHM_OK;
  if (!room) return chm_fail(CHM_ERROR_LIMIT, "there is no room for a hint");
  uint8_t *text = chm_allocate(&bundle->allocator, CHM_HINT_BYTES);
  if (!text) return CHM_ERROR_MEMORY;
  size_t bytes;
  int32_t status = chm_hint(grammar->given, text, &bytes, &bundle->allocator);
  if (!status) status = chm_tokenizer_encode_more(bundle, text, bytes, tokens + 1, room - 1, count);
  tokens[0] = heard;
  *count += !status;
  chm_release(&bundle->allocator, text, CHM_HINT_BYTES);
  return status;
}

int32_t chm_session_hint(chm_session *session, int32_t *tokens, size_t capacity, size_t *count) {
  if (!count || (!tokens && capacity)) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_hint: a pointer is NULL");
  int32_t status = chm_session_enter(session);
  return status ? status : chm_session_leave(session, hint(session, tokens, capacity, count));
}

static int32_t prompt(chm_session *session, const uint8_t *text, size_t text_bytes) {
  chm_bundle *bundle = session->bundle;
  bool at_start = session->sequence.position == 0 && !session->sequence.n_pending;
  int32_t begin = at_start ? chm_tokenizer_special(bundle, CHM_ROLE_BEGIN) : -1;
  int32_t answer = chm_tokenizer_special(bundle, CHM_ROLE_ANSWER);
  size_t count = 0, first = begin >= 0;
  if (!chm_model.vocab) return chm_fail(CHM_ERROR_STATE, CHM_NO_TOKENS);
  if (!bundle->has_tokenizer) return chm_fail(CHM_ERROR_STATE, CHM_NO_TEXT);
  if (text_bytes > (size_t)1 << 28) return chm_fail(CHM_ERROR_ARGUMENT, "the text is over 256 MiB");
  int32_t known = session->grammar ? chm_grammar_set_words(session->grammar, 0, text, text_bytes) : CHM_OK;
  if (known) return known;
  size_t room = chm_tokenizer_room(bundle, text_bytes);
  size_t more = chm_tokenizer_special(bundle, CHM_ROLE_HEARD) < 0 ? 0 : 1 + chm_tokenizer_room(bundle, CHM_HINT_BYTES);
  uint64_t scratch_bytes = ((uint64_t)room + more + 2) * sizeof(int32_t);
  int32_t *tokens = chm_allocate(&bundle->allocator, scratch_bytes);
  if (!tokens) return CHM_ERROR_MEMORY;
  tokens[0] = begin;
  int32_t status = (at_start ? chm_tokenizer_encode : chm_tokenizer_encode_more)(bundle, text, text_bytes, tokens + first,
                                                                                 room, &count);
  if (!status && !count && at_start && !first) status = chm_fail(CHM_ERROR_ARGUMENT, "the prompt is empty");
  if (!status) {
    size_t hinted;
    count += first;
    status = hint(session, tokens + count, more, &hinted);
    count += hinted;
  }
  if (!status) {
    if (answer >= 0) tokens[count++] = answer;
    status = prefill(session, tokens, count, true);
  }
  chm_release(&bundle->allocator, tokens, scratch_bytes);
  return status;
}

int32_t chm_session_prompt(chm_session *session, const uint8_t *text, size_t text_bytes) {
  int32_t status = chm_session_enter(session);
  return status ? status : chm_session_leave(session, prompt(session, text, text_bytes));
}

/* ---- generating ---- */

static int32_t begin_generation(chm_session *session, int32_t max_tokens) {
  if (!chm_model.vocab) return chm_fail(CHM_ERROR_STATE, CHM_NO_TOKENS);
  if (max_tokens < 0) return chm_fail(CHM_ERROR_ARGUMENT, "max_tokens is negative");
  if (session->grammar) {
    int32_t missing = chm_slots_missing(session->grammar);
    if (missing) return missing;
    chm_configuration start;
    chm_configuration_start(session->grammar, &start);
    int64_t closing = chm_configuration_closing(session->grammar, &start);
    if (closing > max_tokens)
      return chm_fail(CHM_ERROR_ARGUMENT, "max_tokens is %d; the grammar's shortest text may need %d", (int64_t)max_tokens, closing);
    int32_t status = chm_session_check_room(session, (size_t)closing);
    if (status) return status;
  }
  chm_spans_commit(session); /* guesses of the text before count there */
  session->sequence.remaining = max_tokens;
  session->sequence.finished = 0;
  chm_spans_forget_counts(session->spans);
  session->scored = session->scoring;
  session->score = 0.0f;
  start_grammar(session);
  chm_ledger_start(session);
  memset(session->valve.chosen, 0, sizeof session->valve.chosen);
  return CHM_OK;
}

int32_t chm_session_begin_generation(chm_session *session, int32_t max_tokens) {
  int32_t status = chm_session_enter(session);
  return status ? status : chm_session_leave(session, begin_generation(session, max_tokens));
}

static int32_t finish(chm_session *session) {
  session->sequence.finished = 1;
  session->text_bytes = chm_utf8_flush(&session->sequence.utf8, session->text);
  return CHM_FINISHED;
}

/* Note what the grammar excludes, where the sampler looks for it: guessing asks the grammar too, and its mask is gone then. */
static void exclude(chm_session *session, const chm_allowed *allowed) {
  uint32_t words = session->grammar->vocabulary->words, all = ((uint32_t)chm_model.vocab + 31) / 32;
  for (uint32_t i = 0; i < all; ++i) session->order[i] = i < words ? ~allowed->bits[i] : UINT32_MAX;
}

/* The likeliest or drawn token of those that may come; its log probability among them is counted. Where the valve looks, it
 * sees their entropy. */
static int32_t sample(chm_session *session) {
  const chm_bundle *bundle = session->bundle;
  const chm_sequence *sequence = &session->sequence;
  const float *logits = session->logits;
  const uint8_t *excluded = bundle->has_tokenizer ? bundle->excluded : NULL;
  /* the sampler is done with the logits and the excluded tokens before it writes to mass and order */
  if (session->grammar) excluded = (const uint8_t *)session->order;
  if (chm_valve_looks(session))
    session->valve.entropy = chm_entropy(logits, chm_model.vocab, excluded, session->mass, &session->valve.may_come);
  float all = session->scored ? chm_log_mass(logits, chm_model.vocab, excluded, session->mass) : 0.0f;
  chm_closing closing = session->grammar ? chm_ledger_closing(session) : (chm_closing){0, 0};
  if (session->grammar && chm_soft_applies(session->grammar, closing)) {
    chm_soft_add(session->grammar, &sequence->rhythm, closing, sequence->history, sequence->seen, logits,
                 chm_model.vocab, session->mass);
    logits = session->mass;
  }
  uint32_t n_history = sequence->seen < CHM_HISTORY_TOKENS ? sequence->seen : CHM_HISTORY_TOKENS;
  int32_t chosen = chm_sample(&session->sampling, logits, chm_model.vocab, excluded, sequence->history, n_history,
                              sequence->position, session->scores, session->mass, session->order);
  if (session->scored && chosen >= 0) session->score += chm_min(session->logits[chosen] - all, 0.0f);
  return chosen;
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

static int32_t generate(chm_session *session, int32_t *token) {
  chm_sequence *sequence = &session->sequence;
  *token = -1;
  session->text_bytes = 0;
  if (!chm_model.vocab) return chm_fail(CHM_ERROR_STATE, CHM_NO_TOKENS);
  if (!sequence->position) return chm_fail(CHM_ERROR_STATE, "nothing to continue: no token was run yet");
  if (sequence->finished) return CHM_FINISHED;
  int32_t room = chm_session_room(session); /* what is chosen can be run, too */
  if (chm_model.context && sequence->remaining > room) sequence->remaining = room;
  if (!sequence->remaining) return finish(session);
  chm_bundle *bundle = session->bundle;
  chm_allowed allowed = {NULL, 2, -1};
  int32_t status = ask_grammar(session, &allowed);
  if (status == CHM_FINISHED) return finish(session);
  bool forced = allowed.amount == 1; /* then no logits are needed, and several tokens are run at once */
  if (!status && !forced && session->grammar) exclude(session, &allowed);
  if (!status && (!forced || sequence->n_pending == CHM_MAX_PENDING)) status = advance(session, !forced);
  if (status) return status;
  if (!forced) chm_session_answer(session);
  int32_t chosen = forced ? allowed.single : sample(session);
  if (chosen < 0) return chm_fail(CHM_ERROR_NO_TOKEN, "every logit at position %d is excluded or not a number",
                                  (int64_t)sequence->position);
  if (chm_valve_looks(session) && (status = chm_valve_turn(session, forced))) return status;
  if (session->grammar) {
    if (!chm_configuration_accept(session->grammar, &sequence->place, chosen))
      return chm_fail(CHM_ERROR_GRAMMAR, "the grammar's masks and tables differ for token %d", (int64_t)chosen);
    chm_soft_count(session->grammar, &sequence->rhythm, chosen);
    chm_ledger_take(session, chosen);
  }
  chm_valve_count(session);
  *token = sequence->pending[sequence->n_pending++] = chosen;
  remember(session, chosen);
  --sequence->remaining;
  if (session->grammar && sequence->place.finished) return finish(session);
  for (uint32_t i = 0; i < session->n_stop_tokens; ++i)
    if (session->stop_tokens[i] == chosen) return finish(session);
  size_t bytes;
  const uint8_t *data = chm_tokenizer_token(bundle, chosen, &bytes);
  session->text_bytes = chm_utf8_push(&sequence->utf8, data, bytes, session->text);
  return CHM_OK;
}

int32_t chm_session_generate(chm_session *session, int32_t *token) {
  if (!session || !token) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_generate: a pointer is NULL");
  int32_t status = chm_session_enter(session);
  if (status) return status;
  chm_grammar *grammar = session->grammar;
  if (grammar && !chm_take(&grammar->busy))
    return chm_session_leave(session, chm_fail(CHM_ERROR_STATE, "the grammar is in another call"));
  status = generate(session, token);
  if (grammar) chm_give(&grammar->busy);
  return chm_session_leave(session, status);
}

CHM_COLD_END
