#include "fuzz.h"

#include <malloc.h>
#include <time.h>

bool fuzz_has_workers;

_Noreturn void fuzz_failed(const char *condition, const char *file, int line) {
  dprintf(2, "%s:%d: %s does not hold; the last error: %s\n", file, line, condition, chm_last_error());
  abort();
}

int32_t fuzz_status(int32_t status) {
  FUZZ_CHECK(status == CHM_OK || status == CHM_FINISHED || (status >= 400 && status < 500));
  FUZZ_CHECK(status <= CHM_FINISHED || chm_last_error()[0]);
  return status;
}

/* ---- memory ---- */

#define MOST_BYTES ((size_t)8 << 20) /* of one block: a table of all sections, or what a grammar remembers */

static uint32_t blocks, fail_at;

static void *allocate(void *user, size_t bytes) {
  (void)user;
  FUZZ_CHECK(bytes && bytes <= MOST_BYTES);
  if (fail_at && !--fail_at) return NULL;
  void *block = NULL;
  if (posix_memalign(&block, 64, bytes)) abort();
  ++blocks;
  return block;
}

static void release(void *user, void *block, size_t bytes) {
  (void)user;
  FUZZ_CHECK(malloc_usable_size(block) == bytes); /* the address sanitizer knows the exact size */
  --blocks;
  free(block);
}

const chm_allocator fuzz_allocator = {allocate, release, NULL};
void fuzz_fail_at(uint32_t k) { fail_at = k; }
uint32_t fuzz_blocks(void) { return blocks; }

uint8_t *fuzz_copy(const uint8_t *data, size_t size) {
  void *copy = NULL;
  if (posix_memalign(&copy, 64, size ? size : 1)) abort();
  if (size) memcpy(copy, data, size);
  return copy;
}

/* ---- checksums: none, so that mutated inputs get past them; each has tests of its own ---- */

void chm_crc32_prepare(chm_crc32_tables *tables) { (void)tables; }
uint32_t chm_crc32(const chm_crc32_tables *tables, const uint8_t *data, uint64_t bytes) {
  (void)tables;
  (void)data;
  (void)bytes;
  return 0;
}
void chm_sha256_start(chm_sha256 *hash) { memset(hash, 0, sizeof *hash); }
void chm_sha256_add(chm_sha256 *hash, const void *data, uint64_t bytes) {
  (void)hash;
  (void)data;
  (void)bytes;
}
void chm_sha256_end(chm_sha256 *hash, uint8_t digest[32]) { memset(digest, (int)hash->bytes, 32); }

/* ---- time: each look at the clock takes a microsecond of its thread, so that equal inputs take equal ways ---- */

int fuzz_clock(clockid_t clock, struct timespec *time);
int fuzz_clock(clockid_t clock, struct timespec *time) {
  static _Thread_local int64_t microseconds;
  (void)clock;
  ++microseconds;
  *time = (struct timespec){microseconds / 1000000, microseconds % 1000000 * 1000};
  return 0;
}

/* ---- the toy model's files ---- */

#define INCLUDE(name, path)                                                        \
  __asm__(".pushsection .rodata\n.balign 64\n.global " #name "\n" #name            \
          ":\n.incbin \"" path "\"\n.global " #name "_end\n" #name "_end:\n.byte 0\n.popsection\n")
INCLUDE(fuzz_weights, FUZZ_WEIGHTS);
INCLUDE(fuzz_tokenizer, FUZZ_TOKENIZER);
INCLUDE(fuzz_pack, FUZZ_PACK);
INCLUDE(fuzz_bank, FUZZ_BANK);

chm_bundle *fuzz_bundle(void) {
  static chm_bundle *bundle;
  if (!bundle) {
    size_t weights = (size_t)(fuzz_weights_end - fuzz_weights), tokenizer = (size_t)(fuzz_tokenizer_end - fuzz_tokenizer);
    FUZZ_CHECK(!chm_bundle_open(fuzz_weights, weights, fuzz_tokenizer, tokenizer, 0, &fuzz_allocator, &bundle));
  }
  return bundle;
}

/* ---- inputs ---- */

uint64_t fuzz_hash(const uint8_t *data, size_t size) {
  uint64_t hash = size;
  for (size_t i = 0; i < size; i += 8) {
    uint64_t word = 0;
    memcpy(&word, data + i, size - i < 8 ? size - i : 8);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 32;
  }
  return hash;
}

/* ---- mutating containers ---- */

#define PAGE 4096u
#define TEXT_BYTES 16384u

static const char *const words[] = {
    "\"shape\":[", "\"dtype\":\"", "\"data_offsets\":[", "\"U8\"", "\"F32\"", "\"I32\"", "\"__pad.0\":{", "\\\"crc32\\\":\\\"00000000\\\"",
    "\\\"bytes\\\":", "9007199254740992", "9007199254740993", "18446744073709551615", "4294967296", "4096", "64", "-1", "0", "1.5",
    "{}", "[]", "},", "]", "\\\\", "\\\"", "\\u0061", "[[[[", "{\"", "\"id\":", "\"role\":\"end\"", "\"name\":\"", "o200k", "none", "null"};

/* Put a word in place of some bytes. */
static size_t with_word(uint8_t *text, size_t size, size_t most, uint64_t *state) {
  const char *word = words[fuzz_next(state, sizeof words / sizeof *words)];
  size_t bytes = strlen(word), at = fuzz_next(state, (uint32_t)size + 1);
  size_t replaced = fuzz_next(state, 2) ? bytes : fuzz_next(state, 8);
  if (replaced > size - at) replaced = size - at;
  if (size - replaced + bytes > most) return size;
  memmove(text + at + bytes, text + at + replaced, size - at - replaced);
  memcpy(text + at, word, bytes);
  return size - replaced + bytes;
}

/* Put another number in place of one that is there. */
static size_t with_number(uint8_t *text, size_t size, size_t most, uint64_t *state) {
  size_t at = fuzz_next(state, (uint32_t)size + 1), end;
  while (at < size && (text[at] < '0' || text[at] > '9')) ++at;
  for (end = at; end < size && text[end] >= '0' && text[end] <= '9';) ++end;
  if (at == end || end - at > 18) return size;
  static const uint64_t some[] = {0, 1, 2, 3, 4, 8, 63, 64, 65, 128, 255, 256, 4096, 65535, 65536, 1u << 31, (uint64_t)1 << 32,
                                  CHM_MAX_INTEGER, CHM_MAX_INTEGER / 4, (uint64_t)1 << 52};
  uint64_t value = 0;
  for (size_t i = at; i < end; ++i) value = value * 10 + (uint64_t)(text[i] - '0');
  switch (fuzz_next(state, 4)) {
    case 0: value = some[fuzz_next(state, sizeof some / sizeof *some)]; break;
    case 1: value += fuzz_next(state, 129); break;
    case 2: value -= fuzz_next(state, 129); break;
    default: value ^= (uint64_t)1 << fuzz_next(state, 54);
  }
  char digits[24];
  size_t bytes = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)(value & (((uint64_t)1 << 54) - 1)));
  if (size - (end - at) + bytes > most) return size;
  memmove(text + at + bytes, text + end, size - end);
  memcpy(text + at, digits, bytes);
  return size - (end - at) + bytes;
}

