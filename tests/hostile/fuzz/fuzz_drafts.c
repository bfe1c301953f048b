/* A draft head and threads: two sessions of a bundle are told the same, an action a byte and its numbers; one guesses, as much
 * as it is told and with what it is told, and the number of threads changes between any two calls. Both do the same.
 */
#include "fuzz_pair.h"

#define MOST_ACTIONS 20

static chm_bundle *bundle;
static chm_bank *bank;

static void prepare(void) {
  if (bundle) return;
  bundle = fuzz_bundle();
  FUZZ_CHECK(chm_has_draft_head() && chm_speculates());
  FUZZ_CHECK(!chm_pack_open(bundle, NULL, fuzz_pack, (size_t)(fuzz_pack_end - fuzz_pack), 0, NULL, &pack));
  FUZZ_CHECK(!chm_bank_open(bundle, fuzz_bank, (size_t)(fuzz_bank_end - fuzz_bank), 0, NULL, &bank));
}

/* ---- what both are told beside ---- */

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
  open_both(bundle);
  for (int i = 0; i < MOST_ACTIONS && in.at < in.end; ++i) act(&in);
  compare();
  close_both();
  FUZZ_CHECK(!chm_bundle_set_threads(bundle, 1));
  fuzz_has_workers = false;
  FUZZ_CHECK(fuzz_blocks() == blocks);
  free(copy);
  return 0;
}
