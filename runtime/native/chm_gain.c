/* Whether trees of guesses pay. docs/spans.md has the rules. */
#include "chm_gain.h"

#include "chm_internal.h"

#define LEAST_RATE 0.5f   /* below, trees rest */
#define ENOUGH_RATE 0.6f  /* at least in a probe, and the rest is over */
#define WINDOW 64.0f      /* passes that the rate is of */
#define GUESSES 32.0f     /* that the rate of a guesser is of */
#define MOST_OF_NODE 1.5f /* runs of a token that anything with a node counts for */
#define FORGOTTEN 0.0078125f /* of such a rate for a token without a tree since none would pay: it may be another now, */
#define CHEAPER 0.9990234f   /* and times may be, too: what is usual, until it is measured again */
#define PRIOR 2.0f        /* guesses of a guesser that a session begins with, of which this share was right, */
#define FIRST_PRIOR 4.0f  /* and of all together */
#define FIRST_RATE 0.9f   /* so that trees are tried where they pay with good guesses only */
#define LATER 0.25f       /* how likely a guess is right, where there is another in its place that is likelier */
#define LEAST_REST 128
#define MOST_REST 1024
#define PROBE 1           /* guesses of a tree after a rest */
#define FIRST_WIDTH 2     /* of a text's first tree, and of one after too much was lost */
#define WORTH 1.05f       /* times as fast at least: what is measured is not exact */
#define COST_OF_NODE (CHM_HAS_CLOCK ? 0.125f : 0.6f) /* of a pass of one node, where no time is known; as measured in a page */
#define COST_OF_HEAD 0.0625f /* and of a run of the draft head */

#define FIRST_TIMES 3 /* touch memory for the first time: the least of them counts */
#define KNOWN 2       /* times that something was measured, and what was thought before no longer counts */
#define TOKENS 8.0f   /* that what a right guess saves is a mean of, about */
#define FIRST_RUNS 2  /* without a tree, so that there is something to compare with */

#define ALLOWANCE 0.0078125f /* of the time of tokens without guesses may be lost */
#define FIRST_BALANCE 1.0f
#define MOST_BALANCE 8.0f /* what was gained long ago is no reason to lose now */
#define LEAST_BALANCE (-8.0f)

CHM_COLD_BEGIN /* a few sums a token: what counts is what is downloaded */

/* ---- times ---- */

/* The time with as many below as above it, or one more above; of the first few the least. */
static float median_of(const chm_cost *cost) {
  float sorted[CHM_LAST_TIMES];
  for (int32_t i = 0; i < cost->count; ++i) {
    int32_t at = i;
    for (; at && sorted[at - 1] > cost->last[i]; --at) sorted[at] = sorted[at - 1];
    sorted[at] = cost->last[i];
  }
  return sorted[cost->count <= FIRST_TIMES ? 0 : (cost->count - 1) / 2];
}

/* Another program may have had the caches, or the processor's clock: what is usual is no mean, which a few slow ones would move. */
static void note(chm_cost *cost, float nanoseconds) {
  if (nanoseconds <= 0.0f) return;
  cost->last[cost->next] = nanoseconds;
  cost->next = (cost->next + 1) % CHM_LAST_TIMES;
  if (cost->count < CHM_LAST_TIMES) ++cost->count;
  cost->usual = median_of(cost);
}

static float modelled(int32_t n) { return 1.0f + COST_OF_NODE * (float)(n - 1); }

/* Nanoseconds of a run of one token, 0 where nothing is known of any. */
static float unit_of(const chm_gain *gain) {
  for (int32_t n = 1; n <= (int32_t)CHM_MAX_PENDING; ++n)
    if (gain->runs[n].count) return gain->runs[n].usual / modelled(n);
  return 0.0f;
}

/* On the line between the sizes that were measured, from that of one token on. */
static float between(const chm_cost *known, int32_t size, int32_t n, float unit) {
  int32_t below = 1, above = n;
  for (int32_t i = 2; i <= n; ++i)
    if (known[i].count >= KNOWN) below = i;
  float low = below == 1 ? 1.0f : known[below].usual / unit;
  if (below == n) return low;
  while (above < size && known[above].count < KNOWN) ++above;
  float each = below == 1 ? COST_OF_NODE : (low - 1.0f) / (float)(below - 1);
  if (above == size) return low + (float)(n - below) * (each > 0.0f ? each : 0.0f);
  return low + (known[above].usual / unit - low) * (float)(n - below) / (float)(above - below);
}

/* What n tokens take, in runs of one: no more than what more of them do. */
static float cost_at(const chm_cost *known, int32_t size, int32_t n, float unit) {
  if (unit == 0.0f) return modelled(n);
  float cost = between(known, size, n, unit);
  for (int32_t i = n + 1; i < size; ++i)
    if (known[i].count >= KNOWN && known[i].usual / unit < cost) cost = known[i].usual / unit;
  return cost;
}

