/* The tokenizer's container: tokens found by their bytes, special tokens, and what text is cut by. */
#include "chm_json.h"

CHM_COLD_BEGIN

#define CHM_MAX_PROBES 4096u /* an honest table needs a few dozen; more means that somebody chose the tokens */

#define CHM_HASH_SEED 2166136261u

static uint32_t hash_more(uint32_t hash, uint8_t byte) { return (hash ^ byte) * 16777619u; }
static uint32_t hash_end(uint32_t hash) { return hash ^ hash >> 15; }

static uint32_t hash_bytes(const uint8_t *data, uint32_t bytes) {
  uint32_t hash = CHM_HASH_SEED;
  for (uint32_t i = 0; i < bytes; ++i) hash = hash_more(hash, data[i]);
  return hash_end(hash);
}

/* An entry of the table is id + 1 in the low bits and part of the hash above, so that most others are told apart there.
 */
#define CHM_ENTRY_BITS 19
_Static_assert(CHM_MAX_VOCABULARY < 1u << CHM_ENTRY_BITS, "an id fits an entry");

/* Whether an entry is the token with these bytes. */
static bool is_token(const chm_tokenizer *tokenizer, uint32_t entry, uint32_t hash, const uint8_t *data, uint32_t bytes) {
  if ((entry ^ hash) >> CHM_ENTRY_BITS) return false;
  uint32_t id = (entry & ((1u << CHM_ENTRY_BITS) - 1)) - 1;
  return tokenizer->lengths[id] == bytes && !memcmp(tokenizer->bytes + tokenizer->offsets[id], data, bytes);
}

static int32_t find_hashed(const chm_tokenizer *tokenizer, uint32_t hash, const uint8_t *data, uint32_t bytes) {
  for (uint32_t slot = hash, entry; (entry = tokenizer->table[slot & tokenizer->table_mask]); ++slot)
    if (is_token(tokenizer, entry, hash, data, bytes)) return (int32_t)(entry & ((1u << CHM_ENTRY_BITS) - 1)) - 1;
  return -1;
}

int32_t chm_tokenizer_find(const chm_tokenizer *tokenizer, const uint8_t *data, uint32_t bytes) {
  return bytes > tokenizer->longest ? -1 : find_hashed(tokenizer, hash_bytes(data, bytes), data, bytes);
}

int32_t chm_tokenizer_longest(const chm_tokenizer *tokenizer, const uint8_t *data, size_t bytes, uint32_t *size) {
  uint32_t most = bytes < tokenizer->longest ? (uint32_t)bytes : tokenizer->longest;
  uint32_t hash = hash_more(CHM_HASH_SEED, data[0]);
  int32_t found = tokenizer->of_byte[data[0]];
  *size = 1;
  for (uint32_t next = 2; next <= most; ++next) {
    hash = hash_more(hash, data[next - 1]);
    int32_t token = find_hashed(tokenizer, hash_end(hash), data, next);
    if (token < 0) continue;
    found = token;
    *size = next;
  }
  return found;
}

static int32_t invalid(const char *why) { return chm_fail(CHM_ERROR_TOKENIZER, "tokenizer: %s", why); }

/* Remember which bytes stand next to each other in tokens. */
static void mark_joined(uint32_t *joined, const uint8_t *data, uint32_t bytes) {
  for (uint32_t i = 1; i < bytes; ++i) {
    uint32_t pair = (uint32_t)data[i - 1] << 8 | data[i];
    joined[pair >> 5] |= 1u << (pair & 31);
  }
}

