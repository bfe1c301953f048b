/* chimera-run: a bundle on the command line, without Python. It is linked with the code of one bundle.
 *
 *   chimera-run [options] PROMPT     print the continuation of PROMPT
 *   chimera-run [options]            answer standard input line by line
 *   chimera-run [options] --serve    answer requests, for programs (docs/runtime.md has the protocol)
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chimera.h"
#include "chm_math.h"

/* File names of the bundle, from its build; the last two may be NULL. */
extern const char *const chm_run_weights;
extern const char *const chm_run_tokenizer;
extern const char *const chm_run_grammars;

/* What the bundle's build chose where an option is not given; modes end with a name that is NULL. */
typedef struct chm_run_mode {
  const char *name;
  int32_t loops;
} chm_run_mode;
extern const float chm_run_temperature, chm_run_top_p, chm_run_repetition_penalty, chm_run_exit_threshold;
extern const int32_t chm_run_max_tokens;
extern const chm_run_mode chm_run_modes[];

/* Its valve, as of chm_session_set_valve; zeros: it has none. */
extern const float chm_run_valve_bits[2];
extern const int32_t chm_run_valve_loops[3];
extern const uint32_t chm_run_valve_metrics;
extern const uint32_t chm_run_ledger[3]; /* as of chm_session_set_ledger; zeros: it has none */

/* The text in place of an answer of the default grammar whose probability e^(score / temperature) is below the threshold; NULL:
 * none is refused. */
extern const char *const chm_run_refusal;
extern const float chm_run_refusal_threshold, chm_run_refusal_temperature;

static const char usage[] =
    "usage: chimera-run [options] [PROMPT]\n"
    "Without PROMPT it answers standard input line by line.\n"
    "Without an option it takes the default of the bundle, where it has one, else that in brackets.\n"
    "  -n, --max-tokens N        tokens to generate at most (64)\n"
    "      --temperature T       0 always takes the likeliest token (0)\n"
    "      --top-p P             keep the likeliest tokens of this total probability (1)\n"
    "      --top-k K             keep this many of the likeliest tokens; 0 keeps all (0)\n"
    "      --repetition-penalty R  above 1 discourages repetition (1)\n"
    "      --seed S              the same seed gives the same tokens everywhere (0)\n"
    "      --grammar NAME        what the text must follow, or none (the bundle's default, if it has one)\n"
    "      --mode NAME           one of the bundle's modes, which sets the loops\n"
    "      --loops L             iterations of looped layers; 0 takes the model's default (0)\n"
    "      --exit-threshold E    leave loops early below this change; 0 never (0)\n"
    "      --no-valve            take all loops, however certain the next token is\n"
    "      --no-speculate        never guess tokens and run several in one pass\n"
    "      --threads T           threads that share the work; 0 is one per core, at most 8 (1)\n"
    "      --kernels NAME        kernels to use in place of the best for this processor\n"
    "      --bundle DIR          folder of the bundle (that of this program)\n"
    "      --info                print the model, its kernels and those in use\n"
    "      --serve               answer requests on standard input\n";

typedef struct settings {
  float temperature, top_p, repetition_penalty, exit_threshold;
  uint64_t seed;
  uint32_t stream;
  int32_t max_tokens, top_k, loops, threads;
  const char *kernels, *folder, *prompt, *grammar, *mode;
  bool serve, info, no_speculation, no_valve;
} settings;

/* Beside the library's: what only this file finds. */
#define BAD_REQUEST (-1)
#define NO_MEMORY (-2)

static const char *sentence(int32_t status) {
  return status == BAD_REQUEST ? "the request is not valid"
         : status == NO_MEMORY ? chm_status_text(CHM_ERROR_MEMORY)
                               : chm_last_error();
}

static int fail(int32_t status) {
  fprintf(stderr, "error: %s\n", sentence(status));
  return 1;
}

/* After the last line: whether it was one, and the reading did not fail. */
static int end_of_input(void) {
  if (feof(stdin)) return 0;
  fputs("error: standard input cannot be read\n", stderr);
  return 1;
}

static int refuse(const char *what, const char *value) {
  fprintf(stderr, "error: %s%s\n%s", what, value, usage);
  return 2;
}

