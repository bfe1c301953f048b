/* Banks of spans: what a session guesses from one, from grammars, earlier text and a drafter of the caller changes no token, no
 * text, no score and no bit of a state. An input is a container; everything else is decided by its bytes. */
#include "fuzz.h"

#include "chm_bank.h"

FUZZ_CONTAINERS

#define MOST_STEPS 40
#define MOST_PROMPT 24
#define SNAPSHOT_BYTES 32768u

static chm_bundle *bundle;
static chm_pack *pack;

static void prepare(void) {
  if (bundle) return;
  bundle = fuzz_bundle();
  FUZZ_CHECK(!chm_pack_open(bundle, NULL, fuzz_pack, (size_t)(fuzz_pack_end - fuzz_pack), 0, NULL, &pack));
}

/* What both sessions are told. */
typedef struct plan {
  const char *grammar; /* NULL: none */
  const char *home;    /* NULL: none */
  int32_t prompt[MOST_PROMPT], n_prompt, max_tokens, loops, saved; /* the step that a snapshot is taken before */
  bool drawn, scored, valve;
  uint32_t seed;
} plan;

/* What a session did. */
typedef struct course {
  int32_t begun, tokens[MOST_STEPS], statuses[MOST_STEPS], first, n, position, room;
  uint32_t texts, ledgers;
  float score;
  uint64_t state, logits;
  size_t snapshot_bytes;
  uint8_t snapshot[SNAPSHOT_BYTES];
} course;

static plan make_plan(const uint8_t *data, size_t size, uint64_t *random) {
  static const char *const grammars[] = {NULL, NULL, "person", "regex", "said"};
  static const char *const homes[] = {NULL, "{}", "{\"entities\":[\"lamp\",{\"name\":\"TV\",\"area\":\"hall\"}]}",
                                      "{\"floors\":[\"top\"],\"areas\":[\"hall\",{\"name\":\"bath\",\"aliases\":[\"wc\"]}]}"};
  plan made = {.grammar = grammars[fuzz_next(random, 5)],
               .home = homes[fuzz_next(random, 4)],
               .n_prompt = 2 + (int32_t)fuzz_next(random, MOST_PROMPT - 1),
               .max_tokens = (int32_t)(fuzz_next(random, 2) ? fuzz_next(random, MOST_STEPS) : 300),
               .loops = (int32_t)fuzz_next(random, 4),
               .saved = (int32_t)fuzz_next(random, 2 * MOST_STEPS),
               .drawn = fuzz_next(random, 2),
               .scored = fuzz_next(random, 2),
               .valve = fuzz_next(random, 2),
               .seed = fuzz_next(random, 100)};
  size_t at = fuzz_next(random, (uint32_t)size + 1);
  for (int32_t i = 0; i < made.n_prompt; ++i) made.prompt[i] = at < size ? data[at++] : 'a' + i % 5;
  return made;
}

static chm_session *begin(const plan *told, chm_grammar **grammar, course *done) {
  chm_session *session;
  chm_names *names = NULL;
  FUZZ_CHECK(!chm_session_open(bundle, NULL, &session));
  if (told->grammar) FUZZ_CHECK(!chm_grammar_open(pack, told->grammar, NULL, grammar));
  FUZZ_CHECK(!chm_session_set_grammar(session, *grammar) && !chm_session_set_loops(session, told->loops));
  FUZZ_CHECK(!chm_session_set_scoring(session, told->scored));
  if (told->valve) FUZZ_CHECK(!chm_session_set_valve(session, 2.0f, 6.0f, 1, 2, 4, told->seed % 4));
  FUZZ_CHECK(!chm_session_set_ledger(session, 63, 64, 9999));
  if (told->drawn) FUZZ_CHECK(!chm_session_set_sampling(session, 0.7f, 0.95f, 40, 1.2f, told->seed, 2, 3));
  if (told->home) {
    FUZZ_CHECK(!chm_names_open((const uint8_t *)told->home, strlen(told->home), &fuzz_allocator, &names));
    FUZZ_CHECK(!fuzz_status(chm_session_tell_names(session, names)));
    chm_names_close(names);
  }
  if (*grammar && chm_grammar_slots(*grammar))
    FUZZ_CHECK(!chm_session_prompt(session, (const uint8_t *)"the red lamp, please", 20));
  FUZZ_CHECK(!chm_session_prefill(session, told->prompt, (size_t)told->n_prompt));
  done->first = chm_session_position(session);
  return session;
}

