/* The entropy valve: fewer loop iterations where what comes next is certain; docs/valve.md has the numbers.
 * Of a model with a router a block takes no more than it predicts from the token before.
 *
 * It looks where a block begins, at the distribution that the block's first token is chosen from: that is known before the token is
 * run, and is a function of the tokens up to there. So the level does not depend on how they were run, guessed or saved.
 */
#include "chm_math.h"
#include "chm_spans.h"

CHM_COLD_BEGIN

#define CALM 0.1f        /* bits below the bound of a level that it is kept */
#define WEIGHT 0.5f      /* of the metrics */
#define BRANCHING CHM_VALVE_BRANCHING
#define PRESSURE CHM_VALVE_PRESSURE

static int32_t least_loops(void) { return chm_model.min_loops > 1 ? chm_model.min_loops : 1; }

static int32_t level_of(const chm_session *session) { return CHM_LEVEL_HIGH - session->sequence.lowered; }

/* The router's scores after the last token that was run, fewest iterations first; NULL of a model without. */
static const float *router_scores(const chm_session *session, int32_t counts) {
  for (int32_t i = 0; i < chm_model.n_states; ++i) {
    const chm_state_desc *state = &chm_model.states[i];
    const char *name = state->name, *wanted = CHM_ROUTER_STATE;
    while (*name && *name == *wanted) ++name, ++wanted;
    if (*name == *wanted && state->bytes == (uint64_t)counts * sizeof(float))
      return (const float *)(const void *)(session->state + state->offset);
  }
  return NULL;
}

void chm_valve_route(chm_session *session) {
  int32_t counts = chm_model.max_loops - least_loops() + 1, best = counts - 1;
  const float *scores = counts > 1 ? router_scores(session, counts) : NULL;
  if (!scores) return;
  for (int32_t i = best - 1; i >= 0; --i)
    if (scores[i] > scores[best]) best = i;
  __atomic_store_n(&session->sequence.routed, best < counts - 1 ? least_loops() + best : 0, __ATOMIC_RELAXED);
}

int32_t chm_valve_loops(const chm_session *session) {
  int32_t loops = session->loops, most = session->valve.loops[level_of(session)], routed = session->sequence.routed;
  if (most && routed && routed < most) most = routed;
  if (!most || most >= loops) return loops;
  return most < least_loops() ? least_loops() : most;
}

bool chm_valve_looks(const chm_session *session) {
  const chm_sequence *sequence = &session->sequence;
  return session->valve.loops[0] && (sequence->position + sequence->n_pending) % chm_model.block == 0;
}

/* How uncertain it is, in bits: the entropy, and up to a quarter more or less for what else is measured. */
static float uncertainty(const chm_session *session) {
  const chm_valve *valve = &session->valve;
  float sum = 0.0f, count = 0.0f;
  if (valve->metrics & BRANCHING) {
    sum = chm_min(chm_log((float)valve->may_come + 1.0f) / chm_log((float)chm_model.vocab), 1.0f);
    count = 1.0f;
  }
  if (valve->metrics & PRESSURE) {
    sum += chm_ledger_pressure(session);
    count += 1.0f;
  }
  return count > 0.0f ? valve->entropy + WEIGHT * (sum / count - 0.5f) : valve->entropy;
}

int32_t chm_valve_turn(chm_session *session, bool forced) {
  chm_valve *valve = &session->valve;
  if (forced) {
    valve->entropy = 0.0f;
    valve->may_come = 1;
  }
  int32_t level = level_of(session);
  float bits = uncertainty(session);
  if (level < CHM_LEVEL_HIGH && bits >= valve->bits[level + 1]) ++level;
  else if (level > CHM_LEVEL_LOW && bits < valve->bits[level] - CALM) --level;
  if (level == level_of(session)) return CHM_OK;
  int32_t status = chm_session_settle(session); /* with the iterations of the block before */
  if (status) return status;
  chm_session_answer(session);
  __atomic_store_n(&session->sequence.lowered, CHM_LEVEL_HIGH - level, __ATOMIC_RELAXED); /* a snapshot's size depends on it */
  return CHM_OK;
}

int32_t chm_session_set_valve(chm_session *session, float medium_bits, float high_bits, int32_t low_loops,
                              int32_t medium_loops, int32_t high_loops, uint32_t metrics) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  bool off = !low_loops && !medium_loops && !high_loops;
  if (!off && (low_loops < 1 || medium_loops < 1 || high_loops < 1))
    status = chm_fail(CHM_ERROR_ARGUMENT, "a level of the valve has no loops");
  else if (!(medium_bits >= 0.0f && high_bits >= medium_bits && high_bits <= FLT_MAX))
    status = chm_fail(CHM_ERROR_ARGUMENT, "the bounds of the valve's levels are not in order");
  else if (metrics & ~(uint32_t)(BRANCHING | PRESSURE))
    status = chm_fail(CHM_ERROR_ARGUMENT, "a metric of the valve is unknown");
  else {
    chm_spans_commit(session); /* with the iterations that it was verified with */
    session->valve = (chm_valve){.bits = {0.0f, medium_bits, high_bits},
                                 .loops = {low_loops, medium_loops, high_loops},
                                 .metrics = metrics};
  }
  return chm_session_leave(session, status);
}

void chm_valve_count(chm_session *session) {
  if (session->valve.loops[0]) ++session->valve.chosen[level_of(session)];
}

int32_t chm_session_levels(chm_session *session, uint64_t *tokens, size_t count) {
  if (!tokens || count != CHM_LEVELS) return chm_fail(CHM_ERROR_ARGUMENT, "the valve has %u levels", (uint64_t)CHM_LEVELS);
  int32_t status = chm_session_enter(session);
  if (status) return status;
  memcpy(tokens, session->valve.chosen, sizeof session->valve.chosen);
  return chm_session_leave(session, CHM_OK);
}

int32_t chm_session_level(const chm_session *session) {
  return session ? CHM_LEVEL_HIGH - __atomic_load_n(&session->sequence.lowered, __ATOMIC_RELAXED) : 0;
}

float chm_session_entropy(const chm_session *session) { return session ? session->valve.entropy : 0.0f; }

CHM_COLD_END