/* ---- numbers: all of the text or nothing ---- */

static bool read_u64(const char *text, uint64_t *value) {
  char *end;
  if (*text < '0' || *text > '9') return false;
  errno = 0;
  *value = strtoull(text, &end, 10);
  return !errno && !*end;
}

static bool read_i32(const char *text, int32_t *value) {
  uint64_t wide;
  if (!read_u64(text, &wide) || wide > INT32_MAX) return false;
  *value = (int32_t)wide;
  return true;
}

static bool read_float(const char *text, float *value) {
  char *end;
  if (!*text) return false;
  *value = strtof(text, &end);
  return !*end;
}

static int read_arguments(int count, char **arguments, settings *s) {
  const struct {
    const char *name;
    float *number;
    int32_t *integer;
    uint64_t *wide;
    const char **text;
    bool *flag;
  } table[] = {
      {"--max-tokens", NULL, &s->max_tokens, NULL, NULL, NULL},
      {"-n", NULL, &s->max_tokens, NULL, NULL, NULL},
      {"--temperature", &s->temperature, NULL, NULL, NULL, NULL},
      {"--top-p", &s->top_p, NULL, NULL, NULL, NULL},
      {"--top-k", NULL, &s->top_k, NULL, NULL, NULL},
      {"--repetition-penalty", &s->repetition_penalty, NULL, NULL, NULL, NULL},
      {"--seed", NULL, NULL, &s->seed, NULL, NULL},
      {"--loops", NULL, &s->loops, NULL, NULL, NULL},
      {"--exit-threshold", &s->exit_threshold, NULL, NULL, NULL, NULL},
      {"--threads", NULL, &s->threads, NULL, NULL, NULL},
      {"--kernels", NULL, NULL, NULL, &s->kernels, NULL},
      {"--grammar", NULL, NULL, NULL, &s->grammar, NULL},
      {"--mode", NULL, NULL, NULL, &s->mode, NULL},
      {"--bundle", NULL, NULL, NULL, &s->folder, NULL},
      {"--no-speculate", NULL, NULL, NULL, NULL, &s->no_speculation},
      {"--no-valve", NULL, NULL, NULL, NULL, &s->no_valve},
      {"--info", NULL, NULL, NULL, NULL, &s->info},
      {"--serve", NULL, NULL, NULL, NULL, &s->serve},
  };
  const size_t entries = sizeof table / sizeof *table;
  bool plain = false; /* after -- */
  for (int i = 1; i < count; ++i) {
    const char *argument = arguments[i];
    if (plain || argument[0] != '-' || !argument[1]) {
      if (s->prompt) return refuse("more than one prompt: ", argument);
      s->prompt = argument;
      continue;
    }
    if (!strcmp(argument, "--")) {
      plain = true;
      continue;
    }
    if (!strcmp(argument, "-h") || !strcmp(argument, "--help")) {
      fputs(usage, stdout);
      exit(0);
    }
    size_t k = 0;
    while (k < entries && strcmp(argument, table[k].name)) ++k;
    if (k == entries) return refuse("unknown option ", argument);
    if (table[k].flag) {
      *table[k].flag = true;
      continue;
    }
    if (++i == count) return refuse("no value for ", argument);
    const char *value = arguments[i];
    if (table[k].text) *table[k].text = value;
    else if (table[k].number ? !read_float(value, table[k].number)
             : table[k].integer ? !read_i32(value, table[k].integer)
                                : !read_u64(value, table[k].wide))
      return refuse("not a number: ", value);
  }
  return 0;
}

/* ---- the bundle ---- */

static chm_bundle *bundle;
static chm_session *session;
static chm_pack *grammars; /* of the bundle; without a file of its own the tables of the tokenizer, when first needed */
static void *grammar_file;
static size_t grammar_bytes;

/* The grammar in use, and the pack it came with if that was compiled for it. */
static chm_grammar *grammar;
static chm_pack *compiled;
static void *compiled_bytes;

/* DIR/name, or NULL if there is no memory. */
static char *path_of(const char *folder, const char *name) {
  size_t first = strlen(folder), second = strlen(name);
  char *path = malloc(first + second + 2);
  if (!path) return NULL;
  memcpy(path, folder, first);
  path[first] = '/';
  memcpy(path + first + 1, name, second + 1);
  return path;
}

