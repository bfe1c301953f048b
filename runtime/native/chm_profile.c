/* Where the time of a model's calls goes: the driver says when a step begins, the clock says how long the last one took. */
#include "chm_internal.h"

void chm_profile_step(chm_profile *profile, int32_t step) {
  int64_t now = chm_pool_nanoseconds();
  if (profile->step >= 0) profile->nanoseconds[profile->step] += now - profile->since;
  profile->since = now;
  profile->step = step;
}

static const chm_step_desc *find(int32_t step) {
  return step >= 0 && step < chm_model.n_steps ? &chm_model.steps[step] : NULL;
}

int32_t chm_profile_steps(void) { return chm_model.n_steps; }
const char *chm_profile_part(int32_t step) { return find(step) ? find(step)->part : NULL; }
const char *chm_profile_op(int32_t step) { return find(step) ? find(step)->op : NULL; }
uint64_t chm_profile_weight_bytes(int32_t step) { return find(step) ? find(step)->weight_bytes : 0; }
