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

/* Whether a is nearer to the root of a heap than b; of a heap that has the last candidate there, not the first. */
static bool above(const float *scores, uint32_t a, uint32_t b, bool last) {
  return last ? before(scores, b, a) : before(scores, a, b);
}

/* Apart, like the next two: a web module is smaller. */
__attribute__((noinline)) static void sift_down(uint32_t *heap, uint32_t count, uint32_t hole, const float *scores, bool last) {
  uint32_t moving = heap[hole];
  for (uint32_t child = 2 * hole + 1; child < count; child = 2 * hole + 1) {
    if (child + 1 < count && above(scores, heap[child + 1], heap[child], last)) ++child;
    if (!above(scores, heap[child], moving, last)) break;
    heap[hole] = heap[child];
    hole = child;
  }
  heap[hole] = moving;
}

static void make_heap(uint32_t *heap, uint32_t count, const float *scores, bool last) {
  for (uint32_t k = count / 2; k-- > 0;) sift_down(heap, count, k, scores, last);
}

/* Move the root of the heap to its end, out of the heap. */
static uint32_t take_root(uint32_t *heap, uint32_t *count, const float *scores, bool last) {
  uint32_t root = heap[0];
  heap[0] = heap[--*count];
  heap[*count] = root;
  if (*count) sift_down(heap, *count, 0, scores, last);
  return root;
}

#define BLOCK 64 /* numbers whose maximum is found at once */

/* The largest of a block, without NaN. */
__attribute__((noinline)) static float largest_of(const float *numbers) {
  float lanes[8] = {CHM_EXCLUDED, CHM_EXCLUDED, CHM_EXCLUDED, CHM_EXCLUDED,
                    CHM_EXCLUDED, CHM_EXCLUDED, CHM_EXCLUDED, CHM_EXCLUDED};
  for (int i = 0; i < BLOCK; i += 8)
    for (int lane = 0; lane < 8; ++lane) lanes[lane] = chm_max(numbers[i + lane], lanes[lane]);
  for (int lane = 1; lane < 8; ++lane) lanes[0] = chm_max(lanes[lane], lanes[0]);
  return lanes[0];
}

/* Random words of four tokens. */
typedef struct chm_noise {
  uint32_t quarter; /* token / 4; UINT32_MAX: none yet */
  uint32_t words[4];
} chm_noise;

__attribute__((noinline)) static float uniform_of(const chm_sampling *sampling, int32_t position, uint32_t token,
                                                  chm_noise *noise) {
  if (noise->quarter != token >> 2) {
    noise->quarter = token >> 2;
    uint32_t counter[4] = {noise->quarter, (uint32_t)position, CHM_PURPOSE_TOKEN, sampling->seed_high};
    chm_philox4x32_10(counter, sampling->seed_low, sampling->stream, noise->words);
  }
  /* in (0, 1): small values keep their precision, where the large noise comes from */
  float uniform = (float)noise->words[token & 3] * 0x1p-32f + 0x1p-33f;
  return chm_min(uniform, 0x1.fffffep-1f);
}

static float gumbel(float uniform) {
  float exponential = chm_negate(chm_log1p(chm_negate(uniform)));
  return chm_negate(chm_log(exponential));
}

/* Whether a score cannot become `best` by the noise of this number: noise of x and more takes one below e^-x. Two
 * thousandths are far more than all roundings together where scores are small enough. */
static bool out_of_reach(float score, float best, float uniform) {
  return chm_absolute(best) < 1024.0f && uniform > chm_exp(score - best + 0.002f);
}

/* mass: e^(logit - largest) of the tokens that may come, 0 of the others; the largest logit, CHM_EXCLUDED without any. */
static float masses(const float *logits, int32_t vocab, const uint8_t *excluded, float *mass, int32_t *count) {
  float largest = CHM_EXCLUDED;
  *count = 0;
  for (int32_t id = 0; id < vocab; ++id) {
    bool out = (excluded && excluded[id >> 3] >> (id & 7) & 1) || chm_is_nan(logits[id]);
    mass[id] = out ? CHM_EXCLUDED : bounded(logits[id]);
    largest = chm_max(mass[id], largest);
    *count += !out;
  }
  if (!*count) return CHM_EXCLUDED;
  for (int32_t id = 0; id < vocab; ++id) mass[id] = mass[id] == CHM_EXCLUDED ? 0.0f : chm_exp(mass[id] - largest);
  return largest;
}

