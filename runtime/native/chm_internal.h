/* What the files of the runtime share. Nothing here needs a C library but memcpy, memset, memmove and memcmp. */
#ifndef CHM_INTERNAL_H
#define CHM_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chimera.h"
#include "chm_model.h"
#include "chm_threads.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "containers are mapped as they are: little-endian only");

#if defined(__wasm__) /* chm_freestanding.c has them; elsewhere headers may make them macros */
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memmove(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);
#else
#include <string.h>
#endif

/* Code that no token waits for is compiled for size in WebAssembly, where a visitor downloads it. */
#if defined(__wasm__)
#define CHM_COLD_BEGIN _Pragma("clang attribute push(__attribute__((minsize)), apply_to = function)")
#define CHM_COLD_END _Pragma("clang attribute pop")
#else
#define CHM_COLD_BEGIN
#define CHM_COLD_END
#endif

/* ---- chm_error.c ---- */

/* Record the sentence and return status. Format: %s text, %u uint64_t, %d int64_t, %q (pointer, size_t) quoted bytes. */
int32_t chm_fail(int32_t status, const char *format, ...);
/* Decimal digits and a zero byte, to a place of CHM_DECIMAL; the count of digits. */
#define CHM_DECIMAL 21
size_t chm_decimal(uint64_t value, char *to);

/* ---- checked arithmetic: false on overflow (of products: above CHM_MAX_INTEGER) ---- */

static inline bool chm_add(uint64_t a, uint64_t b, uint64_t *sum) { return !__builtin_add_overflow(a, b, sum); }
static inline bool chm_multiply(uint64_t a, uint64_t b, uint64_t *product) {
  *product = a * b;
  return !b || a <= CHM_MAX_INTEGER / b; /* a full 64-bit check needs a library function on wasm32 */
}
/* Round up to a multiple of 64. */
static inline bool chm_align(uint64_t value, uint64_t *aligned) {
  if (!chm_add(value, 63, aligned)) return false;
  *aligned &= ~(uint64_t)63;
  return true;
}

/* ---- one user at a time: a flag that is 1 while it is taken ---- */

static inline bool chm_take(uint32_t *flag) { return !__atomic_exchange_n(flag, 1, __ATOMIC_ACQUIRE); }
static inline void chm_give(uint32_t *flag) { __atomic_store_n(flag, 0, __ATOMIC_RELEASE); }

/* ---- memory ---- */

extern const chm_allocator chm_default_allocator; /* of the host file; its blocks are zeros, pages of them untouched */
/* NULL and chm_fail(CHM_ERROR_MEMORY) if there is none. */
void *chm_allocate(const chm_allocator *allocator, uint64_t bytes);
void chm_release(const chm_allocator *allocator, void *block, uint64_t bytes);

/* ---- chm_crc32.c: CRC-32 of zlib ---- */

typedef struct chm_crc32_tables {
  uint32_t of[8][256];
} chm_crc32_tables;
void chm_crc32_prepare(chm_crc32_tables *tables);
uint32_t chm_crc32(const chm_crc32_tables *tables, const uint8_t *data, uint64_t bytes);

/* ---- chm_sha256.c ---- */

typedef struct chm_sha256 {
  uint32_t state[8];
  uint64_t bytes;    /* that were added */
  uint8_t block[64]; /* of them the last, where they are no whole block */
} chm_sha256;
void chm_sha256_start(chm_sha256 *hash);
void chm_sha256_add(chm_sha256 *hash, const void *data, uint64_t bytes);
void chm_sha256_end(chm_sha256 *hash, uint8_t digest[32]);

/* ---- chm_container.c ---- */

typedef struct chm_entry {
  const uint8_t *name;  /* in the header; not zero-terminated, like the next two */
  const uint8_t *dtype;
  const uint8_t *shape; /* numbers and commas, perhaps with spaces */
  uint32_t name_bytes, dtype_bytes, shape_bytes;
  uint32_t crc32;
  uint32_t element_bytes; /* of the dtype */
  bool is_pad;
  uint64_t begin; /* from the start of the file */
  uint64_t bytes;
} chm_entry;

