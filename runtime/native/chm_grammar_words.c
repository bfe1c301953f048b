/* Texts that are known when a generation begins only: runs of words of the request, and names of a list.
 *
 * Both are entries in the order of their bytes, with places where an entry may end. A place in one is the first entry that
 * begins with what was said so far, and how many bytes that is: entries that begin the same stand side by side.
 */
#include "chm_grammar.h"

CHM_COLD_BEGIN

#define MOST_RUN 512u     /* bytes of a run */
#define MOST_NAME 255u    /* bytes of a name */
#define MOST_ENTRIES 16384u
#define MOST_BYTES (1u << 20)

enum { BEGIN = 1, STOP = 2, BREAK = 4 }; /* marks: a run may begin here, may have ended here, does not go on over here */

/* ---- words of a text ---- */

typedef enum chm_unit { SPACE, WORD, SINGLE, JOINT, EDGE, BARRIER } chm_unit; /* JOINT: a sign that no run begins or ends with */

/* Scripts that put no spaces between words, and Hangul, which puts what belongs to a word behind it: each character. */
static bool is_single(uint32_t code) {
  static const uint32_t ranges[][2] = {
      {0x0e00, 0x0eff}, {0x1000, 0x109f}, {0x1780, 0x17ff}, {0x3005, 0x3007}, {0x3040, 0x30ff},
      {0x3400, 0x4dbf}, {0x4e00, 0x9fff}, {0xac00, 0xd7af}, {0xf900, 0xfaff}, {0x20000, 0x3ffff},
  };
  for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; ++i)
    if (code >= ranges[i][0] && code <= ranges[i][1]) return true;
  return false;
}

bool chm_word_character(uint32_t code, uint32_t class) {
  return class != CHM_CLASS_SPACE && (class != CHM_CLASS_OTHER || code == '_') && !is_single(code);
}

static chm_unit unit_of(uint32_t code, uint32_t class) {
  if (code < 0x20 || code == 0x7f) return BARRIER;
  if (class == CHM_CLASS_SPACE) return SPACE;
  if (class != CHM_CLASS_OTHER || code == '_') return is_single(code) ? SINGLE : WORD;
  for (const char *sign = "!\"'(),-./:;?[]`{}"; *sign; ++sign)
    if (code == (uint8_t)*sign) return JOINT;
  return EDGE;
}

/* Whether a sign between two characters of words is inside of one word: an apostrophe, or a point among digits. */
static bool joins(uint32_t sign, uint32_t before, uint32_t after) {
  if (sign == '\'') return before != CHM_CLASS_OTHER && after != CHM_CLASS_OTHER;
  return (sign == '.' || sign == ',' || sign == ':') && before == CHM_CLASS_NUMBER && after == CHM_CLASS_NUMBER;
}

typedef struct chm_sign {
  uint32_t code, class;
  size_t bytes;
  chm_unit unit;
} chm_sign;

static chm_sign sign_at(const uint8_t *text, size_t at, size_t bytes) {
  chm_sign sign = {0, CHM_CLASS_OTHER, 0, BARRIER};
  if (at >= bytes) return sign;
  sign.bytes = chm_character_class(text, at, bytes, &sign.code, &sign.class);
  if (sign.code != UINT32_MAX) sign.unit = unit_of(sign.code, sign.class);
  return sign;
}

static size_t put(const uint8_t *from, size_t bytes, bool json, uint8_t *to) {
  size_t used = 0;
  for (size_t i = 0; i < bytes; ++i) {
    if (json && (from[i] == '"' || from[i] == '\\')) to[used++] = '\\';
    to[used++] = from[i];
  }
  return used;
}

/* Copy a text and mark it; returns the bytes. to and marks: room for twice as many and one more. */
static size_t mark(const uint8_t *text, size_t bytes, bool json, uint8_t *to, uint8_t *marks) {
  size_t used = 0;
  bool open = false; /* a word goes on */
  uint32_t before = CHM_CLASS_OTHER;
  chm_unit last = BARRIER;
  chm_sign sign = sign_at(text, 0, bytes);
  marks[0] = 0;
  for (size_t at = 0; at < bytes;) {
    chm_sign next = sign_at(text, at + sign.bytes, bytes);
    bool inner = open && next.unit == WORD && joins(sign.code, before, next.class);
    bool attached = sign.class == CHM_CLASS_MARK && (last == WORD || last == SINGLE);
    chm_unit unit = inner ? WORD : attached ? last : sign.unit;
    if (attached) marks[used] &= (uint8_t)~(BEGIN | STOP);
    else if (unit == BARRIER) marks[used] |= BREAK;
    else if ((unit == WORD && !open) || unit == SINGLE || unit == EDGE) marks[used] |= BEGIN;
    if (unit == WORD) marks[used] &= (uint8_t)~(open ? STOP : 0);
    size_t size = put(text + at, sign.bytes, json, to + used);
    for (size_t i = 1; i <= size; ++i) marks[used + i] = 0;
    used += size;
    if (unit == WORD || unit == SINGLE || unit == EDGE) marks[used] = STOP;
    if (unit == BARRIER) marks[used] = BREAK;
    open = unit == WORD;
    before = sign.class;
    last = unit;
    at += sign.bytes;
    sign = next;
  }
  return used;
}