float chm_log_mass(const float *logits, int32_t vocab, const uint8_t *excluded, float *mass) {
  int32_t count;
  float largest = masses(logits, vocab, excluded, mass, &count);
  return count ? largest + chm_log(chm_lanes8_sum(mass, (uint64_t)vocab)) : 0.0f;
}

float chm_entropy(const float *logits, int32_t vocab, const uint8_t *excluded, float *mass, int32_t *count) {
  float largest = masses(logits, vocab, excluded, mass, count);
  if (!*count) return 0.0f;
  float sum = chm_lanes8_sum(mass, (uint64_t)vocab);
  for (int32_t id = 0; id < vocab; ++id) /* not 0 times what is below all numbers */
    mass[id] = mass[id] == 0.0f ? 0.0f : mass[id] * (bounded(logits[id]) - largest);
  float nats = chm_log(sum) - chm_lanes8_sum(mass, (uint64_t)vocab) / sum;
  return chm_max(nats * 0x1.715476p+0f, 0.0f);
}

/* logits → scores: exclusion, penalty, temperature. False if nothing is left. */
static bool score(const chm_sampling *sampling, const float *logits, int32_t vocab, const uint8_t *excluded,
                  const int32_t *history, uint32_t n_history, float *scores) {
  const float divisor = sampling->temperature != 0.0f ? sampling->temperature : 1.0f;
  float largest = CHM_EXCLUDED;
  for (int32_t begin = 0; begin < vocab; begin += 8) {
    int32_t end = vocab - begin < 8 ? vocab : begin + 8;
    uint32_t out = excluded ? excluded[begin >> 3] : 0;
    for (int32_t id = begin; id < end; ++id) {
      float given = bounded(bounded(logits[id]) / divisor);
      scores[id] = chm_is_nan(logits[id]) ? CHM_EXCLUDED : given;
    }
    for (int32_t id = begin; out && id < end; ++id)
      if (out >> (id & 7) & 1) scores[id] = CHM_EXCLUDED;
    for (int32_t id = begin; id < end; ++id) largest = chm_max(scores[id], largest);
  }
  if (sampling->repetition_penalty != 1.0f)
    for (uint32_t k = 0; k < n_history; ++k) {
      int32_t id = history[k];
      if (scores[id] == CHM_EXCLUDED) continue;
      /* from the logit, not the score: a token that occurs twice is penalised once */
      float logit = bounded(logits[id]);
      float penalised = logit > 0.0f ? logit / sampling->repetition_penalty : logit * sampling->repetition_penalty;
      scores[id] = bounded(bounded(penalised) / divisor);
    }
  return largest != CHM_EXCLUDED;
}