static int32_t fill_table(chm_tokenizer *tokenizer, uint64_t section_bytes) {
  uint64_t offset = 0;
  for (uint32_t id = 0; id < tokenizer->count; ++id) {
    uint32_t bytes = tokenizer->lengths[id];
    tokenizer->offsets[id] = (uint32_t)offset;
    if (offset + bytes > section_bytes) return invalid("the lengths add up to more than the bytes");
    const uint8_t *data = tokenizer->bytes + offset;
    offset += bytes;
    if (!bytes) continue;
    if (bytes == 1 && tokenizer->has_bytes && tokenizer->of_byte[data[0]] == (int32_t)id) continue;
    uint32_t probes = 0, hash = hash_bytes(data, bytes), slot = hash;
    for (uint32_t entry; (entry = tokenizer->table[slot & tokenizer->table_mask]); ++slot) {
      if (is_token(tokenizer, entry, hash, data, bytes)) return invalid("two tokens have the same bytes");
      if (++probes > CHM_MAX_PROBES) return invalid("too many tokens collide in the hash table");
    }
    tokenizer->table[slot & tokenizer->table_mask] = hash >> CHM_ENTRY_BITS << CHM_ENTRY_BITS | (id + 1);
    if (tokenizer->joined) mark_joined(tokenizer->joined, data, bytes);
  }
  if (offset != section_bytes) return invalid("the lengths add up to less than the bytes");
  for (int value = 0; value < 256; ++value) {
    uint8_t byte = (uint8_t)value;
    int32_t token = chm_tokenizer_find(tokenizer, &byte, 1), only = tokenizer->of_byte[value];
    if (only >= 0 && (tokenizer->lengths[only] != 1 || tokenizer->bytes[tokenizer->offsets[only]] != byte))
      return invalid("a token of a single byte has other bytes");
    if (token >= 0) tokenizer->of_byte[value] = token;
    else if (only < 0 && !(tokenizer->rules & CHM_RULE_DROP)) return invalid("not every single byte is a token");
  }
  return CHM_OK;
}

static const char *const role_names[] = {CHM_ROLE_BEGIN, CHM_ROLE_END,      CHM_ROLE_CONTROL,
                                         CHM_ROLE_PAD,   CHM_ROLE_RESERVED, CHM_ROLE_ANSWER, CHM_ROLE_HEARD};
#define CHM_N_ROLES (sizeof role_names / sizeof role_names[0])

static int parse_role(chm_text text) {
  for (size_t role = 0; role < CHM_N_ROLES; ++role)
    if (chm_text_is(text, role_names[role])) return (int)role;
  return -1;
}

