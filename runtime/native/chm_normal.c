/* Unicode's normalization form C, in time n log n and memory that is linear in the longest run that may change. */
#include "chm_internal.h"
#include "chm_normal_tables.h"

CHM_COLD_BEGIN

#define COUNT(table) (sizeof(table) / sizeof *(table))
#define RUNS COUNT(chm_starts)
#define NONE COUNT(chm_firsts)
#define SIMPLE 0x300u /* characters below are as they are, and nothing before them changes with them */

enum { HANGUL = 0xac00, HANGUL_L = 0x1100, HANGUL_V = 0x1161, HANGUL_T = 0x11a7, N_L = 19, N_V = 21, N_T = 28 };

/* A character with its combining class above it. A byte that is part of no UTF-8 character is BROKEN | byte. */
#define BROKEN 0x110000u
#define CODE(character) ((character) & 0x1fffffu)
#define CLASS(character) ((character) >> 24)

static uint32_t class_of(uint32_t code) {
  size_t low = 0, high = COUNT(chm_classes);
  if (code < SIMPLE || code >= BROKEN) return 0;
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    if (chm_classes[middle] >> 8 <= code) low = middle;
    else high = middle;
  }
  return chm_classes[low] & 0xffu;
}

static uint32_t first_of(size_t k) { return chm_firsts[k] | (uint32_t)(chm_highs[k] & 15) << 16; }

static uint32_t second_of(size_t k) { return chm_seconds[k] | (uint32_t)(chm_highs[k] >> 4) << 16; }

/* The character of a number. */
static uint32_t code_of(size_t k) {
  size_t low = 0, high = RUNS;
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    if (chm_numbers[middle] <= k) low = middle;
    else high = middle;
  }
  return chm_starts[low] + (uint32_t)(k - chm_numbers[low]);
}

/* The number of a character, or NONE. */
static size_t place_of(uint32_t code) {
  size_t low = 0, high = RUNS;
  if (code < chm_starts[0]) return NONE;
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    if (chm_starts[middle] <= code) low = middle;
    else high = middle;
  }
  uint32_t behind = code - chm_starts[low];
  return behind < (uint32_t)(chm_numbers[low + 1] - chm_numbers[low]) ? chm_numbers[low] + behind : NONE;
}

/* Append what a character is made of: four characters at most. */
static size_t decompose(uint32_t code, uint32_t *out) {
  uint32_t rest[4];
  size_t count = 0, n_rest = 0, k;
  if (code >= HANGUL && code < HANGUL + N_L * N_V * N_T) {
    uint32_t index = code - HANGUL;
    out[count++] = HANGUL_L + index / (N_V * N_T);
    out[count++] = HANGUL_V + index % (N_V * N_T) / N_T;
    if (index % N_T) out[count++] = HANGUL_T + index % N_T;
    return count;
  }
  /* the first of the two may be made of others, the second never */
  while (code < BROKEN && (k = place_of(code)) != NONE) {
    if (second_of(k)) rest[n_rest++] = second_of(k);
    code = first_of(k);
  }
  out[count++] = code | class_of(code) << 24;
  while (n_rest) {
    uint32_t next = rest[--n_rest];
    out[count++] = next | class_of(next) << 24;
  }
  return count;
}

/* What two characters become, or 0. */
static uint32_t pair(uint32_t first, uint32_t second) {
  if (first >= HANGUL_L && first < HANGUL_L + N_L && second >= HANGUL_V && second < HANGUL_V + N_V)
    return HANGUL + ((first - HANGUL_L) * N_V + second - HANGUL_V) * N_T;
  if (first >= HANGUL && first < HANGUL + N_L * N_V * N_T && (first - HANGUL) % N_T == 0 && second > HANGUL_T &&
      second < HANGUL_T + N_T)
    return first + second - HANGUL_T;
  uint64_t wanted = (uint64_t)first << 32 | second;
  size_t low = 0, high = COUNT(chm_composed);
  while (low < high) {
    size_t middle = (low + high) / 2, k = chm_composed[middle];
    uint64_t found = (uint64_t)first_of(k) << 32 | second_of(k);
    if (found == wanted) return code_of(k);
    if (found < wanted) low = middle + 1;
    else high = middle;
  }
  return 0;
}

