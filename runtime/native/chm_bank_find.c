/* Which spans of a bank may follow a text: those that the text is in, those that came after its last two tokens, and those
 * whose key is near. runtime/reference/span_bank.py is what this computes. */
#include "chm_bank.h"

#define KEY_WORDS 4
#define TABLES 16u
#define STARTS 65537u
#define SEED 0x5CA1AB1E0DDBA11u
#define GOLDEN 0x9E3779B97F4A7C15u

#define MOST_LOOKED_AT 256u /* spans that begin alike */
#define MOST_COMPARED 4096u /* keys by the index */
#define BUCKET 24u          /* spans of one value of 16 bits */
#define MOST_DISTANCE 64u   /* bits of a near key that differ */
#define EVEN_CHANCE (-177)  /* logarithm of a half, in 256ths: a guess less likely than that rarely pays */
#define EVEN_RISK 128u

/* ---- hashes ---- */

static uint64_t mix(uint64_t value) {
  value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9u;
  value = (value ^ value >> 27) * 0x94D049BB133111EBu;
  return value ^ value >> 31;
}

uint64_t chm_token_word(int32_t token, uint32_t word) {
  uint64_t start = SEED ^ (uint64_t)(uint32_t)token * GOLDEN;
  return mix(start + (uint64_t)(word + 1) * GOLDEN);
}

static uint32_t context_hash(int32_t before, int32_t last) {
  uint32_t low = (uint32_t)mix((uint64_t)(uint32_t)before << 32 | (uint32_t)last);
  return low ? low : 1;
}

/* Bits that most of the last tokens have, those of the last one where as many have them as not. */
static void context_key(const int32_t *last, uint32_t count, uint64_t *key) {
  for (int w = 0; w < KEY_WORDS; ++w) {
    uint64_t planes[4] = {0}, word = 0, first = 0; /* the bits of 64 counters, from 0 to 8 */
    for (uint32_t i = 0; i < count; ++i) {
      uint64_t carry = word = chm_token_word(last[i], (uint32_t)w);
      if (!i) first = word;
      for (int p = 0; p < 4; ++p) {
        uint64_t both = planes[p] & carry;
        planes[p] ^= carry;
        carry = both;
      }
    }
    key[w] = 0;
    for (int bit = 0; bit < 64; ++bit) {
      uint32_t ones = 0;
      for (int p = 0; p < 4; ++p) ones |= (uint32_t)(planes[p] >> bit & 1) << p;
      bool set = 2 * ones == count ? first >> bit & 1 : 2 * ones > count;
      key[w] |= (uint64_t)set << bit;
    }
  }
}

/* exp(x / 256) for x from -255 to 0, where 65536 is 1: a product of the powers that the bits of -x choose. */
static uint32_t exponential(int32_t x) {
  static const uint32_t powers[8] = {4278222805u, 4261543595u, 4228380000u, 4162825044u,
                                     4034748382u, 3790295335u, 3344923893u, 2605029347u}; /* exp(-2^i / 256), 2^32 is 1 */
  uint64_t product = (uint64_t)1 << 32;
  for (uint32_t i = 0, rest = (uint32_t)-x; rest; ++i, rest >>= 1)
    if (rest & 1) product = product * powers[i] >> 32;
  return (uint32_t)(product >> 16);
}

/* ---- candidates ---- */

typedef struct chm_finding {
  const chm_bank *bank;
  const chm_shares *shares;
  const int32_t *last; /* the last token first */
  uint32_t known, count;
  uint32_t hash;       /* of the last two tokens, 0 where there are none */
  uint64_t key[KEY_WORDS];
  chm_candidate *found;
} chm_finding;

static uint32_t distance(const chm_finding *finding, uint32_t span) {
  const uint64_t *key = finding->bank->keys + (size_t)span * KEY_WORDS;
  uint32_t bits = 0;
  for (int w = 0; w < KEY_WORDS; ++w) bits += (uint32_t)__builtin_popcountll(key[w] ^ finding->key[w]);
  return bits;
}