/* Folder of this program. */
static void find_folder(const char *program, char *folder, size_t size) {
  ssize_t length = readlink("/proc/self/exe", folder, size - 1);
  if (length <= 0) {
    length = (ssize_t)strlen(program);
    if ((size_t)length >= size) length = 0;
    memcpy(folder, program, (size_t)length);
  }
  while (length > 0 && folder[length - 1] != '/') --length;
  if (length > 1) --length;
  if (!length) folder[length++] = '.';
  folder[length] = 0;
}

/* The whole file, or NULL. */
static void *read_whole(const char *path, size_t *bytes) {
  FILE *file = path ? fopen(path, "rb") : NULL;
  long size = file && !fseek(file, 0, SEEK_END) ? ftell(file) : -1;
  void *data = size > 0 ? aligned_alloc(64, ((size_t)size + 63) / 64 * 64) : NULL;
  if (data) {
    rewind(file);
    *bytes = fread(data, 1, (size_t)size, file);
  }
  if (file) fclose(file);
  return data;
}

static void drop_grammar(void) {
  chm_session_set_grammar(session, NULL);
  chm_grammar_close(grammar);
  if (compiled) chm_pack_close(compiled);
  free(compiled_bytes);
  grammar = NULL;
  compiled = NULL;
  compiled_bytes = NULL;
}

/* A file that could not be read is one of no bytes, and refused. */
static int32_t open_grammars(void) {
  static const uint32_t nothing[1];
  const void *data = grammar_file ? grammar_file : chm_run_grammars ? nothing : NULL;
  return grammars ? CHM_OK : chm_pack_open(bundle, NULL, data, grammar_bytes, 0, NULL, &grammars);
}

/* Use a grammar of the bundle: NULL for the default one, if there is one. */
static int32_t use_grammar(const char *name) {
  drop_grammar();
  if ((!name && !chm_run_grammars) || (name && !strcmp(name, "none"))) return CHM_OK;
  int32_t status = open_grammars();
  if (status || (!name && chm_pack_default(grammars) < 0)) return status;
  if (!name) name = chm_pack_name(grammars, chm_pack_default(grammars));
  status = chm_grammar_open(grammars, name, NULL, &grammar);
  return status ? status : chm_session_set_grammar(session, grammar);
}

/* Use the grammar of a pack, whose bytes are kept. */
static int32_t use_compiled(const void *data, size_t bytes) {
  drop_grammar();
  compiled_bytes = aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (!compiled_bytes) return NO_MEMORY;
  memcpy(compiled_bytes, data, bytes);
  int32_t status = open_grammars();
  if (!status) status = chm_pack_open(bundle, grammars, compiled_bytes, bytes, 0, NULL, &compiled);
  if (!status) status = chm_grammar_open(compiled, NULL, NULL, &grammar);
  return status ? status : chm_session_set_grammar(session, grammar);
}

static int open_bundle(const settings *s, const char *program) {
  static char own[PATH_MAX];
  const char *folder = s->folder;
  if (!folder) {
    find_folder(program, own, sizeof own);
    folder = own;
  }
  char *weights = path_of(folder, chm_run_weights);
  char *tokenizer = chm_run_tokenizer ? path_of(folder, chm_run_tokenizer) : NULL;
  char *pack = chm_run_grammars ? path_of(folder, chm_run_grammars) : NULL;
  bool named = weights && (tokenizer || !chm_run_tokenizer) && (pack || !chm_run_grammars);
  int32_t status = !named ? NO_MEMORY : s->kernels ? chm_cpu_select(s->kernels) : CHM_OK;
  if (!status) status = chm_bundle_open_files(weights, tokenizer, 0, NULL, &bundle);
  if (!status) status = chm_bundle_set_threads(bundle, s->threads);
  if (!status) status = chm_session_open(bundle, NULL, &session);
  grammar_file = read_whole(pack, &grammar_bytes);
  free(pack);
  free(weights);
  free(tokenizer);
  return status;
}

