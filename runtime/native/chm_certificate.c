/* Certificates of spans: what a record of a bank claims, made again from the record and the span's tokens; docs/sfpack.md has
 * the fields. A record keeps a digest of its certificate, which is compared before a span is guessed from for the first time: then
 * neither its tokens nor its numbers are others than the bank was made with, though no checksum of the file was computed. */
#include "chm_bank.h"

#define WORDS 128u /* of what the tokens mean together */
#define PLANES 7u  /* bits of a counter from 0 to CHM_MAX_SPAN_TOKENS */
#define DIGEST_AT 56u

/* Where the fields begin. */
enum { SPAN = 0, SEMANTIC = 4, GRAMMAR = SEMANTIC + 8 * WORDS, ENTITY = GRAMMAR + 16, DEBT = ENTITY + 64,
       BOUNDARY = DEBT + 8, RISK = BOUNDARY + 2 };
_Static_assert(RISK + 1 == CHM_CERTIFICATE_BYTES, "as docs/sfpack.md has them");

/* Risks that a span may have at the levels of the valve. */
static const uint32_t most_risk[CHM_LEVELS] = {64, 128, 255};

/* Of 64 counters, whose bits lie in planes: which are no less, in that they and the rest to 2^PLANES have a carry. */
static uint64_t reached(const uint64_t *planes, uint32_t least) {
  uint32_t rest = (1u << PLANES) - least;
  uint64_t carry = 0;
  for (uint32_t p = 0; p < PLANES; ++p) carry = rest >> p & 1 ? planes[p] | carry : planes[p] & carry;
  return carry;
}

uint64_t chm_bank_meaning(const chm_bank *bank, const chm_span *span, uint32_t word) {
  uint64_t planes[PLANES] = {0}, first = 0;
  for (uint32_t i = 0; i < span->count; ++i) {
    uint64_t carry = chm_token_word(chm_bank_token(bank, span->at + i), word);
    if (!i) first = carry;
    for (uint32_t p = 0; p < PLANES && carry; ++p) {
      uint64_t both = planes[p] & carry;
      planes[p] ^= carry;
      carry = both;
    }
  }
  uint64_t half = reached(planes, (span->count + 1) / 2);
  return span->count % 2 ? half : reached(planes, span->count / 2 + 1) | (half & first);
}

static void put(uint8_t *bytes, uint64_t value, uint32_t count) {
  for (uint32_t i = 0; i < count; ++i) bytes[i] = (uint8_t)(value >> 8 * i);
}

/* What the tokens do to a grammar is found by running them, and so is what they do to obligations; there are no entities. */
static void certify(const chm_bank *bank, uint32_t number, const chm_span *span, uint8_t *bytes) {
  static const uint8_t replayed[16] = {0, 0, 0xFF, 1, 0xFF, 0xFF, 0xFF, 0xFF};
  memset(bytes, 0, CHM_CERTIFICATE_BYTES);
  put(bytes + SPAN, number, 4);
  for (uint32_t w = 0; w < WORDS; ++w) put(bytes + SEMANTIC + 8 * (size_t)w, chm_bank_meaning(bank, span, w), 8);
  memcpy(bytes + GRAMMAR, replayed, sizeof replayed);
  put(bytes + BOUNDARY, (uint64_t)(int64_t)span->boundary, 2);
  bytes[RISK] = (uint8_t)span->risk;
}

/* The first 8 bytes of the SHA-256 of a certificate, never 0. */
static uint64_t digest_of(const uint8_t *certificate) {
  chm_sha256 hash;
  uint8_t bytes[32];
  uint64_t digest = 0;
  chm_sha256_start(&hash);
  chm_sha256_add(&hash, certificate, CHM_CERTIFICATE_BYTES);
  chm_sha256_end(&hash, bytes);
  for (uint32_t i = 0; i < 8; ++i) digest |= (uint64_t)bytes[i] << 8 * i;
  return digest ? digest : 1;
}

bool chm_bank_certified(const chm_bank *bank, uint32_t number) {
  chm_span span = chm_bank_span(bank, number);
  uint8_t certificate[CHM_CERTIFICATE_BYTES];
  uint64_t digest;
  memcpy(&digest, bank->records + (size_t)number * CHM_SPAN_RECORD + DIGEST_AT, 8);
  if (!span.count) return false;
  if (!digest) return true; /* a bank without certificates */
  uint32_t *seen = bank->seen ? bank->seen + number / 32 : NULL, bit = 1u << number % 32;
  if (seen && __atomic_load_n(seen, __ATOMIC_RELAXED) & bit) return true;
  certify(bank, number, &span, certificate);
  if (digest_of(certificate) != digest) return false;
  if (seen) __atomic_fetch_or(seen, bit, __ATOMIC_RELAXED);
  return true;
}

int32_t chm_bank_reject(const chm_bank *bank, const chm_candidate *candidate, int32_t level) {
  if (!chm_bank_certified(bank, candidate->span)) return CHM_REJECTED_DAMAGED;
  return chm_bank_span(bank, candidate->span).risk > most_risk[level] ? CHM_REJECTED_RISK : -1;
}

int32_t chm_bank_certificate(const chm_bank *bank, int32_t span, uint8_t *bytes, size_t count) {
  if (!bank || !bytes) return chm_fail(CHM_ERROR_ARGUMENT, "chm_bank_certificate: a pointer is NULL");
  if (span < 0 || (uint32_t)span >= bank->count || count != CHM_CERTIFICATE_BYTES)
    return chm_fail(CHM_ERROR_ARGUMENT, "the bank has %u spans, and a certificate %u bytes", (uint64_t)bank->count,
                    (uint64_t)CHM_CERTIFICATE_BYTES);
  chm_span found = chm_bank_span(bank, (uint32_t)span);
  if (!found.count || !chm_bank_certified(bank, (uint32_t)span))
    return chm_fail(CHM_ERROR_SPANS, "spans: a certificate is not that of its span");
  certify(bank, (uint32_t)span, &found, bytes);
  return CHM_OK;
}
