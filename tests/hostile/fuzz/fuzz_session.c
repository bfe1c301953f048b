/* Calls of chimera.h in any order and with any arguments: an input is a list of calls, a byte each and its arguments.
 *
 * What the header leaves to the caller is kept: nothing is used after it was closed, and a grammar stays open as long as a
 * session has it.
 */
#include "fuzz.h"

#define SESSIONS 3u
#define GRAMMARS 2u
#define SLOTS 2u
#define SNAPSHOT_BYTES 32768u
#define MOST_CALLS 40

static chm_bundle *bundles[2]; /* with a tokenizer, and without */
static chm_pack *packs[2];     /* with tables, and those made here */
static chm_session *sessions[SESSIONS];
static uint32_t bundle_of[SESSIONS];
static chm_grammar *grammars[GRAMMARS], *used[SESSIONS];
static chm_bank *bank;
static uint8_t slots[SLOTS][SNAPSHOT_BYTES];
static size_t slot_bytes[SLOTS], sequence_at, place_at; /* of the sections in a snapshot */
static uint8_t places[sizeof(chm_configuration)];

static void prepare(void) {
  if (bundles[0]) return;
  bundles[0] = fuzz_bundle();
  FUZZ_CHECK(!chm_bundle_open(fuzz_weights, (size_t)(fuzz_weights_end - fuzz_weights), NULL, 0, 0, &fuzz_allocator, &bundles[1]));
  FUZZ_CHECK(!chm_pack_open(bundles[0], NULL, fuzz_pack, (size_t)(fuzz_pack_end - fuzz_pack), 0, NULL, &packs[0]));
  FUZZ_CHECK(!chm_pack_open(bundles[0], NULL, NULL, 0, 0, NULL, &packs[1]));
  FUZZ_CHECK(!chm_bank_open(bundles[0], fuzz_bank, (size_t)(fuzz_bank_end - fuzz_bank), 0, NULL, &bank));
  chm_session *session;
  chm_container container;
  FUZZ_CHECK(!chm_session_open(bundles[0], NULL, &session));
  size_t bytes = chm_session_snapshot_bytes(session);
  FUZZ_CHECK(bytes <= SNAPSHOT_BYTES && !chm_session_snapshot(session, slots[0], bytes) && !chm_session_close(session));
  FUZZ_CHECK(!chm_container_open(slots[0], bytes, CHM_KIND_STATE, "snapshot", 0, &fuzz_allocator, &container));
  sequence_at = (size_t)chm_container_find(&container, "sequence")->begin;
  place_at = (size_t)chm_container_find(&container, "grammar.place")->begin;
  chm_container_close(&container, &fuzz_allocator);
}

/* ---- arguments ---- */

static int32_t number(fuzz_input *in) {
  static const int32_t some[] = {-1, INT32_MIN, INT32_MAX, 0, 1, 2, 16, 17, 63, 64, 255, 256, 287, 288, 65535, 1 << 20};
  uint32_t byte = fuzz_byte(in);
  return byte < 192 ? (int32_t)byte : byte < 208 ? some[byte - 192] : (int32_t)(byte << 4 | fuzz_byte(in));
}

static float real(fuzz_input *in) {
  static const float some[] = {0.0f, 1.0f, 0.5f, 0.01f, 0.0099f, 100.0f, 101.0f, 10.0f, 0.1f, 0.9f, -0.0f, -1.0f, 1e-45f, 3e38f};
  uint32_t byte = fuzz_byte(in);
  if (byte < 200) return (float)byte / 128.0f;
  if (byte < 214) return some[byte - 200];
  return byte < 220 ? __builtin_nanf("") : byte < 226 ? __builtin_inff() : -__builtin_inff();
}

static int32_t one_token(fuzz_input *in) {
  uint32_t byte = fuzz_byte(in);
  return byte < 250 ? (int32_t)byte : number(in);
}

static size_t some_tokens(fuzz_input *in, int32_t tokens[96]) {
  size_t count = fuzz_byte(in) % 96u;
  int32_t first = one_token(in), step = (int32_t)(fuzz_byte(in) % 8u);
  for (size_t i = 0; i < count; ++i) tokens[i] = i ? (int32_t)(((uint32_t)first + i * (uint32_t)step) % 288u) : first;
  return count;
}

