/* Which names of lists a request says: whole words of it, whatever case, the longest where some overlap; and names that what is
 * said is like: it has two of their runs of three characters, and half of them. Runs in names that are said count neither way:
 * who says a longer name with an ending does not mean the shorter one in it. runtime/reference/heard.py is the same. */
#include "chm_grammar.h"

CHM_COLD_BEGIN

#define MOST_SAID 2048u /* characters of a request in which names are looked for */
#define MOST_NAME 255u

typedef struct chm_said {
  uint32_t count, n_inside, n_others;
  uint32_t codes[MOST_SAID];
  bool inner[MOST_SAID + 1];              /* a place in a word */
  uint16_t longest[CHM_SLOTS][MOST_SAID]; /* the end of the longest name of a kind that begins here; 0: none does */
  uint16_t before[CHM_SLOTS][MOST_SAID];  /* the last end of those that begin before */
  uint64_t inside[MOST_SAID], others[MOST_SAID]; /* runs in names, and all others; in order */
} chm_said;

/* A letter without its case, of Latin, Greek and Cyrillic. */
static uint32_t fold(uint32_t code) {
  static const uint16_t ranges[][3] = { /* the first and the last capital, and how far its small letter is */
      {'A', 'Z', 32},         {0xc0, 0xd6, 32},       {0xd8, 0xde, 32},       {0x178, 0x178, 0xff87}, {0x386, 0x386, 38},
      {0x388, 0x38a, 37},     {0x38c, 0x38c, 64},     {0x38e, 0x38f, 63},     {0x391, 0x3a1, 32},     {0x3a3, 0x3ab, 32},
      {0x400, 0x40f, 80},     {0x410, 0x42f, 32},
  };
  for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; ++i)
    if (code >= ranges[i][0] && code <= ranges[i][1]) return (code + ranges[i][2]) & 0xffff;
  if (code == 0x3c2) return 0x3c3; /* the sigma at the end of a word */
  bool even = (code >= 0x100 && code <= 0x137 && code != 0x130 && code != 0x131) || (code >= 0x14a && code <= 0x177) ||
              (code >= 0x460 && code <= 0x481) || (code >= 0x48a && code <= 0x4bf) || (code >= 0x4d0 && code <= 0x52f) ||
              (code >= 0x1e00 && code <= 0x1e95) || (code >= 0x1ea0 && code <= 0x1eff);
  bool odd = (code >= 0x139 && code <= 0x148) || (code >= 0x179 && code <= 0x17e) || (code >= 0x4c1 && code <= 0x4ce);
  return (even && !(code & 1)) || (odd && (code & 1)) ? code + 1 : code;
}

/* The characters of a text without case; more than `most` for one that has too many. inner may be NULL. */
static uint32_t read(const uint8_t *text, size_t bytes, uint32_t *codes, bool *inner, uint32_t most) {
  uint32_t count = 0, code, class;
  bool word = false;
  for (size_t at = 0; at < bytes; ++count) {
    if (count == most) return most + 1;
    at += chm_character_class(text, at, bytes, &code, &class);
    bool goes_on = chm_word_character(code, class);
    if (inner) inner[count] = class == CHM_CLASS_MARK || (word && goes_on);
    if (class != CHM_CLASS_MARK) word = goes_on;
    codes[count] = fold(code);
  }
  if (inner) inner[count] = false;
  return count;
}

/* ---- names that are said ---- */

/* Whether the characters of a name stand at a place, as whole words. */
static bool stands(const chm_said *said, uint32_t place, const uint32_t *name, uint32_t count) {
  if (place + count > said->count || said->inner[place] || said->inner[place + count]) return false;
  return !memcmp(said->codes + place, name, count * sizeof *name);
}

/* Part of a line up to a tab or its end. */
static size_t part_of(const uint8_t *text, size_t at, size_t bytes) {
  while (at < bytes && text[at] != '\t' && text[at] != '\n') ++at;
  return at;
}

static void note(chm_said *said, uint32_t kind, const uint32_t *name, uint32_t count) {
  for (uint32_t i = 0; i + count <= said->count; ++i)
    if (stands(said, i, name, count) && said->longest[kind][i] < i + count) said->longest[kind][i] = (uint16_t)(i + count);
}

/* Find the names of a list, and what else begins or ends where. */
static void find(chm_said *said, uint32_t kind, chm_text list) {
  uint32_t name[MOST_NAME];
  for (size_t at = 0, end; at < list.bytes; at = end + 1) {
    end = part_of(list.text, at, list.bytes);
    uint32_t count = read(list.text + at, end - at, name, NULL, MOST_NAME);
    if (count) note(said, kind, name, count);
  }
  uint16_t last = 0;
  for (uint32_t i = 0; i < said->count; ++i) {
    said->before[kind][i] = last;
    if (said->longest[kind][i] > last) last = said->longest[kind][i];
  }
}

/* Whether a name is said where no longer one is. */
static bool is_said(const chm_said *said, uint32_t kind, const uint32_t *name, uint32_t count) {
  for (uint32_t i = 0; i + count <= said->count; ++i)
    if (stands(said, i, name, count) && said->longest[kind][i] == i + count && said->before[kind][i] < i + count) return true;
  return false;
}

/* ---- names that something is like ---- */

static uint64_t run_of(const uint32_t *codes) { return (uint64_t)codes[0] << 42 | (uint64_t)codes[1] << 21 | codes[2]; }

