/* Byte-level byte pair encoding over a token table: a token's id is its rank, the lowest rank merges first. */
#include "chm_json.h"

#define CHM_MAX_PROBES 4096u /* an honest table needs a few dozen; more means that somebody chose the tokens */

static uint32_t hash_bytes(const uint8_t *data, uint32_t bytes) {
  uint32_t hash = 2166136261u;
  for (uint32_t i = 0; i < bytes; ++i) hash = (hash ^ data[i]) * 16777619u;
  return hash ^ hash >> 15;
}

/* Id of the token with these bytes, or -1. */
static int32_t find_token(const chm_tokenizer *tokenizer, const uint8_t *data, uint32_t bytes) {
  for (uint32_t slot = hash_bytes(data, bytes);; ++slot) {
    uint32_t found = tokenizer->table[slot & tokenizer->table_mask];
    if (!found) return -1;
    uint32_t id = found - 1;
    if (tokenizer->lengths[id] == bytes && !memcmp(tokenizer->bytes + tokenizer->offsets[id], data, bytes))
      return (int32_t)id;
  }
}

static int32_t invalid(const char *why) { return chm_fail(CHM_ERROR_TOKENIZER, "tokenizer: %s", why); }

static int32_t fill_table(chm_tokenizer *tokenizer, uint64_t section_bytes) {
  uint64_t offset = 0;
  tokenizer->bytes_only = true;
  for (uint32_t id = 0; id < tokenizer->count; ++id) {
    uint32_t bytes = tokenizer->lengths[id];
    tokenizer->offsets[id] = (uint32_t)offset;
    if (offset + bytes > section_bytes) return invalid("the lengths add up to more than the bytes");
    const uint8_t *data = tokenizer->bytes + offset;
    offset += bytes;
    if (!bytes) continue;
    if (bytes > 1) tokenizer->bytes_only = false;
    else if (tokenizer->of_byte[data[0]] < 0) tokenizer->of_byte[data[0]] = (int32_t)id;
    uint32_t probes = 0, slot = hash_bytes(data, bytes);
    for (uint32_t found; (found = tokenizer->table[slot & tokenizer->table_mask]); ++slot) {
      if (tokenizer->lengths[found - 1] == bytes && !memcmp(tokenizer->bytes + tokenizer->offsets[found - 1], data, bytes))
        return invalid("two tokens have the same bytes");
      if (++probes > CHM_MAX_PROBES) return invalid("too many tokens collide in the hash table");
    }
    tokenizer->table[slot & tokenizer->table_mask] = id + 1;
  }
  if (offset != section_bytes) return invalid("the lengths add up to less than the bytes");
  for (int byte = 0; byte < 256; ++byte)
    if (tokenizer->of_byte[byte] < 0) return invalid("not every single byte is a token");
  return CHM_OK;
}

static const char *const role_names[] = {CHM_ROLE_BEGIN, CHM_ROLE_END,      CHM_ROLE_CONTROL,
                                         CHM_ROLE_PAD,   CHM_ROLE_RESERVED, CHM_ROLE_ANSWER};
#define CHM_N_ROLES (sizeof role_names / sizeof role_names[0])

static int parse_role(chm_text text) {
  for (size_t role = 0; role < CHM_N_ROLES; ++role)
    if (chm_text_is(text, role_names[role])) return (int)role;
  return -1;
}

/* One {"name": …, "id": …, "role": …}. */
static bool parse_special(chm_json *json, uint32_t count, chm_special *special, chm_text *name) {
  bool more;
  uint32_t seen = 0;
  if (!chm_json_take(json, '{')) return false;
  do {
    chm_text key, text;
    uint64_t id = 0;
    if (!chm_json_string(json, &key) || !chm_json_take(json, ':')) return false;
    uint32_t bit = chm_text_is(key, "name") ? 1u : chm_text_is(key, "id") ? 2u : chm_text_is(key, "role") ? 4u : 0;
    if (!bit || seen & bit) return false;
    seen |= bit;
    if (bit == 2 ? !chm_json_number(json, &id) || id >= count : !chm_json_string(json, &text)) return false;
    if (bit == 1) *name = text;
    if (bit == 2) special->id = (int32_t)id;
    if (bit == 4) {
      int role = parse_role(text);
      if (role < 0) return false;
      special->role = (uint8_t)role;
    }
    if (!chm_json_next(json, '}', &more)) return false;
  } while (more);
  return seen == 7;
}

/* Walk over the specials; specials NULL: only count them. */
static int32_t walk_specials(const chm_tokenizer *tokenizer, const uint8_t *text, uint64_t bytes, chm_special *specials,
                             uint32_t *count) {
  chm_json json = {text, text + bytes, false};
  bool more = true;
  uint32_t found = 0;
  if (!chm_json_take(&json, '[')) return invalid("the list of special tokens");
  if (chm_json_take(&json, ']')) more = false;
  while (more) {
    chm_special special = {0, 0};
    chm_text name = {NULL, 0};
    if (!parse_special(&json, tokenizer->count, &special, &name) || !name.bytes) return invalid("a special token");
    if (tokenizer->lengths[special.id]) return invalid("a special token has bytes");
    if (found == CHM_MAX_SPECIALS) return chm_fail(CHM_ERROR_LIMIT, "tokenizer: too many special tokens");
    if (specials) {
      for (uint32_t k = 0; k < found; ++k)
        if (specials[k].id == special.id) return invalid("two special tokens have the same id");
      specials[found] = special;
    }
    ++found;
    if (!chm_json_next(&json, ']', &more)) return invalid("the list of special tokens");
  }
  chm_json_spaces(&json);
  if (json.at != json.end) return invalid("text after the list of special tokens");
  *count = found;
  return CHM_OK;
}

