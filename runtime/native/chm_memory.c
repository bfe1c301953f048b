/* Telling a session which memory span knots read: linked into all models, chm_knot.c into those only that read one. */
#include "chm_spans.h"

CHM_COLD_BEGIN

int32_t chm_reads_memory(void) {
  return chm_model.knot.calls ? (int32_t)chm_model.states[chm_model.knot.memory].bytes : 0;
}

int32_t chm_session_set_memory(chm_session *session, const void *vectors, size_t bytes, size_t count) {
  if (!vectors && count) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_set_memory: no vectors");
  if (!chm_model.knot.calls) return chm_fail(CHM_ERROR_STATE, "the model reads no memory");
  int32_t status = chm_session_enter(session);
  if (status) return status;
  chm_spans_commit(session);
  return chm_session_leave(session, chm_model.knot.calls->set(session, vectors, bytes, count));
}

CHM_COLD_END
