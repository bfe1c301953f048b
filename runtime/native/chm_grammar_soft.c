/* Weights of prose: small biases of logits, in 1/256 nat, that never forbid a token; docs/fstpack.md, section 5. */
#include "chm_grammar.h"

#define MOST CHM_SOFT_MOST
#define SENTENCE_END CHM_SOFT_SENTENCE_END
#define BLANK_LINE CHM_SOFT_BLANK_LINE
#define STRUCTURE CHM_SOFT_STRUCTURE
#define COUNTED_MOST 65535u

static uint32_t switches(const chm_grammar *grammar) {
  uint32_t flags = grammar->automaton.flags;
  return flags & CHM_GRAMMAR_PROSE && grammar->vocabulary->soft
             ? flags & (CHM_GRAMMAR_RHYTHM | CHM_GRAMMAR_PARAGRAPH | CHM_GRAMMAR_REPETITION)
             : 0;
}

bool chm_soft_applies(const chm_grammar *grammar, chm_closing closing) {
  return switches(grammar) || closing.sentence || closing.paragraph;
}

/* slope * (n - calm), at least 0 and at most MOST */
static int32_t growing(uint32_t n, uint32_t calm, uint32_t slope) {
  uint32_t weight = n > calm ? slope * (n - calm) : 0;
  return weight < MOST ? (int32_t)weight : MOST;
}

static float biased(float logit, int32_t weight) { return logit + (float)weight * 0x1p-8f; }

void chm_soft_add(const chm_grammar *grammar, const chm_rhythm *rhythm, chm_closing closing, const int32_t *history,
                  uint32_t seen, const float *logits, int32_t vocab, float *out) {
  const chm_vocabulary *v = grammar->vocabulary;
  uint32_t on = switches(grammar), count = v->count < (uint32_t)vocab ? v->count : (uint32_t)vocab;
  int32_t sentence = closing.sentence + (on & CHM_GRAMMAR_RHYTHM ? growing(rhythm->sentence, 24, 16) : 0);
  int32_t paragraph = closing.paragraph + (on & CHM_GRAMMAR_PARAGRAPH ? growing(rhythm->paragraph, 120, 4) : 0);
  memcpy(out, logits, (size_t)vocab * 4);
  /* the tokens that followed the last one, each with how often: no more than the window has */
  int32_t followers[CHM_HISTORY_TOKENS];
  uint32_t times[CHM_HISTORY_TOKENS], n_followers = 0;
  if (on & CHM_GRAMMAR_REPETITION && seen) {
    uint32_t size = seen < CHM_HISTORY_TOKENS ? seen : CHM_HISTORY_TOKENS, first = seen - size;
    int32_t last = history[(seen - 1) % CHM_HISTORY_TOKENS];
    for (uint32_t k = 0; k + 1 < size; ++k) {
      if (history[(first + k) % CHM_HISTORY_TOKENS] != last) continue;
      int32_t next = history[(first + k + 1) % CHM_HISTORY_TOKENS];
      uint32_t place = 0;
      while (place < n_followers && followers[place] != next) ++place;
      if (place == n_followers) {
        followers[n_followers] = next;
        times[n_followers++] = 0;
      }
      ++times[place];
    }
  }
  if (sentence || paragraph)
    for (uint32_t id = 0; id < count; ++id) {
      uint32_t class = v->soft[id];
      int32_t weight = (class & SENTENCE_END ? sentence : 0) + (class & BLANK_LINE ? paragraph : 0);
      if (weight) out[id] = biased(logits[id], weight < MOST ? weight : MOST);
    }
  for (uint32_t k = 0; k < n_followers; ++k) {
    uint32_t id = (uint32_t)followers[k];
    if (id >= count || v->soft[id] & STRUCTURE) continue;
    int32_t weight = (v->soft[id] & SENTENCE_END ? sentence : 0) + (v->soft[id] & BLANK_LINE ? paragraph : 0);
    weight -= times[k] < 4 ? 128 * (int32_t)times[k] : MOST;
    weight = weight > MOST ? MOST : weight < -MOST ? -MOST : weight;
    out[id] = biased(logits[id], weight);
  }
}

void chm_soft_count(const chm_grammar *grammar, chm_rhythm *rhythm, int32_t token) {
  const chm_vocabulary *v = grammar->vocabulary;
  uint32_t class = v->soft && token >= 0 && (uint32_t)token < v->count ? v->soft[token] : 0;
  if (class & SENTENCE_END) rhythm->sentence = 0;
  else if (rhythm->sentence < COUNTED_MOST) ++rhythm->sentence;
  if (class & BLANK_LINE) rhythm->paragraph = 0;
  else if (rhythm->paragraph < COUNTED_MOST) ++rhythm->paragraph;
}
