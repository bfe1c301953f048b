/* Cuts text into the pieces of o200k_base: its pattern of seven alternatives by hand, linear in the text. */
#include "chm_internal.h"
#include "chm_unicode.h"

typedef struct chm_character {
  uint32_t code;
  uint32_t bytes;
  uint32_t class;
} chm_character;

#define BIT(class) (1u << (class))

static uint32_t class_of(uint32_t code) {
  if (code >= CHM_UNICODE_LIMIT)
    return code >= CHM_UNICODE_SELECTORS_BEGIN && code < CHM_UNICODE_SELECTORS_END ? CHM_MARK : CHM_OTHER;
  uint8_t pair = chm_unicode_stage2[chm_unicode_stage1[code / 128] * 64 + code % 128 / 2];
  return code % 2 ? pair >> 4 : pair & 15u;
}

/* The character at a place before the end; a byte that is part of no UTF-8 character is CHM_OTHER by itself. */
static chm_character character_at(const uint8_t *text, size_t at, size_t end) {
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  uint32_t lead = text[at];
  if (lead < 0x80) return (chm_character){lead, 1, class_of(lead)};
  uint32_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  chm_character invalid = {UINT32_MAX, 1, CHM_OTHER};
  if (lead < 0xc2 || lead > 0xf4 || end - at < bytes) return invalid;
  uint32_t code = lead & (0xffu >> (bytes + 1));
  for (uint32_t i = 1; i < bytes; ++i) {
    if ((text[at + i] & 0xc0) != 0x80) return invalid;
    code = code << 6 | (text[at + i] & 0x3fu);
  }
  if (code < least[bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return invalid;
  return (chm_character){code, bytes, class_of(code)};
}

/* End of the characters from at on whose class is in the set. */
static size_t skip(const uint8_t *text, size_t at, size_t end, uint32_t set) {
  while (at < end) {
    chm_character next = character_at(text, at, end);
    if (!(BIT(next.class) & set)) break;
    at += next.bytes;
  }
  return at;
}

/* 's 't 're 've 'm 'll 'd of any case at a place, the long s included: its end, else the place. */
static size_t contraction(const uint8_t *text, size_t at, size_t end) {
  if (end - at < 2 || text[at] != '\'') return at;
  uint8_t a = text[at + 1] | 0x20, b = end - at > 2 ? text[at + 2] | 0x20 : 0;
  if (text[at + 1] == 0xc5 && end - at > 2 && text[at + 2] == 0xbf) return at + 3; /* U+017F folds to s */
  if (text[at + 1] < 0x40 || text[at + 1] >= 0x80) return at;
  if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
  if (b < 0x60 || b >= 0x80 || text[at + 2] < 0x40) return at;
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? at + 3 : at;
}

typedef struct chm_word {
  size_t end;     /* of the word, its start if there is none */
  bool has_lower; /* it ends with a lower-case letter, a letter without case or a mark: the first alternative */
} chm_word;

/* Capitals, then small letters; letters without case and marks are both. */
static chm_word word_at(const uint8_t *text, size_t at, size_t end) {
  const uint32_t both = BIT(CHM_LETTER) | BIT(CHM_MARK);
  size_t end_of_both = 0; /* after the last letter without case or mark */
  for (size_t i = at;; ) {
    chm_character next = i < end ? character_at(text, i, end) : (chm_character){0, 0, CHM_OTHER};
    if (next.class == CHM_LOWER) return (chm_word){skip(text, i, end, both | BIT(CHM_LOWER)), true};
    if (!(BIT(next.class) & (both | BIT(CHM_UPPER)))) return (chm_word){end_of_both ? end_of_both : i, end_of_both != 0};
    i += next.bytes;
    if (BIT(next.class) & both) end_of_both = i;
  }
}

/* Whitespace: up to the last line end; else all but the last character before something else, and at least one. */
static size_t end_of_space(const uint8_t *text, size_t at, size_t end) {
  size_t i = at, last = at, after_line = 0;
  while (i < end) {
    chm_character next = character_at(text, i, end);
    if (next.class != CHM_SPACE) break;
    last = i;
    i += next.bytes;
    if (next.code == '\n' || next.code == '\r') after_line = i;
  }
  if (after_line) return after_line;
  return i < end && last > at ? last : i;
}

size_t chm_o200k_piece(const uint8_t *text, size_t at, size_t end) {
  chm_character first = character_at(text, at, end);
  size_t after = at + first.bytes;
  bool is_letter = first.class == CHM_UPPER || first.class == CHM_LOWER || first.class == CHM_LETTER;
  if (first.class == CHM_NUMBER) { /* up to three */
    for (int more = 0; more < 2 && after < end; ++more) {
      chm_character next = character_at(text, after, end);
      if (next.class != CHM_NUMBER) break;
      after += next.bytes;
    }
    return after;
  }
  if (first.code != '\n' && first.code != '\r') {
    /* a word, perhaps with one character before it that is no letter */
    size_t start = is_letter ? at : after;
    chm_word word = word_at(text, start, end);
    if (word.has_lower) return contraction(text, word.end, end);
    if (first.class == CHM_MARK) return contraction(text, after, end); /* a word by itself, before capitals only */
    if (word.end > start) return contraction(text, word.end, end);
    size_t symbol = first.code == ' ' ? after : at;
    size_t i = skip(text, symbol, end, BIT(CHM_OTHER) | BIT(CHM_MARK));
    if (i > symbol) {
      while (i < end && (text[i] == '\r' || text[i] == '\n' || text[i] == '/')) ++i;
      return i;
    }
  }
  return end_of_space(text, at, end);
}
