/* Runs compiled models on recorded calls: the same source natively, in an emulator and as a WASI module.
 *
 * Input: {model, kernel set, loops, number of calls}, the model's weights, and for each call {n, n tokens}, or of a tree
 * {-n, n tokens, n parents, span, number of paths, paths, number of chosen paths, these}; all integers are int32. Output:
 * after each call the logits, of a tree those of all nodes, and the state.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chm_model.h"

extern const chm_model_desc *const models[];

const chm_speculation chm_speculation_by_trees; /* of the runtime, which is not here */

/* As the runtime's, but in two uneven parts, the last one first. */
void chm_share(chm_pool *pool, chm_part part, const void *const *arguments, size_t count, int32_t n, int32_t units,
               int32_t work) {
  int32_t cut = units / 3;
  (void)pool, (void)count, (void)work;
  part(arguments, n, cut, units);
  if (cut) part(arguments, n, 0, cut);
}

void chm_follow(chm_pool *pool, uint32_t back, chm_part part, const void *const *arguments, size_t count, int32_t n,
                int32_t units, int32_t work) {
  (void)back;
  chm_share(pool, part, arguments, count, n, units, work);
}

void chm_join(chm_pool *pool) { (void)pool; }

void chm_profile_step(chm_profile *profile, int32_t step) {
  (void)profile, (void)step;
  abort(); /* nothing is measured */
}

static void take(void *to, size_t bytes) {
  if (bytes && fread(to, bytes, 1, stdin) != 1) exit(feof(stdin) ? 0 : 1);
}

static void *block(uint64_t bytes, int fill) {
  size_t size = (size_t)(bytes + 127) / 64 * 64;
  void *memory = aligned_alloc(64, size);
  if (!memory) exit(2);
  return memset(memory, fill, size);
}

static void run(const chm_model_desc *model, chm_role role, chm_call *call) {
  memset(call->arena, 0xA5, (size_t)model->arena_bytes);
  for (int32_t k = 0; k < model->n_entries; ++k)
    if (model->entries[k].role == (int32_t)role) model->entries[k].run(call);
}

static void take_paths(chm_path *paths, int32_t *count) {
  take(count, sizeof *count);
  if (*count > CHM_MOST_NODES) exit(5);
  take(paths, (size_t)*count * sizeof *paths);
}

/* A tree of n nodes; returns the tokens of the path that is committed. */
static int32_t run_tree(const chm_model_desc *model, chm_call *call, int32_t n) {
  int32_t tokens[CHM_MOST_NODES], parents[CHM_MOST_NODES], count = 0;
  chm_path paths[CHM_MOST_NODES], chosen[CHM_MOST_NODES];
  if (n > CHM_MOST_NODES) exit(5);
  take(tokens, (size_t)n * sizeof *tokens);
  take(parents, (size_t)n * sizeof *parents);
  take(&call->span, sizeof call->span);
  take_paths(paths, &call->n_paths);
  call->n = n, call->tokens = tokens, call->parents = parents, call->paths = paths;
  call->kept = block(model->kept_bytes, 0xA5);
  run(model, CHM_ROLE_VERIFY, call);
  take_paths(chosen, &call->n_paths);
  call->paths = chosen;
  for (int32_t i = 0; i < call->n_paths; ++i) count += chosen[i].count;
  call->n = count;
  run(model, CHM_ROLE_COMMIT, call);
  free(call->kept);
  return count;
}

int main(void) {
  for (;;) {
    int32_t header[4];
    take(header, sizeof header);
    const chm_model_desc *model = models[header[0]];
    if (header[1] >= model->n_kernel_sets) return 3;
    if (model->kernel_set) *model->kernel_set = header[1];
    const uint8_t **weights = block((uint64_t)(model->n_sections + 1) * sizeof *weights, 0);
    for (int32_t i = 0; i < model->n_sections; ++i) {
      uint8_t *section = block(model->sections[i].bytes, 0);
      take(section, (size_t)model->sections[i].bytes);
      weights[i] = section;
    }
    uint8_t *state = block(model->state_bytes, 0), *arena = block(model->arena_bytes, 0);
    for (int32_t i = 0; i < model->n_states; ++i) {
      const chm_state_desc *one = &model->states[i];
      uint64_t bytes = one->bytes / (uint64_t)one->iterations;
      for (int32_t k = 0; one->init_section != CHM_NO_SECTION && k < one->iterations; ++k)
        memcpy(state + one->offset + (uint64_t)k * bytes, weights[one->init_section], (size_t)bytes);
    }
    float *logits = block((uint64_t)model->vocab * 4 * CHM_MOST_NODES, 0);
    int32_t position = 0;
    for (int32_t i = 0; i < header[3]; ++i) {
      int32_t n, tokens[64];
      take(&n, sizeof n);
      chm_call call = {.weights = weights, .state = state, .arena = arena, .tokens = tokens, .logits = logits,
                       .n = n, .position = position, .loops = header[2]};
      if (n < 0) {
        position += run_tree(model, &call, -n);
      } else {
        take(tokens, (size_t)n * sizeof *tokens);
        run(model, n == 1 ? CHM_ROLE_DECODE : CHM_ROLE_PREFILL, &call);
        position += n;
      }
      fwrite(logits, (size_t)model->vocab * 4, n < 0 ? (size_t)-n : 1, stdout);
      if (model->state_bytes) fwrite(state, (size_t)model->state_bytes, 1, stdout);
    }
    for (int32_t i = 0; i < model->n_sections; ++i) free((void *)(uintptr_t)weights[i]);
    free(weights), free(state), free(arena), free(logits);
    fflush(stdout);
  }
}
