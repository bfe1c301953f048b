/* Text to tokens: pieces, then byte pair merging in each piece, the lowest rank first, the leftmost of equals. */
#include "chm_internal.h"

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

/* ---- short pieces: look for the best pair again and again ---- */

static void merge_short(chm_encoder *encoder, const uint8_t *piece, uint32_t bytes) {
  const chm_tokenizer *tokenizer = encoder->tokenizer;
  int32_t id[CHM_SHORT];             /* [parts] token of each part */
  int32_t joined[CHM_SHORT];         /* [parts - 1] token of a part and the one after it, or -1 */
  uint8_t start[CHM_SHORT + 1];      /* [parts + 1] */
  uint32_t parts = bytes;
  for (uint32_t i = 0; i <= bytes; ++i) start[i] = (uint8_t)i;
  for (uint32_t i = 0; i < bytes; ++i) id[i] = tokenizer->of_byte[piece[i]];
  for (uint32_t i = 0; i + 1 < bytes; ++i) joined[i] = chm_tokenizer_find(tokenizer, piece + i, 2);
  while (parts > 1) {
    uint32_t best = 0;
    for (uint32_t i = 1; i + 1 < parts; ++i) /* as unsigned numbers, -1 is last */
      if ((uint32_t)joined[i] < (uint32_t)joined[best]) best = i;
    if (joined[best] < 0) break;
    id[best] = joined[best];
    --parts;
    for (uint32_t i = best + 1; i < parts; ++i) {
      id[i] = id[i + 1];
      joined[i - 1] = joined[i];
      start[i] = start[i + 1];
    }
    start[parts] = start[parts + 1];
    const uint8_t *left = piece + start[best];
    if (best + 1 < parts) joined[best] = chm_tokenizer_find(tokenizer, left, start[best + 2] - start[best]);
    if (best) {
      left = piece + start[best - 1];
      joined[best - 1] = chm_tokenizer_find(tokenizer, left, start[best + 1] - start[best - 1]);
    }
  }
  for (uint32_t i = 0; i < parts; ++i) emit(encoder, id[i]);
}

/* ---- long pieces: a heap of the possible merges ---- */

/* Queue the merge of the part at left with the one after it, if it makes a token. */
static void queue_merge(chm_encoder *encoder, const uint8_t *piece, size_t bytes, size_t left) {
  size_t right = left + encoder->length[left];
  if (right >= bytes) return;
  uint32_t span = (uint32_t)encoder->length[left] + encoder->length[right];
  int32_t rank = chm_tokenizer_find(encoder->tokenizer, piece + left, span);
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
  memset(encoder->length, 1, bytes);
  memset(encoder->before, 1, bytes);
  encoder->heap_count = 0;
  for (size_t i = 0; i + 1 < bytes; ++i) queue_merge(encoder, piece, bytes, i);
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
    emit(encoder, chm_tokenizer_find(encoder->tokenizer, piece + i, encoder->length[i]));
  return CHM_OK;
}

static int32_t encode_piece(chm_encoder *encoder, const uint8_t *piece, size_t bytes) {
  if (bytes > CHM_SHORT) return merge_long(encoder, piece, bytes);
  merge_short(encoder, piece, (uint32_t)bytes);
  return CHM_OK;
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
    for (; *at < end && *at < stop; ++*at) emit(encoder, tokenizer->of_byte[text[*at]]);
    return CHM_OK;
  }
  bool o200k = tokenizer->pattern == CHM_SPLIT_O200K;
  int32_t status = CHM_OK;
  for (size_t next; *at < end && *at < stop && !status; *at = next) {
    next = o200k ? chm_o200k_piece(text, *at, end) : end_of_joined(tokenizer, text, *at, end);
    /* a piece that is a token is taken whole */
    int32_t token = !o200k || next - *at > 255 ? -1 : chm_tokenizer_find(tokenizer, text + *at, (uint32_t)(next - *at));
    if (token >= 0) emit(encoder, token);
    else status = encode_piece(encoder, text + *at, next - *at);
  }
  return status;
}