/* ---- entries ---- */

static int compare(const chm_words *words, uint32_t a, uint32_t b) {
  uint32_t first = words->stop[a] - words->begin[a], second = words->stop[b] - words->begin[b];
  int order = memcmp(words->text + words->begin[a], words->text + words->begin[b], first < second ? first : second);
  if (order) return order;
  if (first != second) return first < second ? -1 : 1;
  return words->begin[a] < words->begin[b] ? -1 : words->begin[a] > words->begin[b];
}

static void exchange(chm_words *words, uint32_t a, uint32_t b) {
  uint32_t begin = words->begin[a], stop = words->stop[a];
  words->begin[a] = words->begin[b];
  words->stop[a] = words->stop[b];
  words->begin[b] = begin;
  words->stop[b] = stop;
}

static void sift(chm_words *words, uint32_t root, uint32_t count) {
  for (uint32_t child; (child = 2 * root + 1) < count; root = child) {
    if (child + 1 < count && compare(words, child, child + 1) < 0) ++child;
    if (compare(words, root, child) >= 0) return;
    exchange(words, root, child);
  }
}

static void sort(chm_words *words) {
  for (uint32_t i = words->count / 2; i-- > 0;) sift(words, i, words->count);
  for (uint32_t end = words->count; end-- > 1;) {
    exchange(words, 0, end);
    sift(words, 0, end);
  }
}

/* The first place from an offset on, up to a limit, where an entry may end; UINT32_MAX if there is none. */
static uint32_t next_stop(const chm_words *words, uint32_t from, uint32_t limit) {
  for (uint32_t i = from; i <= limit; ++i)
    if (words->marks[i] & STOP) return i;
  return UINT32_MAX;
}

/* Note the entry that begins at a place of a text of so many bytes, if one does. */
static void add_run(chm_words *words, uint32_t begin, uint32_t bytes) {
  uint32_t limit = bytes - begin < MOST_RUN ? bytes : begin + MOST_RUN, stop = 0;
  for (uint32_t i = begin + 1; i <= limit; ++i) {
    if (words->marks[i] & STOP) stop = i;
    if (words->marks[i] & BREAK) break;
  }
  if (!stop) return;
  words->begin[words->count] = begin;
  words->stop[words->count++] = stop;
  uint32_t first = next_stop(words, begin + 1, stop) - begin;
  if (first < words->shortest) words->shortest = first;
}

static int32_t allocate(chm_words *words, const chm_allocator *allocator, size_t bytes, size_t entries) {
  uint64_t copy = 2 * (uint64_t)bytes + 4, size = entries * 2 * sizeof(uint32_t) + 2 * copy;
  words->block = chm_allocate(allocator, size);
  if (!words->block) return CHM_ERROR_MEMORY;
  words->allocated = size;
  words->begin = words->block;
  words->stop = words->begin + entries;
  words->text = (uint8_t *)(words->stop + entries);
  words->marks = words->text + copy;
  words->count = 0;
  words->shortest = UINT32_MAX;
  return CHM_OK;
}

void chm_words_close(chm_words *words, const chm_allocator *allocator) {
  chm_release(allocator, words->block, words->allocated);
  *words = (chm_words){0};
}

int32_t chm_words_of_request(chm_words *words, const uint8_t *text, size_t bytes, bool json, const chm_allocator *allocator) {
  if (bytes > MOST_BYTES)
    return chm_fail(CHM_ERROR_ARGUMENT, "a request of %u bytes is too long for its words to be copied", (uint64_t)bytes);
  int32_t status = allocate(words, allocator, bytes, bytes + 1);
  if (status) return status;
  words->bytes = (uint32_t)mark(text, bytes, json, words->text, words->marks);
  for (uint32_t i = 0; i < words->bytes; ++i)
    if (words->marks[i] & BEGIN) add_run(words, i, words->bytes);
  if (words->count > MOST_ENTRIES) {
    uint64_t count = words->count;
    chm_words_close(words, allocator);
    return chm_fail(CHM_ERROR_ARGUMENT, "a request of %u words is too long for them to be copied; %u are possible", count,
                    (uint64_t)MOST_ENTRIES);
  }
  if (words->shortest > CHM_SLOT_BYTES) words->count = 0;
  sort(words);
  return CHM_OK;
}

