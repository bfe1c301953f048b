/* chimera-run --serve: requests and answers in lines; docs/runtime.md has the protocol. */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chm_run.h"

/* ---- requests: words in a line, bytes as hexadecimal digits; answers "ok …" or "error STATUS message" ---- */

static char *next_word(char **line) {
  char *word = *line;
  while (*word == ' ') ++word;
  char *end = word;
  while (*end && *end != ' ') ++end;
  *line = *end ? end + 1 : end;
  *end = 0;
  return word;
}

static void print_hex(const void *data, size_t bytes) {
  const uint8_t *from = data;
  for (size_t i = 0; i < bytes; ++i) {
    putchar("0123456789abcdef"[from[i] >> 4]);
    putchar("0123456789abcdef"[from[i] & 15]);
  }
}

/* Decode in place; false if the digits are not bytes. */
static bool from_hex(char *word, size_t *bytes) {
  size_t length = strlen(word);
  for (size_t i = 0; i < length; ++i)
    if (!strchr("0123456789abcdef", word[i])) return false;
  if (length % 2) return false;
  for (size_t i = 0; i < length; i += 2) {
    char digits[3] = {word[i], word[i + 1], 0};
    ((uint8_t *)word)[i / 2] = (uint8_t)strtoul(digits, NULL, 16);
  }
  *bytes = length / 2;
  return true;
}

static int32_t serve_prefill(char *line) {
  size_t count = 0, capacity = strlen(line) / 2 + 1;
  int32_t *tokens = malloc(capacity * sizeof *tokens);
  if (!tokens) return CHM_RUN_NO_MEMORY;
  int32_t status = CHM_OK;
  for (char *word; *(word = next_word(&line));)
    if (count == capacity || !chm_run_read_i32(word, &tokens[count++])) status = CHM_RUN_BAD_REQUEST;
  if (!status) status = chm_session_prefill(chm_run.session, tokens, count);
  if (!status) printf("ok");
  free(tokens);
  return status;
}

static int32_t serve_encode(char *line, int32_t (*encode)(chm_bundle *, const uint8_t *, size_t, int32_t *, size_t, size_t *)) {
  size_t bytes, count;
  char *text = next_word(&line);
  if (!from_hex(text, &bytes)) return CHM_RUN_BAD_REQUEST;
  size_t room = chm_tokenizer_room(chm_run.bundle, bytes);
  int32_t *tokens = malloc((room + 1) * sizeof *tokens);
  if (!tokens) return CHM_RUN_NO_MEMORY;
  int32_t status = encode(chm_run.bundle, (const uint8_t *)text, bytes, tokens, room, &count);
  if (!status) {
    printf("ok");
    for (size_t i = 0; i < count; ++i) printf(" %d", (int)tokens[i]);
  }
  free(tokens);
  return status;
}

/* grammar default | grammar name NAME | grammar pack HEX; answers how many tokens a text needs at least, and its slots */
static int32_t serve_grammar(char *line) {
  const char *kind = next_word(&line);
  char *what = next_word(&line);
  size_t bytes;
  int32_t status = CHM_RUN_BAD_REQUEST;
  if (!strcmp(kind, "default")) status = chm_run_use_grammar(NULL);
  else if (!strcmp(kind, "name") && *what && (chm_run_grammars || !strcmp(what, "none"))) status = chm_run_use_grammar(what);
  else if (!strcmp(kind, "pack") && from_hex(what, &bytes)) status = chm_run_use_compiled(what, bytes);
  if (!status) printf("ok %d %d", (int)chm_grammar_closing(chm_run.grammar), (int)chm_grammar_slots(chm_run.grammar));
  return status;
}

/* words KIND HEX, or - for none */
static int32_t serve_words(char *line) {
  int32_t kind;
  size_t bytes = 0;
  if (!chm_run_read_i32(next_word(&line), &kind)) return CHM_RUN_BAD_REQUEST;
  char *text = next_word(&line);
  bool given = strcmp(text, "-");
  if (given && !from_hex(text, &bytes)) return CHM_RUN_BAD_REQUEST;
  const uint8_t *words = given ? (const uint8_t *)text : NULL;
  int32_t status = chm_run.grammar ? chm_grammar_set_words(chm_run.grammar, kind, words, bytes) : CHM_OK;
  if (!status) printf("ok");
  return status;
}