static void add(chm_finding *finding, uint8_t source, uint32_t span, uint32_t known, uint32_t nearness,
                uint32_t boundary) {
  uint64_t near = (uint64_t)nearness * finding->shares->nearness, begins = (uint64_t)boundary * finding->shares->boundary;
  finding->found[finding->count++] = (chm_candidate){span, known, (int32_t)((near >> 16) + (begins >> 16)), source};
}

static uint32_t nearness(uint32_t bits) { return bits < 128 ? 65536 - 512 * bits : 0; }

/* ---- spans that the text has begun ---- */

/* How the first tokens of a span compare with the last ones of the text: below, at or above 0. */
static int compare_start(const chm_finding *finding, uint32_t span, uint32_t tokens) {
  chm_span one = chm_bank_span(finding->bank, span);
  for (uint32_t i = 0; i < tokens; ++i) {
    if (i == one.count) return -1;
    int32_t mine = chm_bank_token(finding->bank, one.at + i), wanted = finding->last[tokens - 1 - i];
    if (mine != wanted) return mine < wanted ? -1 : 1;
  }
  return 0;
}

static void find_begun(chm_finding *finding) {
  const chm_bank *bank = finding->bank;
  for (uint32_t tokens = finding->shares->begun ? finding->known : 0; tokens >= 2; --tokens) {
    uint32_t low = 0, high = bank->count, before = finding->count;
    while (low < high) {
      uint32_t middle = low + (high - low) / 2;
      if (compare_start(finding, middle, tokens) < 0) low = middle + 1;
      else high = middle;
    }
    for (uint32_t i = 0; i < MOST_LOOKED_AT && low < bank->count && finding->count - before < finding->shares->begun; ++i, ++low) {
      if (compare_start(finding, low, tokens)) break;
      chm_span span = chm_bank_span(bank, low);
      if (span.count > tokens && span.risk <= EVEN_RISK) add(finding, CHM_BEGUN, low, tokens, 65536, (255 - span.risk) * 257);
    }
    if (finding->count > before) return;
  }
}

/* ---- spans that come after the last two tokens ---- */

static void find_following(chm_finding *finding) {
  const chm_bank *bank = finding->bank;
  uint32_t low = 0, high = bank->pairs, first = finding->count;
  if (!finding->hash) return;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (bank->following[2 * (size_t)middle] < finding->hash) low = middle + 1;
    else high = middle;
  }
  for (; low < bank->pairs && finding->count - first < finding->shares->following; ++low) {
    const uint32_t *pair = bank->following + 2 * (size_t)low;
    if (pair[0] != finding->hash) return;
    if (pair[1] >= bank->count) continue;
    chm_span span = chm_bank_span(bank, pair[1]);
    if (!span.count || span.boundary < EVEN_CHANCE || span.boundary > 0) continue;
    add(finding, CHM_FOLLOWING, pair[1], 0, nearness(distance(finding, pair[1])), exponential(span.boundary));
  }
}

/* ---- spans with near keys ---- */

typedef struct chm_nearest {
  uint32_t count;
  uint32_t bits[CHM_MOST_SHARE], spans[CHM_MOST_SHARE]; /* the nearest first, of equal ones the lowest number */
} chm_nearest;

static void note(const chm_finding *finding, chm_nearest *nearest, uint32_t span) {
  uint32_t bits = distance(finding, span), at = nearest->count;
  if (bits > MOST_DISTANCE) return;
  while (at && (nearest->bits[at - 1] > bits || (nearest->bits[at - 1] == bits && nearest->spans[at - 1] > span))) --at;
  if (at == finding->shares->near || (at && nearest->bits[at - 1] == bits && nearest->spans[at - 1] == span)) return;
  if (nearest->count < finding->shares->near) ++nearest->count;
  for (uint32_t i = nearest->count - 1; i > at; --i) {
    nearest->bits[i] = nearest->bits[i - 1];
    nearest->spans[i] = nearest->spans[i - 1];
  }
  nearest->bits[at] = bits;
  nearest->spans[at] = span;
}