float chm_gain_pass(const chm_gain *gain, int32_t nodes) {
  return cost_at(gain->passes, CHM_MOST_NODES + 1, nodes, unit_of(gain));
}

static float run_of(const chm_gain *gain, int32_t tokens) {
  return cost_at(gain->runs, CHM_MAX_PENDING + 1, tokens, unit_of(gain));
}

static float in_runs(const chm_gain *gain, const chm_cost *cost) {
  float unit = unit_of(gain);
  return unit > 0.0f && cost->count >= KNOWN ? cost->usual / unit : 0.0f;
}

/* ---- what pays ---- */

static const chm_rate unknown = {FIRST_RATE * PRIOR, PRIOR}, all_unknown = {FIRST_RATE * FIRST_PRIOR, FIRST_PRIOR};

static float share(const chm_rate *rate) { return rate->taken / rate->judged; }

float chm_gain_chance(const chm_gain *gain, uint8_t guesser, bool first) {
  return first ? share(&gain->rates[guesser]) : LATER;
}

static void forget(chm_gain *gain) {
  for (int32_t i = 0; i < CHM_GUESSERS; ++i) {
    gain->rates[i].taken += (unknown.taken - gain->rates[i].taken) * FORGOTTEN;
    gain->rates[i].judged += (unknown.judged - gain->rates[i].judged) * FORGOTTEN;
  }
  for (int32_t i = 0; i <= CHM_MOST_NODES; ++i) gain->passes[i].usual *= CHEAPER;
  gain->replay.usual *= CHEAPER;
  gain->guess.usual *= CHEAPER;
}

/* How many times as fast a pass of so many nodes is as runs without it, that is thought to have so many right guesses. */
static float faster(const chm_gain *gain, int32_t chosen, int32_t nodes, float right, float guess) {
  float commit = ((float)chosen + right) * in_runs(gain, &gain->replay);
  return (run_of(gain, chosen) + right * gain->worth) / (guess + chm_gain_pass(gain, nodes) + commit);
}

int32_t chm_gain_nodes(chm_gain *gain, int32_t chosen, const float *chances, int32_t nodes) {
  float best = WORTH, right = 0.0f;
  int32_t found = chosen;
  if (gain->probes) return nodes;
  for (int32_t n = chosen + 1; n <= nodes; ++n) {
    float gained = faster(gain, chosen, n, right += chances[n - 1], 0.0f);
    if (gained > best) {
      best = gained;
      found = n;
    }
  }
  if (found == chosen) forget(gain);
  return found;
}

/* Whether guesses are worth making: whether a chain of so many of the best guesser would be. */
static bool may_pay(chm_gain *gain, int32_t most, uint32_t guessers) {
  float best = 0.0f, right = 0.0f, power = 1.0f, guess = in_runs(gain, &gain->guess);
  for (int32_t i = 0; i < CHM_GUESSERS; ++i)
    if (guessers >> i & 1 && share(&gain->rates[i]) > best) best = share(&gain->rates[i]);
  for (int32_t n = 1; n <= most; ++n)
    if (faster(gain, 1, 1 + n, right += power *= best, guess) > WORTH) return true;
  forget(gain);
  return false;
}

int32_t chm_gain_guesses(chm_gain *gain, int32_t most, uint32_t guessers) {
  if (gain->rest > 0) {
    --gain->rest;
    return 0;
  }
  if (CHM_HAS_CLOCK && gain->ran < FIRST_RUNS) return 0;
  if (gain->balance < 0.0f) {
    gain->widest = FIRST_WIDTH;
    return 0;
  }
  gain->probes = share(&gain->all) < LEAST_RATE;
  int32_t wanted = gain->probes ? PROBE : gain->widest;
  if (wanted > most) wanted = most;
  return gain->probes || may_pay(gain, wanted, guessers) ? wanted : 0;
}

static float head_of(const chm_gain *gain) {
  return gain->head.count >= KNOWN ? in_runs(gain, &gain->head) : COST_OF_HEAD;
}

int32_t chm_gain_head(chm_gain *gain, int32_t chosen, int32_t most) {
  if (gain->probes) return most < PROBE ? most : PROBE;
  chm_rate *rate = &gain->rates[CHM_HEAD];
  float best = WORTH, right = 0.0f, power = 1.0f;
  int32_t found = 0;
  for (int32_t n = 1; n <= most; ++n) {
    float runs = (float)(chosen + n - 1) * head_of(gain);
    float gained = faster(gain, chosen, chosen + n, right += power *= share(rate), runs);
    if (gained > best) {
      best = gained;
      found = n;
    }
  }
  if (!found) { /* it may be better at another text, and cost less */
    rate->taken += (unknown.taken - rate->taken) * FORGOTTEN;
    rate->judged += (unknown.judged - rate->judged) * FORGOTTEN;
    gain->head.usual *= CHEAPER;
  }
  return found;
}

