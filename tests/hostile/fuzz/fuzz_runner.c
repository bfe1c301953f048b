/* Requests to chimera-run --serve, a line each, and its options, which begin with a minus. */
#define main chm_run_main
#include "chm_run.c"
#undef main
#include "chm_run_bundle.c"
#include "chm_run_serve.c"

#include "fuzz.h"

const char *const chm_run_weights = "", *const chm_run_tokenizer = "", *const chm_run_grammars = "";
const float chm_run_temperature = 0, chm_run_top_p = 1, chm_run_repetition_penalty = 1, chm_run_exit_threshold = 0;
const int32_t chm_run_max_tokens = 16;
const float chm_run_valve_bits[2] = {2.0f, 5.0f};
const int32_t chm_run_valve_loops[3] = {1, 2, 4};
const uint32_t chm_run_valve_metrics = 0;
const uint32_t chm_run_shares[6] = {64, 48, 48, 32, 65536, 22938};
const uint32_t chm_run_ledger[3] = {63, 64, 307};
const chm_run_mode chm_run_modes[] = {{"fast", 1, (const uint32_t[]){1, 0, 9, 0, 65536, 0}}, {NULL, 0, NULL}};
const char *const chm_run_refusal = NULL;
const float chm_run_refusal_threshold = 0.0f, chm_run_refusal_temperature = 1.0f;

static const chm_run_settings defaults = {.top_p = 1, .repetition_penalty = 1, .max_tokens = 16, .threads = 1};

static void prepare(void) {
  if (chm_run.bundle) return;
  chm_run.bundle = fuzz_bundle();
  grammar_bytes = (size_t)(fuzz_pack_end - fuzz_pack);
  grammar_file = fuzz_copy(fuzz_pack, grammar_bytes);
  FUZZ_CHECK(!chm_session_open(chm_run.bundle, NULL, &chm_run.session));
  FUZZ_CHECK(!open_grammars());
  stdout = stderr = fopen("/dev/null", "w"); /* what is asked for is written there */
  FUZZ_CHECK(stdout);
}

static void read_options(char *text) {
  char *words[32] = {text};
  chm_run_settings s = defaults;
  int count = 1;
  for (char *at = text; *at && count < 32; ++at)
    if (*at == '\n') {
      *at = 0;
      words[count++] = at + 1;
    }
  for (int i = 0; i < count; ++i)
    if (!strcmp(words[i], "-h") || !strcmp(words[i], "--help")) return; /* they end the program */
  if (!read_arguments(count, words, &s) && !use_mode(&s) && !chm_run_apply(&s)) FUZZ_CHECK(s.max_tokens >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prepare();
  FILE *error = stderr;
  uint32_t blocks = fuzz_blocks();
  char *text = malloc(size + 1), *end = text + size;
  if (!text) abort();
  memcpy(text, data, size);
  *end = 0;
  if (*text == '-') {
    read_options(text);
  } else {
    char *line = text;
    for (int i = 0; i < 24 && line < end; ++i) {
      char *next = line;
      while (next < end && *next != '\n') ++next;
      size_t bytes = (size_t)(next - line);
      char *copy = malloc(bytes + 1); /* as getline has it */
      if (!copy) abort();
      memcpy(copy, line, bytes);
      copy[bytes] = 0;
      int32_t status = serve_one(copy);
      if (status != CHM_RUN_BAD_REQUEST) fuzz_status(status);
      if (status) print_error(status);
      free(copy);
      line = next + 1;
    }
  }
  FUZZ_CHECK(!chm_session_reset(chm_run.session) && !chm_run_apply(&defaults) && error == stderr);
  drop_grammar();
  FUZZ_CHECK(!chm_session_begin_generation(chm_run.session, INT32_MAX));
  FUZZ_CHECK(fuzz_blocks() == blocks);
  free(text);
  return 0;
}