static size_t mutate_header(uint8_t *data, size_t size, size_t most, size_t start, uint64_t *state) {
  static uint8_t text[TEXT_BYTES];
  size_t bytes = start - 8;
  while (bytes && data[8 + bytes - 1] == ' ') --bytes;
  if (bytes > TEXT_BYTES / 2) return LLVMFuzzerMutate(data, size, most);
  memcpy(text, data + 8, bytes);
  for (uint32_t rounds = 1 + fuzz_next(state, 3); rounds; --rounds) {
    uint32_t kind = fuzz_next(state, 4);
    bytes = kind == 0   ? LLVMFuzzerMutate(text, bytes, TEXT_BYTES)
            : kind == 1 ? with_word(text, bytes, TEXT_BYTES, state)
                        : with_number(text, bytes, TEXT_BYTES, state);
  }
  size_t now = (8 + bytes + PAGE - 1) / PAGE * PAGE;
  if (now < start) now = start; /* a shorter text leaves the data where they are */
  if (size - start + now > most) return size;
  memmove(data + now, data + start, size - start);
  memset(data + 8, ' ', now - 8);
  memcpy(data + 8, text, bytes);
  uint64_t length = now - 8;
  memcpy(data, &length, 8);
  return size - start + now;
}

/* Numbers of the data, whose sections stay where they are. */
static void mutate_data(uint8_t *data, size_t size, uint64_t *state) {
  static const uint32_t some[] = {0, 1, 0xFFFE, 0xFFFF, 0xFFFFFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFE, 64, 255, 0x80000000, 0x7F800000};
  for (uint32_t rounds = 1 + fuzz_next(state, 4); rounds; --rounds) {
    size_t at = fuzz_next(state, (uint32_t)size), unit = (size_t)1 << fuzz_next(state, 3), from = fuzz_next(state, (uint32_t)size);
    uint32_t word = 0;
    at &= ~(unit - 1);
    if (at + unit > size) continue;
    memcpy(&word, data + at, unit);
    switch (fuzz_next(state, 6)) {
      case 0: word = some[fuzz_next(state, sizeof some / sizeof *some)]; break;
      case 1: word += 1 - 2 * fuzz_next(state, 2); break;
      case 2: word = fuzz_next(state, 300); break;
      case 3: word ^= 1u << fuzz_next(state, (uint32_t)(8 * unit)); break;
      case 4: word = (word & 0xFFFF) | fuzz_next(state, 300) << 16; break;
      default:
        unit = 1 + fuzz_next(state, 64);
        if (at + unit <= size && from + unit <= size) memmove(data + at, data + from, unit);
        continue;
    }
    memcpy(data + at, &word, unit);
  }
}

size_t fuzz_mutate_container(uint8_t *data, size_t size, size_t most, uint32_t seed) {
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1, length = 0;
  if (size >= 16) memcpy(&length, data, 8);
  if (size < 16 || length < 8 || length > size - 8 || !fuzz_next(&state, 32)) return LLVMFuzzerMutate(data, size, most);
  size_t start = 8 + (size_t)length;
  if (start == size || fuzz_next(&state, 3) == 0) return mutate_header(data, size, most, start, &state);
  mutate_data(data + start, size - start, &state);
  return size;
}
