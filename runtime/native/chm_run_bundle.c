/* chimera-run's bundle: opening it, its grammars, and what a session of it is set to. */
#define _POSIX_C_SOURCE 200809L

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chm_run.h"

static chm_pack *grammars; /* of the bundle; without a file of its own the tables of the tokenizer, when first needed */
static void *grammar_file;
static size_t grammar_bytes;

/* The pack that the grammar in use came with, if it was compiled for it. */
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
  chm_session_set_grammar(chm_run.session, NULL);
  chm_grammar_close(chm_run.grammar);
  if (compiled) chm_pack_close(compiled);
  free(compiled_bytes);
  chm_run.grammar = NULL;
  compiled = NULL;
  compiled_bytes = NULL;
}

/* A file that could not be read is one of no bytes, and refused. */
static int32_t open_grammars(void) {
  static const uint32_t nothing[1];
  const void *data = grammar_file ? grammar_file : chm_run_grammars ? nothing : NULL;
  return grammars ? CHM_OK : chm_pack_open(chm_run.bundle, NULL, data, grammar_bytes, 0, NULL, &grammars);
}

int32_t chm_run_use_grammar(const char *name) {
  drop_grammar();
  if ((!name && !chm_run_grammars) || (name && !strcmp(name, "none"))) return CHM_OK;
  int32_t status = open_grammars();
  if (status || (!name && chm_pack_default(grammars) < 0)) return status;
  if (!name) name = chm_pack_name(grammars, chm_pack_default(grammars));
  status = chm_grammar_open(grammars, name, NULL, &chm_run.grammar);
  return status ? status : chm_session_set_grammar(chm_run.session, chm_run.grammar);
}

int32_t chm_run_use_compiled(const void *data, size_t bytes) {
  drop_grammar();
  compiled_bytes = aligned_alloc(64, (bytes + 64) / 64 * 64);
  if (!compiled_bytes) return CHM_RUN_NO_MEMORY;
  memcpy(compiled_bytes, data, bytes);
  int32_t status = open_grammars();
  if (!status) status = chm_pack_open(chm_run.bundle, grammars, compiled_bytes, bytes, 0, NULL, &compiled);
  if (!status) status = chm_grammar_open(compiled, NULL, NULL, &chm_run.grammar);
  return status ? status : chm_session_set_grammar(chm_run.session, chm_run.grammar);
}

int32_t chm_run_open(const chm_run_settings *s, const char *program) {
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
  int32_t status = !named ? CHM_RUN_NO_MEMORY : s->kernels ? chm_cpu_select(s->kernels) : CHM_OK;
  if (!status) status = chm_bundle_open_files(weights, tokenizer, 0, NULL, &chm_run.bundle);
  if (!status) status = chm_bundle_set_threads(chm_run.bundle, s->threads);
  if (!status) status = chm_session_open(chm_run.bundle, NULL, &chm_run.session);
  grammar_file = read_whole(pack, &grammar_bytes);
  free(pack);
  free(weights);
  free(tokenizer);
  return status;
}

int32_t chm_run_apply(const chm_run_settings *s) {
  int32_t status = chm_session_set_loops(chm_run.session, s->loops);
  if (!status) status = chm_session_set_exit_threshold(chm_run.session, s->exit_threshold);
  if (!status)
    status = chm_session_set_sampling(chm_run.session, s->temperature, s->top_p, s->top_k, s->repetition_penalty,
                                      (uint32_t)s->seed, (uint32_t)(s->seed >> 32), s->stream);
  return status;
}

bool chm_run_refuses(const chm_run_settings *s) { return chm_run_refusal && !s->grammar; }

int32_t chm_run_apply_all(const chm_run_settings *s) {
  int32_t status = chm_run_apply(s);
  if (!status) status = chm_session_set_scoring(chm_run.session, chm_run_refuses(s));
  if (!status && !s->no_valve)
    status = chm_session_set_valve(chm_run.session, chm_run_valve_bits[0], chm_run_valve_bits[1], chm_run_valve_loops[0],
                                   chm_run_valve_loops[1], chm_run_valve_loops[2], chm_run_valve_metrics);
  if (!status && chm_speculates()) status = chm_session_set_shares(chm_run.session, s->shares ? s->shares : chm_run_shares, CHM_SHARES);
  if (!status) status = chm_session_set_ledger(chm_run.session, chm_run_ledger[0], chm_run_ledger[1], chm_run_ledger[2]);
  if (!status && s->no_speculation) status = chm_session_set_speculation(chm_run.session, 0);
  return status ? status : chm_run_use_grammar(s->grammar);
}

void chm_run_close(void) {
  drop_grammar();
  if (grammars) chm_pack_close(grammars);
  free(grammar_file);
  chm_session_close(chm_run.session);
  if (chm_run.bundle) chm_bundle_close(chm_run.bundle);
}