static int32_t refuse_list(chm_words *words, const chm_allocator *allocator, const char *why) {
  chm_words_close(words, allocator);
  return chm_fail(CHM_ERROR_ARGUMENT, "the list of names: %s", why);
}

/* What is wrong with a name, NULL for nothing; *end: where a tab or the end of its line is. */
static const char *check_name(const uint8_t *text, size_t at, size_t bytes, size_t *end) {
  uint32_t code;
  size_t to = at;
  for (size_t size; to < bytes && text[to] != '\n' && text[to] != '\t'; to += size) {
    if (text[to] < 0x20 || text[to] == 0x7f) return "a control character in a name";
    if (!(size = chm_utf8_character(text, to, bytes, &code))) return "a name is not UTF-8";
  }
  *end = to;
  if (to == at || text[at] == ' ') return "a name is empty, or begins with a space";
  return to - at > MOST_NAME ? "a name has over 255 bytes" : NULL;
}

int32_t chm_words_of_list(chm_words *words, const uint8_t *text, size_t bytes, bool json, const chm_allocator *allocator) {
  size_t lines = 0;
  for (size_t i = 0; i < bytes; ++i) lines += text[i] == '\n';
  if (bytes > MOST_BYTES || lines > MOST_ENTRIES) return chm_fail(CHM_ERROR_ARGUMENT, "the list of names: too many");
  int32_t status = allocate(words, allocator, bytes, lines + 1);
  if (status) return status;
  words->bytes = 0;
  for (size_t at = 0, end, other; at < bytes; at = end + 1) {
    const char *wrong = check_name(text, at, bytes, &end);
    for (other = end; !wrong && other < bytes && text[other] == '\t';) wrong = check_name(text, other + 1, bytes, &other);
    if (wrong) return refuse_list(words, allocator, wrong);
    uint32_t begin = words->bytes;
    words->bytes += (uint32_t)put(text + at, end - at, json, words->text + begin);
    memset(words->marks + begin, 0, words->bytes - begin);
    words->marks[words->bytes] = STOP;
    words->begin[words->count] = begin;
    words->stop[words->count++] = words->bytes;
    if (words->bytes - begin < words->shortest) words->shortest = words->bytes - begin;
    words->text[words->bytes++] = '\n';
    end = other;
  }
  if (words->count && words->shortest > CHM_SLOT_BYTES)
    return refuse_list(words, allocator, "every name has over 64 bytes");
  sort(words);
  return CHM_OK;
}

/* ---- places ---- */

/* The order of an entry and of what entry `of` begins with, n bytes, and a byte after them. */
static int against(const chm_words *words, uint32_t entry, uint32_t of, uint32_t n, uint32_t byte) {
  uint32_t length = words->stop[entry] - words->begin[entry];
  const uint8_t *text = words->text + words->begin[entry];
  int order = memcmp(text, words->text + words->begin[of], length < n ? length : n);
  if (order) return order;
  return length <= n ? -1 : (int)text[n] - (int)byte;
}

/* The first entry from `of` on that is not before its n bytes and a byte: up to 256, which is none. */
static uint32_t lower_bound(const chm_words *words, uint32_t of, uint32_t n, uint32_t byte) {
  uint32_t low = of, high = words->count;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (against(words, middle, of, n, byte) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

uint32_t chm_words_step(const chm_words *words, uint32_t entry, uint32_t n, uint8_t byte) {
  uint32_t found = lower_bound(words, entry, n, byte);
  return found < words->count && !against(words, found, entry, n, byte) ? found : UINT32_MAX;
}

uint32_t chm_words_closing(const chm_words *words, uint32_t entry, uint32_t n) {
  uint32_t end = lower_bound(words, entry, n, 256), least = UINT32_MAX;
  for (uint32_t i = entry; i < end && least; ++i) {
    uint32_t at = words->begin[i] + n, stop = next_stop(words, at, words->stop[i]);
    if (stop != UINT32_MAX && stop - at < least) least = stop - at;
  }
  return least;
}

CHM_COLD_END
