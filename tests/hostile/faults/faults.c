/* Every allocation and every call of the system in turn fails, once and from then on: a clean error, and nothing is left.
 *
 * faults WEIGHTS TOKENIZER PACK BANK RULES   prints for each story how many places can fail; the story runs once for each
 */
#include "wrapped.h"

#include <errno.h>
#include <stdlib.h>

#include "../../runtime/native/hostile.h"
#include "chm_grammar.h"

static const char *weights_path, *tokenizer_path, *bank_path;
static buffer weights, tokenizer, pack_file, bank_file, rules;

static void check(bool good, const char *what, int line) {
  if (good) return;
  fprintf(stderr, "line %d: %s; the last error: %s\n", line, what, chm_last_error());
  exit(1);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

/* ---- an allocator of which one call fails ---- */

static uint32_t calls, fail_at, blocks;
static bool and_after;

static void *allocate(void *user, size_t bytes) {
  (void)user;
  ++calls;
  if (fail_at && (and_after ? calls >= fail_at : calls == fail_at)) return NULL;
  ++blocks;
  return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void release(void *user, void *block, size_t bytes) {
  (void)user;
  (void)bytes;
  --blocks;
  free(block);
}

static const chm_allocator allocator = {allocate, release, NULL};

/* ---- stories: each returns the first status that is an error, when all is closed again ---- */

static int32_t open_bundle(chm_bundle **bundle) {
  return chm_bundle_open(weights.data, weights.size, tokenizer.data, tokenizer.size, 0, &allocator, bundle);
}

static int32_t bundle_story(void) {
  chm_bundle *bundle;
  int32_t status = open_bundle(&bundle);
  CHECK(!status == (bundle != NULL));
  if (bundle) CHECK(!chm_bundle_close(bundle));
  return status;
}

static int32_t files_story(void) {
  chm_bundle *bundle;
  int32_t status = chm_bundle_open_files(weights_path, tokenizer_path, 0, &allocator, &bundle);
  CHECK(!status == (bundle != NULL));
  if (bundle) CHECK(!chm_bundle_close(bundle));
  return status;
}

static uint64_t hash_of(chm_session *session) {
  uint64_t hash = 0;
  CHECK(!chm_session_state_hash(session, &hash));
  return hash;
}

static int32_t session_story(void) {
  chm_bundle *bundle;
  chm_session *session = NULL;
  int32_t token, status = open_bundle(&bundle);
  if (!status) status = chm_session_open(bundle, NULL, &session);
  CHECK(!status == (session != NULL));
  if (session) {
    CHECK(!chm_session_decode(session, 3));
    uint64_t before = hash_of(session);
    status = chm_session_prompt(session, (const uint8_t *)"hello", 5);
    if (status) CHECK(hash_of(session) == before && chm_session_position(session) == 1);
    for (int i = 0; i < 3; ++i) CHECK(chm_session_generate(session, &token) <= CHM_FINISHED); /* it can still be used */
    uint32_t now = calls;
    size_t bytes = chm_session_snapshot_bytes(session);
    void *snapshot = malloc(bytes);
    CHECK(snapshot && !chm_session_snapshot(session, snapshot, bytes) && !chm_session_restore(session, snapshot, bytes));
    CHECK(calls == now); /* nothing is allocated for snapshots */
    free(snapshot);
    CHECK(!chm_session_close(session));
  }
  if (bundle) CHECK(!chm_bundle_close(bundle));
  return status;
}

static int32_t encode_story(void) {
  chm_bundle *bundle;
  static uint8_t text[3000]; /* long enough for a heap, and then for a larger one; a token is two spaces */
  int32_t tokens[sizeof text];
  size_t count, at = 0;
  memset(text, ' ', sizeof text);
  text[100] = '\n';
  int32_t status = open_bundle(&bundle);
  if (!status) status = chm_tokenizer_encode(bundle, text, sizeof text, tokens, sizeof text, &count);
  if (!status) status = chm_tokenizer_encode(bundle, text, sizeof text, tokens, sizeof text - 1, &count);
  if (!status) status = chm_tokenizer_encode_with_specials(bundle, text, sizeof text, tokens, sizeof text, &count);
  while (!status && at < sizeof text) status = chm_tokenizer_encode_part(bundle, text, sizeof text, &at, 64, tokens, sizeof text, &count);
  if (bundle) CHECK(!chm_bundle_close(bundle));
  return status;
}

/* With a tokenizer that normalizes, puts a space before and leaves bytes out: it copies the text, and pieces of it. */
static int32_t rules_story(void) {
  chm_bundle *bundle;
  static const uint8_t text[] = "e\xcc\x81\xcc\xa3 the kinks k\xe1\x84\x80\xe1\x85\xa1 kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";
  int32_t tokens[4 * sizeof text];
  size_t count, at = 0, size = sizeof text - 1;
  int32_t status = chm_bundle_open(weights.data, weights.size, rules.data, rules.size, 0, &allocator, &bundle);
  if (!status) status = chm_tokenizer_encode(bundle, text, size, tokens, 4 * size, &count);
  if (!status) status = chm_tokenizer_encode_more(bundle, text, size, tokens, 4 * size, &count);
  if (!status) status = chm_tokenizer_encode_part(bundle, text, size, &at, 64, tokens, 4 * size, &count);
  if (bundle) CHECK(!chm_bundle_close(bundle));
  return status;
}

static int32_t use_grammar(chm_bundle *bundle, chm_pack *pack, const char *name) {
  chm_grammar *grammar;
  chm_session *session = NULL;
  int32_t token, status = chm_grammar_open(pack, name, NULL, &grammar);
  CHECK(!status == (grammar != NULL));
  if (!status) status = chm_session_open(bundle, NULL, &session);
  if (session) {
    status = chm_grammar_set_words(grammar, 0, (const uint8_t *)"red lamps", 9);
    uint32_t now = calls;
    CHECK(!chm_session_set_grammar(session, grammar) && !chm_session_decode(session, 3));
    if (!status) CHECK(!chm_session_begin_generation(session, 90));
    for (int i = 0; !status && i < 20; ++i) CHECK(chm_session_generate(session, &token) <= CHM_FINISHED);
    CHECK(calls == now); /* nothing is allocated for a token */
  }
  CHECK(!chm_session_close(session) && !chm_grammar_close(grammar));
  return status;
}

static int32_t grammar_story(void) {
  chm_bundle *bundle;
  chm_pack *base = NULL, *pack = NULL;
  int32_t status = open_bundle(&bundle);
  if (!status) status = chm_pack_open(bundle, NULL, NULL, 0, 0, NULL, &base); /* makes the tables */
  CHECK(!status == (base != NULL));
  if (!status) status = chm_pack_open(bundle, base, pack_file.data, pack_file.size, 0, NULL, &pack);
  CHECK(!status == (pack != NULL));
  for (int32_t i = 0; !status && i < chm_pack_count(pack); ++i) status = use_grammar(bundle, pack, chm_pack_name(pack, i));
  if (pack) CHECK(!chm_pack_close(pack));
  if (base) CHECK(!chm_pack_close(base));
  if (bundle) CHECK(!chm_bundle_close(bundle));
  return status;
}

static int32_t names_story(void) {
  static const char json[] = "{\"floors\":[\"top\"],\"entities\":[{\"name\":\"lamp\",\"area\":\"hall\"}]}";
  chm_bundle *bundle;
  chm_session *session = NULL;
  chm_names *names = NULL;
  int32_t status = open_bundle(&bundle);
  if (!status) status = chm_names_open((const uint8_t *)json, sizeof json - 1, &allocator, &names);
  CHECK(!status == (names != NULL));
  if (!status) status = chm_session_open(bundle, NULL, &session);
  if (!status) status = chm_session_tell_names(session, names);
  if (session) CHECK(!chm_session_decode(session, 3) && !chm_session_close(session)); /* it can still be used */
  chm_names_close(names);
  if (bundle) CHECK(!chm_bundle_close(bundle));
  return status;
}

static int32_t bank_story(void) {
  chm_bundle *bundle;
  chm_session *session = NULL;
  chm_bank *banks[2] = {NULL, NULL};
  int32_t token, status = open_bundle(&bundle);
  if (!status) status = chm_bank_open(bundle, bank_file.data, bank_file.size, 0, NULL, &banks[0]);
  if (!status) status = chm_bank_open_file(bundle, bank_path, 0, NULL, &banks[1]);
  CHECK(!status == (banks[1] != NULL));
  if (!status) status = chm_session_open(bundle, NULL, &session);
  if (session) {
    uint32_t now = calls;
    CHECK(!chm_session_set_bank(session, banks[1]) && !chm_session_set_speculation(session, 20) && !chm_session_decode(session, 3));
    for (int i = 0; i < 20; ++i) CHECK(!chm_session_begin_generation(session, 9) && !chm_session_generate(session, &token));
    CHECK(calls == now && !chm_session_close(session)); /* nothing is allocated for a guess */
  }
  for (int i = 0; i < 2; ++i)
    if (banks[i]) CHECK(!chm_bank_close(banks[i]));
  if (bundle) CHECK(!chm_bundle_close(bundle));
  return status;
}

static int32_t threads_story(void) {
  chm_bundle *bundle;
  int32_t status = open_bundle(&bundle);
  if (!status) {
    status = chm_bundle_set_threads(bundle, 3);
    CHECK(chm_bundle_threads(bundle) == (status ? 1 : 3));
    chm_session *session;
    int32_t opened = chm_session_open(bundle, NULL, &session);
    if (session) CHECK(!chm_session_decode(session, 3)); /* it computes with the threads that there are */
    if (!status) status = opened;
    CHECK(!chm_session_close(session));
    CHECK(!chm_bundle_close(bundle));
  }
  return status;
}

/* Without a number of threads the runtime reads files of the system; where it cannot, it takes what it knows. */
static int32_t cores_story(void) {
  chm_bundle *bundle;
  int32_t status = open_bundle(&bundle);
  if (!status) {
    CHECK(!chm_bundle_set_threads(bundle, 0) || chm_bundle_threads(bundle) == 1);
    CHECK(chm_bundle_threads(bundle) >= 1 && !chm_bundle_close(bundle));
  }
  return status;
}

/* ---- all places ---- */

static void check_left(void) {
  CHECK(!blocks);
  CHECK(!faults_files && !faults_mappings);
}

static void fail_allocations(const char *name, int32_t (*story)(void)) {
  calls = fail_at = 0;
  CHECK(!story());
  uint32_t all = calls;
  check_left();
  for (int after = 0; after < 2; ++after)
    for (uint32_t k = 1; k <= all; ++k) {
      calls = 0;
      fail_at = k;
      and_after = after;
      int32_t status = story();
      CHECK(status == CHM_ERROR_MEMORY && chm_last_error()[0]);
      check_left();
    }
  fail_at = 0;
  CHECK(!story());
  printf("%s %u\n", name, all);
}

/* tolerated: the story may go well all the same. */
static void fail_calls(const char *name, int32_t (*story)(void), bool tolerated) {
  static const int errors[] = {EIO, ENOMEM, EMFILE, EACCES, EINTR};
  faults_at = faults_calls = 0;
  CHECK(!story());
  uint32_t all = faults_calls, failed = 0;
  for (int after = 0; after < 2; ++after)
    for (uint32_t e = 0; e < sizeof errors / sizeof *errors; ++e)
      for (uint32_t k = 1; k <= all; ++k) {
        if (after && errors[e] == EINTR) continue; /* for ever interrupted */
        faults_errno = errors[e];
        faults_after = after;
        faults_calls = 0;
        faults_at = k;
        int32_t status = story();
        faults_at = 0;
        CHECK(status == CHM_ERROR_IO || status == CHM_ERROR_MEMORY || !status);
        CHECK(!status || chm_last_error()[0]);
        failed += status != CHM_OK;
        check_left();
      }
  CHECK(tolerated || failed);
  CHECK(!story());
  printf("%s %u\n", name, all);
}

int main(int count, char **arguments) {
  if (count != 6) return 2;
  weights_path = arguments[1];
  tokenizer_path = arguments[2];
  weights = read_file(arguments[1]);
  tokenizer = read_file(arguments[2]);
  bank_path = arguments[4];
  pack_file = read_file(arguments[3]);
  bank_file = read_file(bank_path);
  rules = read_file(arguments[5]);
  fail_allocations("bundle", bundle_story);
  fail_allocations("files", files_story);
  fail_allocations("session", session_story);
  fail_allocations("encode", encode_story);
  fail_allocations("rules", rules_story);
  fail_allocations("grammar", grammar_story);
  fail_allocations("names", names_story);
  fail_allocations("bank", bank_story);
  fail_allocations("threads", threads_story);
  fail_calls("open-files", files_story, false);
  fail_calls("open-bank", bank_story, false);
  fail_calls("start-threads", threads_story, false);
  fail_calls("count-cores", cores_story, true);
  free(weights.data);
  free(tokenizer.data);
  free(pack_file.data);
  free(bank_file.data);
  free(rules.data);
  return 0;
}