/* settings LOOPS EXIT TEMPERATURE TOP_P TOP_K PENALTY SEED STREAM, floats as the bits of a float32. */
static int32_t serve_settings(char *line) {
  chm_run_settings s = {0};
  float *floats[] = {NULL, &s.exit_threshold, &s.temperature, &s.top_p, NULL, &s.repetition_penalty, NULL, NULL};
  int32_t *integers[] = {&s.loops, NULL, NULL, NULL, &s.top_k, NULL, NULL, NULL};
  for (int i = 0; i < 8; ++i) {
    uint64_t value;
    if (!chm_run_read_u64(next_word(&line), &value) || (i != 6 && value > UINT32_MAX)) return CHM_RUN_BAD_REQUEST;
    uint32_t bits = (uint32_t)value;
    if (floats[i]) memcpy(floats[i], &bits, sizeof bits);
    else if (integers[i]) *integers[i] = value > INT32_MAX ? -1 : (int32_t)value;
    else if (i == 6) s.seed = value;
    else s.stream = bits;
  }
  int32_t status = chm_run_apply(&s);
  if (!status) printf("ok");
  return status;
}

static int32_t serve_next(void) {
  int32_t token;
  size_t bytes;
  int32_t status = chm_session_generate(chm_run.session, &token);
  if (status > CHM_FINISHED) return status;
  const uint8_t *text = chm_session_text(chm_run.session, &bytes);
  printf("ok %d %d ", (int)status, (int)token);
  print_hex(text, bytes);
  return CHM_OK;
}

static int32_t serve_hash(int32_t (*hash)(chm_session *, uint64_t *)) {
  uint64_t value;
  int32_t status = hash(chm_run.session, &value);
  if (!status) printf("ok %016llx", (unsigned long long)value);
  return status;
}

static int32_t serve_snapshot(void) {
  size_t bytes = chm_session_snapshot_bytes(chm_run.session);
  void *snapshot = malloc(bytes);
  if (!snapshot) return CHM_RUN_NO_MEMORY;
  int32_t status = chm_session_snapshot(chm_run.session, snapshot, bytes);
  if (!status) {
    printf("ok ");
    print_hex(snapshot, bytes);
  }
  free(snapshot);
  return status;
}

/* Vectors in hexadecimal, which the session reads where they are: the line, until the next memory. */
static int32_t serve_memory(char *line) {
  static char *held;
  size_t bytes = 0, width = (size_t)chm_reads_memory();
  char *vectors = strdup(next_word(&line));
  if (!vectors) return CHM_RUN_NO_MEMORY;
  if (*vectors && !from_hex(vectors, &bytes)) width = 0;
  bool fits = width && bytes % width == 0;
  int32_t status = fits ? chm_session_set_memory(chm_run.session, vectors, width, bytes / width) : CHM_RUN_BAD_REQUEST;
  free(status ? vectors : held);
  if (!status) held = vectors;
  if (!status) printf("ok");
  return status;
}

static int32_t serve_restore(char *line) {
  size_t bytes;
  char *snapshot = next_word(&line);
  if (!from_hex(snapshot, &bytes)) return CHM_RUN_BAD_REQUEST;
  int32_t status = chm_session_restore(chm_run.session, snapshot, bytes);
  if (!status) printf("ok");
  return status;
}

/* Bytes of a tensor of 4-byte elements. */
static size_t tensor_bytes(const chm_tensor_info *tensor, int32_t n) {
  size_t bytes = 4;
  for (int32_t i = 0; i < tensor->rank; ++i) bytes *= (size_t)(tensor->shape[i] < 0 ? n : tensor->shape[i]);
  return bytes;
}

/* Read the inputs of a call, in the entry's order; "-" is an empty one. Digits become bytes in place, and are moved back to
 * where elements may be, over the end of what was read before. */
static int32_t read_inputs(char *line, int32_t entry, chm_tensor *inputs, size_t *count) {
  const chm_tensor_info *wanted;
  for (*count = 0; *count < CHM_MAX_TENSORS && (wanted = chm_entry_input(entry, (int32_t)*count)); ++*count) {
    char *word = next_word(&line);
    size_t bytes = 0;
    if (strcmp(word, "-") && (!*word || !from_hex(word, &bytes))) return CHM_RUN_BAD_REQUEST;
    inputs[*count] = (chm_tensor){wanted->name, memmove(word - (uintptr_t)word % 4, word, bytes), bytes};
  }
  return *next_word(&line) ? CHM_RUN_BAD_REQUEST : CHM_OK;
}

/* call ENTRY N HEX…: inputs in the entry's order; the results in its order, too. */
static int32_t serve_call(char *line) {
  static chm_tensor inputs[CHM_MAX_TENSORS], results[CHM_MAX_TENSORS];
  const char *name = next_word(&line);
  const chm_tensor_info *wanted;
  int32_t n, entry = 0;
  size_t n_inputs, n_results = 0;
  while (chm_entry_name(entry) && strcmp(chm_entry_name(entry), name)) ++entry;
  if (!chm_entry_name(entry) || !chm_run_read_i32(next_word(&line), &n) || n < 1 || n > chm_entry_most(entry)) return CHM_RUN_BAD_REQUEST;
  int32_t status = read_inputs(line, entry, inputs, &n_inputs);
  while (!status && (wanted = chm_entry_result(entry, (int32_t)n_results))) {
    size_t bytes = tensor_bytes(wanted, n);
    void *data = malloc(bytes + 4);
    if (!data) status = CHM_RUN_NO_MEMORY;
    else results[n_results++] = (chm_tensor){wanted->name, data, bytes};
  }
  if (!status) status = chm_session_call(chm_run.session, chm_entry_name(entry), inputs, n_inputs, results, n_results, n);
  if (!status) printf("ok");
  for (size_t i = 0; i < n_results; ++i) {
    if (!status) {
      putchar(' ');
      if (results[i].bytes) print_hex(results[i].data, results[i].bytes);
      else putchar('-');
    }
    free(results[i].data);
  }
  return status;
}