static int digit(uint8_t c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static bool is_hex(chm_text text) {
  for (size_t i = 0; i < text.bytes; ++i)
    if (digit(text.start[i]) < 0) return false;
  return text.bytes % 2 == 0;
}

enum { NAME = 1, ID = 2, ROLE = 4, STRIP = 8, HEX = 16 };

static uint32_t key_of(chm_text key) {
  static const char *const keys[] = {"name", "id", "role", "strip", "hex"};
  for (uint32_t k = 0; k < sizeof keys / sizeof *keys; ++k)
    if (chm_text_is(key, keys[k])) return 1u << k;
  return 0;
}

/* One {"name": …, "id": …, "role": …}, perhaps with "strip": CHM_STRIP_… or "hex": 1, its name in hexadecimal digits. */
static bool parse_special(chm_json *json, uint32_t count, chm_special *special, chm_text *name, bool *hex) {
  bool more;
  uint32_t seen = 0;
  if (!chm_json_take(json, '{')) return false;
  do {
    chm_text key, text;
    uint64_t number = 0;
    if (!chm_json_string(json, &key) || !chm_json_take(json, ':')) return false;
    uint32_t bit = key_of(key);
    if (!bit || seen & bit) return false;
    seen |= bit;
    if (bit & (NAME | ROLE) ? !chm_json_string(json, &text) : !chm_json_number(json, &number)) return false;
    if ((bit == ID && number >= count) || (bit == STRIP && number > 3) || (bit == HEX && number != 1)) return false;
    if (bit == NAME) *name = text;
    if (bit == ID) special->id = (int32_t)number;
    if (bit == STRIP) special->strip = (uint8_t)number;
    if (bit == ROLE) {
      int role = parse_role(text);
      if (role < 0) return false;
      special->role = (uint8_t)role;
    }
    if (!chm_json_next(json, '}', &more)) return false;
  } while (more);
  *hex = seen & HEX;
  return (seen & (NAME | ID | ROLE)) == (NAME | ID | ROLE) && (!*hex || is_hex(*name));
}

/* Copy a JSON string without its escapes, or the bytes of digits; returns the bytes written. */
static size_t unescape(chm_text text, bool hex, uint8_t *out) {
  size_t used = 0;
  for (size_t i = 0; hex && i < text.bytes; i += 2)
    out[used++] = (uint8_t)(digit(text.start[i]) << 4 | digit(text.start[i + 1]));
  if (hex) return used;
  for (size_t i = 0; i < text.bytes; ++i) {
    if (text.start[i] == '\\') ++i;
    out[used++] = text.start[i];
  }
  return used;
}

static bool is_utf8(const uint8_t *text, size_t bytes) {
  uint32_t code;
  for (size_t at = 0, step; at < bytes; at += step)
    if (!(step = chm_utf8_character(text, at, bytes, &code))) return false;
  return true;
}

/* Walk over the specials; specials NULL: only count them. names: room for all names, no more than the text. */
static int32_t walk_specials(const chm_tokenizer *tokenizer, const uint8_t *text, uint64_t bytes, chm_special *specials,
                             uint8_t *names, uint32_t *count) {
  chm_json json = {text, text + bytes, false};
  bool more = true;
  uint32_t found = 0;
  if (!chm_json_take(&json, '[')) return invalid("the list of special tokens");
  if (chm_json_take(&json, ']')) more = false;
  while (more) {
    chm_special special = {0};
    chm_text name = {NULL, 0};
    bool hex = false;
    if (!parse_special(&json, tokenizer->count, &special, &name, &hex) || !name.bytes) return invalid("a special token");
    if (tokenizer->lengths[special.id]) return invalid("a special token has bytes");
    if (found == CHM_MAX_SPECIALS) return chm_fail(CHM_ERROR_LIMIT, "tokenizer: too many special tokens");
    if (specials) {
      for (uint32_t k = 0; k < found; ++k)
        if (specials[k].id == special.id) return invalid("two special tokens have the same id");
      special.name = names;
      special.name_bytes = unescape(name, hex, names);
      if (!is_utf8(names, special.name_bytes)) return invalid("a special token's name is not UTF-8");
      names += special.name_bytes;
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

static int32_t find_name(chm_text name, const char *const *names, size_t count) {
  for (size_t k = 0; k < count; ++k)
    if (chm_text_is(name, names[k])) return (int32_t)k;
  return -1;
}

#define CHM_X(name, text) text,

/* What text is cut by; a container without the section cuts nothing. */
static int32_t read_pattern(const chm_container *container, chm_split *pattern) {
  static const char *const names[] = {CHM_PATTERNS(CHM_X)};
  const chm_entry *entry = chm_container_find(container, CHM_SECTION_PATTERN);
  *pattern = CHM_SPLIT_NONE;
  if (!entry) return CHM_OK;
  if (entry->element_bytes != 1) return invalid("a section has the wrong dtype");
  chm_text name = {container->file + entry->begin, (size_t)entry->bytes};
  int32_t found = find_name(name, names, sizeof names / sizeof *names);
  if (found < 0) return invalid("the pattern is not one that this runtime knows");
  *pattern = (chm_split)found;
  return CHM_OK;
}

/* The names of what is done with text; without the section nothing is. */
static int32_t read_rules(const chm_container *container, uint32_t *rules) {
  static const char *const names[] = {CHM_RULES(CHM_X)};
  const chm_entry *entry = chm_container_find(container, CHM_SECTION_RULES);
  *rules = 0;
  if (!entry) return CHM_OK;
  if (entry->element_bytes != 1) return invalid("a section has the wrong dtype");
  chm_json json = {container->file + entry->begin, container->file + entry->begin + entry->bytes, false};
  bool more = chm_json_take(&json, '[');
  if (!more) return invalid("the list of rules");
  do {
    chm_text name;
    int32_t rule = chm_json_string(&json, &name) ? find_name(name, names, CHM_N_RULES) : -1;
    if (rule < 0) return invalid("a rule is not one that this runtime knows");
    if (*rules & 1u << rule) return invalid("a rule is there twice");
    *rules |= 1u << rule;
    if (!chm_json_next(&json, ']', &more)) return invalid("the list of rules");
  } while (more);
  chm_json_spaces(&json);
  if (json.at != json.end) return invalid("text after the list of rules");
  uint32_t prefix = *rules & CHM_RULES_PREFIX;
  return prefix & (prefix - 1) ? invalid("more than one rule for what is before a text") : CHM_OK;
}
#undef CHM_X

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
  tokenizer->contents = container->contents;
  tokenizer->contents_bytes = container->contents_bytes;
  tokenizer->count = (uint32_t)lengths->bytes;
  tokenizer->lengths = container->file + lengths->begin;
  tokenizer->bytes = container->file + bytes->begin;
  tokenizer->longest = 0;
  for (uint32_t id = 0; id < tokenizer->count; ++id)
    if (tokenizer->longest < tokenizer->lengths[id]) tokenizer->longest = tokenizer->lengths[id];
  for (int byte = 0; byte < 256; ++byte) tokenizer->of_byte[byte] = -1;

  const uint8_t *text = container->file + special->begin;
  int32_t status = walk_specials(tokenizer, text, special->bytes, NULL, NULL, &tokenizer->n_specials);
  if (!status) status = read_pattern(container, &tokenizer->pattern);
  if (!status) status = read_rules(container, &tokenizer->rules);
  if (!status && tokenizer->rules & ~CHM_BUILT_RULES) status = invalid("it has a rule that this module was built without");
  if (!status) status = chm_merges_open(container, tokenizer);
  if (status) return status;
  uint64_t table_size = 2;
  while (table_size < 2 * (uint64_t)tokenizer->count) table_size *= 2;
  uint64_t special_bytes = (uint64_t)tokenizer->n_specials * sizeof(chm_special);
  uint64_t joined_bytes = tokenizer->pattern == CHM_SPLIT_NONE && tokenizer->longest > 1 ? 65536 / 8 : 0;
  uint64_t words = (uint64_t)tokenizer->count + table_size;
  uint64_t merge_bytes = chm_merges_bytes(tokenizer);
  tokenizer->allocated = special_bytes + joined_bytes + words * 4 + merge_bytes + special->bytes;
  tokenizer->block = chm_allocate(allocator, tokenizer->allocated);
  if (!tokenizer->block) return CHM_ERROR_MEMORY;
  memset(tokenizer->block, 0, (size_t)tokenizer->allocated);
  tokenizer->specials = tokenizer->block;
  uint32_t *joined = (uint32_t *)(void *)((uint8_t *)tokenizer->block + special_bytes);
  tokenizer->joined = joined_bytes ? joined : NULL;
  tokenizer->table = joined + joined_bytes / 4;
  tokenizer->table_mask = (uint32_t)table_size - 1;
  tokenizer->offsets = tokenizer->table + table_size;
  uint32_t *merges = tokenizer->offsets + tokenizer->count;
  uint8_t *names = (uint8_t *)merges + merge_bytes;
  status = walk_specials(tokenizer, text, special->bytes, tokenizer->specials, names, &tokenizer->n_specials);
  if (!status) status = fill_table(tokenizer, bytes->bytes);
  if (!status) status = chm_merges_prepare(container, tokenizer, merges);
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

/* ---- what the tokens are ---- */

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

CHM_COLD_END