/* Spans of one value of the 16 bits of a table. */
typedef struct chm_bucket {
  const uint32_t *start, *ids;
  uint32_t count;
} chm_bucket;

/* The spans of a value of each table. Starts, numbers and keys are all over the memory, each found by the one before: they are asked for
 * table by table, so that the waits are for all together. */
static void look_into(const chm_finding *finding, chm_nearest *nearest, uint32_t flipped, uint32_t *compared) {
  const chm_bank *bank = finding->bank;
  chm_bucket buckets[TABLES];
  for (uint32_t t = 0; t < TABLES; ++t) {
    uint32_t value = ((uint32_t)(finding->key[t / 4] >> 16 * (t % 4)) & 0xFFFF) ^ flipped;
    buckets[t].start = bank->starts + (size_t)t * STARTS + value;
    __builtin_prefetch(buckets[t].start);
  }
  for (uint32_t t = 0; t < TABLES; ++t) {
    uint32_t begin = buckets[t].start[0], end = buckets[t].start[1];
    if (end > bank->count) end = bank->count;
    buckets[t].count = begin >= end ? 0 : end - begin < BUCKET ? end - begin : BUCKET;
    buckets[t].ids = bank->ids + (size_t)t * bank->count + (buckets[t].count ? begin : 0);
    __builtin_prefetch(buckets[t].ids);
  }
  for (uint32_t t = 0; t < TABLES; ++t)
    for (uint32_t i = 0; i < buckets[t].count; ++i)
      if (buckets[t].ids[i] < bank->count) __builtin_prefetch(bank->keys + (size_t)buckets[t].ids[i] * KEY_WORDS);
  for (uint32_t t = 0; t < TABLES; ++t)
    for (uint32_t i = 0; i < buckets[t].count && *compared < MOST_COMPARED; ++i, ++*compared)
      if (buckets[t].ids[i] < bank->count) note(finding, nearest, buckets[t].ids[i]);
}

static void find_near(chm_finding *finding) {
  const chm_bank *bank = finding->bank;
  chm_nearest nearest;
  nearest.count = 0; /* the rest is large, and written before it is read */
  if (!finding->shares->near) return;
  uint32_t compared = 0;
  for (uint32_t i = 0; !bank->starts && i < bank->count && i < CHM_SPAN_SCAN; ++i) note(finding, &nearest, i);
  for (uint32_t flip = 0; bank->starts && flip <= 16; ++flip) /* the value itself first, then those with one other bit */
    look_into(finding, &nearest, flip ? 1u << (flip - 1) : 0, &compared);
  for (uint32_t i = 0; i < nearest.count; ++i) {
    chm_span span = chm_bank_span(bank, nearest.spans[i]);
    bool follows = span.before && span.before == finding->hash; /* then it is a candidate already */
    if (!span.count || follows || span.boundary < EVEN_CHANCE || span.boundary > 0) continue;
    add(finding, CHM_NEAR, nearest.spans[i], 0, nearness(nearest.bits[i]), exponential(span.boundary));
  }
}

uint32_t chm_bank_find(const chm_bank *bank, const int32_t *last, uint32_t known, const chm_shares *shares,
                       chm_candidate *found) {
  chm_finding finding = {.bank = bank, .shares = shares, .last = last, .known = known, .found = found};
  if (!known) return 0;
  finding.hash = known > 1 ? context_hash(last[1], last[0]) : 0;
  context_key(last, known, finding.key);
  find_begun(&finding);
  find_following(&finding);
  find_near(&finding);
  return finding.count;
}

bool chm_bank_best(chm_candidate *found, uint32_t *count, chm_candidate *best) {
  if (!*count) return false;
  uint32_t at = 0;
  for (uint32_t i = 1; i < *count; ++i) {
    const chm_candidate *a = &found[i], *b = &found[at];
    if (a->score != b->score ? a->score > b->score : a->span != b->span ? a->span < b->span : a->known > b->known) at = i;
  }
  *best = found[at];
  found[at] = found[--*count];
  return true;
}
