/* Containers of grammars: no number in them is used before it was checked. */
#include "chm_grammar.h"

CHM_COLD_BEGIN

#define RECORD 16u
#define MAX_GRAMMARS 64u
#define MAX_STATES 65000u

static int32_t invalid(const char *why) { return chm_fail(CHM_ERROR_GRAMMAR, "grammars: %s", why); }

static const void *data_of(const chm_pack *pack, const chm_entry *entry) { return pack->container.file + entry->begin; }

/* ---- the container ---- */

/* Whether the tables were made for the tokenizer of the bundle. */
static bool same_tokenizer(const chm_pack *pack) {
  const chm_tokenizer *tokenizer = &pack->bundle->tokenizer;
  return pack->container.tokenizer && pack->container.tokenizer_bytes == tokenizer->contents_bytes &&
         !memcmp(pack->container.tokenizer, tokenizer->contents, tokenizer->contents_bytes);
}

static int32_t read_vocabulary(chm_pack *pack, const chm_entry *trie) {
  const chm_container *container = &pack->container;
  const chm_entry *chars = chm_container_find(container, "slice.chars"), *rest = chm_container_find(container, "slice.trie"),
                  *soft = chm_container_find(container, "soft.class");
  chm_vocabulary *v = &pack->own;
  if (!same_tokenizer(pack)) return invalid("they were made for another tokenizer");
  if (!chars || !rest || !soft) return invalid("a section is missing");
  if (trie->element_bytes != 4 || rest->element_bytes != 4 || chars->element_bytes != 1 || soft->element_bytes != 1 ||
      !trie->bytes || !rest->bytes || trie->bytes % 8 || rest->bytes % 8 || trie->bytes / 8 >= 1u << 24 ||
      rest->bytes / 8 >= 1u << 24 || chars->bytes != v->count || soft->bytes != v->count)
    return invalid("a section has the wrong size");
  v->trie = data_of(pack, trie);
  v->rest = data_of(pack, rest);
  v->chars = data_of(pack, chars);
  v->soft = data_of(pack, soft);
  v->nodes = (uint32_t)(trie->bytes / 8);
  v->rest_nodes = (uint32_t)(rest->bytes / 8);
  return chm_vocabulary_open(v, &pack->allocator);
}