typedef struct chm_container {
  const uint8_t *file;
  uint32_t count;
  chm_entry *entries;         /* [count] in file order */
  uint32_t *by_name;          /* [count] indices sorted by name */
  const uint8_t *contents;    /* value of chimera.contents_sha256 */
  size_t contents_bytes;
  const uint8_t *config;      /* value of chimera.config_sha256 */
  size_t config_bytes;
  const uint8_t *tokenizer;   /* value of chimera.tokenizer_sha256, NULL without it */
  size_t tokenizer_bytes;
  const uint8_t *model;       /* value of chimera.model_sha256, NULL without it */
  size_t model_bytes;
  uint64_t allocated;
} chm_container;

/* Check everything about a container of one kind; what names the file in messages. Close it after success only. */
int32_t chm_container_open(const void *file, size_t bytes, const char *kind, const char *what, uint32_t flags,
                           const chm_allocator *allocator, chm_container *container);
void chm_container_close(chm_container *container, const chm_allocator *allocator);
/* NULL if there is no section of this name. */
const chm_entry *chm_container_find(const chm_container *container, const char *name);
/* Bytes that chm_container_open allocates for a table of so many sections, pads included. */
uint64_t chm_container_bytes(uint32_t sections);
/* Whether a section may have this name. */
bool chm_section_name(const char *name);

/* ---- chm_pretokenizer.c ---- */

#define CHM_X(name, text) CHM_SPLIT_##name,
typedef enum chm_split { CHM_PATTERNS(CHM_X) } chm_split; /* into pieces that no merge crosses */
#undef CHM_X

/* End of the piece that starts at a place before the end. */
size_t chm_piece(chm_split split, const uint8_t *text, size_t at, size_t end);
/* Of the character at a place before the end: its code and class (those of chm_unicode.h); returns its bytes. A byte that
 * is part of no UTF-8 character is one of class other, and its code is UINT32_MAX. */
enum { CHM_CLASS_OTHER = 0, CHM_CLASS_MARK = 4, CHM_CLASS_NUMBER = 5, CHM_CLASS_SPACE = 6 };
size_t chm_character_class(const uint8_t *text, size_t at, size_t end, uint32_t *code, uint32_t *class);
/* End of the white space that starts at a place; start of the white space that ends there, begin at the lowest. */
size_t chm_spaces_after(const uint8_t *text, size_t at, size_t end);
size_t chm_spaces_before(const uint8_t *text, size_t begin, size_t at);

/* ---- chm_normal.c ---- */

/* Whether a text is seen at a glance to be in Unicode's normalization form C. */
bool chm_is_normal(const uint8_t *text, size_t bytes);
/* Bring a text to it: out has room for 3 * bytes, *size are used. Bytes that are no UTF-8 stay as they are. */
int32_t chm_normalize(const uint8_t *text, size_t bytes, const chm_allocator *allocator, uint8_t *out, size_t *size);

/* ---- chm_session.c ---- */

/* Hash of 64-bit little-endian words, the last one filled up with zeros; docs/runtime.md. */
uint64_t chm_hash_words(const uint8_t *data, uint64_t bytes);

/* ---- chm_tidy.c ---- */

/* White space and control characters are one space, none at the ends; typographic quotes and dashes are those of ASCII;
 * what is not seen is left out. out has room for as many bytes; returns those that are used. Bytes that are no UTF-8 stay. */
size_t chm_tidy(const uint8_t *text, size_t bytes, uint8_t *out);
bool chm_is_tidy(const uint8_t *text, size_t bytes);

/* ---- chm_tokenizer.c ---- */

#define CHM_X(name, text) CHM_RULE_BIT_##name,
enum { CHM_RULES(CHM_X) CHM_N_RULES };
#undef CHM_X
#define CHM_X(name, text) CHM_RULE_##name = 1 << CHM_RULE_BIT_##name,
enum { CHM_RULES(CHM_X) CHM_RULES_PREFIX = CHM_RULE_PREFIX | CHM_RULE_PREFIX_MISSING | CHM_RULE_PREFIX_FIRST };
#undef CHM_X