static void sort(uint64_t *runs, uint32_t count) {
  for (uint32_t gap = count / 2; gap; gap /= 2)
    for (uint32_t i = gap; i < count; ++i) {
      uint64_t run = runs[i];
      uint32_t place = i;
      for (; place >= gap && runs[place - gap] > run; place -= gap) runs[place] = runs[place - gap];
      runs[place] = run;
    }
}

/* The runs of three characters of what is said. */
static void find_runs(chm_said *said) {
  uint32_t last = 0; /* the end of the names that begin up to here */
  for (uint32_t i = 0; i + 2 < said->count; ++i) {
    for (uint32_t kind = 1; kind < CHM_SLOTS; ++kind)
      if (said->longest[kind][i] > last) last = said->longest[kind][i];
    uint64_t run = run_of(said->codes + i);
    if (i + 3 <= last) said->inside[said->n_inside++] = run;
    else said->others[said->n_others++] = run;
  }
  sort(said->inside, said->n_inside);
  sort(said->others, said->n_others);
}

static bool has(const uint64_t *runs, uint32_t count, uint64_t run) {
  uint32_t low = 0, high = count;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (runs[middle] < run) low = middle + 1;
    else high = middle;
  }
  return low < count && runs[low] == run;
}

static bool is_like(const chm_said *said, const uint32_t *name, uint32_t count) {
  uint32_t own = 0, found = 0;
  for (uint32_t i = 0; i + 2 < count; ++i) {
    uint64_t run = run_of(name + i);
    if (has(said->inside, said->n_inside, run)) continue;
    ++own;
    found += has(said->others, said->n_others, run);
  }
  return found > 1 && 2 * found >= own;
}

/* ---- lines ---- */

enum { NOT, LIKE, SAID };

/* Whether a name of a line is said, or only something like it. */
static int how(const chm_said *said, uint32_t kind, const uint8_t *line, size_t bytes) {
  uint32_t name[MOST_NAME];
  int found = NOT;
  for (size_t at = 0, end; at < bytes && found < SAID; at = end + 1) {
    end = part_of(line, at, bytes);
    uint32_t count = read(line + at, end - at, name, NULL, MOST_NAME);
    if (!count) continue;
    if (is_said(said, kind, name, count)) found = SAID;
    else if (is_like(said, name, count)) found = LIKE;
  }
  return found;
}

static size_t line_end(chm_text list, size_t at) {
  while (at < list.bytes && list.text[at] != '\n') ++at;
  return at;
}

/* The heard lines of a list; all, if none is. */
static void keep(const chm_said *said, uint32_t kind, chm_text list, chm_text *kept, uint8_t *to) {
  size_t used = 0;
  for (size_t at = 0, end; at < list.bytes; at = end + 1) {
    end = line_end(list, at);
    if (how(said, kind, list.text + at, end - at) == NOT) continue;
    memcpy(to + used, list.text + at, end - at);
    used += end - at;
    to[used++] = '\n';
  }
  *kept = used ? (chm_text){to, used} : list;
}

/* What the request says; its count is 0 where names are not looked for in it. NULL without memory. */
static chm_said *listen(const chm_text *given, const chm_allocator *allocator) {
  chm_said *said = chm_allocate(allocator, sizeof *said);
  if (!said) return NULL;
  memset(said, 0, sizeof *said);
  if (given[0].text) said->count = read(given[0].text, given[0].bytes, said->codes, said->inner, MOST_SAID);
  if (said->count > MOST_SAID) said->count = 0;
  if (said->count) {
    for (uint32_t kind = 1; kind < CHM_SLOTS; ++kind) find(said, kind, given[kind]);
    find_runs(said);
  }
  return said;
}

int32_t chm_heard(const chm_text *given, chm_text *heard, uint8_t *to, const chm_allocator *allocator) {
  memcpy(heard, given, CHM_SLOTS * sizeof *given);
  chm_said *said = listen(given, allocator);
  if (!said) return CHM_ERROR_MEMORY;
  for (uint32_t kind = 1; kind < CHM_SLOTS && said->count; ++kind) {
    keep(said, kind, given[kind], &heard[kind], to);
    to += given[kind].bytes + 1;
  }
  chm_release(allocator, said, sizeof *said);
  return CHM_OK;
}

/* ---- hints ---- */

/* Names of a list that were heard so, up to a number; how many there are then. */
static uint32_t name_all(const chm_said *said, uint32_t kind, chm_text list, int wanted, uint32_t count, uint8_t *to, size_t *used) {
  for (size_t at = 0, end; at < list.bytes && count < CHM_MOST_HINTED; at = end + 1) {
    end = line_end(list, at);
    if (how(said, kind, list.text + at, end - at) != wanted) continue;
    if (count++) to[(*used)++] = ',';
    if (wanted == LIKE) to[(*used)++] = '~';
    size_t bytes = part_of(list.text, at, end) - at;
    memcpy(to + *used, list.text + at, bytes);
    *used += bytes;
  }
  return count;
}

int32_t chm_hint(const chm_text *given, uint8_t *to, size_t *used, const chm_allocator *allocator) {
  chm_said *said = listen(given, allocator);
  if (!said) return CHM_ERROR_MEMORY;
  *used = 0;
  for (uint32_t kind = 1; kind < CHM_SLOTS; ++kind) {
    if (kind > 1) to[(*used)++] = ';';
    if (!said->count) continue;
    uint32_t count = name_all(said, kind, given[kind], SAID, 0, to, used);
    name_all(said, kind, given[kind], LIKE, count, to, used);
  }
  chm_release(allocator, said, sizeof *said);
  return CHM_OK;
}

CHM_COLD_END