static int32_t apply(const settings *s) {
  int32_t status = chm_session_set_loops(session, s->loops);
  if (!status) status = chm_session_set_exit_threshold(session, s->exit_threshold);
  if (!status)
    status = chm_session_set_sampling(session, s->temperature, s->top_p, s->top_k, s->repetition_penalty,
                                      (uint32_t)s->seed, (uint32_t)(s->seed >> 32), s->stream);
  return status;
}

/* Whether answers may be refused. */
static bool refuses(const settings *s) { return chm_run_refusal && !s->grammar; }

static int32_t apply_all(const settings *s) {
  int32_t status = apply(s);
  if (!status) status = chm_session_set_scoring(session, refuses(s));
  if (!status && !s->no_valve)
    status = chm_session_set_valve(session, chm_run_valve_bits[0], chm_run_valve_bits[1], chm_run_valve_loops[0],
                                   chm_run_valve_loops[1], chm_run_valve_loops[2], chm_run_valve_metrics);
  if (!status) status = chm_session_set_ledger(session, chm_run_ledger[0], chm_run_ledger[1], chm_run_ledger[2]);
  if (!status && s->no_speculation) status = chm_session_set_speculation(session, 0);
  return status ? status : use_grammar(s->grammar);
}

/* An answer that may be refused, up to where it is known. */
static char *held;
static size_t held_bytes, held_capacity;

static int32_t hold(const uint8_t *text, size_t bytes) {
  if (held_bytes + bytes > held_capacity) {
    size_t capacity = 2 * (held_bytes + bytes);
    char *larger = realloc(held, capacity);
    if (!larger) return NO_MEMORY;
    held = larger;
    held_capacity = capacity;
  }
  if (bytes) memcpy(held + held_bytes, text, bytes);
  held_bytes += bytes;
  return CHM_OK;
}

/* The whole answer, or the refusal as soon as nothing else can come. */
static int32_t answer_or_refuse(void) {
  int32_t token, status = CHM_OK;
  held_bytes = 0;
  while (!status) {
    size_t size;
    status = chm_session_generate(session, &token);
    if (status > CHM_FINISHED) return status;
    const uint8_t *text = chm_session_text(session, &size);
    if (hold(text, size)) return NO_MEMORY;
    if (!(chm_exp(chm_session_score(session) / chm_run_refusal_temperature) < chm_run_refusal_threshold)) continue;
    fputs(chm_run_refusal, stdout);
    return CHM_FINISHED;
  }
  fwrite(held, 1, held_bytes, stdout);
  return status;
}

static int answer(const settings *s, const char *prompt, size_t bytes) {
  int32_t token, status = chm_session_reset(session);
  if (!status) status = chm_session_prompt(session, (const uint8_t *)prompt, bytes);
  if (!status) status = chm_session_begin_generation(session, s->max_tokens);
  if (!status && refuses(s)) status = answer_or_refuse();
  while (!status) {
    size_t size;
    status = chm_session_generate(session, &token);
    if (status > CHM_FINISHED) break;
    const uint8_t *text = chm_session_text(session, &size);
    fwrite(text, 1, size, stdout);
    if (fflush(stdout)) return 1;
  }
  putchar('\n');
  fflush(stdout);
  return status == CHM_FINISHED ? 0 : fail(status);
}

static int answer_lines(const settings *s) {
  char *line = NULL;
  size_t capacity = 0;
  ssize_t length;
  int result = 0;
  while ((length = getline(&line, &capacity, stdin)) >= 0) {
    while (length && (line[length - 1] == '\n' || line[length - 1] == '\r')) --length;
    if (length && answer(s, line, (size_t)length)) result = 1;
  }
  free(line);
  return end_of_input() ? 1 : result;
}

static void print_info(void) {
  printf("model: %s\ntarget: %s\nkernels:", chm_model_name(), chm_model_target());
  for (int32_t i = 0; chm_cpu_kernels(i); ++i) printf(" %s", chm_cpu_kernels(i));
  printf("\nin use: %s\nthreads: %d\n", chm_cpu_selected(), (int)chm_bundle_threads(bundle));
}

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
  if (!tokens) return NO_MEMORY;
  int32_t status = CHM_OK;
  for (char *word; *(word = next_word(&line));)
    if (count == capacity || !read_i32(word, &tokens[count++])) status = BAD_REQUEST;
  if (!status) status = chm_session_prefill(session, tokens, count);
  if (!status) printf("ok");
  free(tokens);
  return status;
}