static size_t some_text(fuzz_input *in, const uint8_t **text) {
  size_t bytes = fuzz_byte(in) % 100u, left = (size_t)(in->end - in->at);
  if (bytes > left) bytes = left;
  *text = in->at;
  in->at += bytes;
  return bytes;
}

/* ---- calls ---- */

static void open_session(fuzz_input *in, uint32_t i) {
  if (sessions[i]) return;
  bundle_of[i] = fuzz_byte(in) % 8u == 7;
  int32_t status = fuzz_status(chm_session_open(bundles[bundle_of[i]], NULL, &sessions[i]));
  FUZZ_CHECK(!status == (sessions[i] != NULL));
  used[i] = NULL;
}

static void close_session(uint32_t i) {
  FUZZ_CHECK(!chm_session_close(sessions[i]));
  sessions[i] = NULL;
  used[i] = NULL;
}

static void open_grammar(fuzz_input *in, uint32_t i) {
  static const char *const names[] = {NULL, "person", "regex", "nothing", "said"};
  if (grammars[i]) return;
  uint32_t choice = fuzz_byte(in);
  chm_pack *pack = packs[choice % 16u == 15];
  int32_t status = fuzz_status(chm_grammar_open(pack, names[choice / 16u % 5u], NULL, &grammars[i]));
  FUZZ_CHECK(!status == (grammars[i] != NULL));
  if (grammars[i]) FUZZ_CHECK(chm_pack_close(pack) == CHM_ERROR_STATE);
}

static void close_grammar(uint32_t i) {
  for (uint32_t k = 0; grammars[i] && k < SESSIONS; ++k)
    if (used[k] == grammars[i]) {
      FUZZ_CHECK(!chm_session_set_grammar(sessions[k], NULL));
      used[k] = NULL;
    }
  FUZZ_CHECK(!chm_grammar_close(grammars[i]));
  grammars[i] = NULL;
}

static void set_grammar(fuzz_input *in, uint32_t i) {
  chm_grammar *grammar = fuzz_byte(in) % 4u ? grammars[fuzz_byte(in) % GRAMMARS] : NULL;
  if (!fuzz_status(chm_session_set_grammar(sessions[i], grammar))) used[i] = grammar;
}

static void prefill(fuzz_input *in, chm_session *session) {
  int32_t tokens[96];
  size_t count = some_tokens(in, tokens);
  int32_t before = chm_session_position(session), part = count & 1;
  int32_t status = fuzz_status((part ? chm_session_prefill_part : chm_session_prefill)(session, tokens, count));
  if (!status) FUZZ_CHECK(chm_session_position(session) - before >= (int32_t)count);
  if (!status && count) FUZZ_CHECK(chm_session_logits(session));
}

static void prompt(fuzz_input *in, chm_session *session) {
  const uint8_t *text;
  size_t bytes = some_text(in, &text);
  fuzz_status(chm_session_prompt(session, text, bytes));
}

static void generate(fuzz_input *in, chm_session *session) {
  int32_t token = 5, status = CHM_OK;
  for (uint32_t i = fuzz_byte(in) % 12u; i && !status; --i) {
    size_t bytes;
    status = fuzz_status(chm_session_generate(session, &token));
    if (!status) FUZZ_CHECK(token >= 0 && token < chm_vocab_size());
    const uint8_t *text = chm_session_text(session, &bytes);
    FUZZ_CHECK(!session || (text && bytes <= CHM_MAX_TEXT_BYTES));
  }
}

static void set_sampling(fuzz_input *in, chm_session *session) {
  float temperature = real(in), top_p = real(in);
  int32_t top_k = number(in);
  float penalty = real(in);
  uint32_t seed = fuzz_byte(in), stream = fuzz_byte(in);
  fuzz_status(chm_session_set_sampling(session, temperature, top_p, top_k, penalty, seed, seed, stream));
}

static void set_stop(fuzz_input *in, chm_session *session) {
  int32_t tokens[96];
  fuzz_status(chm_session_set_stop_tokens(session, tokens, some_tokens(in, tokens)));
}

static void snapshot(fuzz_input *in, chm_session *session) {
  uint32_t slot = fuzz_byte(in) % SLOTS;
  size_t bytes = chm_session_snapshot_bytes(session);
  if (!fuzz_status(chm_session_snapshot(session, slots[slot], bytes))) slot_bytes[slot] = bytes;
}