static int32_t serve_special(char *line) {
  printf("ok %d", (int)chm_tokenizer_special(chm_run.bundle, next_word(&line)));
  return CHM_OK;
}

static int32_t serve_hint(void) {
  size_t room = 1 + chm_tokenizer_room(chm_run.bundle, CHM_HINT_BYTES), count;
  int32_t *tokens = malloc(room * sizeof *tokens);
  if (!tokens) return CHM_RUN_NO_MEMORY;
  int32_t status = chm_session_hint(chm_run.session, tokens, room, &count);
  if (!status) {
    printf("ok");
    for (size_t i = 0; i < count; ++i) printf(" %d", (int)tokens[i]);
  }
  free(tokens);
  return status;
}

/* For who has lost count of the answers. */
static int32_t serve_echo(char *line) {
  const char *word = next_word(&line);
  if (!*word) return CHM_RUN_BAD_REQUEST;
  printf("ok %s", word);
  return CHM_OK;
}

/* speculation NODES, as of chm_session_set_speculation */
static int32_t serve_speculation(char *line) {
  int32_t nodes;
  if (!chm_run_read_i32(next_word(&line), &nodes)) return CHM_RUN_BAD_REQUEST;
  int32_t status = chm_session_set_speculation(chm_run.session, nodes);
  if (!status) printf("ok");
  return status;
}

/* valve MEDIUM HIGH LOOPS LOOPS LOOPS METRICS, as of chm_session_set_valve, floats as the bits of a float32 */
static int32_t serve_valve(char *line) {
  float bits[2];
  int32_t loops[4];
  for (int i = 0; i < 2; ++i) {
    uint64_t value;
    if (!chm_run_read_u64(next_word(&line), &value) || value > UINT32_MAX) return CHM_RUN_BAD_REQUEST;
    memcpy(&bits[i], &(uint32_t){(uint32_t)value}, sizeof bits[i]);
  }
  for (int i = 0; i < 4; ++i)
    if (!chm_run_read_i32(next_word(&line), &loops[i])) return CHM_RUN_BAD_REQUEST;
  int32_t status = chm_session_set_valve(chm_run.session, bits[0], bits[1], loops[0], loops[1], loops[2], (uint32_t)loops[3]);
  if (!status) printf("ok");
  return status;
}

/* ledger OBLIGATIONS OUTSTANDING WEIGHT, as of chm_session_set_ledger */
static int32_t serve_ledger(char *line) {
  int32_t numbers[3];
  for (int i = 0; i < 3; ++i)
    if (!chm_run_read_i32(next_word(&line), &numbers[i])) return CHM_RUN_BAD_REQUEST;
  int32_t status = chm_session_set_ledger(chm_run.session, (uint32_t)numbers[0], (uint32_t)numbers[1], (uint32_t)numbers[2]);
  if (!status) printf("ok");
  return status;
}

/* The level, the entropy as the bits of a float32, tokens by level, and the numbers of the ledger. */
static int32_t serve_diagnostics(void) {
  uint64_t levels[3];
  uint32_t ledger[CHM_LEDGER_NUMBERS], bits;
  float entropy = chm_session_entropy(chm_run.session);
  int32_t status = chm_session_levels(chm_run.session, levels, 3);
  if (!status) status = chm_session_ledger(chm_run.session, ledger, CHM_LEDGER_NUMBERS);
  if (status) return status;
  memcpy(&bits, &entropy, sizeof bits);
  printf("ok %d %u", (int)chm_session_level(chm_run.session), (unsigned)bits);
  for (int i = 0; i < 3; ++i) printf(" %llu", (unsigned long long)levels[i]);
  for (int i = 0; i < CHM_LEDGER_NUMBERS; ++i) printf(" %u", (unsigned)ledger[i]);
  return CHM_OK;
}

/* scoring ON, as of chm_session_set_scoring */
static int32_t serve_scoring(char *line) {
  int32_t on;
  if (!chm_run_read_i32(next_word(&line), &on)) return CHM_RUN_BAD_REQUEST;
  int32_t status = chm_session_set_scoring(chm_run.session, on);
  if (!status) printf("ok");
  return status;
}