static int32_t open_sections(const chm_container *container, int32_t vocab, const chm_allocator *allocator,
                             chm_tokenizer *tokenizer) {
  const chm_entry *lengths = chm_container_find(container, CHM_SECTION_TOKEN_LENGTHS);
  const chm_entry *bytes = chm_container_find(container, CHM_SECTION_TOKEN_BYTES);
  const chm_entry *special = chm_container_find(container, CHM_SECTION_SPECIALS);
  if (!lengths || !bytes || !special) return invalid("a section is missing");
  if (lengths->element_bytes != 1 || bytes->element_bytes != 1 || special->element_bytes != 1)
    return invalid("a section has the wrong dtype");
  if (lengths->bytes > CHM_MAX_VOCABULARY)
    return chm_fail(CHM_ERROR_LIMIT, "tokenizer: %u tokens are over the limit", lengths->bytes);
  if (lengths->bytes > (uint64_t)vocab)
    return chm_fail(CHM_ERROR_MISMATCH, "the tokenizer has %u tokens, the model %d", lengths->bytes, (int64_t)vocab);
  if (bytes->bytes > (uint64_t)255 * CHM_MAX_VOCABULARY) return invalid("too many bytes");
  tokenizer->count = (uint32_t)lengths->bytes;
  tokenizer->lengths = container->file + lengths->begin;
  tokenizer->bytes = container->file + bytes->begin;
  for (int byte = 0; byte < 256; ++byte) tokenizer->of_byte[byte] = -1;

  const uint8_t *text = container->file + special->begin;
  int32_t status = walk_specials(tokenizer, text, special->bytes, NULL, &tokenizer->n_specials);
  if (status) return status;
  uint64_t table_size = 2;
  while (table_size < 2 * (uint64_t)tokenizer->count) table_size *= 2;
  uint64_t words = (uint64_t)tokenizer->count + table_size;
  tokenizer->allocated = words * 4 + (uint64_t)tokenizer->n_specials * sizeof(chm_special);
  tokenizer->block = chm_allocate(allocator, tokenizer->allocated);
  if (!tokenizer->block) return CHM_ERROR_MEMORY;
  memset(tokenizer->block, 0, (size_t)tokenizer->allocated);
  tokenizer->table = tokenizer->block;
  tokenizer->table_mask = (uint32_t)table_size - 1;
  tokenizer->offsets = tokenizer->table + table_size;
  tokenizer->specials = (chm_special *)(void *)(tokenizer->offsets + tokenizer->count);
  status = walk_specials(tokenizer, text, special->bytes, tokenizer->specials, &tokenizer->n_specials);
  if (!status) status = fill_table(tokenizer, bytes->bytes);
  if (status) chm_tokenizer_close(tokenizer, allocator);
  return status;
}

int32_t chm_tokenizer_open(const void *file, size_t bytes, int32_t vocab, uint32_t flags,
                           const chm_allocator *allocator, chm_tokenizer *tokenizer) {
  chm_container container;
  int32_t status = chm_container_open(file, bytes, CHM_KIND_TOKENIZER, "tokenizer", flags, allocator, &container);
  if (status) return status;
  status = open_sections(&container, vocab, allocator, tokenizer);
  chm_container_close(&container, allocator);
  return status;
}

void chm_tokenizer_close(chm_tokenizer *tokenizer, const chm_allocator *allocator) {
  chm_release(allocator, tokenizer->block, tokenizer->allocated);
  tokenizer->block = NULL;
}

/* ---- encoding ---- */

typedef struct chm_merge {
  uint32_t rank, left, span; /* token made, start of the left part, bytes of both parts */
} chm_merge;

typedef struct chm_encoder {
  const chm_tokenizer *tokenizer;
  const uint8_t *text;
  uint32_t count;   /* bytes of text */
  uint32_t *length; /* [count] bytes of the part that starts here, 0 inside of a part */
  uint32_t *before; /* [count] start of the part before */
  chm_merge *heap;
  uint32_t heap_count;
} chm_encoder;

static bool merge_first(chm_merge a, chm_merge b) { return a.rank < b.rank || (a.rank == b.rank && a.left < b.left); }

