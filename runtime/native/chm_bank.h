/* A bank of spans: sequences of tokens that are known, and what they follow. docs/sfpack.md has the format. */
#ifndef CHM_BANK_H
#define CHM_BANK_H

#include "chm_gain.h"
#include "chm_session.h"

#define CHM_MOST_SHARE 256u
#define CHM_CANDIDATES (5 * CHM_MOST_SHARE + 1) /* spans at most that one tree is made of */
#define CHM_LAST_TOKENS 8  /* of the text that they depend on */

struct chm_bank {
  chm_allocator allocator;
  chm_bundle *bundle;
  uint32_t uses; /* sessions that guess from it */
  uint32_t count, pool, pairs;
  const uint8_t *records;    /* [count] of 64 bytes */
  const uint8_t *tokens;     /* [pool] of 3 bytes */
  const uint32_t *following; /* [pairs][2]: the hash of two tokens, a span */
  const uint64_t *keys;      /* [count][4] */
  const uint32_t *starts;    /* [16][65537] where spans begin in ids; NULL: keys are compared one by one */
  const uint32_t *ids;       /* [16][count] */
  uint32_t *seen;            /* [chm_bank_seen_bytes] a bit of each span whose certificate was compared; or NULL */
  const void *mapping;       /* owned; NULL of memory of the caller */
  size_t mapping_bytes;
  void (*unmap)(const void *start, size_t bytes);
};

/* A span, as far as it was checked. */
typedef struct chm_span {
  uint32_t at, count; /* its tokens in the pool; 0: the record is not valid */
  int32_t boundary;   /* logarithm of the share of places where it begins, in 256ths */
  uint32_t risk;      /* 255ths of the places where it begins and does not go on */
  uint32_t before;    /* hash of the two tokens that come before it, or 0 */
} chm_span;

/* What may follow: the span's tokens from the one after `known`, which are the text's last. */
typedef struct chm_candidate {
  uint32_t span, known;
  int32_t score;
  uint8_t source; /* CHM_BEGUN, CHM_FOLLOWING or CHM_NEAR */
} chm_candidate;

/* ---- chm_bank.c ---- */

#define CHM_SPAN_RECORD 64u /* bytes */
static inline uint64_t chm_bank_seen_bytes(const chm_bank *bank) { return ((uint64_t)bank->count + 31) / 32 * 4; }

/* The span of a number below the count; nothing of its record is used that was not checked. */
chm_span chm_bank_span(const chm_bank *bank, uint32_t span);
static inline int32_t chm_bank_token(const chm_bank *bank, uint32_t at) {
  const uint8_t *token = bank->tokens + 3 * (size_t)at;
  return (int32_t)(token[0] | (uint32_t)token[1] << 8 | (uint32_t)token[2] << 16);
}
/* Check a container, and find the bank in it: for chm_bank_open of models that guess. */
int chm_bank_read(chm_bank *bank, const void *data, size_t bytes, uint32_t flags);

/* Guess from another bank, or from none: counts who uses it. */
void chm_bank_use(chm_bank **place, chm_bank *bank);

/* ---- chm_certificate.c ---- */

/* Whether the record of a span is valid and its certificate, if it has one, that of its tokens; computed once for each span. */
bool chm_bank_certified(const chm_bank *bank, uint32_t span);
/* A word of what a span means: bits that most of its tokens have, those of the first one where as many have them as not. */
uint64_t chm_bank_meaning(const chm_bank *bank, const chm_span *span, uint32_t word);
/* Why a candidate is not to be guessed from at a level of the valve, a CHM_REJECTED; -1: it is. */
int32_t chm_bank_reject(const chm_bank *bank, const chm_candidate *candidate, int32_t level);

/* ---- chm_knot.c ---- */

#define CHM_MOST_RANKED 20u /* spans */
/* Put spans into the order of how far the sketch would be from what was read of a memory, the nearest first, if they followed. */
void chm_knot_rank(const int8_t *counters, const uint8_t *memory, uint32_t words, const chm_bank *bank,
                   chm_candidate *candidates, uint32_t count);

/* ---- chm_bank_find.c ---- */

/* A word of what a token stands for. */
uint64_t chm_token_word(int32_t token, uint32_t word);

/* How many spans each source gives at most, and what counts in their scores, 65536 for 1. */
typedef struct chm_shares {
  uint32_t begun, following, near, nearness, boundary;
} chm_shares;

/* Spans that may follow a text, of which the last tokens are given, the last one first, with scores; their number. */
uint32_t chm_bank_find(const chm_bank *bank, const int32_t *last, uint32_t known, const chm_shares *shares,
                       chm_candidate *found);
/* Take the best candidate out; false where none is left. Of equal ones the lowest number, then the one that is furthest. */
bool chm_bank_best(chm_candidate *found, uint32_t *count, chm_candidate *best);

#endif