static int32_t encode_text(chm_encoder *encoder, const uint8_t *text, size_t bytes) {
  size_t at = 0;
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

static int32_t encode_with_specials(chm_encoder *encoder, const uint8_t *text, size_t bytes) {
  size_t at = 0, place;
  for (;;) {
    const chm_special *special = find_special(encoder->tokenizer, text, at, bytes, &place);
    int32_t status = encode_text(encoder, text + at, place - at);
    if (status || !special) return status;
    emit(encoder, special->id);
    at = place + special->name_bytes;
  }
}

static int32_t encode(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, bool specials, int32_t *tokens,
                      size_t capacity, size_t *count) {
  if (!bundle || !count || (!text && text_bytes) || (!tokens && capacity))
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_tokenizer_encode: a pointer is NULL");
  if (!bundle->has_tokenizer) return chm_fail(CHM_ERROR_STATE, "the bundle has no tokenizer");
  if (text_bytes > (size_t)1 << 28) return chm_fail(CHM_ERROR_ARGUMENT, "the text is over 256 MiB");
  chm_encoder encoder = {.tokenizer = &bundle->tokenizer, .allocator = &bundle->allocator};
  int32_t (*pass)(chm_encoder *, const uint8_t *, size_t) = specials ? encode_with_specials : encode_text;
  int32_t status = CHM_OK;
  if (capacity < text_bytes) { /* there is no more than one token a byte; with less room it is counted first */
    status = pass(&encoder, text, text_bytes);
    if (!status) *count = encoder.count;
    if (!status && encoder.count > capacity)
      status = chm_fail(CHM_ERROR_LIMIT, "%u tokens do not fit", (uint64_t)encoder.count);
  }
  if (!status) {
    encoder.tokens = tokens;
    encoder.count = 0;
    status = pass(&encoder, text, text_bytes);
    if (!status) *count = encoder.count;
  }
  chm_release(&bundle->allocator, encoder.heap, encoder.room * (2 * sizeof(uint64_t) + 2));
  return status;
}

int32_t chm_tokenizer_encode(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, int32_t *tokens,
                             size_t capacity, size_t *count) {
  return encode(bundle, text, text_bytes, false, tokens, capacity, count);
}

int32_t chm_tokenizer_encode_with_specials(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, int32_t *tokens,
                                           size_t capacity, size_t *count) {
  return encode(bundle, text, text_bytes, true, tokens, capacity, count);
}

int32_t chm_tokenizer_encode_part(chm_bundle *bundle, const uint8_t *text, size_t text_bytes, size_t *at, size_t most_bytes,
                                  int32_t *tokens, size_t capacity, size_t *count) {
  if (!bundle || !at || !count || (!text && text_bytes) || (!tokens && capacity))
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_tokenizer_encode_part: a pointer is NULL");
  if (!bundle->has_tokenizer) return chm_fail(CHM_ERROR_STATE, "the bundle has no tokenizer");
  if (text_bytes > (size_t)1 << 28) return chm_fail(CHM_ERROR_ARGUMENT, "the text is over 256 MiB");
  if (*at > text_bytes || capacity < text_bytes - *at)
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_tokenizer_encode_part: no room for a token a byte");
  chm_encoder encoder = {.tokenizer = &bundle->tokenizer, .allocator = &bundle->allocator, .tokens = tokens};
  size_t left = text_bytes - *at, stop = *at + (most_bytes < left ? most_bytes : left);
  int32_t status = encode_pieces(&encoder, text, at, text_bytes, stop > *at ? stop : *at + 1);
  *count = encoder.count;
  chm_release(&bundle->allocator, encoder.heap, encoder.room * (2 * sizeof(uint64_t) + 2));
  return status;
}
