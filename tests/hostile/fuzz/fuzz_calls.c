/* Calls of a model of tensors, which is in this file, with any names, sizes, places and values: an input is a list of calls.
 *
 * What a call is given lies in blocks of exactly the size that it says, so that the sanitizer sees a byte too many; the
 * entries read and write every byte that they are promised.
 */
#include "fuzz.h"

#include "chm_driver.h"

#define MOST 5
#define WIDTH 3
#define MOST_STEPS 24
#define MOST_TENSORS 4u

static const int32_t rows[] = {-1}, wide[] = {-1, WIDTH}, square[] = {2, 2};
static const chm_tensor_info scores_inputs[] = {{"ids", CHM_INT32, 1, rows, 0, 9}, {"x", CHM_FLOAT32, 2, wide, 0, 0}};
static const chm_tensor_info scores_results[] = {{"scores", CHM_FLOAT32, 2, wide, 0, 0}, {"seen", CHM_INT32, 0, rows, 0, 0}};
static const chm_tensor_info turn_inputs[] = {{"a", CHM_INT32, 2, square, INT32_MIN, INT32_MAX}};
static const chm_tensor_info turn_results[] = {{"b", CHM_INT32, 2, square, 0, 0}};
static const chm_tensor_info tick_results[] = {{"ticks", CHM_INT32, 0, rows, 0, 0}};

static int32_t *state_of(chm_call *call) { return (int32_t *)(void *)call->state; }

CHM_KERNELS scores_kernels(chm_call *call, const int measured) {
  const int32_t *ids = call->inputs[0];
  const float *x = call->inputs[1];
  float *scores = call->results[0];
  CHM_STEP(0);
  FUZZ_CHECK(call->n >= 1 && call->n <= MOST);
  for (int32_t i = 0; i < call->n; ++i) {
    FUZZ_CHECK(ids[i] >= 0 && ids[i] <= 9); /* a row of a table of ten */
    for (int32_t k = 0; k < WIDTH; ++k) scores[i * WIDTH + k] = x[i * WIDTH + k] * (float)ids[i];
  }
  *(int32_t *)call->results[1] = state_of(call)[0] = (int32_t)((uint32_t)state_of(call)[0] + (uint32_t)call->n);
}
CHM_GRAPH(scores)

CHM_KERNELS turn_kernels(chm_call *call, const int measured) {
  const int32_t *a = call->inputs[0];
  int32_t *b = call->results[0];
  CHM_STEP(0);
  for (int32_t i = 0; i < 4; ++i) b[i] = a[(i + 1) % 4];
}
CHM_GRAPH(turn)

CHM_KERNELS tick_kernels(chm_call *call, const int measured) {
  CHM_STEP(0);
  *(int32_t *)call->results[0] = state_of(call)[1] = call->position;
}
CHM_GRAPH(tick)

static const chm_entry_desc entries[] = {
    CHM_CALL_ENTRY(scores, MOST, 2, 2, scores_inputs, scores_results),
    CHM_CALL_ENTRY(turn, 1, 1, 1, turn_inputs, turn_results),
    CHM_CALL_ENTRY(tick, 1, 0, 1, NULL, tick_results),
};
static const chm_section_desc sections[] = {
    {"embedding", VOCAB * 8 * 4}, {"mix", 8 * 8 * 4}, {"head", 8 * VOCAB * 4}, {"initial", 8 * 4}};
static const chm_state_desc states[] = {{"seen", 0, 8, CHM_NO_SECTION, 1, "I32", "2"}};
static const chm_step_desc steps[] = {{"call", "multiply", 0}};

/* It has the toy model's weights and uses none of them. */
const chm_model_desc chm_model = {.abi = CHM_MODEL_ABI,
                                  .name = "calls",
                                  .target = TOY_TARGET,
                                  .config_sha256 = "",
                                  .weights_sha256 = TOY_WEIGHTS_SHA256,
                                  .model_sha256 = TOY_WEIGHTS_SHA256,
                                  .block = MOST,
                                  .min_loops = 1,
                                  .max_loops = 1,
                                  .default_loops = 1,
                                  .state_bytes = 64,
                                  .arena_bytes = 64,
                                  .n_sections = 4,
                                  .n_states = 1,
                                  .sections = sections,
                                  .states = states,
                                  .n_entries = 3,
                                  .entries = entries,
                                  .n_steps = 1,
                                  .steps = steps};

static chm_bundle *bundle;
static chm_session *session;

static void prepare(void) {
  if (session) return;
  size_t bytes = (size_t)(fuzz_weights_end - fuzz_weights);
  FUZZ_CHECK(!chm_bundle_open(fuzz_weights, bytes, NULL, 0, 0, &fuzz_allocator, &bundle));
  FUZZ_CHECK(!chm_session_open(bundle, NULL, &session));
}

/* ---- arguments ---- */

static const char *some_name(fuzz_input *in, const char *right) {
  static const char *const others[] = {"ids", "x", "scores", "seen", "a", "b", "ticks", "", "nothing", NULL};
  uint32_t byte = fuzz_byte(in);
  return byte < 224 ? right : others[byte % (sizeof others / sizeof *others)];
}

static size_t right_bytes(const chm_tensor_info *info, int32_t n) {
  size_t bytes = 4;
  for (int32_t i = 0; i < info->rank; ++i) bytes *= (size_t)(info->shape[i] < 0 ? n : info->shape[i]);
  return bytes;
}