/* The rules that tokenizers may have here: all, but for modules of which the build knows better. Normalization alone is a tenth
 * of a small module. */
#ifndef CHM_BUILT_RULES
#define CHM_BUILT_RULES 0xffffffffu
#endif

enum { CHM_STRIP_LEFT = 1, CHM_STRIP_RIGHT = 2 };

typedef struct chm_special {
  const uint8_t *name; /* not zero-terminated */
  size_t name_bytes;   /* > 0 */
  int32_t id;
  uint8_t role; /* 0 begin, 1 end, 2 control, 3 pad, 4 reserved, 5 answer */
  uint8_t strip; /* CHM_STRIP_…: the white space on these sides of its name is part of it */
} chm_special;

typedef struct chm_tokenizer {
  uint32_t count;          /* ids 0..count-1 */
  const uint8_t *lengths;  /* [count] */
  const uint8_t *bytes;
  uint32_t *offsets;       /* [count] start of each token in bytes */
  uint32_t *table;         /* [table_size] id + 1 and part of the hash, by hash of the bytes; 0 = free */
  uint32_t table_mask;
  uint32_t longest;        /* bytes of the longest token */
  chm_split pattern;
  uint32_t rules;          /* bits CHM_RULE_… */
  bool has_merges;         /* else any two parts that make a token may merge, and its id is its rank */
  bool has_bytes;          /* parts are characters to begin with; others are bytes, whose tokens are no other's part */
  uint32_t n_merges;
  const uint8_t *merges;   /* [n_merges] u32: the token that each makes, by rank */
  uint32_t *first;         /* [count + 1] where a token's merges begin in ranks; NULL without merges */
  uint32_t *ranks;         /* [n_merges] rank << 8 | bytes of the left part, by token; 0 bytes: any */
  uint32_t *joined;        /* [65536 bits] a * 256 + b: a, b stand next to each other in a token; NULL if not needed */
  int32_t of_byte[256];    /* token of each byte that is a part by itself */
  const uint8_t *contents; /* chimera.contents_sha256 of the container, in its header */
  size_t contents_bytes;
  chm_special *specials;   /* [n_specials] */
  uint32_t n_specials;
  uint64_t allocated;
  void *block;
} chm_tokenizer;

int32_t chm_tokenizer_open(const void *file, size_t bytes, int32_t vocab, uint32_t flags,
                           const chm_allocator *allocator, chm_tokenizer *tokenizer);
void chm_tokenizer_close(chm_tokenizer *tokenizer, const chm_allocator *allocator);
/* Id of the token with these bytes, or -1; of two with the same bytes, that which is not for single bytes only. */
int32_t chm_tokenizer_find(const chm_tokenizer *tokenizer, const uint8_t *data, uint32_t bytes);
/* The longest token that the data begin with, and its size; each byte must be a token. */
int32_t chm_tokenizer_longest(const chm_tokenizer *tokenizer, const uint8_t *data, size_t bytes, uint32_t *size);

/* ---- chm_merges.c ---- */

/* Check what there is of merges in the container, and of tokens of single bytes; nothing is allocated. */
int32_t chm_merges_open(const chm_container *container, chm_tokenizer *tokenizer);
/* Bytes that chm_merges_prepare needs. */
uint64_t chm_merges_bytes(const chm_tokenizer *tokenizer);
/* Fill first and ranks, in zeroed memory. */
int32_t chm_merges_prepare(const chm_container *container, chm_tokenizer *tokenizer, uint32_t *memory);
/* Rank of the merge of two parts side by side, the left one of so many bytes, lowest first; -1: they do not merge. */
int32_t chm_merges_rank(const chm_tokenizer *tokenizer, const uint8_t *data, uint32_t bytes, uint32_t left);
/* The token that the merge of a rank makes. */
int32_t chm_merges_token(const chm_tokenizer *tokenizer, int32_t rank);

