/* A draft head and threads: two sessions of a bundle are told the same, an action a byte and its numbers; one guesses, as much
 * as it is told and with what it is told, and the number of threads changes between any two calls. Both do the same.
 */
#include "fuzz.h"

#define MOST_ACTIONS 20
#define MOST_STEPS 12u
#define SNAPSHOT_BYTES 32768u
#define BOTH(call_of_i)                                                                          \
  do {                                                                                           \
    int32_t both_[2];                                                                            \
    for (int i = 0; i < 2; ++i) both_[i] = fuzz_status(call_of_i);                               \
    FUZZ_CHECK(both_[0] == both_[1]);                                                            \
  } while (0)

enum { PLAIN, GUESSING };

static chm_bundle *bundle;
static chm_pack *pack;
static chm_bank *bank;
static chm_session *sessions[2];
static chm_grammar *grammars[2];

static void prepare(void) {
  if (bundle) return;
  bundle = fuzz_bundle();
  FUZZ_CHECK(chm_has_draft_head() && chm_speculates());
  FUZZ_CHECK(!chm_pack_open(bundle, NULL, fuzz_pack, (size_t)(fuzz_pack_end - fuzz_pack), 0, NULL, &pack));
  FUZZ_CHECK(!chm_bank_open(bundle, fuzz_bank, (size_t)(fuzz_bank_end - fuzz_bank), 0, NULL, &bank));
}

/* ---- what both are told ---- */

static void prefill(fuzz_input *in) {
  int32_t tokens[64];
  size_t count = fuzz_byte(in) % 64u;
  uint32_t first = fuzz_byte(in), step = fuzz_byte(in) % 4u;
  for (size_t i = 0; i < count; ++i) tokens[i] = (int32_t)((first + i * step) % 288u);
  BOTH(chm_session_prefill(sessions[i], tokens, count));
}

static void prompt(fuzz_input *in) {
  size_t bytes = fuzz_byte(in) % 48u, left = (size_t)(in->end - in->at);
  const uint8_t *text = in->at;
  if (bytes > left) bytes = left;
  in->at += bytes;
  BOTH(chm_session_prompt(sessions[i], text, bytes));
}

static void begin(fuzz_input *in) {
  int32_t most = (int32_t)fuzz_byte(in);
  BOTH(chm_session_begin_generation(sessions[i], most));
}

static void generate(fuzz_input *in) {
  int32_t status = CHM_OK;
  for (uint32_t steps = 1 + fuzz_byte(in) % MOST_STEPS; steps && status == CHM_OK; --steps) {
    int32_t statuses[2], tokens[2] = {0};
    size_t bytes[2];
    const uint8_t *texts[2];
    for (int i = 0; i < 2; ++i) {
      statuses[i] = fuzz_status(chm_session_generate(sessions[i], &tokens[i]));
      texts[i] = chm_session_text(sessions[i], &bytes[i]);
    }
    status = statuses[PLAIN];
    FUZZ_CHECK(status == statuses[GUESSING] && tokens[PLAIN] == tokens[GUESSING] && bytes[PLAIN] == bytes[GUESSING]);
    FUZZ_CHECK(!memcmp(texts[PLAIN], texts[GUESSING], bytes[PLAIN]));
  }
}

static void set_sampling(fuzz_input *in) {
  float temperature = (float)(fuzz_byte(in) % 4u) / 2, top_p = 1.0f - (float)(fuzz_byte(in) % 8u) / 8;
  float penalty = 1.0f + (float)(fuzz_byte(in) % 4u) / 4;
  int32_t top_k = (int32_t)fuzz_byte(in) % 64;
  uint32_t seed = fuzz_byte(in);
  BOTH(chm_session_set_sampling(sessions[i], temperature, top_p, top_k, penalty, seed, 2, 3));
}

static void set_loops(fuzz_input *in) {
  int32_t loops = (int32_t)(fuzz_byte(in) % 6u) - 1;
  float threshold = fuzz_byte(in) % 4u ? 0.0f : 0.25f;
  BOTH(chm_session_set_loops(sessions[i], loops));
  BOTH(chm_session_set_exit_threshold(sessions[i], threshold));
}

static void drop_grammars(void) {
  BOTH(chm_session_set_grammar(sessions[i], NULL));
  for (int i = 0; i < 2; ++i) FUZZ_CHECK(!chm_grammar_close(grammars[i]));
  grammars[0] = grammars[1] = NULL;
}

static void set_grammar(fuzz_input *in) {
  static const char *const names[] = {"person", "regex", "said"};
  uint32_t choice = fuzz_byte(in) % 4u;
  drop_grammars();
  if (choice == 3) return;
  for (int i = 0; i < 2; ++i) FUZZ_CHECK(!chm_grammar_open(pack, names[choice], NULL, &grammars[i]));
  BOTH(chm_session_set_grammar(sessions[i], grammars[i]));
}

