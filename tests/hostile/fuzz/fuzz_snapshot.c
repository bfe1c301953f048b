/* Snapshots of the toy model's sessions: what is restored goes on, with a grammar and without, and is saved again. */
#include "fuzz.h"

FUZZ_CONTAINERS

static chm_session *session;
static chm_grammar *grammar;

static void prepare(void) {
  chm_pack *pack;
  if (session) return;
  FUZZ_CHECK(!chm_session_open(fuzz_bundle(), NULL, &session));
  FUZZ_CHECK(!chm_pack_open(fuzz_bundle(), NULL, fuzz_pack, (size_t)(fuzz_pack_end - fuzz_pack), 0, NULL, &pack));
  FUZZ_CHECK(!chm_grammar_open(pack, NULL, NULL, &grammar));
}

static void go_on(uint64_t *random) {
  const int32_t tokens[] = {1, 2, 3};
  int32_t token, status = CHM_OK, position = chm_session_position(session);
  size_t bytes;
  for (int i = 0; i < 4 && !status; ++i) {
    status = fuzz_status(chm_session_generate(session, &token));
    chm_session_text(session, &bytes);
    FUZZ_CHECK(bytes <= CHM_MAX_TEXT_BYTES);
    chm_session_complete(session);
  }
  if (!fuzz_status(chm_session_prefill(session, tokens, fuzz_next(random, 4))))
    FUZZ_CHECK(chm_session_position(session) >= position);
  if (!fuzz_status(chm_session_begin_generation(session, (int32_t)fuzz_next(random, 40))))
    fuzz_status(chm_session_generate(session, &token));
}

/* Saved and restored, a sequence is the same. */
static void save(void) {
  static uint8_t snapshot[32768];
  uint64_t before = 0, after = 0, logits[2] = {0};
  size_t bytes = chm_session_snapshot_bytes(session);
  FUZZ_CHECK(bytes <= sizeof snapshot && !chm_session_snapshot(session, snapshot, bytes));
  int32_t status = fuzz_status(chm_session_state_hash(session, &before));
  fuzz_status(chm_session_logits_hash(session, &logits[0]));
  FUZZ_CHECK(!fuzz_status(chm_session_restore(session, snapshot, bytes)));
  FUZZ_CHECK(fuzz_status(chm_session_state_hash(session, &after)) == status && before == after);
  fuzz_status(chm_session_logits_hash(session, &logits[1]));
  FUZZ_CHECK(logits[0] == logits[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prepare();
  uint32_t blocks = fuzz_blocks();
  uint64_t random = fuzz_hash(data, size < 8000 ? size : 8000);
  uint8_t *file = fuzz_copy(data, size);
  bool drawn = fuzz_next(&random, 2);
  FUZZ_CHECK(!chm_session_set_grammar(session, NULL));
  FUZZ_CHECK(!chm_session_set_loops(session, (int32_t)fuzz_next(&random, 5)));
  FUZZ_CHECK(!chm_session_set_sampling(session, drawn ? 0.7f : 0.0f, drawn ? 0.5f : 1.0f, drawn ? 9 : 0, 1.5f, 1, 2, 3));
  bool valve = fuzz_next(&random, 2);
  FUZZ_CHECK(!chm_session_set_valve(session, 1.0f, 4.0f, valve, 2 * valve, 4 * valve, fuzz_next(&random, 4)));
  FUZZ_CHECK(!chm_session_set_ledger(session, fuzz_next(&random, 64), fuzz_next(&random, 65), fuzz_next(&random, 65536)));
  FUZZ_CHECK(!chm_session_reset(session));
  if (!fuzz_status(chm_session_restore(session, file, size))) {
    FUZZ_CHECK(!chm_session_set_grammar(session, fuzz_next(&random, 2) ? grammar : NULL));
    if (!fuzz_next(&random, 4)) save();
    go_on(&random);
    if (!fuzz_next(&random, 4)) save();
  } else {
    FUZZ_CHECK(!chm_session_position(session));
  }
  FUZZ_CHECK(fuzz_blocks() == blocks);
  free(file);
  return 0;
}