/* A snapshot, from which the session goes on. */
static void save(chm_session *session, course *done) {
  size_t bytes = chm_session_snapshot_bytes(session);
  FUZZ_CHECK(bytes <= SNAPSHOT_BYTES && !chm_session_snapshot(session, done->snapshot, bytes));
  FUZZ_CHECK(!chm_session_restore(session, done->snapshot, bytes));
  done->snapshot_bytes = bytes;
}

/* What is open after each step; as many frames as the place in the grammar has, also where guesses were taken back. */
static void note_ledger(chm_session *session, course *done) {
  uint32_t open[CHM_LEDGER_NUMBERS], frames = 0;
  FUZZ_CHECK(!chm_session_ledger(session, open, CHM_LEDGER_NUMBERS));
  for (int i = 0; i < CHM_LEDGER_NUMBERS; ++i) done->ledgers = done->ledgers * 31 + open[i];
  for (int i = 0; i < 4; ++i) frames += open[i];
  FUZZ_CHECK(frames == (session->grammar ? session->sequence.place.depth : 0));
}

static void follow(const plan *told, chm_session *session, course *done) {
  int32_t status = done->begun = fuzz_status(chm_session_begin_generation(session, told->max_tokens));
  for (; !status && done->n < MOST_STEPS; ++done->n) {
    if (done->n == told->saved) save(session, done);
    status = done->statuses[done->n] = fuzz_status(chm_session_generate(session, &done->tokens[done->n]));
    size_t bytes;
    const uint8_t *text = chm_session_text(session, &bytes);
    for (size_t i = 0; i < bytes; ++i) done->texts = done->texts * 31 + text[i];
    note_ledger(session, done);
  }
  done->score = chm_session_score(session);
  FUZZ_CHECK(done->score <= 0.0f);
  FUZZ_CHECK(!chm_session_state_hash(session, &done->state) && !chm_session_logits_hash(session, &done->logits));
  done->position = chm_session_position(session);
  done->room = chm_session_room(session);
}

/* ---- guessing ---- */

typedef struct drafter {
  const course *right;
  uint64_t random;
} drafter;

/* The right tokens, among others, in trees that are none, too. */
static int32_t draft(void *context, int32_t position, int32_t *tokens, int32_t *parents, int32_t most) {
  drafter *self = context;
  int32_t at = position - self->right->first, n = (int32_t)fuzz_next(&self->random, (uint32_t)most + 2), last = -1;
  FUZZ_CHECK(at >= 0 && at <= self->right->n && most >= 1 && most <= 20);
  for (int32_t i = 0; i < n && i < most; ++i) {
    bool right = at < self->right->n && fuzz_next(&self->random, 4);
    tokens[i] = right ? self->right->tokens[at++] : (int32_t)fuzz_next(&self->random, 400) - 50;
    parents[i] = fuzz_next(&self->random, 16) ? last : (int32_t)fuzz_next(&self->random, (uint32_t)i + 3) - 2;
    if (right) last = i;
  }
  return fuzz_next(&self->random, 16) ? n : (int32_t)fuzz_next(&self->random, 9) - 5;
}

/* Let spans of the bank be parts of the text, which they would hardly ever be. */
static void fill(uint8_t *file, size_t size, const plan *told, const course *right, uint64_t *random) {
  chm_container container;
  if (chm_container_open(file, size, CHM_KIND_SPANS, "spans", 0, &fuzz_allocator, &container)) return;
  const chm_entry *tokens = chm_container_find(&container, "spans.tok");
  int32_t all = told->n_prompt + right->n, at = (int32_t)fuzz_next(random, (uint32_t)all);
  for (uint64_t i = 0; tokens && i + 3 <= tokens->bytes; i += 3, at = (at + 1) % all) {
    int32_t token = at < told->n_prompt ? told->prompt[at] : right->tokens[at - told->n_prompt];
    memcpy(file + tokens->begin + i, &token, 3);
  }
  const chm_entry *records = chm_container_find(&container, "spans.rec");
  for (uint64_t i = 56; records && fuzz_next(random, 8) && i + 8 <= records->bytes; i += CHM_SPAN_RECORD)
    memset(file + records->begin + i, 0, 8); /* no certificate, since tokens are others now */
  chm_container_close(&container, &fuzz_allocator);
}

static chm_bank *open_bank(const uint8_t *file, size_t size, uint64_t *random) {
  chm_bank *bank;
  uint32_t flags = fuzz_next(random, 4) ? CHM_OPEN_SKIP_CHECKSUMS : 0;
  if (!fuzz_next(random, 8)) fuzz_fail_at(1 + fuzz_next(random, 3));
  int32_t status = fuzz_status(chm_bank_open(bundle, file, size, flags, NULL, &bank));
  fuzz_fail_at(0);
  FUZZ_CHECK(!status == (bank != NULL) && !bank == !chm_bank_count(bank));
  return bank;
}

