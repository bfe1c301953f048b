/* Text to tokens: normalized, cut into pieces, then parts merged in each piece, the lowest rank first, the leftmost of
 * equals. Parts are bytes to begin with, or characters that are tokens. Or the longest token at each place of a piece. */
#include "chm_internal.h"

CHM_COLD_BEGIN

#define CHM_SHORT 48 /* pieces up to this size merge without a heap */

typedef struct chm_encoder {
  const chm_tokenizer *tokenizer;
  const chm_allocator *allocator;
  int32_t *tokens;  /* [capacity]; NULL to count only */
  size_t count;
  uint64_t *heap;   /* [2 * room] merges that may be possible: rank << 36 | place of the left part << 8 | bytes of both */
  uint8_t *length;  /* [room] bytes of the part that starts here, 0 inside of a part */
  uint8_t *before;  /* [room] bytes of the part that ends here */
  size_t room;      /* bytes of the longest piece that fits */
  size_t heap_count;
} chm_encoder;

static void emit(chm_encoder *encoder, int32_t token) {
  if (encoder->tokens) encoder->tokens[encoder->count] = token;
  ++encoder->count;
}

/* Bytes of the part that begins the rest of a piece. */
static uint32_t first_part(const chm_tokenizer *tokenizer, const uint8_t *piece, size_t at, size_t bytes) {
  uint32_t code;
  if (!tokenizer->has_bytes) return 1;
  size_t size = chm_utf8_character(piece, at, bytes, &code);
  return size > 1 && chm_tokenizer_find(tokenizer, piece + at, (uint32_t)size) >= 0 ? (uint32_t)size : 1;
}

static int32_t token_of_part(const chm_tokenizer *tokenizer, const uint8_t *part, uint32_t bytes) {
  return bytes == 1 ? tokenizer->of_byte[part[0]] : chm_tokenizer_find(tokenizer, part, bytes);
}

/* ---- short pieces: look for the best pair again and again ---- */

static void merge_short(chm_encoder *encoder, const uint8_t *piece, uint32_t bytes) {
  const chm_tokenizer *tokenizer = encoder->tokenizer;
  int32_t id[CHM_SHORT];             /* [parts] token of each part */
  int32_t joined[CHM_SHORT];         /* [parts - 1] rank of the merge of a part and the one after it, or -1 */
  uint8_t start[CHM_SHORT + 1];      /* [parts + 1] */
  uint32_t parts = 0;
  for (uint32_t at = 0, size; at < bytes; at += size, ++parts) {
    size = first_part(tokenizer, piece, at, bytes);
    start[parts] = (uint8_t)at;
    id[parts] = token_of_part(tokenizer, piece + at, size);
  }
  start[parts] = (uint8_t)bytes;
  for (uint32_t i = 0; i + 1 < parts; ++i)
    joined[i] = chm_merges_rank(tokenizer, piece + start[i], (uint32_t)start[i + 2] - start[i], (uint32_t)start[i + 1] - start[i]);
  while (parts > 1) {
    uint32_t best = 0;
    for (uint32_t i = 1; i + 1 < parts; ++i) /* as unsigned numbers, -1 is last */
      if ((uint32_t)joined[i] < (uint32_t)joined[best]) best = i;
    if (joined[best] < 0) break;
    id[best] = chm_merges_token(tokenizer, joined[best]);
    --parts;
    for (uint32_t i = best + 1; i < parts; ++i) {
      id[i] = id[i + 1];
      joined[i - 1] = joined[i];
      start[i] = start[i + 1];
    }
    start[parts] = start[parts + 1];
    for (uint32_t i = best ? best - 1 : 0; i <= best && i + 1 < parts; ++i)
      joined[i] = chm_merges_rank(tokenizer, piece + start[i], (uint32_t)start[i + 2] - start[i], (uint32_t)start[i + 1] - start[i]);
  }
  for (uint32_t i = 0; i < parts; ++i) emit(encoder, id[i]);
}

/* ---- long pieces: a heap of the possible merges ---- */

