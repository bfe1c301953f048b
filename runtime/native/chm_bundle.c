/* Opening a bundle: the model compiled in, its weights found section by section, its tokenizer. */
#include "chm_session.h"

CHM_COLD_BEGIN

uint32_t chm_abi_version(void) { return CHM_ABI_MAJOR << 16 | CHM_ABI_MINOR; }
const char *chm_model_name(void) { return chm_model.name; }
const char *chm_model_target(void) { return chm_model.target; }
const char *chm_model_config_sha256(void) { return chm_model.config_sha256; }
const char *chm_model_weights_sha256(void) { return chm_model.weights_sha256; }
int32_t chm_vocab_size(void) { return chm_model.vocab; }
int32_t chm_max_loops(void) { return chm_model.max_loops; }
int32_t chm_default_loops(void) { return chm_model.default_loops; }

static int32_t wrong_model(const char *why) { return chm_fail(CHM_ERROR_LIBRARY, "the compiled model is not valid: %s", why); }

/* The model's entry of a role; NULL if it has none that takes calls of so many tokens. */
static const chm_entry_desc *find_entry(chm_role role, int32_t tokens) {
  for (int32_t i = 0; i < chm_model.n_entries; ++i)
    if (chm_model.entries[i].role == (int32_t)role)
      return chm_model.entries[i].tokens == tokens ? &chm_model.entries[i] : NULL;
  return NULL;
}

/* Whether the states of a memory are there and have the sizes that the runtime takes them to have. */
static bool knots_fit(const chm_knot_desc *knot) {
  const int32_t states[] = {knot->memory, knot->hit, knot->sketch};
  for (int i = 0; i < 3; ++i)
    if (states[i] < 0 || states[i] >= chm_model.n_states) return false;
  uint64_t bytes = chm_model.states[knot->memory].bytes;
  return bytes >= 8 && bytes % 8 == 0 && bytes * 8 <= CHM_KNOT_BITS && chm_model.states[knot->hit].bytes == sizeof(float) &&
         chm_model.states[knot->sketch].bytes == 8 * bytes;
}

/* The generated description is code and trusted as such; this finds a runtime and a compiler that do not fit. */
static int32_t check_model(void) {
  if (chm_model.abi != CHM_MODEL_ABI) return wrong_model("its version");
  bool speaks = chm_model.vocab > 0;
  if (chm_model.vocab < 0 || chm_model.vocab > (int32_t)CHM_MAX_VOCABULARY || chm_model.block < 1 ||
      chm_model.max_loops < 1 || chm_model.default_loops < 1 || chm_model.default_loops > chm_model.max_loops ||
      chm_model.n_sections < 0 || chm_model.n_states < 0)
    return wrong_model("a number is out of range");
  if (speaks && !find_entry(CHM_ROLE_DECODE, 1)) return wrong_model("it has no entry for one token");
  if (speaks && !find_entry(CHM_ROLE_PREFILL, chm_model.block)) return wrong_model("it has no entry for a block of tokens");
  bool verifies = find_entry(CHM_ROLE_VERIFY, CHM_MOST_NODES), commits = find_entry(CHM_ROLE_COMMIT, CHM_MOST_NODES);
  if (verifies != commits || (bool)chm_speculates() != verifies) return wrong_model("its entries for trees");
  if (find_entry(CHM_ROLE_DRAFT, 1) &&
      (chm_model.draft_scores < 1 || chm_model.draft_scores > chm_model.vocab || chm_model.draft_state < 0 ||
       chm_model.draft_state >= chm_model.n_states))
    return wrong_model("its draft head");
  if (chm_model.knot.calls && !knots_fit(&chm_model.knot)) return wrong_model("its memory");
  for (int32_t i = 0; i < chm_model.n_entries; ++i)
    if (!chm_entry_valid(&chm_model.entries[i])) return wrong_model(chm_model.entries[i].name);
  for (int32_t i = 0; i < chm_model.n_states; ++i) {
    const chm_state_desc *state = &chm_model.states[i];
    uint64_t end;
    if (!chm_add(state->offset, state->bytes, &end) || end > chm_model.state_bytes || state->iterations < 1 ||
        state->iterations > chm_model.max_loops || state->bytes % (uint64_t)state->iterations)
      return wrong_model(state->name);
    if (state->init_section == CHM_NO_SECTION) continue;
    if (state->init_section < 0 || state->init_section >= chm_model.n_sections ||
        chm_model.sections[state->init_section].bytes != state->bytes / (uint64_t)state->iterations)
      return wrong_model(state->name);
  }
  return chm_state_names() ? CHM_OK : wrong_model("the name of a state");
}

static int32_t find_weights(const chm_container *container, const uint8_t **weights) {
  const char *expected = chm_model.weights_sha256;
  size_t i = 0;
  while (i < container->contents_bytes && expected[i] && container->contents[i] == (uint8_t)expected[i]) ++i;
  if (i != container->contents_bytes || expected[i])
    return chm_fail(CHM_ERROR_MISMATCH, "the weights are not those that this code was compiled for");
  for (int32_t k = 0; k < chm_model.n_sections; ++k) {
    const chm_section_desc *section = &chm_model.sections[k];
    const chm_entry *entry = chm_container_find(container, section->name);
    if (!entry) return chm_fail(CHM_ERROR_MISMATCH, "the weights have no section %s", section->name);
    if (entry->bytes != section->bytes)
      return chm_fail(CHM_ERROR_MISMATCH, "section %s has %u bytes, the code expects %u", section->name, entry->bytes,
                      section->bytes);
    weights[k] = container->file + entry->begin;
  }
  return CHM_OK;
}