/* Numbers of a snapshot, which have no checksum here. */
static void poke(fuzz_input *in) {
  uint32_t slot = fuzz_byte(in) % SLOTS, where = fuzz_byte(in);
  int32_t value = number(in);
  if (!slot_bytes[slot]) return;
  if (where < 64) memcpy(slots[slot] + sequence_at + where % 8u * 4, &value, 4);
  else if (where < 200) slots[slot][place_at + (where - 64u) % 128u] = (uint8_t)value;
  else slots[slot][(where - 200u) * 331u % slot_bytes[slot]] ^= (uint8_t)value;
}

static void restore(fuzz_input *in, chm_session *session) {
  uint32_t choice = fuzz_byte(in), slot = choice % SLOTS;
  size_t bytes = slot_bytes[slot];
  if (choice / SLOTS % 16u == 15) bytes = bytes * (choice / 64u) / 4;
  uint8_t *copy = fuzz_copy(slots[slot], bytes);
  if (!fuzz_status(chm_session_restore(session, copy, bytes)) && session) {
    chm_session *other;
    uint64_t hashes[2] = {0};
    if (!fuzz_status(chm_session_open(bundles[0], NULL, &other))) {
      FUZZ_CHECK(!chm_session_restore(other, copy, bytes) && chm_session_position(other) == chm_session_position(session));
      FUZZ_CHECK(fuzz_status(chm_session_logits_hash(session, &hashes[0])) == CHM_OK || chm_session_position(session) > 1 << 30);
      (void)hashes;
      FUZZ_CHECK(!chm_session_close(other));
    }
  }
  free(copy);
}

static void hashes(chm_session *session) {
  uint64_t hash;
  fuzz_status(chm_session_state_hash(session, &hash));
  fuzz_status(chm_session_logits_hash(session, &hash));
}

static void look(chm_session *session) {
  size_t bytes;
  chm_session_text(session, &bytes);
  chm_session_logits(session);
  chm_session_position(session);
  chm_session_iterations(session);
  chm_session_complete(session);
}

static void profile(fuzz_input *in, chm_session *session) {
  static int64_t times[8];
  size_t steps = (size_t)chm_profile_steps();
  uint32_t choice = fuzz_byte(in) % 4u;
  fuzz_status(chm_session_profile(session, choice ? times : NULL, choice == 1 ? steps + 1 : steps));
}

static void move_grammar(fuzz_input *in, chm_grammar *grammar) {
  uint32_t mask[16];
  uint8_t text[64];
  size_t bytes, words = chm_grammar_mask_words(grammar);
  switch (fuzz_byte(in) % 9u) {
    case 0: fuzz_status(chm_grammar_start(grammar)); break;
    case 1: fuzz_status(chm_grammar_accept(grammar, number(in))); break;
    case 2: {
      int32_t left = number(in);
      if (grammar && !fuzz_status(chm_grammar_mask(grammar, left, mask, words)))
        for (int32_t token = 0; token < 288; token += 1 + (int32_t)(fuzz_byte(in) & 31u)) {
          bool allowed = mask[token >> 5] >> (token & 31) & 1;
          FUZZ_CHECK(!chm_grammar_save(grammar, places, sizeof places));
          int32_t status = fuzz_status(chm_grammar_accept(grammar, token));
          FUZZ_CHECK(!allowed || status <= CHM_FINISHED); /* a mask allows nothing that is refused */
          FUZZ_CHECK(left >= 0 || allowed == (status <= CHM_FINISHED));
          FUZZ_CHECK(!chm_grammar_restore(grammar, places, sizeof places));
        }
      break;
    }
    case 3: fuzz_status(chm_grammar_forced(grammar, text, sizeof text, &bytes)); break;
    case 4: fuzz_status(chm_grammar_save(grammar, places, sizeof places)); break;
    case 5: {
      uint32_t at = fuzz_word(in), value = fuzz_byte(in);
      if (at < sizeof places) places[at] = (uint8_t)value;
      fuzz_status(chm_grammar_restore(grammar, places, sizeof places));
      break;
    }
    case 6: fuzz_status(chm_grammar_set_whitespace(grammar, number(in))); break;
    case 7: FUZZ_CHECK(chm_grammar_closing(grammar) >= 0); break;
    default: chm_grammar_complete(grammar);
  }
}