/* ---- chm_utf8.c ---- */

typedef struct chm_utf8 {
  uint8_t held[4]; /* start of a character that is not complete */
  uint32_t count;
} chm_utf8;

/* Bytes of the well-formed character at a place before the end, 0 if there is none. */
static inline size_t chm_utf8_character(const uint8_t *text, size_t at, size_t end, uint32_t *code) {
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  uint32_t lead = *code = text[at];
  if (lead < 0x80) return 1;
  size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || end - at < bytes) return 0;
  uint32_t value = lead & (0xffu >> (bytes + 1));
  for (size_t i = 1; i < bytes; ++i) {
    if ((text[at + i] & 0xc0) != 0x80) return 0;
    value = value << 6 | (text[at + i] & 0x3fu);
  }
  if (value < least[bytes] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return 0;
  *code = value;
  return bytes;
}

/* Append bytes; write what is complete, at most 3 * (bytes + 3) bytes, and return its size. */
size_t chm_utf8_push(chm_utf8 *decoder, const uint8_t *data, size_t bytes, uint8_t *out);
/* Write U+FFFD for an incomplete character, if there is one. */
size_t chm_utf8_flush(chm_utf8 *decoder, uint8_t *out);

/* ---- chm_sampler.c ---- */

typedef struct chm_sampling {
  float temperature, top_p, repetition_penalty;
  int32_t top_k;
  uint32_t seed_low, seed_high, stream;
} chm_sampling;

/* The next token, or -1 if every logit is excluded or NaN.
 * logits[vocab]; excluded: bit per id or NULL; history[n_history] tokens for the penalty, each in 0..vocab-1;
 * scores[vocab], mass[vocab], order[vocab]: scratch. */
int32_t chm_sample(const chm_sampling *sampling, const float *logits, int32_t vocab, const uint8_t *excluded,
                   const int32_t *history, uint32_t n_history, int32_t position, float *scores, float *mass,
                   uint32_t *order);
/* The logarithm of the sum of e^logit of the tokens that are not excluded, as chm_sample has them; 0 without any. mass[vocab]:
 * scratch. */
float chm_log_mass(const float *logits, int32_t vocab, const uint8_t *excluded, float *mass);
/* The entropy of the distribution over these tokens, in bits, 0 without any; *count: how many they are. mass[vocab]: scratch. */
float chm_entropy(const float *logits, int32_t vocab, const uint8_t *excluded, float *mass, int32_t *count);

/* ---- chm_bundle.c ---- */

/* Of functions of tokens with a model that has none. */
#define CHM_NO_TOKENS "the bundle holds no language model; call it with tensors"

/* Of functions of text with a model whose tokens are none. */
#define CHM_NO_TEXT "the bundle has no tokenizer: its model takes and gives token ids, not text"

#define CHM_MAX_MAPPINGS 2

struct chm_bundle {
  chm_allocator allocator;
  uint64_t allocated;
  const uint8_t **weights; /* [n_sections] */
  bool has_tokenizer;
  chm_tokenizer tokenizer;
  uint8_t *excluded; /* bit per id that must not be generated, or NULL without a tokenizer */
  int32_t stop_tokens[CHM_MAX_STOP_TOKENS];
  uint32_t n_stop_tokens;
  uint32_t sessions;
  int32_t calls; /* with sessions, that run; -1 while the number of threads is being changed */
  const chm_entry_desc *decode, *prefill; /* NULL of a model without tokens */
  const chm_entry_desc *verify, *commit;  /* NULL of one that verifies no trees */
  const chm_entry_desc *draft;            /* NULL of one without a head that guesses */
  chm_pool pool;
  struct {
    const void *start;
    size_t bytes;
  } mappings[CHM_MAX_MAPPINGS]; /* owned; unmapped by unmap */
  void (*unmap)(const void *start, size_t bytes);
};

#endif