void chm_gain_start(chm_gain *gain) {
  if (!gain->patience) { /* a session begins */
    gain->worth = gain->balance = FIRST_BALANCE;
    for (int32_t i = 0; i < CHM_GUESSERS; ++i) gain->rates[i] = unknown;
  }
  for (int32_t i = 0; i < CHM_GUESSERS; ++i) { /* half of what was known of the last text holds */
    float half = 0.5f * PRIOR / gain->rates[i].judged;
    gain->rates[i].taken = half * gain->rates[i].taken + 0.5f * unknown.taken;
    gain->rates[i].judged = PRIOR;
  }
  gain->all = all_unknown;
  gain->patience = LEAST_REST;
  gain->rest = gain->probes = 0;
  gain->widest = FIRST_WIDTH;
  if (gain->balance > FIRST_BALANCE) gain->balance = FIRST_BALANCE;
}

/* ---- what happened ---- */

static void count(chm_gain *gain, float runs) {
  gain->balance += runs;
  if (gain->balance > MOST_BALANCE) gain->balance = MOST_BALANCE;
  if (gain->balance < LEAST_BALANCE) gain->balance = LEAST_BALANCE;
}

/* A time in runs of a token, and no more than so many nodes can take; or what it is thought to be, where there is no clock. */
static float spent(const chm_gain *gain, int64_t nanoseconds, float thought, int32_t nodes) {
  float unit = unit_of(gain);
  if (nanoseconds <= 0 || unit == 0.0f) return thought;
  float runs = (float)nanoseconds / unit, most = MOST_OF_NODE * (float)nodes;
  return runs < most ? runs : most;
}

void chm_gain_guessed(chm_gain *gain, int64_t nanoseconds) {
  float runs = spent(gain, nanoseconds, 0.0f, 1);
  if (nanoseconds <= 0) return;
  gain->guess.usual += (runs * unit_of(gain) - gain->guess.usual) / GUESSES; /* a mean: most take no time, some much */
  gain->guess.count = KNOWN;
  count(gain, -runs);
}

void chm_gain_headed(chm_gain *gain, int32_t runs, int64_t nanoseconds) {
  note(&gain->head, (float)nanoseconds / (float)runs);
  count(gain, -spent(gain, nanoseconds, (float)runs * head_of(gain), runs));
}

void chm_gain_ran(chm_gain *gain, int32_t tokens, int64_t nanoseconds) {
  if (tokens > (int32_t)CHM_MAX_PENDING) return;
  note(&gain->runs[tokens], (float)nanoseconds);
  if (gain->ran < FIRST_RUNS) ++gain->ran;
  count(gain, ALLOWANCE * run_of(gain, tokens));
}

void chm_gain_passed(chm_gain *gain, int32_t chosen, int32_t nodes, int64_t nanoseconds) {
  note(&gain->passes[nodes], (float)nanoseconds);
  gain->saved = 0.0f;
  count(gain, run_of(gain, chosen) - spent(gain, nanoseconds, chm_gain_pass(gain, nodes), nodes));
}

void chm_gain_saved(chm_gain *gain, int32_t pending, int32_t left) {
  float runs = run_of(gain, pending) - (left ? run_of(gain, left) : 0.0f);
  gain->saved += runs;
  count(gain, runs);
}

void chm_gain_committed(chm_gain *gain, int32_t tokens, int64_t nanoseconds) {
  note(&gain->replay, (float)nanoseconds / (float)tokens);
  count(gain, -spent(gain, nanoseconds, 0.0f, tokens));
}

void chm_gain_judged(chm_gain *gain, uint8_t guesser, bool right) {
  chm_rate *rate = &gain->rates[guesser];
  rate->taken += (right ? 1.0f : 0.0f) - rate->taken / GUESSES;
  rate->judged += 1.0f - rate->judged / GUESSES;
}

void chm_gain_ended(chm_gain *gain, int32_t taken, bool missed) {
  float judged = (float)taken + (missed ? 1.0f : 0.0f);
  if (judged == 0.0f) return;
  if (taken) gain->worth += (gain->saved / (float)taken - gain->worth) / TOKENS;
  if (!missed) gain->widest = 2 * gain->widest < CHM_MOST_NODES ? 2 * gain->widest : CHM_MOST_NODES;
  if (share(&gain->all) >= LEAST_RATE) {
    gain->all.taken += (float)taken - gain->all.taken / WINDOW;
    gain->all.judged += judged - gain->all.judged / WINDOW;
  } else if ((float)taken >= ENOUGH_RATE * judged) { /* a probe */
    gain->all = all_unknown;
    gain->patience = LEAST_REST;
  }
  if (share(&gain->all) >= LEAST_RATE) return;
  gain->rest = gain->patience;
  if (gain->patience < MOST_REST) gain->patience *= 2;
}

CHM_COLD_END
