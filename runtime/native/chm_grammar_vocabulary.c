/* The tokens of a tokenizer as a trie, and the text slice: read from a pack, or made here of the tokenizer. */
#include "chm_grammar.h"

CHM_COLD_BEGIN

/* ---- what is made of the tables ---- */

/* Whether a walk over the trie stays inside of it, and of the room for a walk: the next node is at most one deeper, the one
 * behind a subtree is not deeper than its root, none is deeper than the longest token. A trie that is wrong in other ways
 * gives wrong masks, whose tokens are not accepted. */
static bool check_trie(const uint32_t *nodes, uint32_t count, const chm_tokenizer *tokenizer) {
  if (nodes[1] >> 24) return false;
  uint32_t bad = 0, before = 1; /* without a branch for each node; before: depth of the one before, plus 1 */
  for (uint32_t i = 1; i < count; ++i) {
    uint32_t place = nodes[2 * i + 1], depth = place >> 24, behind = i + (place & 0xFFFFFF);
    uint32_t next = nodes[2 * (behind < count ? behind : 0) + 1] >> 24;
    bad |= (depth - 1 >= before) | (next > depth) | (behind - i - 1 >= count - i) | (depth > tokenizer->longest) |
           ((nodes[2 * i] & 0xFFFFFF) > tokenizer->count);
    before = depth + 1;
  }
  return !bad;
}

static int32_t invalid(const char *why) { return chm_fail(CHM_ERROR_GRAMMAR, "grammars: %s", why); }

/* The bitmaps, 32 tokens at a time. */
static void fill_bitmaps(chm_vocabulary *v) {
  uint32_t large = 0;
  for (uint32_t word = 0; word < v->words; ++word) {
    uint32_t rows[CHM_SHORT_SLICES + 1] = {0}, any = 0, first = 32 * word;
    uint32_t here = v->count - first < 32 ? v->count - first : 32;
    for (uint32_t k = 0; k < here; ++k) {
      uint32_t chars = v->chars[first + k];
      any |= (uint32_t)(v->tokenizer->lengths[first + k] != 0) << k;
      rows[chars < CHM_SHORT_SLICES ? chars : CHM_SHORT_SLICES] |= 1u << k;
      if (chars >= CHM_SHORT_SLICES) v->large[large++] = first + k;
    }
    v->with_bytes[word] = any;
    uint32_t sum = 0;
    for (uint32_t k = 0; k < CHM_SHORT_SLICES; ++k) {
      sum |= rows[k + 1] & any;
      v->slices[k * (size_t)v->words + word] = sum;
    }
  }
}

int32_t chm_vocabulary_open(chm_vocabulary *v, const chm_allocator *allocator) {
  if (!check_trie(v->trie, v->nodes, v->tokenizer) || !check_trie(v->rest, v->rest_nodes, v->tokenizer))
    return invalid("a trie is not consistent");
  v->words = (v->count + 31) / 32;
  v->n_large = v->most_chars = 0;
  for (uint32_t id = 0; id < v->count; ++id) v->n_large += v->chars[id] >= CHM_SHORT_SLICES;
  for (uint32_t id = 0; id < v->count; ++id) v->most_chars = v->chars[id] > v->most_chars ? v->chars[id] : v->most_chars;
  v->allocated = 4 * ((uint64_t)v->words * (1 + CHM_SHORT_SLICES) + v->n_large) + 4;
  v->block = chm_allocate(allocator, v->allocated);
  if (!v->block) return CHM_ERROR_MEMORY;
  v->with_bytes = v->block;
  v->slices = v->with_bytes + v->words;
  v->large = v->slices + CHM_SHORT_SLICES * (size_t)v->words;
  fill_bitmaps(v);
  return CHM_OK;
}

void chm_vocabulary_close(chm_vocabulary *v, const chm_allocator *allocator) {
  chm_release(allocator, v->block, v->allocated);
  chm_release(allocator, v->tables, v->tables_allocated);
  v->block = v->tables = NULL;
}

/* ---- making the tables ---- */

/* Characters of a token of the slice, 0 for other tokens. */
static uint32_t slice_characters(const uint8_t *data, uint32_t bytes) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < bytes; ++count) {
    uint32_t lead = data[i], size = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    if (lead < 0x20 || lead == '"' || lead == '\\' || !size || size > bytes - i) return 0;
    for (uint32_t k = 1; k < size; ++k) {
      uint32_t least = 0x80, most = 0xBF; /* of the second byte: no long forms, no surrogates, nothing above U+10FFFF */
      if (k == 1 && lead == 0xE0) least = 0xA0;
      if (k == 1 && lead == 0xED) most = 0x9F;
      if (k == 1 && lead == 0xF0) least = 0x90;
      if (k == 1 && lead == 0xF4) most = 0x8F;
      if (data[i + k] < least || data[i + k] > most) return 0;
    }
    i += size;
  }
  return count < 255 ? count : 0;
}

typedef struct chm_sorted {
  uint64_t start; /* first eight bytes, big-endian */
  uint32_t id, bytes;
} chm_sorted;