/* Queue the merge of the part at left with the one after it, if it makes a token. */
static void queue_merge(chm_encoder *encoder, uint32_t left) {
  uint32_t right = left + encoder->length[left];
  if (right >= encoder->count) return;
  uint32_t span = encoder->length[left] + encoder->length[right];
  if (span > 255) return;
  int32_t rank = find_token(encoder->tokenizer, encoder->text + left, span);
  if (rank < 0) return;
  chm_merge merge = {(uint32_t)rank, left, span};
  uint32_t hole = encoder->heap_count++;
  while (hole && merge_first(merge, encoder->heap[(hole - 1) / 2])) {
    encoder->heap[hole] = encoder->heap[(hole - 1) / 2];
    hole = (hole - 1) / 2;
  }
  encoder->heap[hole] = merge;
}

static chm_merge take_merge(chm_encoder *encoder) {
  chm_merge *heap = encoder->heap;
  chm_merge first = heap[0], moving = heap[--encoder->heap_count];
  uint32_t hole = 0;
  for (uint32_t child = 1; child < encoder->heap_count; child = 2 * hole + 1) {
    if (child + 1 < encoder->heap_count && merge_first(heap[child + 1], heap[child])) ++child;
    if (!merge_first(heap[child], moving)) break;
    heap[hole] = heap[child];
    hole = child;
  }
  heap[hole] = moving;
  return first;
}

static void merge_all(chm_encoder *encoder) {
  for (uint32_t i = 0; i < encoder->count; ++i) {
    encoder->length[i] = 1;
    encoder->before[i] = i - 1;
  }
  for (uint32_t i = 0; i + 1 < encoder->count; ++i) queue_merge(encoder, i);
  while (encoder->heap_count) {
    chm_merge merge = take_merge(encoder);
    uint32_t left = merge.left, part = encoder->length[left], right = left + part;
    if (!part || right >= encoder->count || part + encoder->length[right] != merge.span) continue; /* out of date */
    encoder->length[left] = merge.span;
    encoder->length[right] = 0;
    uint32_t after = left + merge.span;
    if (after < encoder->count) encoder->before[after] = left;
    if (left) queue_merge(encoder, encoder->before[left]);
    queue_merge(encoder, left);
  }
}

int32_t chm_tokenizer_encode(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, int32_t *tokens,
                             size_t capacity, size_t *count) {
  if (!bundle || !count || (!text && text_bytes) || (!tokens && capacity))
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_tokenizer_encode: a pointer is NULL");
  if (!bundle->has_tokenizer) return chm_fail(CHM_ERROR_STATE, "the bundle has no tokenizer");
  if (text_bytes > (size_t)1 << 28) return chm_fail(CHM_ERROR_ARGUMENT, "the text is over 256 MiB");
  const chm_tokenizer *tokenizer = &bundle->tokenizer;
  *count = text_bytes;
  if (tokenizer->bytes_only) {
    if (text_bytes > capacity) return chm_fail(CHM_ERROR_LIMIT, "%u tokens do not fit", (uint64_t)text_bytes);
    for (size_t i = 0; i < text_bytes; ++i) tokens[i] = tokenizer->of_byte[text[i]];
    return CHM_OK;
  }
  if (!text_bytes) return CHM_OK;
  /* one merge a pair of bytes to begin with, and two more with each merge that is made */
  uint64_t scratch_bytes = (uint64_t)text_bytes * (2 * sizeof(uint32_t) + 3 * sizeof(chm_merge));
  uint32_t *scratch = chm_allocate(&bundle->allocator, scratch_bytes);
  if (!scratch) return CHM_ERROR_MEMORY;
  chm_encoder encoder = {tokenizer, text, (uint32_t)text_bytes, scratch, scratch + text_bytes,
                         (chm_merge *)(void *)(scratch + 2 * text_bytes), 0};
  merge_all(&encoder);
  size_t made = 0;
  for (uint32_t i = 0; i < encoder.count; i += encoder.length[i]) ++made;
  *count = made;
  int32_t status = CHM_OK;
  if (made > capacity) {
    status = chm_fail(CHM_ERROR_LIMIT, "%u tokens do not fit", (uint64_t)made);
  } else {
    size_t k = 0;
    for (uint32_t i = 0; i < encoder.count; i += encoder.length[i])
      tokens[k++] = find_token(tokenizer, text + i, encoder.length[i]);
  }
  chm_release(&bundle->allocator, scratch, scratch_bytes);
  return status;
}

const uint8_t *chm_tokenizer_token(const chm_bundle *bundle, int32_t token, size_t *bytes) {
  static const uint8_t nothing[1];
  if (bytes) *bytes = 0;
  if (!bundle || !bytes || !bundle->has_tokenizer || token < 0 || (uint32_t)token >= bundle->tokenizer.count)
    return nothing;
  *bytes = bundle->tokenizer.lengths[token];
  return bundle->tokenizer.bytes + bundle->tokenizer.offsets[token];
}

int32_t chm_tokenizer_special(const chm_bundle *bundle, const char *role) {
  if (!bundle || !role || !bundle->has_tokenizer) return -1;
  size_t bytes = 0;
  while (bytes < 32 && role[bytes]) ++bytes;
  int wanted = parse_role((chm_text){(const uint8_t *)role, bytes});
  for (uint32_t k = 0; k < bundle->tokenizer.n_specials; ++k)
    if (bundle->tokenizer.specials[k].role == wanted) return bundle->tokenizer.specials[k].id;
  return -1;
}
