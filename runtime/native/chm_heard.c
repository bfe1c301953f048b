/* Which names of lists a request says: whole words of it, whatever case, the longest where some overlap; and names that what is
 * said is like: it has two of their runs of three characters, and half of them. Runs in names that are said count neither way:
 * who says a longer name with an ending does not mean the shorter one in it. runtime/reference/heard.py is the same.
 *
 * Lists may have hundreds of thousands of names: each is looked up in what is said, whose words are in the order of their text,
 * and each that is there is noted at its places once. */
#include "chm_grammar.h"

CHM_COLD_BEGIN

#define MOST_SAID 2048u /* characters of a request in which names are looked for */
#define MOST_NAME 255u

typedef struct chm_said {
  uint32_t count, n_words, n_inside, n_others;
  uint32_t codes[MOST_SAID];
  bool inner[MOST_SAID + 1];              /* a place in a word */
  uint16_t words[MOST_SAID];              /* where words begin, in the order of what stands from there on */
  uint64_t known[MOST_SAID][4];           /* names: the first of words that is one, with a bit for its length */
  uint16_t longest[CHM_SLOTS][MOST_SAID]; /* the end of the longest name of a kind that begins here; 0: none does */
  uint64_t runs[MOST_SAID];               /* those in names from the start on, and all others up to the end; in order */
} chm_said;