static size_t some_bytes(fuzz_input *in, size_t right) {
  static const size_t others[] = {0, 1, 4, 8, 60, 64, (size_t)1 << 32, SIZE_MAX, SIZE_MAX - 3, SIZE_MAX / 2};
  uint32_t byte = fuzz_byte(in);
  if (byte < 224) return right;
  return byte < 240 ? right + byte - 232 : others[byte % (sizeof others / sizeof *others)];
}

typedef struct given {
  chm_tensor tensors[MOST_TENSORS];
  void *blocks[MOST_TENSORS];
  uint32_t count;
} given;

/* A tensor in a block of its own, mostly; else at a place that no call can use. */
static void give(fuzz_input *in, given *to, const chm_tensor_info *info, int32_t n, void *other) {
  if (to->count == MOST_TENSORS) return;
  size_t right = right_bytes(info, n < 1 || n > MOST + 1 ? 1 : n), bytes = some_bytes(in, right);
  uint32_t place = fuzz_byte(in), seed = fuzz_word(in);
  size_t room = bytes < 512 ? bytes : 512, shift = place < 240 ? 0 : place % 8u;
  uint8_t *block = NULL;
  if (!(block = malloc(room + shift ? room + shift : 1))) abort();
  for (size_t i = 0; i < room; ++i) block[shift + i] = 0;
  for (size_t i = 0; i + 4 <= room; i += 4) {
    uint32_t most = seed < 0xE000 ? 10 : seed < 0xFF00 ? 12 : UINT32_MAX;
    int32_t value = (int32_t)(((most > 12 ? seed * 2654435761u : seed) + (uint32_t)i) % most);
    memcpy(block + shift + i, &value, 4);
  }
  to->blocks[to->count] = block;
  void *data = place >= 252 ? NULL : place >= 248 && other ? other : block + shift;
  to->tensors[to->count++] = (chm_tensor){some_name(in, info->name), data, bytes};
}

static void give_all(fuzz_input *in, given *to, const chm_tensor_info *infos, int32_t count, int32_t n, void *other) {
  static const chm_tensor_info more = {"more", CHM_INT32, 1, square, 0, 0};
  uint32_t byte = fuzz_byte(in);
  for (int32_t i = 0; i < count; ++i)
    if (byte != 255 || i) give(in, to, &infos[byte % 2u ? i : count - 1 - i], n, other);
  if (byte >= 250) give(in, to, &more, n, other);
}

static void give_back(given *all) {
  for (uint32_t i = 0; i < all->count; ++i) free(all->blocks[i]);
}

/* ---- calls ---- */

static void call(fuzz_input *in) {
  static const char *const others[] = {"", "score", "scoresx", NULL};
  static const int32_t sizes[] = {0, -1, MOST + 1, INT32_MAX, INT32_MIN};
  uint32_t byte = fuzz_byte(in), size = fuzz_byte(in);
  const chm_entry_desc *entry = &entries[byte % 3u];
  const char *name = byte < 240 ? entry->name : others[byte % 4u];
  int32_t n = size < 240 ? 1 + (int32_t)size % entry->tokens : sizes[size % 5u], before = chm_session_position(session);
  given inputs = {0}, results = {0};
  give_all(in, &inputs, entry->inputs, entry->n_inputs, n, NULL);
  give_all(in, &results, entry->results, entry->n_results, n, inputs.count ? inputs.tensors[0].data : NULL);
  int32_t status = fuzz_status(chm_session_call(session, name, byte == 239 ? NULL : inputs.tensors, inputs.count,
                                                byte == 238 ? NULL : results.tensors, results.count, n));
  FUZZ_CHECK(chm_session_position(session) - before == !status);
  give_back(&inputs);
  give_back(&results);
}

static void save_and_restore(void) {
  static uint8_t snapshot[16384];
  uint64_t hashes[2];
  size_t bytes = chm_session_snapshot_bytes(session);
  int32_t position = chm_session_position(session);
  FUZZ_CHECK(bytes <= sizeof snapshot && !chm_session_snapshot(session, snapshot, bytes));
  FUZZ_CHECK(!chm_session_state_hash(session, &hashes[0]) && !chm_session_reset(session));
  FUZZ_CHECK(!chm_session_restore(session, snapshot, bytes) && !chm_session_state_hash(session, &hashes[1]));
  FUZZ_CHECK(hashes[0] == hashes[1] && chm_session_position(session) == position);
}

/* What only language models have is refused. */
static void tokens(fuzz_input *in) {
  int32_t token = (int32_t)fuzz_byte(in);
  FUZZ_CHECK(fuzz_status(chm_session_prefill(session, &token, 1)) == CHM_ERROR_STATE);
  FUZZ_CHECK(fuzz_status(chm_session_generate(session, &token)) >= 400);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_input in = {data, data + size};
  prepare();
  uint32_t blocks = fuzz_blocks();
  FUZZ_CHECK(!chm_session_reset(session));
  for (int i = 0; i < MOST_STEPS && in.at < in.end; ++i) {
    uint32_t byte = fuzz_byte(&in);
    if (byte < 240) call(&in);
    else if (byte < 246) save_and_restore();
    else if (byte < 251) FUZZ_CHECK(!chm_session_reset(session));
    else tokens(&in);
  }
  FUZZ_CHECK(fuzz_blocks() == blocks);
  return 0;
}
