/* Choosing the next token, with the same bits everywhere.
 *
 * Order: excluded ids → repetition penalty → temperature → top-k → top-p → Gumbel argmax. The noise of a token depends
 * on (seed, stream, position, token) only, so the choice is a pure function of the logits and the position.
 */
#include "chm_internal.h"
#include "chm_math.h"
#include "chm_philox.h"

#define CHM_PURPOSE_TOKEN 0u
#define CHM_EXCLUDED (-__builtin_inff())
#define CHM_LARGEST 0x1.fffffep+127f

static float bounded(float score) { return chm_min(chm_max(score, -CHM_LARGEST), CHM_LARGEST); }

/* Candidate a comes before b: higher score, then lower id. */
static bool before(const float *scores, uint32_t a, uint32_t b) {
  return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
}

static void sift_down(uint32_t *heap, uint32_t count, uint32_t hole, const float *scores) {
  uint32_t moving = heap[hole];
  for (uint32_t child = 2 * hole + 1; child < count; child = 2 * hole + 1) {
    if (child + 1 < count && before(scores, heap[child + 1], heap[child])) ++child;
    if (!before(scores, heap[child], moving)) break;
    heap[hole] = heap[child];
    hole = child;
  }
  heap[hole] = moving;
}

/* Move the first candidate of the heap to its end, out of the heap. */
static uint32_t take_first(uint32_t *heap, uint32_t *count, const float *scores) {
  uint32_t first = heap[0];
  heap[0] = heap[--*count];
  heap[*count] = first;
  if (*count) sift_down(heap, *count, 0, scores);
  return first;
}

/* Random words of four tokens. */
typedef struct chm_noise {
  uint32_t quarter; /* token / 4; UINT32_MAX: none yet */
  uint32_t words[4];
} chm_noise;

/* Larger than any noise: that of the least uniform number, 2^-33, is under 22.9. */
#define MOST_NOISE 23.0f

static float gumbel(const chm_sampling *sampling, int32_t position, uint32_t token, chm_noise *noise) {
  if (noise->quarter != token >> 2) {
    noise->quarter = token >> 2;
    uint32_t counter[4] = {noise->quarter, (uint32_t)position, CHM_PURPOSE_TOKEN, sampling->seed_high};
    chm_philox4x32_10(counter, sampling->seed_low, sampling->stream, noise->words);
  }
  /* uniform in (0, 1): small values keep their precision, where the large noise comes from */
  float uniform = (float)noise->words[token & 3] * 0x1p-32f + 0x1p-33f;
  uniform = chm_min(uniform, 0x1.fffffep-1f);
  float exponential = chm_negate(chm_log1p(chm_negate(uniform)));
  return chm_negate(chm_log(exponential));
}

/* logits → scores: exclusion, penalty, temperature. False if nothing is left. */
static bool score(const chm_sampling *sampling, const float *logits, int32_t vocab, const uint8_t *excluded,
                  const int32_t *history, uint32_t n_history, float *scores) {
  bool any = false;
  for (int32_t id = 0; id < vocab; ++id) {
    bool out = chm_is_nan(logits[id]) || (excluded && excluded[id >> 3] >> (id & 7) & 1);
    scores[id] = out ? CHM_EXCLUDED : bounded(logits[id]);
    any |= !out;
  }
  if (sampling->repetition_penalty != 1.0f)
    for (uint32_t k = 0; k < n_history; ++k) {
      int32_t id = history[k];
      if (scores[id] == CHM_EXCLUDED) continue;
      /* from the logit, not the score: a token that occurs twice is penalised once */
      float logit = bounded(logits[id]);
      float penalised = logit > 0.0f ? logit / sampling->repetition_penalty : logit * sampling->repetition_penalty;
      scores[id] = bounded(penalised);
    }
  if (sampling->temperature != 0.0f)
    for (int32_t id = 0; id < vocab; ++id)
      if (scores[id] != CHM_EXCLUDED)
        scores[id] = bounded(scores[id] / sampling->temperature);
  return any;
}