static int32_t draft(void *context, int32_t position, int32_t *tokens, int32_t *parents, int32_t most) {
  for (int32_t i = 0; i < most; ++i) {
    tokens[i] = (position + 37 * i) % 300 - 2;
    parents[i] = i / 2 - 1;
  }
  return *(int32_t *)context;
}

static void guess(fuzz_input *in, uint32_t i) {
  static int32_t nodes;
  chm_session *session = sessions[i];
  uint64_t counters[CHM_COUNTERS];
  uint32_t choice = fuzz_byte(in);
  switch (choice % 4u) {
    case 0: fuzz_status(chm_session_set_speculation(session, number(in))); break;
    case 1: {
      int32_t status = fuzz_status(chm_session_set_bank(session, choice / 4u % 4u ? bank : NULL));
      FUZZ_CHECK(status || !bundle_of[i] || !(choice / 4u % 4u)); /* of another bundle */
      break;
    }
    case 2:
      nodes = number(in);
      fuzz_status(chm_session_set_drafter(session, choice / 4u % 4u ? draft : NULL, &nodes));
      break;
    default:
      fuzz_status(chm_session_counters(session, counters, choice / 4u % (CHM_COUNTERS + 2u)));
      fuzz_status(chm_session_rollbacks(session, counters, choice / 4u % (CHM_ROLLBACKS + 2u)));
      fuzz_status(chm_session_rejected(session, counters, choice / 4u % (CHM_REJECTED + 2u)));
  }
}

static void score(fuzz_input *in, chm_session *session) {
  uint32_t choice = fuzz_byte(in);
  if (choice % 2u) fuzz_status(chm_session_set_scoring(session, (int32_t)(choice / 2u % 2u)));
  FUZZ_CHECK(chm_session_score(session) <= 0.0f && chm_session_room(session) >= 0);
}

static void tell_names(fuzz_input *in, chm_session *session) {
  const uint8_t *json;
  chm_names *names = NULL;
  size_t bytes = some_text(in, &json);
  if (bytes && fuzz_status(chm_names_open(json, bytes, &fuzz_allocator, &names))) return;
  fuzz_status(chm_session_tell_names(session, names));
  chm_names_close(names);
}

static void set_words(fuzz_input *in, chm_grammar *grammar) {
  const uint8_t *text;
  int32_t kind = (int32_t)fuzz_byte(in) % 6 - 1;
  size_t bytes = some_text(in, &text);
  fuzz_status(chm_grammar_set_words(grammar, kind, bytes ? text : NULL, bytes));
  FUZZ_CHECK(chm_grammar_slots(grammar) >= 0);
}

static void set_valve(fuzz_input *in, chm_session *session) {
  float medium = real(in), high = real(in);
  int32_t low = number(in), middle = number(in), most = number(in);
  fuzz_status(chm_session_set_valve(session, medium, high, low, middle, most, fuzz_byte(in)));
  uint32_t outstanding = fuzz_byte(in) % 66u, weight = 257u * fuzz_byte(in), numbers[CHM_LEDGER_NUMBERS];
  uint64_t levels[3];
  fuzz_status(chm_session_set_ledger(session, fuzz_byte(in) % 65u, outstanding, weight));
  fuzz_status(chm_session_levels(session, levels, 3));
  if (!fuzz_status(chm_session_ledger(session, numbers, CHM_LEDGER_NUMBERS)))
    FUZZ_CHECK(numbers[CHM_OBLIGATIONS] <= CHM_LEDGER_WHOLE);
}

static void more(fuzz_input *in, uint32_t i, uint32_t k) {
  switch (fuzz_byte(in) % 5u) {
    case 0: guess(in, i); break;
    case 1: score(in, sessions[i]); break;
    case 2: tell_names(in, sessions[i]); break;
    case 3: set_valve(in, sessions[i]); break;
    default: set_words(in, grammars[k]);
  }
}