/* Which ids may be generated: those with bytes, and specials of role end (1) or control (2). */
static void find_excluded(chm_bundle *bundle) {
  const chm_tokenizer *tokenizer = &bundle->tokenizer;
  memset(bundle->excluded, 0xff, ((size_t)chm_model.vocab + 7) / 8);
  for (uint32_t id = 0; id < tokenizer->count; ++id)
    if (tokenizer->lengths[id]) bundle->excluded[id >> 3] &= (uint8_t)~(1u << (id & 7));
  for (uint32_t k = 0; k < tokenizer->n_specials; ++k) {
    chm_special special = tokenizer->specials[k];
    if (special.role != 1 && special.role != 2) continue;
    bundle->excluded[special.id >> 3] &= (uint8_t)~(1u << (special.id & 7));
    if (special.role == 1 && bundle->n_stop_tokens < CHM_MAX_STOP_TOKENS)
      bundle->stop_tokens[bundle->n_stop_tokens++] = special.id;
  }
}

int32_t chm_bundle_open(const void *weights, size_t weights_bytes, const void *tokenizer, size_t tokenizer_bytes,
                        uint32_t flags, const chm_allocator *allocator, chm_bundle **bundle_out) {
  if (!bundle_out) return chm_fail(CHM_ERROR_ARGUMENT, "chm_bundle_open: a pointer is NULL");
  *bundle_out = NULL;
  if (!weights) return chm_fail(CHM_ERROR_ARGUMENT, "chm_bundle_open: no weights");
  if ((uintptr_t)weights % CHM_SECTION_ALIGNMENT)
    return chm_fail(CHM_ERROR_ARGUMENT, "the weights are not aligned to %u bytes", (uint64_t)CHM_SECTION_ALIGNMENT);
  if (flags & ~CHM_OPEN_SKIP_CHECKSUMS) return chm_fail(CHM_ERROR_ARGUMENT, "unknown flags");
  if (!allocator) allocator = &chm_default_allocator;
  int32_t status = check_model();
  if (!status) status = chm_cpu_prepare();
  if (status) return status;

  uint64_t pointer_bytes = ((uint64_t)chm_model.n_sections + 1) * sizeof(uint8_t *);
  uint64_t total = sizeof(chm_bundle) + pointer_bytes + ((uint64_t)chm_model.vocab + 7) / 8;
  chm_bundle *bundle = chm_allocate(allocator, total);
  if (!bundle) return CHM_ERROR_MEMORY;
  memset(bundle, 0, (size_t)total);
  bundle->allocator = *allocator;
  bundle->allocated = total;
  bundle->pool.threads = 1;
  bundle->decode = find_entry(CHM_ROLE_DECODE, 1);
  bundle->prefill = find_entry(CHM_ROLE_PREFILL, chm_model.block);
  bundle->verify = find_entry(CHM_ROLE_VERIFY, CHM_MOST_NODES);
  bundle->commit = find_entry(CHM_ROLE_COMMIT, CHM_MOST_NODES);
  bundle->draft = find_entry(CHM_ROLE_DRAFT, 1);
  bundle->weights = (const uint8_t **)(void *)(bundle + 1);
  bundle->excluded = (uint8_t *)(bundle + 1) + pointer_bytes;

  chm_container container;
  status = chm_container_open(weights, weights_bytes, CHM_KIND_WEIGHTS, "weights", flags, allocator, &container);
  if (!status) {
    status = find_weights(&container, bundle->weights);
    chm_container_close(&container, allocator);
  }
  if (!status && tokenizer) {
    status = chm_tokenizer_open(tokenizer, tokenizer_bytes, chm_model.vocab, flags, allocator, &bundle->tokenizer);
    bundle->has_tokenizer = !status;
  }
  if (status) {
    chm_release(allocator, bundle, total);
    return status;
  }
  if (bundle->has_tokenizer) find_excluded(bundle);
  *bundle_out = bundle;
  return CHM_OK;
}

int32_t chm_bundle_close(chm_bundle *bundle) {
  if (!bundle) return chm_fail(CHM_ERROR_ARGUMENT, "chm_bundle_close: NULL");
  if (__atomic_load_n(&bundle->sessions, __ATOMIC_ACQUIRE))
    return chm_fail(CHM_ERROR_STATE, "the bundle still has open sessions or grammars");
  int32_t status = chm_pool_resize(bundle, 1);
  if (status) return status;
  for (int i = 0; i < CHM_MAX_MAPPINGS; ++i)
    if (bundle->unmap && bundle->mappings[i].start) bundle->unmap(bundle->mappings[i].start, bundle->mappings[i].bytes);
  chm_allocator allocator = bundle->allocator;
  chm_tokenizer_close(&bundle->tokenizer, &allocator);
  chm_release(&allocator, bundle, bundle->allocated);
  return CHM_OK;
}

CHM_COLD_END
