/* How many threads a call uses: comparisons of two numbers, each with some calls in a row. */
#include "chm_pace.h"

/* A comparison: the first call with another number is not counted (threads wake, caches change hands), then calls follow
 * until there are some, and they took some time. */
#define LEAST_CALLS 3
#define LEAST_NANOSECONDS 2000000
#define MOST_CALLS 64
/* Calls between comparisons: few at first, more while nothing changes. */
#define LEAST_REST 32
#define MOST_REST 1024
/* A call is slow that takes half as long again as usual; so many in a row, and other numbers are tried. */
#define SLOW_CALLS 4

enum { WITH_RIVAL = 1, WITH_OWN = 2 };

int32_t chm_pace_threads(chm_pace *pace, int32_t threads) {
  if (!pace->width) {
    pace->width = threads;
    pace->rest = LEAST_CALLS; /* the first calls touch memory for the first time */
    pace->patience = LEAST_REST;
  }
  return pace->rival && pace->phase == WITH_RIVAL ? pace->rival : pace->width;
}

static int32_t rival_of(const chm_pace *pace, int32_t threads) {
  if (pace->upwards && pace->width < threads) return 2 * pace->width < threads ? 2 * pace->width : threads;
  if (pace->width > 1) return (pace->width + 1) / 2;
  return 2 < threads ? 2 : threads;
}

static void begin_phase(chm_pace *pace, int32_t phase) {
  pace->phase = phase;
  pace->calls = 0;
  pace->spent = 0;
}

/* Whether a number of threads is to be kept rather than the other: more of them must be worth it, fewer must lose nothing. */
static int is_better(const chm_pace *pace, int64_t own) {
  return pace->rival > pace->width ? pace->rivals < own - own / 32 : pace->rivals <= own;
}

static void end_comparison(chm_pace *pace, int64_t own) {
  int32_t wider = pace->rival > pace->width;
  pace->rest = 0;
  if (!is_better(pace, own)) {
    pace->upwards = !wider;
    pace->rest = pace->patience;
    if (pace->patience < MOST_REST) pace->patience *= 2;
    pace->won = 0;
  } else if (wider && !pace->won) { /* a few calls may have been lucky: no other program came between */
    pace->won = 1;
  } else { /* and perhaps the next number in this direction is better still */
    pace->width = pace->rival;
    pace->usual = pace->rivals;
    pace->patience = LEAST_REST;
    pace->upwards = wider;
    pace->won = 0;
  }
  pace->rival = 0;
}

static void watch(chm_pace *pace, int64_t nanoseconds) {
  pace->slow = nanoseconds > pace->usual + pace->usual / 2 ? pace->slow + 1 : 0;
  if (pace->slow == SLOW_CALLS) { /* something has changed: another program wants cores, or a clock is slower */
    pace->usual = nanoseconds;
    pace->slow = 0;
    pace->patience = LEAST_REST;
    pace->upwards = 0;
    pace->rest = 0;
  } else if (!pace->slow) {
    pace->usual += (nanoseconds - pace->usual) / 8;
  }
}

void chm_pace_took(chm_pace *pace, int32_t threads, int64_t nanoseconds) {
  if (!pace->rival) {
    if (!pace->usual) pace->usual = nanoseconds;
    watch(pace, nanoseconds);
    if (pace->rest > 0) {
      --pace->rest;
      return;
    }
    pace->rival = rival_of(pace, threads);
    begin_phase(pace, WITH_RIVAL);
    return;
  }
  if (pace->calls++) pace->spent += nanoseconds;
  if (pace->calls <= LEAST_CALLS || (pace->spent < LEAST_NANOSECONDS && pace->calls <= MOST_CALLS)) return;
  int64_t each = pace->spent / (pace->calls - 1);
  if (pace->phase == WITH_RIVAL) {
    pace->rivals = each;
    begin_phase(pace, WITH_OWN);
  } else {
    end_comparison(pace, each);
  }
}