/* Sort marks by class, equals as they are; spare: room for as many. */
static void sort_marks(uint32_t *marks, size_t count, uint32_t *spare) {
  size_t begin[257] = {0};
  for (size_t i = 0; i < count; ++i) ++begin[CLASS(marks[i]) + 1];
  for (size_t class = 1; class < 257; ++class) begin[class] += begin[class - 1];
  for (size_t i = 0; i < count; ++i) spare[begin[CLASS(marks[i])]++] = marks[i];
  memcpy(marks, spare, count * sizeof *marks);
}

static void order(uint32_t *characters, size_t count, uint32_t *spare) {
  for (size_t i = 0; i < count;) {
    size_t end = i;
    while (end < count && CLASS(characters[end])) ++end;
    if (end - i > 1) sort_marks(characters + i, end - i, spare);
    i = end > i ? end : i + 1;
  }
}

static size_t compose(uint32_t *characters, size_t count) {
  size_t used = 0, starter = SIZE_MAX;
  uint32_t before = 0; /* class of the last one that stayed after the starter; 0: there is none */
  for (size_t i = 0; i < count; ++i) {
    uint32_t one = characters[i], class = CLASS(one);
    uint32_t both = starter != SIZE_MAX && (before < class || !before) ? pair(CODE(characters[starter]), CODE(one)) : 0;
    if (both) {
      characters[starter] = both;
      continue;
    }
    if (!class) starter = used;
    before = class;
    characters[used++] = one;
  }
  return used;
}

static size_t put(uint32_t code, uint8_t *out) {
  if (code < 0x80 || code >= BROKEN) {
    out[0] = (uint8_t)code;
    return 1;
  }
  size_t bytes = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = bytes - 1; i; --i, code >>= 6) out[i] = (uint8_t)(0x80 | (code & 0x3f));
  out[0] = (uint8_t)(0xf00u >> bytes | code); /* 110…, 1110…, 11110… */
  return bytes;
}

/* Bytes up to the next character, from at on, that is simple: below SIMPLE, so that nothing reaches over its start. */
static size_t end_of_run(const uint8_t *text, size_t at, size_t end) {
  for (size_t i = at + 1; i < end; ++i)
    if (text[i] < 0x80 || (text[i] >= 0xc2 && text[i] < 0xcc)) return i;
  return end;
}

static bool is_simple(const uint8_t *text, size_t at, size_t end) {
  for (; at < end; ++at)
    if (text[at] >= 0xcc) return false;
  return true;
}

bool chm_is_normal(const uint8_t *text, size_t bytes) { return is_simple(text, 0, bytes); }

int32_t chm_normalize(const uint8_t *text, size_t bytes, const chm_allocator *allocator, uint8_t *out, size_t *size) {
  uint32_t *room = NULL;
  uint64_t allocated = 0;
  *size = 0;
  for (size_t at = 0, end; at < bytes; at = end) {
    end = end_of_run(text, at, bytes);
    if (is_simple(text, at, end)) {
      memcpy(out + *size, text + at, end - at);
      *size += end - at;
      continue;
    }
    uint64_t needed = (uint64_t)(end - at + 4) * 4 * sizeof *room; /* two characters a byte at most, and as many spare */
    if (needed > allocated) {
      chm_release(allocator, room, allocated);
      allocated = 0;
      room = chm_allocate(allocator, needed);
      if (!room) return CHM_ERROR_MEMORY;
      allocated = needed;
    }
    size_t count = 0;
    for (size_t i = at; i < end;) {
      uint32_t code;
      size_t step = chm_utf8_character(text, i, end, &code);
      count += decompose(step ? code : BROKEN | text[i], room + count);
      i += step ? step : 1;
    }
    order(room, count, room + count);
    count = compose(room, count);
    for (size_t i = 0; i < count; ++i) *size += put(CODE(room[i]), out + *size);
  }
  chm_release(allocator, room, allocated);
  return CHM_OK;
}

CHM_COLD_END
