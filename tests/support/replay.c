/* Runs compiled models on recorded calls: the same source natively, in an emulator and as a WASI module.
 *
 * Input: {model, kernel set, loops, number of calls}, the model's weights, and for each call {n, n tokens}; all integers
 * are int32. Output: after each call the logits and the state.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chm_model.h"

extern const chm_model_desc *const models[];

/* As the runtime's, but in two uneven parts, the last one first. */
void chm_share(chm_pool *pool, chm_part part, const void *const *arguments, size_t count, int32_t n, int32_t units,
               int32_t work) {
  int32_t cut = units / 3;
  (void)pool, (void)count, (void)work;
  part(arguments, n, cut, units);
  if (cut) part(arguments, n, 0, cut);
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
    float *logits = block((uint64_t)model->vocab * 4, 0);
    int32_t position = 0;
    for (int32_t i = 0; i < header[3]; ++i) {
      int32_t n, tokens[64];
      take(&n, sizeof n);
      take(tokens, (size_t)n * sizeof *tokens);
      memset(arena, 0xA5, (size_t)model->arena_bytes);
      chm_call call = {.weights = weights, .state = state, .arena = arena, .tokens = tokens, .logits = logits,
                       .n = n, .position = position, .loops = header[2]};
      for (int32_t k = 0; k < model->n_entries; ++k)
        if (model->entries[k].role == (n == 1 ? CHM_ROLE_DECODE : CHM_ROLE_PREFILL)) model->entries[k].run(&call);
      position += n;
      fwrite(logits, (size_t)model->vocab * 4, 1, stdout);
      if (model->state_bytes) fwrite(state, (size_t)model->state_bytes, 1, stdout);
    }
    for (int32_t i = 0; i < model->n_sections; ++i) free((void *)(uintptr_t)weights[i]);
    free(weights), free(state), free(arena), free(logits);
    fflush(stdout);
  }
}