static void check_counters(chm_session *session) {
  uint64_t counters[CHM_COUNTERS];
  FUZZ_CHECK(!chm_session_counters(session, counters, CHM_COUNTERS));
  for (int kind = 0; kind < 2; ++kind) { /* those that were guessed, and those that were taken */
    uint64_t sum = 0;
    for (int who = 1; who < CHM_COUNTERS / 2 - 1; ++who) sum += counters[CHM_COUNTER_PROPOSED + kind + 2 * who];
    FUZZ_CHECK(sum == counters[CHM_COUNTER_PROPOSED + kind]);
  }
  FUZZ_CHECK(counters[CHM_COUNTER_ACCEPTED] <= counters[CHM_COUNTER_PROPOSED]);
  FUZZ_CHECK(counters[CHM_COUNTER_ROLLBACKS] <= counters[CHM_COUNTER_PASSES]);
  uint64_t wrong[CHM_ROLLBACKS], rejected[CHM_REJECTED], sum = 0;
  FUZZ_CHECK(!chm_session_rollbacks(session, wrong, CHM_ROLLBACKS) && !chm_session_rejected(session, rejected, CHM_REJECTED));
  for (int who = 0; who < CHM_ROLLBACKS; ++who) sum += wrong[who];
  FUZZ_CHECK(sum <= counters[CHM_COUNTER_ROLLBACKS]);
}

static void compare(const course *plain, const course *guessed) {
  FUZZ_CHECK(plain->begun == guessed->begun && plain->n == guessed->n && plain->texts == guessed->texts);
  FUZZ_CHECK(plain->ledgers == guessed->ledgers);
  FUZZ_CHECK(!memcmp(plain->tokens, guessed->tokens, sizeof plain->tokens));
  FUZZ_CHECK(!memcmp(plain->statuses, guessed->statuses, sizeof plain->statuses));
  FUZZ_CHECK(!memcmp(&plain->score, &guessed->score, sizeof plain->score));
  FUZZ_CHECK(plain->position == guessed->position && plain->room == guessed->room);
  FUZZ_CHECK(plain->state == guessed->state && plain->logits == guessed->logits);
  FUZZ_CHECK(plain->snapshot_bytes == guessed->snapshot_bytes);
  FUZZ_CHECK(!memcmp(plain->snapshot, guessed->snapshot, plain->snapshot_bytes));
}

static void end(chm_session *session, chm_grammar *grammar) {
  FUZZ_CHECK(!chm_session_close(session));
  if (grammar) FUZZ_CHECK(!chm_grammar_close(grammar));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static course plain, guessed;
  prepare();
  uint32_t blocks = fuzz_blocks();
  uint64_t random = fuzz_hash(data, size < 6000 ? size : 6000);
  plan told = make_plan(data, size, &random);
  chm_grammar *grammar = NULL;
  plain = guessed = (course){0};

  uint8_t *file = fuzz_copy(data, size);
  chm_bank *bank = open_bank(file, size, &random);
  if (!bank && fuzz_next(&random, 16)) { /* nothing to guess from */
    free(file);
    return 0;
  }
  chm_session *session = begin(&told, &grammar, &plain);
  FUZZ_CHECK(!chm_session_set_speculation(session, 0));
  follow(&told, session, &plain);
  end(session, grammar);

  grammar = NULL;
  drafter drafts = {&plain, random};
  if (bank && fuzz_next(&random, 4)) fill(file, size, &told, &plain, &random);
  session = begin(&told, &grammar, &guessed);
  FUZZ_CHECK(!chm_session_set_speculation(session, 2 + (int32_t)fuzz_next(&random, 19)));
  FUZZ_CHECK(!chm_session_set_bank(session, bank));
  if (bank) FUZZ_CHECK(chm_bank_close(bank) == CHM_ERROR_STATE);
  if (!fuzz_next(&random, 4)) FUZZ_CHECK(!chm_session_set_drafter(session, draft, &drafts));
  follow(&told, session, &guessed);
  check_counters(session);
  end(session, grammar);
  compare(&plain, &guessed);

  if (bank) FUZZ_CHECK(!chm_bank_close(bank));
  FUZZ_CHECK(fuzz_blocks() == blocks);
  free(file);
  return 0;
}