static bool before(const chm_tokenizer *t, const chm_sorted *a, const chm_sorted *b) {
  if (a->start != b->start) return a->start < b->start;
  uint32_t least = a->bytes < b->bytes ? a->bytes : b->bytes;
  int order = memcmp(t->bytes + t->offsets[a->id], t->bytes + t->offsets[b->id], least);
  return order ? order < 0 : a->bytes < b->bytes;
}

/* Merge sort; returns which of the two arrays has the result. */
static chm_sorted *sort(const chm_tokenizer *t, chm_sorted *from, chm_sorted *to, uint32_t count) {
  for (uint64_t width = 1; width < count; width *= 2) {
    for (uint64_t start = 0; start < count; start += 2 * width) {
      uint64_t middle = start + width < count ? start + width : count, end = middle + width < count ? middle + width : count;
      for (uint64_t i = start, a = start, b = middle; i < end; ++i)
        to[i] = a < middle && (b == end || !before(t, &from[b], &from[a])) ? from[a++] : from[b++];
    }
    chm_sorted *swapped = from;
    from = to;
    to = swapped;
  }
  return from;
}

/* Write the trie of sorted tokens, those with chars[id] only if whole; nodes NULL: only count its nodes. */
static uint32_t write_trie(const chm_vocabulary *v, const chm_sorted *sorted, uint32_t count, bool whole, uint32_t *nodes) {
  const chm_tokenizer *t = v->tokenizer;
  uint32_t used = 1, open[256] = {0}, depth = 0;
  const uint8_t *last = NULL;
  if (nodes) nodes[0] = nodes[1] = 0;
  for (uint32_t i = 0; i <= count; ++i) {
    if (i < count && !whole && v->chars[sorted[i].id]) continue;
    const uint8_t *data = i < count ? t->bytes + t->offsets[sorted[i].id] : NULL;
    uint32_t bytes = i < count ? sorted[i].bytes : 0, shared = 0;
    while (shared < depth && shared < bytes && data[shared] == last[shared]) ++shared;
    for (uint32_t level = shared + 1; level <= depth && nodes; ++level) nodes[2 * open[level] + 1] |= used - open[level];
    for (uint32_t level = shared + 1; level <= bytes; ++level) {
      open[level] = used;
      if (nodes) {
        nodes[2 * used] = (uint32_t)data[level - 1] << 24;
        nodes[2 * used + 1] = level << 24;
      }
      ++used;
    }
    if (nodes && data) nodes[2 * open[bytes]] |= sorted[i].id + 1;
    depth = bytes;
    last = data;
  }
  if (nodes) nodes[1] = used;
  return used;
}

int32_t chm_vocabulary_make(chm_vocabulary *v, const chm_allocator *allocator) {
  const chm_tokenizer *t = v->tokenizer;
  uint64_t scratch_bytes = 2 * (uint64_t)v->count * sizeof(chm_sorted) + v->count;
  chm_sorted *scratch = chm_allocate(allocator, scratch_bytes);
  if (!scratch) return CHM_ERROR_MEMORY;
  uint8_t *chars = (uint8_t *)(scratch + 2 * (size_t)v->count);
  uint32_t count = 0;
  for (uint32_t id = 0; id < v->count; ++id) {
    uint32_t bytes = t->lengths[id];
    const uint8_t *data = t->bytes + t->offsets[id];
    chars[id] = bytes ? (uint8_t)slice_characters(data, bytes) : 0;
    if (!bytes) continue;
    uint64_t start = 0;
    for (uint32_t i = 0; i < 8; ++i) start = start << 8 | (i < bytes ? data[i] : 0);
    scratch[count++] = (chm_sorted){start, id, bytes};
  }
  const chm_sorted *sorted = sort(t, scratch, scratch + v->count, count);
  v->chars = chars;
  v->nodes = write_trie(v, sorted, count, true, NULL);
  v->rest_nodes = write_trie(v, sorted, count, false, NULL);
  v->tables_allocated = 8 * ((uint64_t)v->nodes + v->rest_nodes) + v->count;
  int32_t status = CHM_ERROR_MEMORY;
  uint32_t *tables = v->nodes < 1u << 24 ? chm_allocate(allocator, v->tables_allocated) : NULL;
  if (tables) {
    uint32_t *rest = tables + 2 * (size_t)v->nodes;
    write_trie(v, sorted, count, true, tables);
    write_trie(v, sorted, count, false, rest);
    v->chars = memcpy(rest + 2 * (size_t)v->rest_nodes, chars, v->count);
    v->trie = tables;
    v->rest = rest;
    v->tables = tables;
    status = CHM_OK;
  } else if (v->nodes >= 1u << 24) {
    status = chm_fail(CHM_ERROR_LIMIT, "the tokens are too long for grammars");
  }
  chm_release(allocator, scratch, scratch_bytes);
  return status ? status : chm_vocabulary_open(v, allocator);
}

CHM_COLD_END
