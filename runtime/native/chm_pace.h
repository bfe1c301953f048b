/* How many of the pool's threads a call uses: what was fastest when it was tried.
 *
 * How much threads help depends on the model, on the memory, on what the cores share, and on what else runs, now. So the
 * pool does not guess: calls of an entry are timed, and from time to time some are made with half as many threads, or
 * twice as many, and the better number is kept. Bits do not depend on it.
 */
#ifndef CHM_PACE_H
#define CHM_PACE_H

#include <stdint.h>

/* Of one entry. All zeros to begin with. */
typedef struct chm_pace {
  int32_t width;    /* threads in use; 0: nothing was tried yet */
  int32_t rival;    /* the number that is compared with it; 0 between comparisons */
  int32_t phase;    /* of a comparison */
  int32_t calls;    /* of the phase */
  int64_t spent;    /* their nanoseconds */
  int64_t rivals;   /* nanoseconds of one call with the rival */
  int32_t rest;     /* calls until the next comparison */
  int32_t patience; /* how many there were the last time */
  int32_t upwards;  /* 1: the next rival is the larger number */
  int32_t won;      /* 1: the larger number was better the last time; it has to be so twice */
  int32_t slow;     /* calls in a row that took much longer than usual */
  int64_t usual;    /* nanoseconds of a call lately */
} chm_pace;

/* The threads for the next call, 1 to threads. */
int32_t chm_pace_threads(chm_pace *pace, int32_t threads);
/* What a call of the entry's usual size took with chm_pace_threads of them. */
void chm_pace_took(chm_pace *pace, int32_t threads, int64_t nanoseconds);

#endif