static int32_t serve_encode(char *line, int32_t (*encode)(chm_bundle *, const uint8_t *, size_t, int32_t *, size_t, size_t *)) {
  size_t bytes, count;
  char *text = next_word(&line);
  if (!from_hex(text, &bytes)) return BAD_REQUEST;
  size_t room = chm_tokenizer_room(bundle, bytes);
  int32_t *tokens = malloc((room + 1) * sizeof *tokens);
  if (!tokens) return NO_MEMORY;
  int32_t status = encode(bundle, (const uint8_t *)text, bytes, tokens, room, &count);
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
  int32_t status = BAD_REQUEST;
  if (!strcmp(kind, "default")) status = use_grammar(NULL);
  else if (!strcmp(kind, "name") && *what && (chm_run_grammars || !strcmp(what, "none"))) status = use_grammar(what);
  else if (!strcmp(kind, "pack") && from_hex(what, &bytes)) status = use_compiled(what, bytes);
  if (!status) printf("ok %d %d", (int)chm_grammar_closing(grammar), (int)chm_grammar_slots(grammar));
  return status;
}

/* words KIND HEX, or - for none */
static int32_t serve_words(char *line) {
  int32_t kind;
  size_t bytes = 0;
  if (!read_i32(next_word(&line), &kind)) return BAD_REQUEST;
  char *text = next_word(&line);
  bool given = strcmp(text, "-");
  if (given && !from_hex(text, &bytes)) return BAD_REQUEST;
  int32_t status = grammar ? chm_grammar_set_words(grammar, kind, given ? (const uint8_t *)text : NULL, bytes) : CHM_OK;
  if (!status) printf("ok");
  return status;
}

/* settings LOOPS EXIT TEMPERATURE TOP_P TOP_K PENALTY SEED STREAM, floats as the bits of a float32. */
static int32_t serve_settings(char *line) {
  settings s = {0};
  float *floats[] = {NULL, &s.exit_threshold, &s.temperature, &s.top_p, NULL, &s.repetition_penalty, NULL, NULL};
  int32_t *integers[] = {&s.loops, NULL, NULL, NULL, &s.top_k, NULL, NULL, NULL};
  for (int i = 0; i < 8; ++i) {
    uint64_t value;
    if (!read_u64(next_word(&line), &value) || (i != 6 && value > UINT32_MAX)) return BAD_REQUEST;
    uint32_t bits = (uint32_t)value;
    if (floats[i]) memcpy(floats[i], &bits, sizeof bits);
    else if (integers[i]) *integers[i] = value > INT32_MAX ? -1 : (int32_t)value;
    else if (i == 6) s.seed = value;
    else s.stream = bits;
  }
  int32_t status = apply(&s);
  if (!status) printf("ok");
  return status;
}

static int32_t serve_next(void) {
  int32_t token;
  size_t bytes;
  int32_t status = chm_session_generate(session, &token);
  if (status > CHM_FINISHED) return status;
  const uint8_t *text = chm_session_text(session, &bytes);
  printf("ok %d %d ", (int)status, (int)token);
  print_hex(text, bytes);
  return CHM_OK;
}

static int32_t serve_hash(int32_t (*hash)(chm_session *, uint64_t *)) {
  uint64_t value;
  int32_t status = hash(session, &value);
  if (!status) printf("ok %016llx", (unsigned long long)value);
  return status;
}

static int32_t serve_snapshot(void) {
  size_t bytes = chm_session_snapshot_bytes(session);
  void *snapshot = malloc(bytes);
  if (!snapshot) return NO_MEMORY;
  int32_t status = chm_session_snapshot(session, snapshot, bytes);
  if (!status) {
    printf("ok ");
    print_hex(snapshot, bytes);
  }
  free(snapshot);
  return status;
}

