/* Two sessions of a bundle that are told the same, of which one guesses: targets that compare them. */
#ifndef FUZZ_PAIR_H
#define FUZZ_PAIR_H

#include "fuzz.h"

#define MOST_STEPS 12u
#define SNAPSHOT_BYTES 32768u
#define BOTH(call_of_i)                                                                          \
  do {                                                                                           \
    int32_t both_[2];                                                                            \
    for (int i = 0; i < 2; ++i) both_[i] = fuzz_status(call_of_i);                               \
    FUZZ_CHECK(both_[0] == both_[1]);                                                            \
  } while (0)

enum { PLAIN, GUESSING };

static chm_session *sessions[2];
static chm_grammar *grammars[2];
static chm_pack *pack; /* the target opens it */

/* ---- what both are told ---- */

static inline void prefill(fuzz_input *in) {
  int32_t tokens[64];
  size_t count = fuzz_byte(in) % 64u;
  uint32_t first = fuzz_byte(in), step = fuzz_byte(in) % 4u;
  for (size_t i = 0; i < count; ++i) tokens[i] = (int32_t)((first + i * step) % 288u);
  BOTH(chm_session_prefill(sessions[i], tokens, count));
}

static inline void prompt(fuzz_input *in) {
  size_t bytes = fuzz_byte(in) % 48u, left = (size_t)(in->end - in->at);
  const uint8_t *text = in->at;
  if (bytes > left) bytes = left;
  in->at += bytes;
  BOTH(chm_session_prompt(sessions[i], text, bytes));
}

static inline void begin(fuzz_input *in) {
  int32_t most = (int32_t)fuzz_byte(in);
  BOTH(chm_session_begin_generation(sessions[i], most));
}

static inline void generate(fuzz_input *in) {
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

static inline void set_sampling(fuzz_input *in) {
  float temperature = (float)(fuzz_byte(in) % 4u) / 2, top_p = 1.0f - (float)(fuzz_byte(in) % 8u) / 8;
  float penalty = 1.0f + (float)(fuzz_byte(in) % 4u) / 4;
  int32_t top_k = (int32_t)fuzz_byte(in) % 64;
  uint32_t seed = fuzz_byte(in);
  BOTH(chm_session_set_sampling(sessions[i], temperature, top_p, top_k, penalty, seed, 2, 3));
}

static inline void set_loops(fuzz_input *in) {
  int32_t loops = (int32_t)(fuzz_byte(in) % 6u) - 1;
  float threshold = fuzz_byte(in) % 4u ? 0.0f : 0.25f;
  BOTH(chm_session_set_loops(sessions[i], loops));
  BOTH(chm_session_set_exit_threshold(sessions[i], threshold));
}

static inline void drop_grammars(void) {
  BOTH(chm_session_set_grammar(sessions[i], NULL));
  for (int i = 0; i < 2; ++i) FUZZ_CHECK(!chm_grammar_close(grammars[i]));
  grammars[0] = grammars[1] = NULL;
}

static inline void set_grammar(fuzz_input *in) {
  static const char *const names[] = {"person", "regex", "said"};
  uint32_t choice = fuzz_byte(in) % 4u;
  drop_grammars();
  if (choice == 3) return;
  for (int i = 0; i < 2; ++i) FUZZ_CHECK(!chm_grammar_open(pack, names[choice], NULL, &grammars[i]));
  BOTH(chm_session_set_grammar(sessions[i], grammars[i]));
}

/* ---- what both must have then ---- */

static inline void compare(void) {
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

/* Open both; only one guesses. */
static inline void open_both(chm_bundle *bundle) {
  for (int i = 0; i < 2; ++i) FUZZ_CHECK(!chm_session_open(bundle, NULL, &sessions[i]));
  FUZZ_CHECK(!chm_session_set_speculation(sessions[PLAIN], 0));
}

static inline void close_both(void) {
  drop_grammars();
  for (int i = 0; i < 2; ++i) FUZZ_CHECK(!chm_session_close(sessions[i]));
}

/* Each goes on from the other's snapshot. */
static inline void exchange(void) {
  static uint8_t snapshots[2][SNAPSHOT_BYTES];
  size_t bytes = chm_session_snapshot_bytes(sessions[0]);
  FUZZ_CHECK(bytes <= SNAPSHOT_BYTES && bytes == chm_session_snapshot_bytes(sessions[1]));
  BOTH(chm_session_snapshot(sessions[i], snapshots[i], bytes));
  FUZZ_CHECK(!memcmp(snapshots[0], snapshots[1], bytes));
  BOTH(chm_session_restore(sessions[i], snapshots[1 - i], bytes));
}

#endif
