/* Entries that take tensors and give tensors: what they are, and calls of them. */
#include "chm_session.h"

CHM_COLD_BEGIN

#define ELEMENT 4u /* bytes: float32 and int32 */

bool chm_entry_valid(const chm_entry_desc *entry) {
  if (entry->role != CHM_ROLE_CALL) return true;
  const int32_t most = (int32_t)CHM_MAX_TENSORS;
  return entry->tokens >= 1 && entry->n_inputs >= 0 && entry->n_inputs <= most && entry->n_results >= 0 &&
         entry->n_results <= most;
}

/* ---- what there is ---- */

static const chm_entry_desc *entry_at(int32_t number) {
  for (int32_t i = 0; i < chm_model.n_entries && !chm_model.vocab; ++i)
    if (chm_model.entries[i].role == CHM_ROLE_CALL && !number--) return &chm_model.entries[i];
  return NULL;
}

const char *chm_entry_name(int32_t entry) {
  const chm_entry_desc *found = entry_at(entry);
  return found ? found->name : NULL;
}

int32_t chm_entry_most(int32_t entry) {
  const chm_entry_desc *found = entry_at(entry);
  return found ? found->tokens : 0;
}

const chm_tensor_info *chm_entry_input(int32_t entry, int32_t index) {
  const chm_entry_desc *found = entry_at(entry);
  return found && index >= 0 && index < found->n_inputs ? &found->inputs[index] : NULL;
}

const chm_tensor_info *chm_entry_result(int32_t entry, int32_t index) {
  const chm_entry_desc *found = entry_at(entry);
  return found && index >= 0 && index < found->n_results ? &found->results[index] : NULL;
}

/* ---- calls ---- */

static bool same_text(const char *a, const char *b) {
  while (*a && *a == *b) ++a, ++b;
  return *a == *b;
}

static const chm_entry_desc *entry_named(const char *name) {
  const chm_entry_desc *found;
  for (int32_t i = 0; (found = entry_at(i)); ++i)
    if (same_text(found->name, name)) return found;
  return NULL;
}

static uint64_t bytes_of(const chm_tensor_info *tensor, int32_t n) {
  uint64_t bytes = ELEMENT;
  for (int32_t i = 0; i < tensor->rank; ++i) bytes *= (uint64_t)(tensor->shape[i] < 0 ? n : tensor->shape[i]);
  return bytes;
}

static int32_t check_values(const chm_tensor_info *wanted, const int32_t *values, uint64_t count) {
  if (wanted->element != CHM_INT32 || (wanted->low == INT32_MIN && wanted->high == INT32_MAX)) return CHM_OK;
  for (uint64_t i = 0; i < count; ++i)
    if (values[i] < wanted->low || values[i] > wanted->high)
      return chm_fail(CHM_ERROR_ARGUMENT, "%s has the value %d; %d to %d are possible", wanted->name, (int64_t)values[i],
                      (int64_t)wanted->low, (int64_t)wanted->high);
  return CHM_OK;
}

/* Find the tensors of an entry among those given: the address of each, in the order of the entry. */
static int32_t bind(const char *what, const chm_tensor_info *wanted, int32_t count, int32_t n, const chm_tensor *given,
                    size_t n_given, void **found) {
  for (int32_t i = 0; i < count; ++i) {
    const chm_tensor *one = NULL;
    for (size_t k = 0; k < n_given && !one; ++k)
      if (given[k].name && same_text(given[k].name, wanted[i].name)) one = &given[k];
    if (!one) return chm_fail(CHM_ERROR_ARGUMENT, "the %s %s is missing", what, wanted[i].name);
    uint64_t bytes = bytes_of(&wanted[i], n);
    if (one->bytes != bytes)
      return chm_fail(CHM_ERROR_ARGUMENT, "%s has %u bytes; %u are expected", wanted[i].name, (uint64_t)one->bytes, bytes);
    if (bytes && (!one->data || (uintptr_t)one->data % ELEMENT))
      return chm_fail(CHM_ERROR_ARGUMENT, "%s is NULL or not aligned to %u bytes", wanted[i].name, (uint64_t)ELEMENT);
    found[i] = one->data;
  }
  if (n_given != (size_t)count) /* all names are different: another one was given, or one of them twice */
    return chm_fail(CHM_ERROR_ARGUMENT, "%u %ss are given; there are %d", (uint64_t)n_given, what, (int64_t)count);
  return CHM_OK;
}

static bool overlap(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes) {
  uintptr_t first = (uintptr_t)a, second = (uintptr_t)b;
  return a_bytes && b_bytes && first < second + b_bytes && second < first + a_bytes;
}

static int32_t check_apart(const chm_entry_desc *entry, int32_t n, void *const *inputs, void *const *results) {
  for (int32_t i = 0; i < entry->n_results; ++i) {
    uint64_t bytes = bytes_of(&entry->results[i], n);
    bool shared = false;
    for (int32_t k = 0; k < entry->n_inputs; ++k)
      shared |= overlap(results[i], bytes, inputs[k], bytes_of(&entry->inputs[k], n));
    for (int32_t k = 0; k < i; ++k) shared |= overlap(results[i], bytes, results[k], bytes_of(&entry->results[k], n));
    if (shared) return chm_fail(CHM_ERROR_ARGUMENT, "the result %s overlaps another tensor", entry->results[i].name);
  }
  return CHM_OK;
}

static int32_t call_entry(chm_session *session, const char *name, const chm_tensor *inputs, size_t n_inputs,
                          const chm_tensor *results, size_t n_results, int32_t n) {
  void *from[CHM_MAX_TENSORS], *to[CHM_MAX_TENSORS];
  if (chm_model.vocab) return chm_fail(CHM_ERROR_STATE, "the bundle holds a language model; run tokens");
  const chm_entry_desc *entry = entry_named(name);
  if (!entry) return chm_fail(CHM_ERROR_ARGUMENT, "there is no entry %s", name);
  if (n < 1 || n > entry->tokens)
    return chm_fail(CHM_ERROR_ARGUMENT, "the axis that varies has %d elements; 1 to %d are possible", (int64_t)n,
                    (int64_t)entry->tokens);
  int32_t status = bind("input", entry->inputs, entry->n_inputs, n, inputs, n_inputs, from);
  if (!status) status = bind("result", entry->results, entry->n_results, n, results, n_results, to);
  if (!status) status = check_apart(entry, n, from, to);
  for (int32_t i = 0; i < entry->n_inputs && !status; ++i)
    status = check_values(&entry->inputs[i], from[i], bytes_of(&entry->inputs[i], n) / ELEMENT);
  if (status) return status;
  chm_call call = {.n = n, .inputs = (const void *const *)from, .results = to};
  chm_session_run(session, entry, &call);
  chm_sequence *sequence = &session->sequence;
  if (sequence->position < INT32_MAX) /* more calls than that are not counted */
    __atomic_store_n(&sequence->position, sequence->position + 1, __ATOMIC_RELAXED);
  return CHM_OK;
}

int32_t chm_session_call(chm_session *session, const char *entry, const chm_tensor *inputs, size_t n_inputs,
                         const chm_tensor *results, size_t n_results, int32_t n) {
  if (!session || !entry || (!inputs && n_inputs) || (!results && n_results))
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_call: a pointer is NULL");
  int32_t status = chm_session_enter(session);
  return status ? status : chm_session_leave(session, call_entry(session, entry, inputs, n_inputs, results, n_results, n));
}

CHM_COLD_END