/* A letter without its case, of Latin, Greek and Cyrillic. */
static uint32_t fold(uint32_t code) {
  if (code < 0x80) return code >= 'A' && code <= 'Z' ? code + 32 : code;
  static const uint16_t ranges[][3] = { /* the first and the last capital, and how far its small letter is */
      {0xc0, 0xd6, 32},   {0xd8, 0xde, 32},   {0x178, 0x178, 0xff87}, {0x386, 0x386, 38}, {0x388, 0x38a, 37}, {0x38c, 0x38c, 64},
      {0x38e, 0x38f, 63}, {0x391, 0x3a1, 32}, {0x3a3, 0x3ab, 32},     {0x400, 0x40f, 80}, {0x410, 0x42f, 32},
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

/* The characters of a request without case, and which are inside of words. */
static void read_request(chm_said *said, chm_text text) {
  uint32_t code, class;
  bool word = false;
  for (size_t at = 0; at < text.bytes; ++said->count) {
    at += chm_character_class(text.text, at, text.bytes, &code, &class);
    bool goes_on = chm_word_character(code, class);
    if (said->count == MOST_SAID) {
      said->count = 0; /* nothing is heard */
      return;
    }
    said->inner[said->count] = class == CHM_CLASS_MARK || (word && goes_on);
    if (class != CHM_CLASS_MARK) word = goes_on;
    said->codes[said->count] = fold(code);
  }
  said->inner[said->count] = false;
}

/* The characters of a name without case. */
static uint32_t read_name(const uint8_t *text, size_t bytes, uint32_t *codes) {
  uint32_t count = 0, code;
  for (size_t at = 0; at < bytes && count < MOST_NAME; ++count) {
    at += chm_utf8_character(text, at, bytes, &code);
    codes[count] = fold(code);
  }
  return count;
}

/* ---- names that are said ---- */

/* The order of what stands from a place on, as far as a name is long, and the name. */
static int32_t order(const chm_said *said, uint32_t place, const uint32_t *name, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) {
    if (place + i == said->count) return -1;
    if (said->codes[place + i] != name[i]) return said->codes[place + i] < name[i] ? -1 : 1;
  }
  return 0;
}

/* The first of the words that is a name, or comes after it. */
static uint32_t first_of(const chm_said *said, const uint32_t *name, uint32_t count) {
  uint32_t low = 0, high = said->n_words;
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (order(said, said->words[middle], name, count) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

static bool is_there(const chm_said *said, uint32_t word, const uint32_t *name, uint32_t count) {
  return word < said->n_words && !order(said, said->words[word], name, count);
}

static void find_words(chm_said *said) {
  for (uint32_t place = 0; place < said->count; ++place) {
    if (said->inner[place]) continue;
    uint32_t left = said->count - place, at = first_of(said, said->codes + place, left < MOST_NAME ? left : MOST_NAME);
    memmove(said->words + at + 1, said->words + at, (said->n_words++ - at) * sizeof *said->words);
    said->words[at] = (uint16_t)place;
  }
}

static void forget(chm_said *said) { memset(said->known, 0, said->n_words * sizeof *said->known); }

static bool is_known(const chm_said *said, uint32_t word, uint32_t count) {
  return said->known[word][count / 64] >> count % 64 & 1;
}

static void know(chm_said *said, uint32_t word, uint32_t count) { said->known[word][count / 64] |= 1ull << count % 64; }

/* Part of a line up to a tab or its end. */
static size_t part_of(const uint8_t *text, size_t at, size_t bytes) {
  while (at < bytes && text[at] != '\t' && text[at] != '\n') ++at;
  return at;
}

static void note(chm_said *said, uint32_t kind, const uint32_t *name, uint32_t count) {
  uint32_t word = first_of(said, name, count);
  if (!is_there(said, word, name, count) || is_known(said, word, count)) return;
  know(said, word, count);
  for (; is_there(said, word, name, count); ++word) {
    uint32_t place = said->words[word], end = place + count;
    if (!said->inner[end] && said->longest[kind][place] < end) said->longest[kind][place] = (uint16_t)end;
  }
}

/* Find the names of a list. */
static void find(chm_said *said, uint32_t kind, chm_text list) {
  uint32_t name[MOST_NAME];
  memset(said->longest[kind], 0, said->count * sizeof *said->longest[kind]);
  forget(said);
  for (size_t at = 0, end; at < list.bytes; at = end + 1) {
    end = part_of(list.text, at, list.bytes);
    uint32_t count = read_name(list.text + at, end - at, name);
    if (count) note(said, kind, name, count);
  }
}

/* Know the names of a kind that are said where no longer one is. */
static void know_said(chm_said *said, uint32_t kind) {
  uint32_t last = 0; /* the end of the names that begin before */
  forget(said);
  for (uint32_t place = 0; place < said->count; ++place) {
    uint32_t end = said->longest[kind][place], count = end - place;
    if (end <= last) continue;
    know(said, first_of(said, said->codes + place, count), count);
    last = end;
  }
}

static bool is_said(const chm_said *said, const uint32_t *name, uint32_t count) {
  uint32_t word = first_of(said, name, count);
  return is_there(said, word, name, count) && is_known(said, word, count);
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
    if (i + 3 <= last) said->runs[said->n_inside++] = run;
    else said->runs[MOST_SAID - ++said->n_others] = run;
  }
  sort(said->runs, said->n_inside);
  sort(said->runs + MOST_SAID - said->n_others, said->n_others);
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
  const uint64_t *others = said->runs + MOST_SAID - said->n_others;
  uint32_t own = 0, found = 0;
  for (uint32_t i = 0; i + 2 < count; ++i) {
    uint64_t run = run_of(name + i);
    if (has(said->runs, said->n_inside, run)) continue;
    ++own;
    found += has(others, said->n_others, run);
  }
  return found > 1 && 2 * found >= own;
}

/* ---- lines ---- */

enum { NOT, LIKE, SAID };

/* Whether a name of a line is said, or only something like it. */
static int how(const chm_said *said, const uint8_t *line, size_t bytes) {
  uint32_t name[MOST_NAME];
  int found = NOT;
  for (size_t at = 0, end; at < bytes && found < SAID; at = end + 1) {
    end = part_of(line, at, bytes);
    uint32_t count = read_name(line + at, end - at, name);
    if (!count) continue;
    if (is_said(said, name, count)) found = SAID;
    else if (is_like(said, name, count)) found = LIKE;
  }
  return found;
}

static size_t line_end(chm_text list, size_t at) {
  while (at < list.bytes && list.text[at] != '\n') ++at;
  return at;
}

/* The heard lines of a list; all, if none is. */
static void keep(const chm_said *said, chm_text list, chm_text *kept, uint8_t *to) {
  size_t used = 0;
  for (size_t at = 0, end; at < list.bytes; at = end + 1) {
    end = line_end(list, at);
    if (how(said, list.text + at, end - at) == NOT) continue;
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
  said->count = said->n_words = said->n_inside = said->n_others = 0;
  if (given[0].text) read_request(said, given[0]);
  if (said->count) {
    find_words(said);
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
    know_said(said, kind);
    keep(said, given[kind], &heard[kind], to);
    to += given[kind].bytes + 1;
  }
  chm_release(allocator, said, sizeof *said);
  return CHM_OK;
}

/* ---- hints ---- */

/* Names of a list that were heard so, up to a number; how many there are then. */
static uint32_t name_all(const chm_said *said, chm_text list, int wanted, uint32_t count, uint8_t *to, size_t *used) {
  for (size_t at = 0, end; at < list.bytes && count < CHM_MOST_HINTED; at = end + 1) {
    end = line_end(list, at);
    if (how(said, list.text + at, end - at) != wanted) continue;
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
    know_said(said, kind);
    uint32_t count = name_all(said, given[kind], SAID, 0, to, used);
    name_all(said, given[kind], LIKE, count, to, used);
  }
  chm_release(allocator, said, sizeof *said);
  return CHM_OK;
}

CHM_COLD_END