/* Queue the merge of the part at left with the one after it, if there is one. */
static void queue_merge(chm_encoder *encoder, const uint8_t *piece, size_t bytes, size_t left) {
  size_t right = left + encoder->length[left];
  if (right >= bytes) return;
  uint32_t span = (uint32_t)encoder->length[left] + encoder->length[right];
  int32_t rank = chm_merges_rank(encoder->tokenizer, piece + left, span, encoder->length[left]);
  if (rank < 0) return;
  uint64_t merge = (uint64_t)rank << 36 | (uint64_t)left << 8 | span;
  size_t hole = encoder->heap_count++;
  while (hole && merge < encoder->heap[(hole - 1) / 2]) {
    encoder->heap[hole] = encoder->heap[(hole - 1) / 2];
    hole = (hole - 1) / 2;
  }
  encoder->heap[hole] = merge;
}

static uint64_t take_merge(chm_encoder *encoder) {
  uint64_t *heap = encoder->heap;
  uint64_t first = heap[0], moving = heap[--encoder->heap_count];
  size_t hole = 0;
  for (size_t child = 1; child < encoder->heap_count; child = 2 * hole + 1) {
    if (child + 1 < encoder->heap_count && heap[child + 1] < heap[child]) ++child;
    if (heap[child] >= moving) break;
    heap[hole] = heap[child];
    hole = child;
  }
  heap[hole] = moving;
  return first;
}

static int32_t make_room(chm_encoder *encoder, size_t bytes) {
  if (bytes <= encoder->room) return CHM_OK;
  /* each merge takes one entry off the heap and puts two on it at most: bytes - 1 to begin with, and one more a merge */
  const uint64_t each = 2 * sizeof(uint64_t) + 2;
  chm_release(encoder->allocator, encoder->heap, encoder->room * each);
  encoder->room = 0;
  encoder->heap = chm_allocate(encoder->allocator, bytes * each);
  if (!encoder->heap) return CHM_ERROR_MEMORY;
  encoder->room = bytes;
  encoder->length = (uint8_t *)(encoder->heap + 2 * bytes);
  encoder->before = encoder->length + bytes;
  return CHM_OK;
}

static int32_t merge_long(chm_encoder *encoder, const uint8_t *piece, size_t bytes) {
  int32_t status = make_room(encoder, bytes);
  if (status) return status;
  memset(encoder->length, 0, bytes);
  for (size_t i = 0, size; i < bytes; i += size) {
    size = first_part(encoder->tokenizer, piece, i, bytes);
    encoder->length[i] = encoder->before[i + size - 1] = (uint8_t)size;
  }
  encoder->heap_count = 0;
  for (size_t i = 0; i < bytes; i += encoder->length[i]) queue_merge(encoder, piece, bytes, i);
  while (encoder->heap_count) {
    uint64_t merge = take_merge(encoder);
    size_t left = merge >> 8 & 0xfffffffu;
    uint32_t span = merge & 0xffu, part = encoder->length[left];
    size_t right = left + part, after = left + span;
    if (!part || right >= bytes || part + encoder->length[right] != span) continue; /* out of date */
    encoder->length[left] = encoder->before[after - 1] = (uint8_t)span;
    encoder->length[right] = 0;
    if (left) queue_merge(encoder, piece, bytes, left - encoder->before[left - 1]);
    queue_merge(encoder, piece, bytes, left);
  }
  for (size_t i = 0; i < bytes; i += encoder->length[i])
    emit(encoder, token_of_part(encoder->tokenizer, piece + i, encoder->length[i]));
  return CHM_OK;
}

static int32_t take_longest(chm_encoder *encoder, const uint8_t *piece, size_t bytes) {
  for (uint32_t size; bytes; piece += size, bytes -= size)
    emit(encoder, chm_tokenizer_longest(encoder->tokenizer, piece, bytes, &size));
  return CHM_OK;
}

static int32_t merge_piece(chm_encoder *encoder, const uint8_t *piece, size_t bytes) {
  if (encoder->tokenizer->rules & CHM_RULE_LONGEST) return take_longest(encoder, piece, bytes);
  if (bytes > CHM_SHORT) return merge_long(encoder, piece, bytes);
  merge_short(encoder, piece, (uint32_t)bytes);
  return CHM_OK;
}