static int32_t serve_score(void) {
  float score = chm_session_score(chm_run.session);
  uint32_t bits;
  memcpy(&bits, &score, sizeof bits);
  printf("ok %u", (unsigned)bits);
  return CHM_OK;
}

static int32_t serve_one(char *line) {
  const char *request = next_word(&line);
  int32_t number, status = CHM_OK;
  size_t bytes;
  if (!strcmp(request, "info"))
    printf("ok %d %d %d %s", (int)chm_vocab_size(), (int)chm_max_loops(), (int)chm_bundle_threads(chm_run.bundle),
           chm_cpu_selected());
  else if (!strcmp(request, "prefill")) status = serve_prefill(line);
  else if (!strcmp(request, "encode")) status = serve_encode(line, chm_tokenizer_encode);
  else if (!strcmp(request, "encode_more")) status = serve_encode(line, chm_tokenizer_encode_more);
  else if (!strcmp(request, "encode_with_specials")) status = serve_encode(line, chm_tokenizer_encode_with_specials);
  else if (!strcmp(request, "special")) status = serve_special(line);
  else if (!strcmp(request, "hint")) status = serve_hint();
  else if (!strcmp(request, "echo")) status = serve_echo(line);
  else if (!strcmp(request, "settings")) status = serve_settings(line);
  else if (!strcmp(request, "grammar")) status = serve_grammar(line);
  else if (!strcmp(request, "words")) status = serve_words(line);
  else if (!strcmp(request, "next")) status = serve_next();
  else if (!strcmp(request, "speculates")) printf("ok %d", (int)chm_speculates());
  else if (!strcmp(request, "speculation")) status = serve_speculation(line);
  else if (!strcmp(request, "valve")) status = serve_valve(line);
  else if (!strcmp(request, "ledger")) status = serve_ledger(line);
  else if (!strcmp(request, "diagnostics")) status = serve_diagnostics();
  else if (!strcmp(request, "scoring")) status = serve_scoring(line);
  else if (!strcmp(request, "score")) status = serve_score();
  else if (!strcmp(request, "call")) status = serve_call(line);
  else if (!strcmp(request, "state_hash")) status = serve_hash(chm_session_state_hash);
  else if (!strcmp(request, "logits_hash")) status = serve_hash(chm_session_logits_hash);
  else if (!strcmp(request, "snapshot")) status = serve_snapshot();
  else if (!strcmp(request, "width")) printf("ok %d", (int)chm_reads_memory());
  else if (!strcmp(request, "memory")) status = serve_memory(line);
  else if (!strcmp(request, "restore")) status = serve_restore(line);
  else if (!strcmp(request, "position"))
    printf("ok %d %d", (int)chm_session_position(chm_run.session), (int)chm_session_iterations(chm_run.session));
  else if (!strcmp(request, "logits")) {
    const float *logits = chm_session_logits(chm_run.session);
    printf("ok ");
    if (logits) print_hex(logits, (size_t)chm_vocab_size() * sizeof *logits);
  } else if (!strcmp(request, "reset")) {
    status = chm_session_reset(chm_run.session);
    if (!status) printf("ok");
  } else if (!strcmp(request, "begin")) {
    if (!chm_run_read_i32(next_word(&line), &number)) return CHM_RUN_BAD_REQUEST;
    status = chm_session_begin_generation(chm_run.session, number);
    if (!status) printf("ok");
  } else if (!strcmp(request, "prompt")) {
    char *text = next_word(&line);
    if (!from_hex(text, &bytes)) return CHM_RUN_BAD_REQUEST;
    status = chm_session_prompt(chm_run.session, (const uint8_t *)text, bytes);
    if (!status) printf("ok");
  } else return CHM_RUN_BAD_REQUEST;
  return status;
}

static void print_error(int32_t status) {
  printf("error %d ", status == CHM_RUN_BAD_REQUEST ? CHM_ERROR_ARGUMENT : status == CHM_RUN_NO_MEMORY ? CHM_ERROR_MEMORY : (int)status);
  for (const char *c = chm_run_sentence(status); *c; ++c)
    putchar(*c == '\n' ? ' ' : *c);
}

int chm_run_serve(int32_t opened) {
  char *line = NULL;
  size_t capacity = 0;
  ssize_t length;
  if (opened) print_error(opened);
  else printf("ok");
  putchar('\n');
  fflush(stdout);
  while (!opened && (length = getline(&line, &capacity, stdin)) >= 0) {
    if (length && line[length - 1] == '\n') line[length - 1] = 0;
    int32_t status = serve_one(line);
    if (status) print_error(status);
    putchar('\n');
    if (fflush(stdout)) break;
  }
  free(line);
  return opened || ferror(stdout) ? 1 : chm_run_end_of_input();
}
