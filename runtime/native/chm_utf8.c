/* Streaming bytes → valid UTF-8: each maximal invalid part becomes one U+FFFD (as browsers and Python do). */
#include "chm_internal.h"

/* Range of the byte that may follow the bytes held: Unicode's table of well-formed sequences. */
static void next_range(const chm_utf8 *decoder, uint8_t *low, uint8_t *high) {
  uint8_t lead = decoder->held[0];
  *low = 0x80;
  *high = 0xbf;
  if (decoder->count == 1) {
    if (lead == 0xe0) *low = 0xa0;
    if (lead == 0xed) *high = 0x9f;
    if (lead == 0xf0) *low = 0x90;
    if (lead == 0xf4) *high = 0x8f;
  }
}

static uint32_t sequence_length(uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}

static size_t replacement(uint8_t *out) {
  out[0] = 0xef;
  out[1] = 0xbf;
  out[2] = 0xbd;
  return 3;
}

size_t chm_utf8_push(chm_utf8 *decoder, const uint8_t *data, size_t bytes, uint8_t *out) {
  size_t used = 0;
  for (size_t i = 0; i < bytes;) {
    uint8_t byte = data[i];
    if (!decoder->count) {
      uint32_t length = sequence_length(byte);
      if (length == 1) out[used++] = byte;
      else if (length == 0) used += replacement(out + used);
      else decoder->held[decoder->count++] = byte;
      ++i;
      continue;
    }
    uint8_t low, high;
    next_range(decoder, &low, &high);
    if (byte < low || byte > high) { /* the byte starts something new: look at it again */
      used += replacement(out + used);
      decoder->count = 0;
      continue;
    }
    decoder->held[decoder->count++] = byte;
    ++i;
    if (decoder->count == sequence_length(decoder->held[0])) {
      memcpy(out + used, decoder->held, decoder->count);
      used += decoder->count;
      decoder->count = 0;
    }
  }
  return used;
}

size_t chm_utf8_flush(chm_utf8 *decoder, uint8_t *out) {
  size_t used = decoder->count ? replacement(out) : 0;
  decoder->count = 0;
  return used;
}
