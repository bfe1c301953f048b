/* The memory of span knots: a sketch of the text, and what is read of a memory where a block begins; docs/spans.md.
 * runtime/reference/knot.py is what this computes. All of it is in states of the model, so that snapshots have it, and a function of
 * the tokens before, so that it does not depend on how they were run or guessed. */
#include "chm_bank.h"

#define MOST_WORDS (CHM_KNOT_BITS / 64)
#define NEAREST 4u /* vectors that are read together */
#define STEP 8     /* of a counter for a token */
#define FADING 4   /* a counter loses a sixteenth for each token */

static uint32_t bits_of_sketch(void) { return (uint32_t)chm_model.states[chm_model.knot.memory].bytes * 8; }

static uint8_t *state_of(const chm_session *session, int32_t state) { return session->state + chm_model.states[state].offset; }

static int8_t *counters_of(const chm_session *session) { return (int8_t *)state_of(session, chm_model.knot.sketch); }

/* ---- the sketch ---- */

static int32_t faded(int32_t counter, bool set) {
  int32_t next = counter - (counter >> FADING) + (set ? STEP : -STEP);
  return next > INT8_MAX ? INT8_MAX : next < INT8_MIN ? INT8_MIN : next;
}

static void take(chm_session *session, const int32_t *tokens, int32_t count) {
  int8_t *counters = counters_of(session);
  if (!session->n_memory) return;
  for (int32_t i = 0; i < count; ++i)
    for (uint32_t w = 0; w < bits_of_sketch() / 64; ++w) {
      uint64_t word = chm_token_word(tokens[i], w);
      for (uint32_t bit = 0; bit < 64; ++bit) counters[64 * w + bit] = (int8_t)faded(counters[64 * w + bit], word >> bit & 1);
    }
}

static void sketch_of(const int8_t *counters, uint32_t words, uint64_t *sketch) {
  for (uint32_t w = 0; w < words; ++w) {
    uint64_t word = 0;
    for (uint32_t bit = 0; bit < 64; ++bit) word |= (uint64_t)(counters[64 * w + bit] >= 0) << bit;
    sketch[w] = word;
  }
}

/* ---- reading ---- */

static uint64_t word_of(const uint8_t *vector, uint32_t w) {
  uint64_t word;
  memcpy(&word, vector + 8 * (size_t)w, 8);
  return word;
}

#define AT_ONCE 16 /* words, after which a vector may be too far */

/* Bits that differ; of a vector of which at least `enough` do, some that are as many. */
static uint32_t distance_to(const uint64_t *sketch, const uint8_t *vector, uint32_t words, uint32_t enough) {
  uint32_t bits = 0;
  for (uint32_t w = 0; w < words && bits < enough;)
    for (uint32_t end = words - w < AT_ONCE ? words : w + AT_ONCE; w < end; ++w)
      bits += (uint32_t)__builtin_popcountll(sketch[w] ^ word_of(vector, w));
  return bits;
}

typedef struct chm_near {
  const uint8_t *vectors[NEAREST]; /* the nearest first, of equal ones the first */
  uint32_t distances[NEAREST];
  uint32_t count;
} chm_near;

static chm_near nearest_to(const uint64_t *sketch, const uint8_t *memory, uint32_t count, uint32_t words) {
  chm_near near = {.count = 0};
  for (uint32_t i = 0; i < count; ++i) {
    const uint8_t *vector = memory + 8 * (size_t)words * i;
    uint32_t enough = near.count < NEAREST ? UINT32_MAX : near.distances[NEAREST - 1];
    uint32_t bits = distance_to(sketch, vector, words, enough), at = near.count;
    while (at && near.distances[at - 1] > bits) --at;
    if (at == NEAREST) continue;
    if (near.count < NEAREST) ++near.count;
    for (uint32_t k = near.count - 1; k > at; --k) {
      near.vectors[k] = near.vectors[k - 1];
      near.distances[k] = near.distances[k - 1];
    }
    near.vectors[at] = vector;
    near.distances[at] = bits;
  }
  return near;
}

/* Bits that most of the nearest have, those of the first where as many have them as not. */
static uint64_t majority(const chm_near *near, uint32_t w) {
  uint64_t one = word_of(near->vectors[0], w);
  if (near->count < 3) return one; /* of two, the first decides */
  uint64_t two = word_of(near->vectors[1], w), three = word_of(near->vectors[2], w);
  uint64_t most = (one & two) | (one & three) | (two & three);
  if (near->count == 3) return most;
  uint64_t four = word_of(near->vectors[3], w), ties = one ^ two ^ three ^ four;
  uint64_t some = (one & (two | three | four)) | (two & (three | four)) | (three & four); /* two or more */
  uint64_t all = one & two & three & four;
  return (some & ties) | all | (some & ~ties & one); /* three; four; two */
}

/* ---- relaxing ---- */

