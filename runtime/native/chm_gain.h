/* What trees of guesses cost and gain in time: how many nodes the next one has, and whether there is one.
 *
 * Costs are measured as a session goes, c(N) of a pass of N nodes among them, and told in runs of one token; so is how often
 * each guesser is right. From both follows which part of a tree gives the most tokens for its time. Besides, an account is
 * kept of what guessing took and what it saved: while more was lost than a small part of the time of tokens without guesses,
 * there are none. So a session is never much slower than without, however wrong what is thought of the guesses is.
 */
#ifndef CHM_GAIN_H
#define CHM_GAIN_H

#include <stdbool.h>

#include "chm_format.h"
#include "chm_model.h"

/* What something takes, in nanoseconds: the median of the last times that it was measured. */
#define CHM_LAST_TIMES 9
typedef struct chm_cost {
  float usual;
  int32_t count, next;        /* times in last, and the place of the next one */
  float last[CHM_LAST_TIMES];
} chm_cost;

/* Who guessed a token. */
enum {
  CHM_CHOSEN,    /* nobody: it is the text's */
  CHM_LOOKED_UP, /* what followed the same 4 or 5 tokens before */
  CHM_FORCED,    /* the grammar */
  CHM_GIVEN,     /* the caller */
  CHM_BEGUN,     /* a span of the bank that the text is in, */
  CHM_FOLLOWING, /* one that comes after the last two tokens, */
  CHM_NEAR,      /* one with a near key */
  CHM_LOOSE,     /* what followed the same 2 or 3 tokens before */
  CHM_HEAD,      /* the model's draft head */
  CHM_GUESSERS
};

/* Guesses that were right, of those that were looked at, lately. */
typedef struct chm_rate {
  float taken, judged;
} chm_rate;

typedef struct chm_gain {
  int32_t rest;        /* tokens without trees that are left */
  int32_t patience;    /* of the next rest */
  int32_t widest;      /* guesses at most: twice as many after each tree of which nothing was wrong */
  int32_t probes;      /* 1: the next tree is a probe */
  int32_t ran;         /* runs without trees that were noted, up to some */
  chm_rate all;
  chm_rate rates[CHM_GUESSERS]; /* of guesses that were the first ones in their place */
  float balance;       /* what may be lost yet, in runs of one token */
  float saved;         /* by the tree that there is, in runs of one token */
  float worth;         /* runs of one token that a guess saves which is right: a grammar leaves some that cost little */
  chm_cost runs[CHM_MAX_PENDING + 1];  /* of so many tokens without a tree */
  chm_cost passes[CHM_MOST_NODES + 1]; /* of so many nodes */
  chm_cost replay;                     /* of a token that was taken, beyond its pass */
  chm_cost guess;                      /* of making guesses, but for */
  chm_cost head;                       /* a run of the draft head */
} chm_gain;

/* A text begins: nothing is known of its guesses. What was measured stays. */
void chm_gain_start(chm_gain *gain);
/* Guesses that the next tree may have, below chosen tokens, at most so many; 0: there is none. guessers: a bit for each that
 * there is. */
int32_t chm_gain_guesses(chm_gain *gain, int32_t most, uint32_t guessers);
/* How likely a guess is right where all before it are: the first in its place, or a later one. */
float chm_gain_chance(const chm_gain *gain, uint8_t guesser, bool first);
/* How many of the nodes are worth a pass, of which the first ones are chosen and the others right with these chances, none
 * before its parent; as many as are chosen: no tree is. */
int32_t chm_gain_nodes(chm_gain *gain, int32_t chosen, const float *chances, int32_t nodes);
/* How many tokens the draft head may guess, at most so many, where its first run comes after as many as are chosen; 0: what it
 * guesses would not pay. */
int32_t chm_gain_head(chm_gain *gain, int32_t chosen, int32_t most);
/* What c(N) is thought to be: a pass of so many nodes, in runs of one token. */
float chm_gain_pass(const chm_gain *gain, int32_t nodes);

/* What happened, and the nanoseconds that it took, 0 where there is no clock: guesses were made; the draft head was run so
 * often for it, which is told before and is part of that time; tokens were run without a
 * tree; a tree was run, and these tokens with it; a run of so many pending tokens was saved but for the last `left`; the path
 * of a tree came into the states. */
void chm_gain_guessed(chm_gain *gain, int64_t nanoseconds);
void chm_gain_headed(chm_gain *gain, int32_t runs, int64_t nanoseconds);
void chm_gain_ran(chm_gain *gain, int32_t tokens, int64_t nanoseconds);
void chm_gain_passed(chm_gain *gain, int32_t chosen, int32_t nodes, int64_t nanoseconds);
void chm_gain_saved(chm_gain *gain, int32_t pending, int32_t left);
void chm_gain_committed(chm_gain *gain, int32_t tokens, int64_t nanoseconds);
/* A guess, the first in its place, was looked at. */
void chm_gain_judged(chm_gain *gain, uint8_t guesser, bool right);
/* So many guesses of the tree were right, and perhaps one was not. */
void chm_gain_ended(chm_gain *gain, int32_t taken, bool missed);

#endif