/* A piece without the bytes that are no token. */
static int32_t merge_rest(chm_encoder *encoder, const uint8_t *piece, size_t bytes) {
  uint8_t *rest = chm_allocate(encoder->allocator, bytes);
  if (!rest) return CHM_ERROR_MEMORY;
  size_t used = 0;
  for (size_t i = 0; i < bytes; ++i)
    if (encoder->tokenizer->of_byte[piece[i]] >= 0) rest[used++] = piece[i];
  int32_t status = merge_piece(encoder, rest, used);
  chm_release(encoder->allocator, rest, bytes);
  return status;
}

static int32_t encode_piece(chm_encoder *encoder, const uint8_t *piece, size_t bytes) {
  if (encoder->tokenizer->rules & CHM_RULE_DROP)
    for (size_t i = 0; i < bytes; ++i)
      if (encoder->tokenizer->of_byte[piece[i]] < 0) return merge_rest(encoder, piece, bytes);
  return merge_piece(encoder, piece, bytes);
}

/* ---- texts ---- */

/* No merge crosses two bytes that no token has next to each other. */
static size_t end_of_joined(const chm_tokenizer *tokenizer, const uint8_t *text, size_t at, size_t end) {
  while (++at < end) {
    uint32_t pair = (uint32_t)text[at - 1] << 8 | text[at];
    if (!(tokenizer->joined[pair >> 5] >> (pair & 31) & 1)) break;
  }
  return at;
}

/* The pieces that begin before stop, from *at, which moves on, to end. */
static int32_t encode_pieces(chm_encoder *encoder, const uint8_t *text, size_t *at, size_t end, size_t stop) {
  const chm_tokenizer *tokenizer = encoder->tokenizer;
  if (tokenizer->longest == 1) {
    for (; *at < end && *at < stop; ++*at)
      if (tokenizer->of_byte[text[*at]] >= 0) emit(encoder, tokenizer->of_byte[text[*at]]);
    return CHM_OK;
  }
  bool cuts = tokenizer->pattern != CHM_SPLIT_NONE, whole = cuts && (!tokenizer->has_merges || tokenizer->rules & CHM_RULE_WHOLE);
  int32_t status = CHM_OK;
  for (size_t next; *at < end && *at < stop && !status; *at = next) {
    next = cuts ? chm_piece(tokenizer->pattern, text, *at, end) : end_of_joined(tokenizer, text, *at, end);
    /* a piece that is a token is taken whole */
    int32_t token = !whole || next - *at > 255 ? -1 : chm_tokenizer_find(tokenizer, text + *at, (uint32_t)(next - *at));
    if (token >= 0) emit(encoder, token);
    else status = encode_piece(encoder, text + *at, next - *at);
  }
  return status;
}

/* What the rules do to a text before it is cut. begins: a sequence begins with it; follows: it is more of a text. */
typedef enum chm_place { BEGINS, CONTINUES, FOLLOWS } chm_place;

static bool changes(const chm_tokenizer *tokenizer, const uint8_t *text, size_t bytes) {
  if (tokenizer->rules & (CHM_RULES_PREFIX | CHM_RULE_UNDERLINE)) return true;
  if (tokenizer->rules & CHM_BUILT_RULES & CHM_RULE_TIDY && !chm_is_tidy(text, bytes)) return true;
  return tokenizer->rules & CHM_BUILT_RULES & CHM_RULE_NFC && !chm_is_normal(text, bytes);
}

/* Spaces in place of U+2581; returns the bytes that are left. */
static size_t to_spaces(uint8_t *text, size_t bytes) {
  size_t used = 0;
  for (size_t i = 0; i < bytes; ++i) {
    bool underline = text[i] == 0xe2 && bytes - i > 2 && text[i + 1] == 0x96 && text[i + 2] == 0x81;
    text[used++] = underline ? ' ' : text[i];
    if (underline) i += 2;
  }
  return used;
}