static bool is_name_byte(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

static const char *name_of(const chm_pack *pack, uint32_t index) {
  return (const char *)pack->names + pack->directory[RECORD * index];
}

static int32_t read_directory(chm_pack *pack) {
  const chm_entry *directory = chm_container_find(&pack->container, "directory");
  const chm_entry *names = chm_container_find(&pack->container, "names");
  if (!directory || !names || directory->element_bytes != 4 || names->element_bytes != 1 || !directory->bytes ||
      directory->bytes % (4 * RECORD))
    return invalid("the directory is missing or has the wrong size");
  if (directory->bytes / (4 * RECORD) > MAX_GRAMMARS)
    return chm_fail(CHM_ERROR_LIMIT, "%u grammars are over the limit of %u", directory->bytes / (4 * RECORD), (uint64_t)MAX_GRAMMARS);
  pack->directory = data_of(pack, directory);
  pack->names = data_of(pack, names);
  pack->names_bytes = names->bytes;
  pack->count = (uint32_t)(directory->bytes / (4 * RECORD));
  uint32_t defaults = 0;
  for (uint32_t i = 0; i < pack->count; ++i) {
    uint64_t start = pack->directory[RECORD * i], at = start;
    while (at < pack->names_bytes && at - start < 64 && is_name_byte(pack->names[at])) ++at;
    if (at == start || at >= pack->names_bytes || pack->names[at]) return invalid("a grammar has no valid name");
    for (uint32_t k = 0; k < i; ++k) {
      const char *a = name_of(pack, i), *b = name_of(pack, k);
      while (*a && *a == *b) ++a, ++b;
      if (*a == *b) return invalid("two grammars have the same name");
    }
    defaults += (pack->directory[RECORD * i + 5] & CHM_GRAMMAR_DEFAULT) != 0;
  }
  return defaults > 1 ? invalid("two grammars are the default") : CHM_OK;
}

static int32_t open_container(chm_pack *pack, const void *data, size_t bytes, uint32_t flags) {
  if ((uintptr_t)data % 4) return chm_fail(CHM_ERROR_ARGUMENT, "the grammars are not aligned to 4 bytes");
  int32_t status = chm_container_open(data, bytes, CHM_KIND_GRAMMARS, "grammars", flags, &pack->allocator, &pack->container);
  if (status) return status;
  pack->has_container = true;
  return read_directory(pack);
}

static int32_t open_vocabulary(chm_pack *pack) {
  const chm_entry *trie = pack->has_container ? chm_container_find(&pack->container, "trie") : NULL;
  pack->own.tokenizer = &pack->bundle->tokenizer;
  pack->own.count = pack->bundle->tokenizer.count;
  if (pack->base && !trie) {
    pack->vocabulary = pack->base->vocabulary;
    return CHM_OK;
  }
  pack->vocabulary = &pack->own;
  return trie ? read_vocabulary(pack, trie) : chm_vocabulary_make(&pack->own, &pack->allocator);
}

static void release(chm_pack *pack) {
  chm_allocator allocator = pack->allocator;
  chm_vocabulary_close(&pack->own, &allocator);
  if (pack->has_container) chm_container_close(&pack->container, &allocator);
  chm_release(&allocator, pack, sizeof *pack);
}

int32_t chm_pack_open(chm_bundle *bundle, chm_pack *base, const void *data, size_t bytes, uint32_t flags,
                      const chm_allocator *allocator, chm_pack **pack_out) {
  if (pack_out) *pack_out = NULL;
  if (!bundle || !pack_out || (!data && bytes)) return chm_fail(CHM_ERROR_ARGUMENT, "chm_pack_open: a pointer is NULL");
  if (flags & ~CHM_OPEN_SKIP_CHECKSUMS) return chm_fail(CHM_ERROR_ARGUMENT, "unknown flags");
  if (!bundle->has_tokenizer) return chm_fail(CHM_ERROR_STATE, "the bundle has no tokenizer, which grammars need");
  if (base && base->bundle != bundle) return chm_fail(CHM_ERROR_ARGUMENT, "the other grammars are of another bundle");
  if (!allocator) allocator = &bundle->allocator;
  chm_pack *pack = chm_allocate(allocator, sizeof *pack);
  if (!pack) return CHM_ERROR_MEMORY;
  memset(pack, 0, sizeof *pack);
  pack->allocator = *allocator;
  pack->bundle = bundle;
  pack->base = base;
  int32_t status = data ? open_container(pack, data, bytes, flags) : CHM_OK;
  if (!status) status = open_vocabulary(pack);
  if (status) {
    release(pack);
    return status;
  }
  if (base) __atomic_fetch_add(&base->uses, 1, __ATOMIC_ACQ_REL);
  __atomic_fetch_add(&bundle->sessions, 1, __ATOMIC_ACQ_REL);
  *pack_out = pack;
  return CHM_OK;
}

int32_t chm_pack_close(chm_pack *pack) {
  if (!pack) return chm_fail(CHM_ERROR_ARGUMENT, "chm_pack_close: NULL");
  if (__atomic_load_n(&pack->uses, __ATOMIC_ACQUIRE)) return chm_fail(CHM_ERROR_STATE, "the grammars are still in use");
  if (pack->base) __atomic_fetch_sub(&pack->base->uses, 1, __ATOMIC_ACQ_REL);
  __atomic_fetch_sub(&pack->bundle->sessions, 1, __ATOMIC_ACQ_REL);
  release(pack);
  return CHM_OK;
}

int32_t chm_pack_count(const chm_pack *pack) { return pack ? (int32_t)pack->count : 0; }

const char *chm_pack_name(const chm_pack *pack, int32_t index) {
  return pack && index >= 0 && (uint32_t)index < pack->count ? name_of(pack, (uint32_t)index) : NULL;
}

int32_t chm_pack_default(const chm_pack *pack) {
  for (uint32_t i = 0; pack && i < pack->count; ++i)
    if (pack->directory[RECORD * i + 5] & CHM_GRAMMAR_DEFAULT) return (int32_t)i;
  return -1;
}

/* ---- one grammar ---- */

typedef struct chm_tables {
  const chm_pack *pack;
  uint32_t index;
  uint64_t identity;
} chm_tables;

/* A section of the grammar with elements of this size, or NULL. */
static const chm_entry *section(chm_tables *tables, const char *name, uint32_t element_bytes) {
  char full[32];
  size_t used = 0;
  full[used++] = 'g';
  if (tables->index > 9) full[used++] = (char)('0' + tables->index / 10);
  full[used++] = (char)('0' + tables->index % 10);
  full[used++] = '.';
  while (*name && used < sizeof full - 1) full[used++] = *name++;
  full[used] = 0;
  const chm_entry *entry = chm_container_find(&tables->pack->container, full);
  if (!entry || entry->element_bytes != element_bytes) return NULL;
  tables->identity = (tables->identity ^ entry->crc32) * 0x9E3779B97F4A7C15u;
  tables->identity ^= tables->identity >> 32;
  return entry;
}

/* The same, which must have this many elements. */
static const void *find(chm_tables *tables, const char *name, uint32_t element_bytes, uint64_t elements) {
  const chm_entry *entry = section(tables, name, element_bytes);
  return entry && entry->bytes == element_bytes * elements ? data_of(tables->pack, entry) : NULL;
}

#define LIST_ENDS 1u   /* within the limit of words, with nothing behind a pop */
#define LIST_CHECKS 2u /* and has only checks */

/* For each offset of op what the list that starts there is. */
static bool classify_lists(const chm_automaton *a, uint8_t *kinds, uint8_t *lengths) {
  for (uint32_t i = a->n_ops; i-- > 0;) {
    uint32_t kind = a->op[i] & 0xFF, argument = a->op[i] >> 16;
    if (kind >= CHM_N_OPS || (kind == CHM_OP_PUSH && argument >= a->n_states)) return false;
    if (kind == CHM_OP_END) {
      kinds[i] = LIST_ENDS | LIST_CHECKS;
      lengths[i] = 0;
      continue;
    }
    if (i + 1 == a->n_ops) return false;
    lengths[i] = lengths[i + 1] < CHM_MAX_ACTIONS ? (uint8_t)(lengths[i + 1] + 1) : (uint8_t)CHM_MAX_ACTIONS;
    kinds[i] = kinds[i + 1];
    if (kind != CHM_OP_CHECK) kinds[i] &= (uint8_t)~LIST_CHECKS;
    if (lengths[i] == CHM_MAX_ACTIONS || (kind == CHM_OP_POP && (a->op[i + 1] & 0xFF))) kinds[i] = 0;
  }
  return a->op[0] == CHM_OP_END;
}

static bool check_cells(const chm_automaton *a, const uint8_t *kinds) {
  for (uint32_t s = 0; s < a->n_states; ++s) {
    const uint32_t *row = a->delta + (size_t)s * a->n_classes;
    for (uint32_t c = 0; c < a->n_classes; ++c) {
      uint32_t cell = row[c], goal = cell & 0xFFFF, list = cell >> 16;
      if (cell == CHM_CELL_REJECT) continue;
      if (list >= a->n_ops || !(kinds[list] & LIST_ENDS)) return false;
      if (goal == CHM_CELL_RETURN) {
        if (!(kinds[list] & LIST_CHECKS)) return false;
      } else if (goal >= a->n_states || c + 1 == a->n_classes) {
        return false;
      }
    }
  }
  return true;
}

static bool ascending(const uint32_t *list, uint32_t count, uint32_t limit) {
  for (uint32_t i = 1; i < count; ++i)
    if (list[i] <= list[i - 1]) return false;
  return !count || list[count - 1] < limit;
}

static int32_t check_masks(chm_tables *tables, uint32_t entries, chm_automaton *a) {
  const chm_vocabulary *v = &tables->pack->own;
  if (!v->trie) return invalid("stored masks without a trie");
  const uint32_t *first = find(tables, "mask.first", 4, (uint64_t)a->n_states + 1);
  const uint32_t *entry = find(tables, "mask.entry", 4, 8 * (uint64_t)entries);
  const chm_entry *lists = section(tables, "mask.data", 4);
  if (!first || !entry || !lists) return invalid("stored masks are missing or have the wrong size");
  const uint32_t *data = data_of(tables->pack, lists);
  uint64_t words = lists->bytes / 4;
  if (first[0] || first[a->n_states] != entries) return invalid("stored masks are not in order");
  for (uint32_t i = 0; i < a->n_states; ++i)
    if (first[i] > first[i + 1]) return invalid("stored masks are not in order");
  for (uint32_t i = 0; i < entries; ++i) {
    const uint32_t *e = entry + 8 * (size_t)i;
    if ((e[0] != CHM_NO_TOP && e[0] >= a->n_states) || e[1] >= CHM_N_STORES || (e[1] == CHM_STORE_BITMAP && e[2] != v->words) ||
        (uint64_t)e[3] + e[2] > words || (uint64_t)e[5] + e[4] > words)
      return invalid("a stored mask is out of range");
    if ((e[1] != CHM_STORE_BITMAP && !ascending(data + e[3], e[2], v->count)) || !ascending(data + e[5], e[4], v->count))
      return invalid("a list of tokens is not ascending");
  }
  a->first = first;
  a->entry = entry;
  a->data = data;
  return CHM_OK;
}

int32_t chm_automaton_open(const chm_pack *pack, uint32_t index, chm_automaton *a, uint64_t *identity) {
  const uint32_t *record = pack->directory + RECORD * index;
  chm_tables tables = {pack, index, 0xCBF29CE484222325u};
  *a = (chm_automaton){.n_states = record[1], .n_classes = record[2], .start = record[3], .cap = record[4],
                       .flags = record[5], .n_ops = record[7], .n_loops = record[8]};
  if (!a->n_states || a->n_states > MAX_STATES || a->n_classes < 2 || a->n_classes > 257 || a->start >= a->n_states ||
      a->cap > 255 || !a->n_loops || a->n_loops > 65536 || !a->n_ops || a->n_ops > 65535)
    return invalid("a size is out of range");
  a->classes = find(&tables, "class", 1, 256);
  a->delta = find(&tables, "delta", 4, (uint64_t)a->n_states * a->n_classes);
  a->op = find(&tables, "op", 4, a->n_ops);
  a->state = find(&tables, "state", 2, 4 * (uint64_t)a->n_states);
  a->loop = find(&tables, "loop", 2, 4 * (uint64_t)a->n_loops);
  if (!a->classes || !a->delta || !a->op || !a->state || !a->loop) return invalid("a table is missing or has the wrong size");
  for (uint32_t i = 0; i < 256; ++i)
    if (a->classes[i] >= a->n_classes - 1) return invalid("a class is out of range");
  if (a->loop[0] || a->loop[1] != CHM_UNLIMITED || a->loop[2]) return invalid("loop 0 counts");
  for (uint32_t i = 0; i < a->n_states; ++i) {
    const uint16_t *state = a->state + 4 * (size_t)i;
    uint32_t room = state[1] & 0xFF;
    if (state[2] >= a->n_loops || state[1] >> 8 > 2) return invalid("a state is out of range");
    if (room > a->max_room) a->max_room = room;
  }
  uint8_t *kinds = chm_allocate(&pack->allocator, 2 * (uint64_t)a->n_ops);
  if (!kinds) return CHM_ERROR_MEMORY;
  bool good = classify_lists(a, kinds, kinds + a->n_ops) && check_cells(a, kinds);
  chm_release(&pack->allocator, kinds, 2 * (uint64_t)a->n_ops);
  if (!good) return invalid("a cell or an action is out of range");
  int32_t status = record[6] ? check_masks(&tables, record[6], a) : CHM_OK;
  *identity = tables.identity;
  return status;
}

CHM_COLD_END
