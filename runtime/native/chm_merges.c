/* Which two parts of a piece may merge, and which of several first: by a list of merges, or by the tokens themselves. */
#include "chm_internal.h"

CHM_COLD_BEGIN

static int32_t invalid(const char *why) { return chm_fail(CHM_ERROR_TOKENIZER, "tokenizer: %s", why); }

static uint32_t number_at(const uint8_t *numbers, uint64_t k) {
  uint32_t value;
  memcpy(&value, numbers + 4 * k, sizeof value);
  return value;
}

static int32_t read_bytes(const chm_container *container, chm_tokenizer *tokenizer) {
  const chm_entry *entry = chm_container_find(container, CHM_SECTION_BYTES);
  tokenizer->has_bytes = entry;
  for (int byte = 0; byte < 256; ++byte) tokenizer->of_byte[byte] = -1;
  if (!entry) return CHM_OK;
  if (!tokenizer->has_merges) return invalid("tokens of single bytes without merges");
  if (entry->element_bytes != 4 || entry->bytes != 256 * 4) return invalid("the tokens of single bytes are not 256");
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t id = number_at(container->file + entry->begin, byte);
    if (id >= tokenizer->count) return invalid("the token of a single byte is out of range");
    tokenizer->of_byte[byte] = (int32_t)id;
  }
  return CHM_OK;
}

int32_t chm_merges_open(const chm_container *container, chm_tokenizer *tokenizer) {
  const chm_entry *merges = chm_container_find(container, CHM_SECTION_MERGES);
  const chm_entry *splits = chm_container_find(container, CHM_SECTION_SPLITS);
  tokenizer->has_merges = merges;
  tokenizer->n_merges = 0;
  tokenizer->merges = NULL;
  tokenizer->first = tokenizer->ranks = NULL;
  if (splits && !merges) return invalid("splits without merges");
  if (merges) {
    if (merges->element_bytes != 4 || (splits && splits->element_bytes != 1)) return invalid("a section has the wrong dtype");
    uint64_t count = merges->bytes / 4;
    if (count > CHM_MAX_MERGES) return chm_fail(CHM_ERROR_LIMIT, "tokenizer: %u merges are over the limit", count);
    if (splits && splits->bytes != count) return invalid("there are not as many splits as merges");
    tokenizer->n_merges = (uint32_t)count;
    tokenizer->merges = container->file + merges->begin;
  }
  if (tokenizer->rules & (CHM_RULE_WHOLE | CHM_RULE_DROP) && tokenizer->pattern == CHM_SPLIT_NONE)
    return invalid("a rule is for pieces, and nothing cuts the text into pieces");
  if (tokenizer->rules & CHM_RULE_LONGEST && merges) return invalid("the longest token counts, and there are merges");
  return read_bytes(container, tokenizer);
}

uint64_t chm_merges_bytes(const chm_tokenizer *tokenizer) {
  return tokenizer->has_merges ? 4 * ((uint64_t)tokenizer->count + 1 + tokenizer->n_merges) : 0;
}

int32_t chm_merges_prepare(const chm_container *container, chm_tokenizer *tokenizer, uint32_t *memory) {
  if (!tokenizer->has_merges) return CHM_OK;
  const chm_entry *entry = chm_container_find(container, CHM_SECTION_SPLITS);
  const uint8_t *splits = entry ? container->file + entry->begin : NULL;
  uint32_t *first = tokenizer->first = memory, *ranks = tokenizer->ranks = memory + tokenizer->count + 1;
  /* count the merges of each token, one place further; then first[id] is where the next one of id goes */
  for (uint32_t rank = 0; rank < tokenizer->n_merges; ++rank) {
    uint32_t id = number_at(tokenizer->merges, rank);
    if (id >= tokenizer->count || tokenizer->lengths[id] < 2) return invalid("a merge makes no token of two bytes or more");
    if (splits && (!splits[rank] || splits[rank] >= tokenizer->lengths[id])) return invalid("a merge has an empty part");
    ++first[id + 1];
  }
  for (uint32_t id = 0; id < tokenizer->count; ++id) first[id + 1] += first[id];
  for (uint32_t rank = 0; rank < tokenizer->n_merges; ++rank)
    ranks[first[number_at(tokenizer->merges, rank)]++] = rank << 8 | (splits ? splits[rank] : 0);
  memmove(first + 1, first, (size_t)tokenizer->count * sizeof *first);
  first[0] = 0;
  for (uint32_t id = 0; id < tokenizer->count; ++id) {
    uint8_t seen[256] = {0};
    if (first[id + 1] - first[id] < 2) continue;
    for (uint32_t k = first[id]; k < first[id + 1]; ++k)
      if (seen[ranks[k] & 0xff]++) return invalid("a merge is there twice");
  }
  return CHM_OK;
}

int32_t chm_merges_rank(const chm_tokenizer *tokenizer, const uint8_t *data, uint32_t bytes, uint32_t left) {
  int32_t id = chm_tokenizer_find(tokenizer, data, bytes);
  if (id < 0 || !tokenizer->has_merges) return id;
  for (uint32_t k = tokenizer->first[id]; k < tokenizer->first[id + 1]; ++k) {
    uint32_t split = tokenizer->ranks[k] & 0xff;
    if (!split || split == left) return (int32_t)(tokenizer->ranks[k] >> 8);
  }
  return -1;
}

int32_t chm_merges_token(const chm_tokenizer *tokenizer, int32_t rank) {
  return tokenizer->has_merges ? (int32_t)number_at(tokenizer->merges, (uint64_t)rank) : rank;
}

CHM_COLD_END