static bool has_prefix(const chm_tokenizer *tokenizer, const uint8_t *text, chm_place place) {
  uint32_t rule = tokenizer->rules & CHM_RULES_PREFIX;
  if (place == FOLLOWS || !rule) return false;
  if (rule == CHM_RULE_PREFIX) return true;
  return text[0] != ' ' && (rule == CHM_RULE_PREFIX_MISSING || place == BEGINS);
}

/* A text that the rules change, with one byte more before it that may be a space. */
static int32_t encode_changed(chm_encoder *encoder, const uint8_t *text, size_t bytes, chm_place place) {
  const chm_tokenizer *tokenizer = encoder->tokenizer;
  bool normalizes = tokenizer->rules & CHM_BUILT_RULES & CHM_RULE_NFC && !chm_is_normal(text, bytes);
  uint64_t room = (normalizes ? 4 : 1) * (uint64_t)bytes + 1;
  uint8_t *copy = chm_allocate(encoder->allocator, room);
  if (!copy) return CHM_ERROR_MEMORY;
  int32_t status = CHM_OK;
  size_t size = bytes;
  uint8_t *tidy = normalizes ? copy + 1 + 3 * bytes : copy + 1;
  if (tokenizer->rules & CHM_BUILT_RULES & CHM_RULE_TIDY) size = chm_tidy(text, bytes, tidy);
  else memcpy(tidy, text, bytes);
  if (normalizes) status = chm_normalize(tidy, size, encoder->allocator, copy + 1, &size);
  if (tokenizer->rules & CHM_RULE_UNDERLINE) size = to_spaces(copy + 1, size);
  size_t at = !size || !has_prefix(tokenizer, copy + 1, place);
  copy[0] = ' ';
  if (!status) status = encode_pieces(encoder, copy, &at, size + 1, size + 1);
  chm_release(encoder->allocator, copy, room);
  return status;
}

static int32_t encode_text(chm_encoder *encoder, const uint8_t *text, size_t bytes, chm_place place) {
  size_t at = 0;
  if (bytes && changes(encoder->tokenizer, text, bytes)) return encode_changed(encoder, text, bytes, place);
  return encode_pieces(encoder, text, &at, bytes, bytes);
}

/* The first special token whose name stands in the text, the longest of several: its place and size, else the end. */
static const chm_special *find_special(const chm_tokenizer *tokenizer, const uint8_t *text, size_t at, size_t end,
                                       size_t *place) {
  for (; at < end; ++at) {
    const chm_special *found = NULL;
    for (uint32_t k = 0; k < tokenizer->n_specials; ++k) {
      const chm_special *special = &tokenizer->specials[k];
      if (special->name[0] != text[at] || special->name_bytes > end - at) continue;
      if (found && found->name_bytes >= special->name_bytes) continue;
      if (!memcmp(special->name, text + at, special->name_bytes)) found = special;
    }
    *place = at;
    if (found) return found;
  }
  *place = end;
  return NULL;
}

static int32_t encode_with_specials(chm_encoder *encoder, const uint8_t *text, size_t bytes, chm_place begin) {
  size_t at = 0, place;
  for (;;) {
    const chm_special *special = find_special(encoder->tokenizer, text, at, bytes, &place);
    size_t end = special && special->strip & CHM_STRIP_LEFT ? chm_spaces_before(text, at, place) : place;
    int32_t status = encode_text(encoder, text + at, end - at, at ? CONTINUES : begin);
    if (status || !special) return status;
    emit(encoder, special->id);
    at = place + special->name_bytes;
    if (special->strip & CHM_STRIP_RIGHT) at = chm_spaces_after(text, at, bytes);
  }
}

size_t chm_tokenizer_room(const chm_bundle *bundle, size_t text_bytes) {
  size_t each = 1;
  if (bundle && bundle->has_tokenizer) {
    if (bundle->tokenizer.rules & CHM_RULE_NFC) each += 2;             /* a text may become three times as long */
    if (bundle->tokenizer.rules & CHM_RULES_PREFIX) each += 1; /* each part between special tokens by one space */
  }
  return text_bytes > SIZE_MAX / each ? SIZE_MAX : text_bytes * each;
}

