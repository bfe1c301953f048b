/* Cuts text into pieces that no merge crosses: the patterns of public tokenizers by hand, linear in the text. */
#include "chm_internal.h"
#include "chm_unicode.h"

CHM_COLD_BEGIN

_Static_assert((int)CHM_OTHER == (int)CHM_CLASS_OTHER && (int)CHM_MARK == (int)CHM_CLASS_MARK &&
                   (int)CHM_NUMBER == (int)CHM_CLASS_NUMBER && (int)CHM_SPACE == (int)CHM_CLASS_SPACE,
               "the classes that others know");

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
  uint32_t code;
  size_t bytes = chm_utf8_character(text, at, end, &code);
  return bytes ? (chm_character){code, (uint32_t)bytes, class_of(code)} : (chm_character){UINT32_MAX, 1, CHM_OTHER};
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

/* Whitespace: with lines, up to the last line end; else all but the last character before what is not in the set apart,
 * and at least one. */
static size_t end_of_space(const uint8_t *text, size_t at, size_t end, bool lines, uint32_t apart) {
  size_t i = at, last = at, after_line = 0;
  bool cut = false; /* by something that counts as the end of the text */
  while (i < end) {
    chm_character next = character_at(text, i, end);
    cut = BIT(next.class) & apart;
    if (next.class != CHM_SPACE) break;
    last = i;
    i += next.bytes;
    if (lines && (next.code == '\n' || next.code == '\r')) after_line = i;
  }
  if (after_line) return after_line;
  return i < end && last > at && !cut ? last : i;
}

#define LETTERS (BIT(CHM_UPPER) | BIT(CHM_LOWER) | BIT(CHM_LETTER))

/* End of so many numbers, or fewer. */
static size_t numbers(const uint8_t *text, size_t at, size_t end, int most) {
  for (; most && at < end; --most) {
    chm_character next = character_at(text, at, end);
    if (next.class != CHM_NUMBER) break;
    at += next.bytes;
  }
  return at;
}

static bool is_line_end(uint8_t byte) { return byte == '\r' || byte == '\n'; }

static size_t o200k_piece(const uint8_t *text, size_t at, size_t end) {
  chm_character first = character_at(text, at, end);
  size_t after = at + first.bytes;
  bool is_letter = BIT(first.class) & LETTERS;
  if (first.class == CHM_NUMBER) return numbers(text, at, end, 3);
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
      while (i < end && (is_line_end(text[i]) || text[i] == '/')) ++i;
      return i;
    }
  }
  return end_of_space(text, at, end, true, 0);
}

/* Of llama3 and qwen2: a contraction; letters, perhaps after one character that is no number or line end; numbers, this
 * many at most; symbols, perhaps after a space, with the line ends behind them; whitespace. */
static size_t word_piece(const uint8_t *text, size_t at, size_t end, int most_numbers, uint32_t letters) {
  chm_character first = character_at(text, at, end);
  size_t after = at + first.bytes, i = contraction(text, at, end);
  if (i > at) return i;
  if (first.class == CHM_NUMBER) return numbers(text, at, end, most_numbers);
  if (first.code != '\n' && first.code != '\r') {
    size_t start = BIT(first.class) & letters ? at : after;
    i = skip(text, start, end, letters);
    if (i > start) return i;
    size_t symbol = first.code == ' ' ? after : at;
    i = skip(text, symbol, end, (BIT(CHM_OTHER) | BIT(CHM_MARK)) & ~letters);
    if (i > symbol) {
      while (i < end && is_line_end(text[i])) ++i;
      return i;
    }
  }
  return end_of_space(text, at, end, true, 0);
}

/* Of gpt2: a contraction in small letters; letters, numbers or symbols, each perhaps after a space; whitespace. What is
 * in the set apart is in pieces of its own, which has been seen to: here it is as the end of the text. */
static size_t gpt2_piece(const uint8_t *text, size_t at, size_t end, uint32_t apart) {
  static const uint32_t kinds[] = {LETTERS, BIT(CHM_NUMBER), BIT(CHM_OTHER) | BIT(CHM_MARK)};
  size_t start = contraction(text, at, end);
  if (start > at && text[at + 1] >= 'a' && text[at + 1] <= 'z' && (start - at == 2 || (text[at + 2] >= 'a' && text[at + 2] <= 'z')))
    return start;
  start = text[at] == ' ' ? at + 1 : at;
  uint32_t class = start < end ? BIT(character_at(text, start, end).class) & ~apart : 0;
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; ++k)
    if (class & kinds[k]) return skip(text, start, end, kinds[k]);
  return end_of_space(text, at, end, false, apart);
}

/* Up to the next space. */
static size_t space_piece(const uint8_t *text, size_t at, size_t end) {
  while (++at < end && text[at] != ' ') {}
  return at;
}

size_t chm_piece(chm_split split, const uint8_t *text, size_t at, size_t end) {
  uint32_t number = BIT(CHM_NUMBER);
  bool is_number = character_at(text, at, end).class == CHM_NUMBER;
  switch (split) {
    case CHM_SPLIT_O200K: return o200k_piece(text, at, end);
    case CHM_SPLIT_LLAMA3: return word_piece(text, at, end, 3, LETTERS);
    case CHM_SPLIT_QWEN2: return word_piece(text, at, end, 1, LETTERS);
    case CHM_SPLIT_QWEN35: return word_piece(text, at, end, 1, LETTERS | BIT(CHM_MARK));
    case CHM_SPLIT_GPT2: return gpt2_piece(text, at, end, 0);
    case CHM_SPLIT_GPT2_DIGITS: return is_number ? numbers(text, at, end, 1) : gpt2_piece(text, at, end, number);
    case CHM_SPLIT_GPT2_DIGITS3: return is_number ? numbers(text, at, end, 3) : gpt2_piece(text, at, end, number);
    case CHM_SPLIT_SPACES: return space_piece(text, at, end);
    case CHM_SPLIT_CHARACTERS: return at + character_at(text, at, end).bytes;
    case CHM_SPLIT_NONE: break;
  }
  return end;
}

size_t chm_character_class(const uint8_t *text, size_t at, size_t end, uint32_t *code, uint32_t *class) {
  chm_character found = character_at(text, at, end);
  *code = found.code;
  *class = found.class;
  return found.bytes;
}

size_t chm_spaces_after(const uint8_t *text, size_t at, size_t end) { return skip(text, at, end, BIT(CHM_SPACE)); }

size_t chm_spaces_before(const uint8_t *text, size_t begin, size_t at) {
  for (size_t start = at; start > begin; at = start) {
    do --start;
    while (start > begin && at - start < 4 && (text[start] & 0xc0) == 0x80);
    chm_character last = character_at(text, start, at);
    if (last.class != CHM_SPACE || start + last.bytes != at) break;
  }
  return at;
}

CHM_COLD_END