/* The likeliest token where nothing changes the logits: one pass, which writes nothing. -1: all are excluded. */
__attribute__((noinline)) static int32_t likeliest(const float *logits, int32_t vocab, const uint8_t *excluded) {
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

/* Put candidates into order: the best `most`, or all of them, as a heap that has the last one at its root. Returns whether
 * there are more than these. */
static bool select(int32_t vocab, const float *scores, uint32_t most, uint32_t *order, uint32_t *count) {
  bool more = false;
  *count = 0;
  for (int32_t begin = 0; begin < vocab; begin += BLOCK) {
    int32_t end = vocab - begin < BLOCK ? vocab : begin + BLOCK;
    if (*count == most && end == begin + BLOCK) {
      float largest = largest_of(scores + begin);
      more |= largest != CHM_EXCLUDED;
      if (!(largest > scores[order[0]])) continue;
    }
    for (int32_t id = begin; id < end; ++id) {
      if (scores[id] == CHM_EXCLUDED) continue;
      if (*count < most) {
        order[(*count)++] = (uint32_t)id;
        if (*count == most) make_heap(order, most, scores, true);
        continue;
      }
      more = true;
      if (!(scores[id] > scores[order[0]])) continue; /* of equals the ones with lower ids are in */
      order[0] = (uint32_t)id;
      sift_down(order, most, 0, scores, true);
    }
  }
  return more;
}

#define DEPTH 8.0f /* below the best score, where nearly all mass is found first */

/* Of all candidates, the best ones with this mass: into order[first..end), and return first. Those that are far below the best
 * one are seldom needed, and putting a heap of them in order would take longer than all the rest. */
static uint32_t nucleus(int32_t vocab, const float *scores, float largest, const float *mass, float threshold,
                        uint32_t *order, uint32_t *end) {
  for (float depth = DEPTH;; depth *= 4.0f) {
    bool all = depth > 64.0f * DEPTH;
    float least = all ? -CHM_LARGEST : largest - depth, cumulative = 0.0f;
    uint32_t count = 0, kept = 0;
    for (int32_t begin = 0; begin < vocab; begin += BLOCK) {
      int32_t until = vocab - begin < BLOCK ? vocab : begin + BLOCK;
      if (until == begin + BLOCK && !(largest_of(scores + begin) >= least)) continue;
      for (int32_t id = begin; id < until; ++id)
        if (scores[id] >= least) order[count++] = (uint32_t)id;
    }
    uint32_t left = count;
    make_heap(order, count, scores, false);
    while (kept < count && (!kept || cumulative < threshold)) {
      cumulative = cumulative + mass[take_root(order, &left, scores, false)];
      ++kept;
    }
    *end = count;
    if (all || cumulative >= threshold) return count - kept; /* what a heap gives comes to its end */
  }
}

/* Put the survivors of top-k and top-p into order[first..end) and return first. */
static uint32_t filter(const chm_sampling *sampling, int32_t vocab, const float *scores, float *mass, uint32_t *order,
                       uint32_t *end) {
  uint32_t most = sampling->top_k > 0 ? (uint32_t)sampling->top_k : UINT32_MAX;
  bool limited = most < (uint32_t)vocab || !(sampling->top_p < 1.0f);
  if (limited) limited = select(vocab, scores, most, order, end);
  if (!(sampling->top_p < 1.0f)) return 0;
  if (!limited) {
    float largest = chm_max(scores[likeliest(scores, vocab, NULL)], -CHM_LARGEST); /* not that of an excluded one */
    for (int32_t id = 0; id < vocab; ++id) mass[id] = chm_exp(scores[id] - largest);
    float threshold = sampling->top_p * chm_lanes8_sum(mass, (uint64_t)vocab);
    return nucleus(vocab, scores, largest, mass, threshold, order, end);
  }
  uint32_t count = *end, left = count, kept = 0;
  while (left) take_root(order, &left, scores, true); /* the best one comes first */
  for (int32_t id = 0; id < vocab; ++id) mass[id] = 0.0f;
  for (uint32_t k = 0; k < count; ++k) mass[order[k]] = chm_exp(scores[order[k]] - scores[order[0]]);
  float threshold = sampling->top_p * chm_lanes8_sum(mass, (uint64_t)vocab), cumulative = 0.0f;
  do {
    cumulative = cumulative + mass[order[kept]];
    ++kept;
  } while (cumulative < threshold && kept < count);
  *end = kept;
  return 0;
}

CHM_COLD_BEGIN

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
    float uniform = uniform_of(sampling, position, id, &noise);
    if (best != UINT32_MAX && out_of_reach(scores[id], best_score, uniform)) continue;
    float noisy = scores[id] + gumbel(uniform);
    if (best == UINT32_MAX || noisy > best_score || (noisy == best_score && id < best)) {
      best = id;
      best_score = noisy;
    }
  }
  return (int32_t)best;
}

CHM_COLD_END