typedef int32_t chm_pass(chm_encoder *, const uint8_t *, size_t, chm_place);

static int32_t encode(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, chm_pass *pass, chm_place place,
                      int32_t *tokens, size_t capacity, size_t *count) {
  if (!bundle || !count || (!text && text_bytes) || (!tokens && capacity))
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_tokenizer_encode: a pointer is NULL");
  if (!bundle->has_tokenizer) return chm_fail(CHM_ERROR_STATE, CHM_NO_TEXT);
  if (text_bytes > (size_t)1 << 28) return chm_fail(CHM_ERROR_ARGUMENT, "the text is over 256 MiB");
  chm_encoder encoder = {.tokenizer = &bundle->tokenizer, .allocator = &bundle->allocator};
  int32_t status = CHM_OK;
  if (capacity < chm_tokenizer_room(bundle, text_bytes)) { /* it may be too little: count first */
    status = pass(&encoder, text, text_bytes, place);
    if (!status) *count = encoder.count;
    if (!status && encoder.count > capacity)
      status = chm_fail(CHM_ERROR_LIMIT, "%u tokens do not fit", (uint64_t)encoder.count);
  }
  if (!status) {
    encoder.tokens = tokens;
    encoder.count = 0;
    status = pass(&encoder, text, text_bytes, place);
    if (!status) *count = encoder.count;
  }
  chm_release(&bundle->allocator, encoder.heap, encoder.room * (2 * sizeof(uint64_t) + 2));
  return status;
}

int32_t chm_tokenizer_encode(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, int32_t *tokens,
                             size_t capacity, size_t *count) {
  return encode(bundle, text, text_bytes, encode_text, BEGINS, tokens, capacity, count);
}

int32_t chm_tokenizer_encode_more(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, int32_t *tokens,
                                  size_t capacity, size_t *count) {
  return encode(bundle, text, text_bytes, encode_text, CONTINUES, tokens, capacity, count);
}

int32_t chm_tokenizer_encode_with_specials(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, int32_t *tokens,
                                           size_t capacity, size_t *count) {
  return encode(bundle, text, text_bytes, encode_with_specials, BEGINS, tokens, capacity, count);
}

int32_t chm_tokenizer_encode_part(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, size_t *at, size_t most_bytes,
                                  int32_t *tokens, size_t capacity, size_t *count) {
  if (!bundle || !at || !count || (!text && text_bytes) || (!tokens && capacity))
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_tokenizer_encode_part: a pointer is NULL");
  if (!bundle->has_tokenizer) return chm_fail(CHM_ERROR_STATE, CHM_NO_TEXT);
  if (text_bytes > (size_t)1 << 28) return chm_fail(CHM_ERROR_ARGUMENT, "the text is over 256 MiB");
  if (*at > text_bytes || capacity < chm_tokenizer_room(bundle, text_bytes - *at))
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_tokenizer_encode_part: no room for a token a byte");
  chm_encoder encoder = {.tokenizer = &bundle->tokenizer, .allocator = &bundle->allocator, .tokens = tokens};
  size_t left = text_bytes - *at, stop = *at + (most_bytes < left ? most_bytes : left);
  int32_t status;
  chm_tokenizer tokenizer = bundle->tokenizer;
  if (*at) tokenizer.rules &= ~(uint32_t)CHM_RULE_TIDY; /* the whole was tidy, or it would not have been cut */
  if (left && changes(&tokenizer, text + *at, left)) { /* what is changed is not cut */
    status = encode_changed(&encoder, text + *at, left, *at ? FOLLOWS : BEGINS);
    if (!status) *at = text_bytes;
  } else {
    status = encode_pieces(&encoder, text, at, text_bytes, stop > *at ? stop : *at + 1);
  }
  *count = encoder.count;
  chm_release(&bundle->allocator, encoder.heap, encoder.room * (2 * sizeof(uint64_t) + 2));
  return status;
}

CHM_COLD_END