/* Arguments that are refused. */
static void refused(chm_session *session) {
  int32_t token;
  FUZZ_CHECK(chm_session_prefill(session, NULL, 3) >= 400);
  FUZZ_CHECK(chm_session_generate(session, NULL) == CHM_ERROR_ARGUMENT && chm_session_generate(NULL, &token) == CHM_ERROR_ARGUMENT);
  FUZZ_CHECK(chm_session_snapshot(session, slots[0], 7) >= 400 && chm_session_restore(session, NULL, 7) >= 400);
  FUZZ_CHECK(chm_session_state_hash(session, NULL) == CHM_ERROR_ARGUMENT);
  FUZZ_CHECK(chm_session_set_stop_tokens(session, NULL, 2) >= 400 && chm_session_set_exit_threshold(session, 2.0f) >= 400);
  FUZZ_CHECK(chm_bundle_set_threads(bundles[0], -1) == CHM_ERROR_ARGUMENT);
  FUZZ_CHECK(chm_pack_open(bundles[0], NULL, NULL, 3, 0, NULL, &(chm_pack *){0}) == CHM_ERROR_ARGUMENT);
  FUZZ_CHECK(chm_pack_open(bundles[1], NULL, NULL, 0, 0, NULL, &(chm_pack *){0}) == CHM_ERROR_STATE);
  FUZZ_CHECK(chm_bundle_close(bundles[0]) == CHM_ERROR_STATE); /* its grammars are open */
}

static void encode(fuzz_input *in) {
  int32_t tokens[100];
  size_t count = 0, at = fuzz_byte(in) % 4u;
  chm_bundle *bundle = bundles[at == 3];
  const uint8_t *text;
  size_t bytes = some_text(in, &text), capacity = fuzz_byte(in) % 101u;
  fuzz_status(chm_tokenizer_encode(bundle, text, bytes, tokens, capacity, &count));
  FUZZ_CHECK(bundle == bundles[1] || count <= chm_tokenizer_room(bundle, bytes));
  fuzz_status(chm_tokenizer_encode_more(bundle, text, bytes, tokens, capacity, &count));
  fuzz_status(chm_tokenizer_encode_with_specials(bundle, text, bytes, tokens, 100, &count));
  fuzz_status(chm_tokenizer_encode_part(bundle, text, bytes, &at, fuzz_byte(in), tokens, capacity, &count));
}

static void call(fuzz_input *in) {
  uint32_t code = fuzz_byte(in), i = code / 32u % SESSIONS, k = code / 32u % GRAMMARS;
  chm_session *session = sessions[i];
  switch (code % 32u) {
    case 0: close_session(i); break;
    case 1: fuzz_status(chm_session_reset(session)); break;
    case 2: case 3: prefill(in, session); break;
    case 4: fuzz_status(chm_session_decode(session, one_token(in))); break;
    case 5: prompt(in, session); break;
    case 6: case 7: fuzz_status(chm_session_begin_generation(session, number(in))); break;
    case 8: case 9: generate(in, session); break;
    case 10: more(in, i, k); break;
    case 11: set_sampling(in, session); break;
    case 12: fuzz_status(chm_session_set_loops(session, number(in))); break;
    case 13: fuzz_status(chm_session_set_exit_threshold(session, real(in))); break;
    case 14: set_stop(in, session); break;
    case 15: case 16: set_grammar(in, i); break;
    case 17: snapshot(in, session); break;
    case 18: restore(in, session); break;
    case 19: poke(in); break;
    case 20: hashes(session); break;
    case 21: look(session); break;
    case 22: profile(in, session); break;
    case 23: case 24: open_grammar(in, k); break;
    case 25: close_grammar(k); break;
    case 26: case 27: move_grammar(in, grammars[k]); break;
    case 28: refused(session); break;
    case 29: encode(in); break;
    case 30: fuzz_fail_at(fuzz_byte(in) % 8u); break;
    default: open_session(in, i);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prepare();
  uint32_t blocks = fuzz_blocks();
  uint8_t *copy = fuzz_copy(data, size);
  fuzz_input in = {copy, copy + size};
  FUZZ_CHECK(!chm_session_open(bundles[0], NULL, &sessions[0]));
  bundle_of[0] = 0;
  memset(slot_bytes, 0, sizeof slot_bytes);
  memset(places, 0, sizeof places);
  for (int i = 0; i < MOST_CALLS && in.at < in.end; ++i) call(&in);
  fuzz_fail_at(0);
  for (uint32_t i = 0; i < SESSIONS; ++i) close_session(i);
  for (uint32_t i = 0; i < GRAMMARS; ++i) close_grammar(i);
  FUZZ_CHECK(fuzz_blocks() == blocks);
  free(copy);
  return 0;
}