static void set_others(fuzz_input *in) {
  uint32_t choice = fuzz_byte(in);
  int32_t stop = (int32_t)fuzz_byte(in);
  BOTH(chm_session_set_scoring(sessions[i], choice & 1));
  if (choice & 2) BOTH(chm_session_set_stop_tokens(sessions[i], &stop, choice >> 2 & 1));
  if (choice & 8) BOTH(chm_session_set_valve(sessions[i], 2.0f, 6.0f, 1, 2, 4, choice >> 4 & 3));
}

/* ---- what only one is told ---- */

static void guess(fuzz_input *in) {
  chm_session *session = sessions[GUESSING];
  uint32_t choice = fuzz_byte(in), numbers[CHM_SHARES];
  fuzz_status(chm_session_set_speculation(session, (int32_t)(choice % 25u) - 1));
  FUZZ_CHECK(!chm_session_set_bank(session, choice & 32 ? bank : NULL));
  if (!(choice & 64)) return;
  for (int i = 0; i < CHM_SHARES; ++i) {
    uint32_t byte = fuzz_byte(in);
    numbers[i] = i < CHM_WEIGHT_NEARNESS ? byte < 250 ? byte % 6u * 52u : byte * 9u : byte << (byte % 16u);
  }
  fuzz_status(chm_session_set_shares(session, choice & 128 ? numbers : NULL, choice & 128 ? CHM_SHARES : 0));
}

static void set_threads(fuzz_input *in) {
  static const int32_t wrong[] = {-1, CHM_MAX_THREADS + 1, INT32_MAX, INT32_MIN};
  uint32_t byte = fuzz_byte(in);
  int32_t threads = byte < 248 ? 1 + (int32_t)(byte % 5u) : wrong[byte % 4u];
  fuzz_has_workers = true;
  if (byte % 32u == 31) fuzz_fail_at(1);
  int32_t status = fuzz_status(chm_bundle_set_threads(bundle, threads)), now = chm_bundle_threads(bundle);
  fuzz_fail_at(0);
  FUZZ_CHECK(now >= 1 && now <= (int32_t)CHM_MAX_THREADS && (status || now == threads));
  if (status == CHM_ERROR_MEMORY) FUZZ_CHECK(now == 1);
}

/* ---- what both must have then ---- */

static void compare(void) {
  uint64_t states[2], logits[2], counters[CHM_COUNTERS];
  float scores[2];
  BOTH(chm_session_state_hash(sessions[i], &states[i]));
  BOTH(chm_session_logits_hash(sessions[i], &logits[i]));
  for (int i = 0; i < 2; ++i) scores[i] = chm_session_score(sessions[i]);
  FUZZ_CHECK(states[0] == states[1] && logits[0] == logits[1] && !memcmp(&scores[0], &scores[1], sizeof scores[0]));
  FUZZ_CHECK(chm_session_position(sessions[0]) == chm_session_position(sessions[1]));
  FUZZ_CHECK(chm_session_room(sessions[0]) == chm_session_room(sessions[1]));
  FUZZ_CHECK(!chm_session_counters(sessions[GUESSING], counters, CHM_COUNTERS));
  FUZZ_CHECK(counters[CHM_COUNTER_ACCEPTED] <= counters[CHM_COUNTER_PROPOSED]);
}

/* Each goes on from the other's snapshot. */
static void exchange(void) {
  static uint8_t snapshots[2][SNAPSHOT_BYTES];
  size_t bytes = chm_session_snapshot_bytes(sessions[0]);
  FUZZ_CHECK(bytes <= SNAPSHOT_BYTES && bytes == chm_session_snapshot_bytes(sessions[1]));
  BOTH(chm_session_snapshot(sessions[i], snapshots[i], bytes));
  FUZZ_CHECK(!memcmp(snapshots[0], snapshots[1], bytes));
  BOTH(chm_session_restore(sessions[i], snapshots[1 - i], bytes));
}

static void act(fuzz_input *in) {
  switch (fuzz_byte(in) % 16u) {
    case 0: prefill(in); break;
    case 1: prompt(in); break;
    case 2: begin(in); break;
    case 3: case 4: case 5: generate(in); break;
    case 6: set_sampling(in); break;
    case 7: set_loops(in); break;
    case 8: set_grammar(in); break;
    case 9: set_others(in); break;
    case 10: case 11: guess(in); break;
    case 12: set_threads(in); break;
    case 13: compare(); break;
    case 14: exchange(); break;
    default: BOTH(chm_session_reset(sessions[i]));
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prepare();
  uint32_t blocks = fuzz_blocks();
  uint8_t *copy = fuzz_copy(data, size);
  fuzz_input in = {copy, copy + size};
  for (int i = 0; i < 2; ++i) FUZZ_CHECK(!chm_session_open(bundle, NULL, &sessions[i]));
  FUZZ_CHECK(!chm_session_set_speculation(sessions[PLAIN], 0));
  for (int i = 0; i < MOST_ACTIONS && in.at < in.end; ++i) act(&in);
  compare();
  drop_grammars();
  for (int i = 0; i < 2; ++i) FUZZ_CHECK(!chm_session_close(sessions[i]));
  FUZZ_CHECK(!chm_bundle_set_threads(bundle, 1));
  fuzz_has_workers = false;
  FUZZ_CHECK(fuzz_blocks() == blocks);
  free(copy);
  return 0;
}