/* Put the survivors of top-k and top-p into order[first..end) and return first; *end is the number of candidates. */
static uint32_t filter(const chm_sampling *sampling, int32_t vocab, const float *scores, float *mass, uint32_t *order,
                       uint32_t *end) {
  uint32_t count = 0;
  for (int32_t id = 0; id < vocab; ++id)
    if (scores[id] != CHM_EXCLUDED) order[count++] = (uint32_t)id;
  *end = count;
  bool limit_count = sampling->top_k > 0 && (uint32_t)sampling->top_k < count;
  if (!limit_count && !(sampling->top_p < 1.0f)) return 0;

  uint32_t left = count;
  for (uint32_t k = count / 2; k-- > 0;) sift_down(order, count, k, scores);
  float largest = scores[order[0]];
  if (limit_count)
    for (int32_t k = 0; k < sampling->top_k; ++k) take_first(order, &left, scores);
  if (!(sampling->top_p < 1.0f)) return left;

  for (int32_t id = 0; id < vocab; ++id) mass[id] = limit_count ? 0.0f : chm_exp(scores[id] - largest);
  if (limit_count)
    for (uint32_t k = left; k < count; ++k) mass[order[k]] = chm_exp(scores[order[k]] - largest);
  float threshold = sampling->top_p * chm_lanes8_sum(mass, (uint64_t)vocab);
  float cumulative = 0.0f;
  /* the first ones are at the end of order: order[count - 1] is the best */
  uint32_t kept = 0;
  do {
    uint32_t id = limit_count ? order[count - 1 - kept] : take_first(order, &left, scores);
    cumulative = cumulative + mass[id];
    ++kept;
  } while (cumulative < threshold && (limit_count ? kept < (uint32_t)sampling->top_k : left > 0));
  return count - kept;
}

/* ---- the likeliest token ---- */

#define BLOCK 64 /* logits whose maximum is found at once */

/* The largest of a block's logits, without NaN; what is excluded counts. */
static float largest_of(const float *logits) {
  float lanes[8] = {CHM_EXCLUDED, CHM_EXCLUDED, CHM_EXCLUDED, CHM_EXCLUDED,
                    CHM_EXCLUDED, CHM_EXCLUDED, CHM_EXCLUDED, CHM_EXCLUDED};
  for (int i = 0; i < BLOCK; i += 8)
    for (int lane = 0; lane < 8; ++lane) lanes[lane] = chm_max(logits[i + lane], lanes[lane]);
  for (int lane = 1; lane < 8; ++lane) lanes[0] = chm_max(lanes[lane], lanes[0]);
  return lanes[0];
}

/* The likeliest token where nothing changes the logits: one pass, which writes nothing. -1: all are excluded. */
static int32_t likeliest(const float *logits, int32_t vocab, const uint8_t *excluded) {
  int32_t best = -1;
  float largest = CHM_EXCLUDED;
  for (int32_t begin = 0; begin < vocab; begin += BLOCK) {
    int32_t end = vocab - begin < BLOCK ? vocab : begin + BLOCK;
    if (best >= 0 && end == begin + BLOCK && !(bounded(largest_of(logits + begin)) > largest)) continue;
    for (int32_t id = begin; id < end; ++id) {
      if (!(bounded(logits[id]) > largest) || chm_is_nan(logits[id])) continue;
      if (excluded && excluded[id >> 3] >> (id & 7) & 1) continue;
      best = id;
      largest = bounded(logits[id]);
    }
  }
  return best;
}

int32_t chm_sample(const chm_sampling *sampling, const float *logits, int32_t vocab, const uint8_t *excluded,
                   const int32_t *history, uint32_t n_history, int32_t position, float *scores, float *mass,
                   uint32_t *order) {
  if (sampling->temperature == 0.0f && sampling->repetition_penalty == 1.0f) return likeliest(logits, vocab, excluded);
  if (!score(sampling, logits, vocab, excluded, history, n_history, scores)) return -1;
  if (sampling->temperature == 0.0f) {
    int32_t best = -1;
    for (int32_t id = 0; id < vocab; ++id)
      if (scores[id] != CHM_EXCLUDED && (best < 0 || scores[id] > scores[best])) best = id;
    return best;
  }
  uint32_t end;
  uint32_t best = UINT32_MAX;
  float best_score = 0.0f;
  chm_noise noise = {.quarter = UINT32_MAX};
  for (uint32_t k = filter(sampling, vocab, scores, mass, order, &end); k < end; ++k) {
    uint32_t id = order[k];
    if (best != UINT32_MAX && scores[id] + MOST_NOISE < best_score) continue; /* no noise makes it the largest */
    float noisy = scores[id] + gumbel(sampling, position, id, &noise);
    if (best == UINT32_MAX || noisy > best_score || (noisy == best_score && id < best)) {
      best = id;
      best_score = noisy;
    }
  }
  return (int32_t)best;
}
