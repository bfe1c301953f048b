/* chimera-run: a bundle on the command line, without Python. It is linked with the code of one bundle.
 *
 *   chimera-run [options] PROMPT     print the continuation of PROMPT
 *   chimera-run [options]            answer standard input line by line
 *   chimera-run [options] --serve    answer requests, for programs (docs/runtime.md has the protocol)
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chm_math.h"
#include "chm_run.h"

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

chm_runner chm_run;

const char *chm_run_sentence(int32_t status) {
  return status == CHM_RUN_BAD_REQUEST ? "the request is not valid"
         : status == CHM_RUN_NO_MEMORY ? chm_status_text(CHM_ERROR_MEMORY)
                                       : chm_last_error();
}

static int fail(int32_t status) {
  fprintf(stderr, "error: %s\n", chm_run_sentence(status));
  return 1;
}

int chm_run_end_of_input(void) {
  if (feof(stdin)) return 0;
  fputs("error: standard input cannot be read\n", stderr);
  return 1;
}

static int refuse(const char *what, const char *value) {
  fprintf(stderr, "error: %s%s\n%s", what, value, usage);
  return 2;
}

/* ---- numbers: all of the text or nothing ---- */

bool chm_run_read_u64(const char *text, uint64_t *value) {
  char *end;
  if (*text < '0' || *text > '9') return false;
  errno = 0;
  *value = strtoull(text, &end, 10);
  return !errno && !*end;
}

bool chm_run_read_i32(const char *text, int32_t *value) {
  uint64_t wide;
  if (!chm_run_read_u64(text, &wide) || wide > INT32_MAX) return false;
  *value = (int32_t)wide;
  return true;
}

static bool read_float(const char *text, float *value) {
  char *end;
  if (!*text) return false;
  *value = strtof(text, &end);
  return !*end;
}

static int read_arguments(int count, char **arguments, chm_run_settings *s) {
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
             : table[k].integer ? !chm_run_read_i32(value, table[k].integer)
                                : !chm_run_read_u64(value, table[k].wide))
      return refuse("not a number: ", value);
  }
  return 0;
}

/* ---- answers ---- */

/* An answer that may be refused, up to where it is known. */
static char *held;
static size_t held_bytes, held_capacity;

static int32_t hold(const uint8_t *text, size_t bytes) {
  if (held_bytes + bytes > held_capacity) {
    size_t capacity = 2 * (held_bytes + bytes);
    char *larger = realloc(held, capacity);
    if (!larger) return CHM_RUN_NO_MEMORY;
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
    status = chm_session_generate(chm_run.session, &token);
    if (status > CHM_FINISHED) return status;
    const uint8_t *text = chm_session_text(chm_run.session, &size);
    if (hold(text, size)) return CHM_RUN_NO_MEMORY;
    if (!(chm_exp(chm_session_score(chm_run.session) / chm_run_refusal_temperature) < chm_run_refusal_threshold)) continue;
    fputs(chm_run_refusal, stdout);
    return CHM_FINISHED;
  }
  fwrite(held, 1, held_bytes, stdout);
  return status;
}

static int answer(const chm_run_settings *s, const char *prompt, size_t bytes) {
  int32_t token, status = chm_session_reset(chm_run.session);
  if (!status) status = chm_session_prompt(chm_run.session, (const uint8_t *)prompt, bytes);
  if (!status) status = chm_session_begin_generation(chm_run.session, s->max_tokens);
  if (!status && chm_run_refuses(s)) status = answer_or_refuse();
  while (!status) {
    size_t size;
    status = chm_session_generate(chm_run.session, &token);
    if (status > CHM_FINISHED) break;
    const uint8_t *text = chm_session_text(chm_run.session, &size);
    fwrite(text, 1, size, stdout);
    if (fflush(stdout)) return 1;
  }
  putchar('\n');
  fflush(stdout);
  return status == CHM_FINISHED ? 0 : fail(status);
}

static int answer_lines(const chm_run_settings *s) {
  char *line = NULL;
  size_t capacity = 0;
  ssize_t length;
  int result = 0;
  while ((length = getline(&line, &capacity, stdin)) >= 0) {
    while (length && (line[length - 1] == '\n' || line[length - 1] == '\r')) --length;
    if (length && answer(s, line, (size_t)length)) result = 1;
  }
  free(line);
  return chm_run_end_of_input() ? 1 : result;
}

static void print_info(void) {
  printf("model: %s\ntarget: %s\nkernels:", chm_model_name(), chm_model_target());
  for (int32_t i = 0; chm_cpu_kernels(i); ++i) printf(" %s", chm_cpu_kernels(i));
  printf("\nin use: %s\nthreads: %d\n", chm_cpu_selected(), (int)chm_bundle_threads(chm_run.bundle));
}

/* The loops of the mode that was named, unless loops were given, and its shares. */
static int use_mode(chm_run_settings *s) {
  const chm_run_mode *mode = chm_run_modes;
  if (!s->mode) return 0;
  while (mode->name && strcmp(mode->name, s->mode)) ++mode;
  if (!mode->name) return refuse("there is no mode ", s->mode);
  if (!s->loops) s->loops = mode->loops;
  s->shares = mode->shares;
  return 0;
}

int main(int count, char **arguments) {
  chm_run_settings s = {.temperature = chm_run_temperature,
                        .top_p = chm_run_top_p,
                        .repetition_penalty = chm_run_repetition_penalty,
                        .exit_threshold = chm_run_exit_threshold,
                        .max_tokens = chm_run_max_tokens,
                        .threads = 1};
  int result = read_arguments(count, arguments, &s);
  if (!result) result = use_mode(&s);
  if (result) return result;
  int32_t status = chm_run_open(&s, arguments[0]);
  if (s.serve) result = chm_run_serve(status);
  else if (status || (status = chm_run_apply_all(&s))) result = fail(status);
  else if (s.info) print_info();
  else result = s.prompt ? answer(&s, s.prompt, strlen(s.prompt)) : answer_lines(&s);
  chm_run_close();
  if (fflush(stdout) || ferror(stdout)) {
    fputs("error: the output cannot be written\n", stderr);
    return 1;
  }
  return result;
}
