/* A memory of span knots: two sessions are told the same, vectors among it, right and wrong ones, and snapshots whose sketch, memory and
 * hit are anything; one guesses from a bank, whose spans the memory ranks. Both do the same, and what was read is what may be read.
 */
#include "fuzz_pair.h"

#include "chm_bank.h"

#define MOST_ACTIONS 24
#define MOST_VECTORS 40u
#define HIT_LEAST 0.1f /* of what is read, fewer than 45 bits in a hundred are others */

static chm_bundle *bundle;
static chm_bank *bank;
static uint8_t *vectors[2]; /* what each session was told, in blocks of their own */
static size_t size_of_one;
static bool spoiled; /* a snapshot had a hit of its own since a block began */

static void prepare(void) {
  if (bundle) return;
  bundle = fuzz_bundle();
  size_of_one = (size_t)chm_reads_memory();
  FUZZ_CHECK(size_of_one && chm_speculates());
  FUZZ_CHECK(!chm_pack_open(bundle, NULL, fuzz_pack, (size_t)(fuzz_pack_end - fuzz_pack), 0, NULL, &pack));
  FUZZ_CHECK(!chm_bank_open(bundle, fuzz_bank, (size_t)(fuzz_bank_end - fuzz_bank), 0, NULL, &bank));
}

static uint8_t *state_of(int which, int32_t state) { return sessions[which]->state + chm_model.states[state].offset; }

/* ---- the memory ---- */

/* The bits that the first session's sketch has, but for some. */
static void near_sketch(uint8_t *vector, uint32_t seed, uint32_t others) {
  uint64_t random = seed;
  const int8_t *counters = (const int8_t *)state_of(PLAIN, chm_model.knot.sketch);
  memset(vector, 0, size_of_one);
  for (uint32_t i = 0; i < 8 * size_of_one; ++i) vector[i / 8] |= (uint8_t)((counters[i] >= 0) << i % 8);
  for (; others; --others) vector[fuzz_next(&random, (uint32_t)size_of_one)] ^= (uint8_t)(1u << fuzz_next(&random, 8));
}

static void fill(uint8_t *memory, size_t count, fuzz_input *in) {
  uint32_t kind = fuzz_byte(in), seed = fuzz_byte(in);
  for (size_t i = 0; i < count; ++i) {
    uint8_t *vector = memory + i * size_of_one;
    if (kind & 1) near_sketch(vector, seed + (uint32_t)(kind & 2 ? i : 0), kind >> 2);
    else
      for (size_t k = 0; k < size_of_one; ++k) vector[k] = (uint8_t)(fuzz_byte(in) + (kind & 2 ? i * seed * k : 0));
  }
}

static void set_memory(fuzz_input *in) {
  size_t count = fuzz_byte(in) % (MOST_VECTORS + 1);
  uint8_t made[MOST_VECTORS * 64u], *memory[2];
  FUZZ_CHECK(size_of_one <= sizeof made / MOST_VECTORS);
  fill(made, count, in);
  for (int i = 0; i < 2; ++i) memory[i] = fuzz_copy(made, count * size_of_one); /* so that none reads beyond */
  BOTH(chm_session_set_memory(sessions[i], memory[i], size_of_one, count));
  for (int i = 0; i < 2; ++i) {
    free(vectors[i]);
    vectors[i] = memory[i];
  }
}

static void forget(void) {
  BOTH(chm_session_set_memory(sessions[i], NULL, size_of_one, 0));
  for (int i = 0; i < 2; ++i) {
    free(vectors[i]);
    vectors[i] = NULL;
  }
}

/* Refused, and the memory stays. */
static void set_wrong(fuzz_input *in) {
  uint32_t byte = fuzz_byte(in);
  size_t bytes = byte & 1 ? size_of_one : (size_t)byte / 2 + (byte / 2 == size_of_one), count = byte & 1 ? CHM_MOST_MEMORY + 1u + byte : 1;
  for (int i = 0; i < 2; ++i) {
    FUZZ_CHECK(fuzz_status(chm_session_set_memory(sessions[i], vectors, bytes, count)) == CHM_ERROR_ARGUMENT);
    FUZZ_CHECK(fuzz_status(chm_session_set_memory(sessions[i], NULL, size_of_one, count)) == CHM_ERROR_ARGUMENT);
  }
}

/* ---- what only one is told ---- */

static void guess(fuzz_input *in) {
  uint32_t choice = fuzz_byte(in);
  fuzz_status(chm_session_set_speculation(sessions[GUESSING], (int32_t)(choice % 25u) - 1));
  FUZZ_CHECK(!chm_session_set_bank(sessions[GUESSING], choice & 32 ? NULL : bank));
}

/* ---- ranking ---- */

/* Bits of the sketch that would be others than those that were read, a token with the span's meaning after it; bit by bit. */
static uint32_t energy_of(uint32_t number) {
  chm_span span = chm_bank_span(bank, number);
  const int8_t *counters = (const int8_t *)state_of(PLAIN, chm_model.knot.sketch);
  const uint8_t *memory = state_of(PLAIN, chm_model.knot.memory);
  uint32_t others = 0;
  for (uint32_t i = 0; i < 8 * size_of_one; ++i) {
    int32_t step = chm_bank_meaning(bank, &span, i / 64) >> i % 64 & 1 ? 8 : -8;
    others += (counters[i] - (counters[i] >> 4) + step >= 0) != (memory[i / 8] >> i % 8 & 1);
  }
  return others;
}

