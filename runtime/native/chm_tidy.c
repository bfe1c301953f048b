/* The rule tidy: what people type, and what writing programs make of it, in one form. It goes before normalization. */
#include "chm_internal.h"

CHM_COLD_BEGIN

#define GONE 0u
#define DOTS 1u /* three of them */

/* Characters first … last stand for one, or for none. Ascending. */
static const struct {
  uint16_t first, last;
  uint8_t as;
} changed[] = {
    {0x0000, 0x0020, ' '},    {0x0060, 0x0060, '\''},   {0x007f, 0x00a0, ' '},    {0x00ab, 0x00ab, '"'},
    {0x00ad, 0x00ad, GONE},   {0x00b4, 0x00b4, '\''},   {0x00bb, 0x00bb, '"'},    {0x02bc, 0x02bc, '\''},
    {0x1680, 0x1680, ' '},    {0x1fef, 0x1fef, '\''},   {0x1ffd, 0x1ffd, '\''},   {0x2000, 0x200a, ' '},
    {0x200b, 0x200b, GONE},   {0x200e, 0x200f, GONE},   {0x2010, 0x2015, '-'},    {0x2018, 0x201b, '\''},
    {0x201c, 0x201f, '"'},    {0x2026, 0x2026, DOTS},   {0x2028, 0x2029, ' '},    {0x202a, 0x202e, GONE},
    {0x202f, 0x202f, ' '},    {0x2032, 0x2032, '\''},   {0x2033, 0x2033, '"'},    {0x2039, 0x203a, '\''},
    {0x205f, 0x205f, ' '},    {0x2060, 0x2060, GONE},   {0x2066, 0x2069, GONE},   {0x2212, 0x2212, '-'},
    {0x3000, 0x3000, ' '},    {0xfeff, 0xfeff, GONE},
};
#define N_CHANGED (sizeof changed / sizeof changed[0])
#define SAME 255u

static uint32_t as(uint32_t code) {
  size_t low = 0, high = N_CHANGED;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (changed[middle].last < code) low = middle + 1;
    else high = middle;
  }
  return low < N_CHANGED && code >= changed[low].first ? changed[low].as : SAME;
}

static bool is_plain(uint8_t byte) { return byte > ' ' && byte < 0x7f && byte != '`'; }

size_t chm_tidy(const uint8_t *text, size_t bytes, uint8_t *out) {
  size_t used = 0;
  bool space = false; /* one is to come before what follows */
  for (size_t at = 0, step; at < bytes; at += step) {
    uint32_t code = text[at], found = SAME;
    step = 1;
    if (!is_plain(text[at])) {
      size_t size = chm_utf8_character(text, at, bytes, &code);
      if (size) {
        step = size;
        found = as(code);
      }
    }
    if (found == ' ') space = true;
    if (found == ' ' || found == GONE) continue;
    if (space && used) out[used++] = ' ';
    space = false;
    if (found == SAME) {
      for (size_t i = 0; i < step; ++i) out[used++] = text[at + i];
    } else {
      for (size_t i = found == DOTS ? 3 : 1; i; --i) out[used++] = found == DOTS ? '.' : (uint8_t)found;
    }
  }
  return used;
}

bool chm_is_tidy(const uint8_t *text, size_t bytes) {
  bool space = true; /* before what follows, or nothing */
  for (size_t at = 0, step; at < bytes; at += step) {
    uint32_t code;
    step = 1;
    bool is_space = text[at] == ' ';
    if (is_space && space) return false;
    space = is_space;
    if (is_space || is_plain(text[at])) continue;
    size_t size = chm_utf8_character(text, at, bytes, &code);
    if (!size) continue;
    if (as(code) != SAME) return false;
    step = size;
  }
  return !bytes || !space;
}

CHM_COLD_END