static int32_t serve_restore(char *line) {
  size_t bytes;
  char *snapshot = next_word(&line);
  if (!from_hex(snapshot, &bytes)) return BAD_REQUEST;
  int32_t status = chm_session_restore(session, snapshot, bytes);
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
    if (strcmp(word, "-") && (!*word || !from_hex(word, &bytes))) return BAD_REQUEST;
    inputs[*count] = (chm_tensor){wanted->name, memmove(word - (uintptr_t)word % 4, word, bytes), bytes};
  }
  return *next_word(&line) ? BAD_REQUEST : CHM_OK;
}

/* call ENTRY N HEX…: inputs in the entry's order; the results in its order, too. */
static int32_t serve_call(char *line) {
  static chm_tensor inputs[CHM_MAX_TENSORS], results[CHM_MAX_TENSORS];
  const char *name = next_word(&line);
  const chm_tensor_info *wanted;
  int32_t n, entry = 0;
  size_t n_inputs, n_results = 0;
  while (chm_entry_name(entry) && strcmp(chm_entry_name(entry), name)) ++entry;
  if (!chm_entry_name(entry) || !read_i32(next_word(&line), &n) || n < 1 || n > chm_entry_most(entry)) return BAD_REQUEST;
  int32_t status = read_inputs(line, entry, inputs, &n_inputs);
  while (!status && (wanted = chm_entry_result(entry, (int32_t)n_results))) {
    size_t bytes = tensor_bytes(wanted, n);
    void *data = malloc(bytes + 4);
    if (!data) status = NO_MEMORY;
    else results[n_results++] = (chm_tensor){wanted->name, data, bytes};
  }
  if (!status) status = chm_session_call(session, chm_entry_name(entry), inputs, n_inputs, results, n_results, n);
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
  printf("ok %d", (int)chm_tokenizer_special(bundle, next_word(&line)));
  return CHM_OK;
}

static int32_t serve_hint(void) {
  size_t room = 1 + chm_tokenizer_room(bundle, CHM_HINT_BYTES), count;
  int32_t *tokens = malloc(room * sizeof *tokens);
  if (!tokens) return NO_MEMORY;
  int32_t status = chm_session_hint(session, tokens, room, &count);
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
  if (!*word) return BAD_REQUEST;
  printf("ok %s", word);
  return CHM_OK;
}

/* speculation NODES, as of chm_session_set_speculation */
static int32_t serve_speculation(char *line) {
  int32_t nodes;
  if (!read_i32(next_word(&line), &nodes)) return BAD_REQUEST;
  int32_t status = chm_session_set_speculation(session, nodes);
  if (!status) printf("ok");
  return status;
}

/* valve MEDIUM HIGH LOOPS LOOPS LOOPS METRICS, as of chm_session_set_valve, floats as the bits of a float32 */
static int32_t serve_valve(char *line) {
  float bits[2];
  int32_t loops[4];
  for (int i = 0; i < 2; ++i) {
    uint64_t value;
    if (!read_u64(next_word(&line), &value) || value > UINT32_MAX) return BAD_REQUEST;
    memcpy(&bits[i], &(uint32_t){(uint32_t)value}, sizeof bits[i]);
  }
  for (int i = 0; i < 4; ++i)
    if (!read_i32(next_word(&line), &loops[i])) return BAD_REQUEST;
  int32_t status = chm_session_set_valve(session, bits[0], bits[1], loops[0], loops[1], loops[2], (uint32_t)loops[3]);
  if (!status) printf("ok");
  return status;
}

/* ledger OBLIGATIONS OUTSTANDING WEIGHT, as of chm_session_set_ledger */
static int32_t serve_ledger(char *line) {
  int32_t numbers[3];
  for (int i = 0; i < 3; ++i)
    if (!read_i32(next_word(&line), &numbers[i])) return BAD_REQUEST;
  int32_t status = chm_session_set_ledger(session, (uint32_t)numbers[0], (uint32_t)numbers[1], (uint32_t)numbers[2]);
  if (!status) printf("ok");
  return status;
}