/* Turn the first bits of the sketch that are not the vector's. Each lowers the energy by weight / n, and no bit is turned back. */
static void relax(int8_t *counters, const uint64_t *sketch, const uint8_t *vector, uint32_t words) {
  float each = chm_model.knot.weight * (1.0f / (float)(64 * words));
  uint32_t w = 0;
  uint64_t differ = sketch[0] ^ word_of(vector, 0);
  for (int32_t round = 0; round < chm_model.knot.rounds; ++round) {
    int32_t flips = 0;
    while (flips < chm_model.knot.flips && w < words) {
      if (!differ) {
        if (++w < words) differ = sketch[w] ^ word_of(vector, w);
        continue;
      }
      uint32_t at = 64 * w + (uint32_t)__builtin_ctzll(differ);
      counters[at] = counters[at] >= 0 ? -1 : 0; /* as little as can be, so that the next tokens may turn it back */
      differ &= differ - 1;
      ++flips;
    }
    if (!flips || (float)flips * each < chm_model.knot.early_exit) return;
  }
}

static void read(chm_session *session) {
  uint32_t bits = bits_of_sketch(), words = bits / 64;
  uint8_t *memory = state_of(session, chm_model.knot.memory);
  float hit = 0.0f;
  memset(memory, 0, bits / 8);
  if (session->n_memory) {
    uint64_t sketch[MOST_WORDS];
    int8_t *counters = counters_of(session);
    sketch_of(counters, words, sketch);
    chm_near near = nearest_to(sketch, session->memory, session->n_memory, words);
    if (20 * near.distances[0] < 9 * bits) { /* of 8,192 random bits so few are nine deviations away */
      for (uint32_t w = 0; w < words; ++w) {
        uint64_t word = majority(&near, w);
        memcpy(memory + 8 * (size_t)w, &word, 8);
      }
      hit = (float)(int32_t)(bits - 2 * near.distances[0]) / (float)bits;
      relax(counters, sketch, near.vectors[0], words);
    }
  }
  memcpy(state_of(session, chm_model.knot.hit), &hit, sizeof hit);
}

/* ---- the energy of spans ---- */

/* Bits of the sketch that differ from what was read, if a text of the span's meaning followed: what of the energy depends on the span. A bit is
 * that of `with` where the meaning has it, else that of `without`. */
static uint32_t coherence(const chm_bank *bank, uint32_t number, const uint64_t *with, const uint64_t *without, const uint8_t *memory,
                          uint32_t words) {
  chm_span span = chm_bank_span(bank, number);
  uint32_t bits = 0;
  if (!span.count) return UINT32_MAX;
  for (uint32_t w = 0; w < words; ++w) {
    uint64_t meaning = chm_bank_meaning(bank, &span, w);
    bits += (uint32_t)__builtin_popcountll(((meaning & with[w]) | (~meaning & without[w])) ^ word_of(memory, w));
  }
  return bits;
}

void chm_knot_rank(const int8_t *counters, const uint8_t *memory, uint32_t words, const chm_bank *bank,
                   chm_candidate *candidates, uint32_t count) {
  uint64_t with[MOST_WORDS] = {0}, without[MOST_WORDS] = {0};
  uint32_t energies[CHM_MOST_RANKED];
  for (uint32_t i = 0; i < 64 * words; ++i) {
    with[i / 64] |= (uint64_t)(faded(counters[i], true) >= 0) << i % 64;
    without[i / 64] |= (uint64_t)(faded(counters[i], false) >= 0) << i % 64;
  }
  for (uint32_t i = 0; i < count; ++i) { /* insertion: of equal ones the first stays the first */
    chm_candidate one = candidates[i];
    uint32_t energy = coherence(bank, one.span, with, without, memory, words), at = i;
    for (; at && energies[at - 1] > energy; --at) {
      energies[at] = energies[at - 1];
      candidates[at] = candidates[at - 1];
    }
    energies[at] = energy;
    candidates[at] = one;
  }
}

static bool rank(const chm_session *session, const chm_bank *bank, chm_candidate *candidates, uint32_t count) {
  float hit;
  memcpy(&hit, state_of(session, chm_model.knot.hit), sizeof hit);
  if (!(hit > 0.0f)) return false;
  chm_knot_rank(counters_of(session), state_of(session, chm_model.knot.memory), bits_of_sketch() / 64, bank, candidates, count);
  return true;
}

/* ---- settings ---- */

static int32_t set(chm_session *session, const void *vectors, size_t bytes, size_t count) {
  if (bytes * 8 != bits_of_sketch())
    return chm_fail(CHM_ERROR_ARGUMENT, "vectors have %u bytes, those of this model %u", (uint64_t)bytes,
                    (uint64_t)bits_of_sketch() / 8);
  if (count > CHM_MOST_MEMORY)
    return chm_fail(CHM_ERROR_ARGUMENT, "a memory has at most %u vectors", (uint64_t)CHM_MOST_MEMORY);
  session->memory = vectors;
  session->n_memory = (uint32_t)count;
  return CHM_OK;
}

const chm_knots chm_knots_with_memory = {read, take, rank, set};