/* Spans of the bank, whatever the sketch and the memory are. */
static void rank(fuzz_input *in) {
  chm_candidate spans[CHM_MOST_RANKED];
  uint32_t count = fuzz_byte(in) % (CHM_MOST_RANKED + 1u), first = fuzz_byte(in), step = fuzz_byte(in), all = 0, known = 0;
  for (uint32_t i = 0; i < count; ++i) {
    spans[i] = (chm_candidate){.span = (first + i * step) % chm_bank_count(bank), .known = i};
    all += 1u << i;
  }
  const int8_t *counters = (const int8_t *)state_of(PLAIN, chm_model.knot.sketch);
  chm_knot_rank(counters, state_of(PLAIN, chm_model.knot.memory), (uint32_t)size_of_one / 8, bank, spans, count);
  for (uint32_t i = 0; i < count; ++i) {
    FUZZ_CHECK(spans[i].known < count && spans[i].span == (first + spans[i].known * step) % chm_bank_count(bank));
    known |= 1u << spans[i].known;
    if (!i) continue;
    uint32_t before = energy_of(spans[i - 1].span), now = energy_of(spans[i].span);
    FUZZ_CHECK(before < now || (before == now && spans[i - 1].known < spans[i].known));
  }
  FUZZ_CHECK(known == all);
}

/* ---- texts ---- */

/* The beginning of a span of the bank. */
static void say_span(fuzz_input *in) {
  int32_t tokens[64];
  chm_span span = chm_bank_span(bank, fuzz_byte(in) % chm_bank_count(bank));
  uint32_t count = 1 + fuzz_byte(in) % span.count;
  for (uint32_t i = 0; i < count; ++i) tokens[i] = chm_bank_token(bank, span.at + i);
  BOTH(chm_session_prefill(sessions[i], tokens, count));
}

/* ---- snapshots with what no text leaves ---- */

static void spoil(fuzz_input *in) {
  static const char *const names[] = {"state.knot.memory", "state.knot.sketch", "state.knot.hit"};
  static uint8_t snapshot[SNAPSHOT_BYTES];
  size_t bytes = chm_session_snapshot_bytes(sessions[0]);
  FUZZ_CHECK(bytes <= SNAPSHOT_BYTES && !chm_session_snapshot(sessions[0], snapshot, bytes));
  chm_container container;
  FUZZ_CHECK(!chm_container_open(snapshot, bytes, CHM_KIND_STATE, "snapshot", 0, &fuzz_allocator, &container));
  const chm_entry *section = chm_container_find(&container, names[fuzz_byte(in) % 3u]);
  uint8_t first = (uint8_t)fuzz_byte(in), step = (uint8_t)fuzz_byte(in);
  for (uint64_t i = 0; section && i < section->bytes; ++i) snapshot[section->begin + i] = (uint8_t)(first + i * step);
  chm_container_close(&container, &fuzz_allocator);
  BOTH(chm_session_restore(sessions[i], snapshot, bytes));
  spoiled = true;
}

/* ---- what holds ---- */

static void check_read(void) {
  for (int i = 0; i < 2 && !spoiled; ++i) {
    float hit;
    memcpy(&hit, state_of(i, chm_model.knot.hit), sizeof hit);
    FUZZ_CHECK(hit == 0.0f || (hit > HIT_LEAST && hit <= 1.0f));
    const uint8_t *memory = state_of(i, chm_model.knot.memory);
    for (size_t k = 0; k < size_of_one && hit == 0.0f; ++k) FUZZ_CHECK(!memory[k]);
  }
}

static void act(fuzz_input *in) {
  switch (fuzz_byte(in) % 16u) {
    case 0: prefill(in); break;
    case 1: prompt(in); break;
    case 2: say_span(in); break;
    case 3: begin(in); break;
    case 4: case 5: generate(in); break;
    case 6: rank(in); break;
    case 7: case 8: set_memory(in); break;
    case 9: forget(); break;
    case 10: set_wrong(in); break;
    case 11: guess(in); break;
    case 12: set_grammar(in); break;
    case 13: exchange(); break;
    case 14: spoil(in); break;
    default:
      BOTH(chm_session_reset(sessions[i]));
      spoiled = false;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prepare();
  uint32_t blocks = fuzz_blocks();
  uint8_t *copy = fuzz_copy(data, size);
  fuzz_input in = {copy, copy + size};
  open_both(bundle);
  FUZZ_CHECK(!chm_session_set_bank(sessions[GUESSING], bank));
  spoiled = false;
  for (int i = 0; i < MOST_ACTIONS && in.at < in.end; ++i) {
    act(&in);
    check_read();
  }
  compare();
  close_both();
  for (int i = 0; i < 2; ++i) {
    free(vectors[i]);
    vectors[i] = NULL;
  }
  FUZZ_CHECK(fuzz_blocks() == blocks);
  free(copy);
  return 0;
}