/* The level, the entropy as the bits of a float32, tokens by level, and the numbers of the ledger. */
static int32_t serve_diagnostics(void) {
  uint64_t levels[3];
  uint32_t ledger[CHM_LEDGER_NUMBERS], bits;
  float entropy = chm_session_entropy(session);
  int32_t status = chm_session_levels(session, levels, 3);
  if (!status) status = chm_session_ledger(session, ledger, CHM_LEDGER_NUMBERS);
  if (status) return status;
  memcpy(&bits, &entropy, sizeof bits);
  printf("ok %d %u", (int)chm_session_level(session), (unsigned)bits);
  for (int i = 0; i < 3; ++i) printf(" %llu", (unsigned long long)levels[i]);
  for (int i = 0; i < CHM_LEDGER_NUMBERS; ++i) printf(" %u", (unsigned)ledger[i]);
  return CHM_OK;
}

/* scoring ON, as of chm_session_set_scoring */
static int32_t serve_scoring(char *line) {
  int32_t on;
  if (!read_i32(next_word(&line), &on)) return BAD_REQUEST;
  int32_t status = chm_session_set_scoring(session, on);
  if (!status) printf("ok");
  return status;
}

static int32_t serve_score(void) {
  float score = chm_session_score(session);
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
    printf("ok %d %d %d %s", (int)chm_vocab_size(), (int)chm_max_loops(), (int)chm_bundle_threads(bundle),
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
  else if (!strcmp(request, "restore")) status = serve_restore(line);
  else if (!strcmp(request, "position"))
    printf("ok %d %d", (int)chm_session_position(session), (int)chm_session_iterations(session));
  else if (!strcmp(request, "logits")) {
    const float *logits = chm_session_logits(session);
    printf("ok ");
    if (logits) print_hex(logits, (size_t)chm_vocab_size() * sizeof *logits);
  } else if (!strcmp(request, "reset")) {
    status = chm_session_reset(session);
    if (!status) printf("ok");
  } else if (!strcmp(request, "begin")) {
    if (!read_i32(next_word(&line), &number)) return BAD_REQUEST;
    status = chm_session_begin_generation(session, number);
    if (!status) printf("ok");
  } else if (!strcmp(request, "prompt")) {
    char *text = next_word(&line);
    if (!from_hex(text, &bytes)) return BAD_REQUEST;
    status = chm_session_prompt(session, (const uint8_t *)text, bytes);
    if (!status) printf("ok");
  } else return BAD_REQUEST;
  return status;
}

static void print_error(int32_t status) {
  printf("error %d ", status == BAD_REQUEST ? CHM_ERROR_ARGUMENT : status == NO_MEMORY ? CHM_ERROR_MEMORY : (int)status);
  for (const char *c = sentence(status); *c; ++c)
    putchar(*c == '\n' ? ' ' : *c);
}

static int serve(int32_t opened) {
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
  return opened || ferror(stdout) ? 1 : end_of_input();
}

/* The loops of the mode that was named, unless loops were given. */
static int use_mode(settings *s) {
  const chm_run_mode *mode = chm_run_modes;
  if (!s->mode) return 0;
  while (mode->name && strcmp(mode->name, s->mode)) ++mode;
  if (!mode->name) return refuse("there is no mode ", s->mode);
  if (!s->loops) s->loops = mode->loops;
  return 0;
}

int main(int count, char **arguments) {
  settings s = {.temperature = chm_run_temperature,
                .top_p = chm_run_top_p,
                .repetition_penalty = chm_run_repetition_penalty,
                .exit_threshold = chm_run_exit_threshold,
                .max_tokens = chm_run_max_tokens,
                .threads = 1};
  int result = read_arguments(count, arguments, &s);
  if (!result) result = use_mode(&s);
  if (result) return result;
  int32_t status = open_bundle(&s, arguments[0]);
  if (s.serve) result = serve(status);
  else if (status || (status = apply_all(&s))) result = fail(status);
  else if (s.info) print_info();
  else result = s.prompt ? answer(&s, s.prompt, strlen(s.prompt)) : answer_lines(&s);
  drop_grammar();
  if (grammars) chm_pack_close(grammars);
  free(grammar_file);
  chm_session_close(session);
  if (bundle) chm_bundle_close(bundle);
  if (fflush(stdout) || ferror(stdout)) {
    fputs("error: the output cannot be written\n", stderr);
    return 1;
  }
  return result;
}
