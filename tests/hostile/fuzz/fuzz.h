/* What the fuzz targets share: checks, memory that is counted, and the files of the toy model, which are linked in.
 *
 * A target is a file with LLVMFuzzerTestOneInput. It is linked with fuzz.c, the toy model, the runtime but its checksums
 * (here every CRC-32 is 0, and so it is in the seeds, so that mutated inputs get past them), and with libFuzzer or with
 * fuzz_driver.c.
 */
#ifndef FUZZ_H
#define FUZZ_H

#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* posix_memalign, dprintf */
#endif

#include <stdio.h>
#include <stdlib.h>

#include "chm_grammar.h"

/* Whether there may be threads beside the one that executes: targets that start some say so, for the driver. */
extern bool fuzz_has_workers;

/* What must hold whatever the input is. */
#define FUZZ_CHECK(condition)                                                     \
  do {                                                                            \
    if (!(condition)) fuzz_failed(#condition, __FILE__, __LINE__);                \
  } while (0)
_Noreturn void fuzz_failed(const char *condition, const char *file, int line);

/* The status of a call: one of chimera.h, with a sentence if it is an error. Returns it. */
int32_t fuzz_status(int32_t status);

/* ---- memory ---- */

/* Counts blocks, checks the sizes that are given back, and refuses what no file of this size may ask for. */
extern const chm_allocator fuzz_allocator;
/* Refuse the k-th allocation from now on; 0: none. */
void fuzz_fail_at(uint32_t k);
uint32_t fuzz_blocks(void);
/* A copy as large as the data and aligned to 64 bytes, so that the sanitizer sees the first byte too many. */
uint8_t *fuzz_copy(const uint8_t *data, size_t size);

/* ---- the toy model's files ---- */

extern const uint8_t fuzz_weights[], fuzz_weights_end[], fuzz_tokenizer[], fuzz_tokenizer_end[], fuzz_pack[], fuzz_pack_end[];
extern const uint8_t fuzz_bank[], fuzz_bank_end[];
/* Opened once: the model with its tokenizer. */
chm_bundle *fuzz_bundle(void);

/* ---- inputs ---- */

typedef struct fuzz_input {
  const uint8_t *at, *end;
} fuzz_input;

static inline uint32_t fuzz_byte(fuzz_input *in) { return in->at < in->end ? *in->at++ : 0; }
static inline uint32_t fuzz_word(fuzz_input *in) {
  uint32_t low = fuzz_byte(in);
  return low | fuzz_byte(in) << 8;
}
/* A number that the bytes of an input decide, for targets whose inputs have no place for choices. */
uint64_t fuzz_hash(const uint8_t *data, size_t size);
static inline uint32_t fuzz_next(uint64_t *state, uint32_t below) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((*state >> 33) % below);
}

/* ---- mutating, by libFuzzer or by fuzz_driver.c ---- */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Mutate the header or the data of a container and make its frame right again, most of the time; for targets that read
 * containers: their LLVMFuzzerCustomMutator. */
size_t fuzz_mutate_container(uint8_t *data, size_t size, size_t most, uint32_t seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed);
#define FUZZ_CONTAINERS                                                                               \
  size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed) {        \
    return fuzz_mutate_container(data, size, most, seed);                                             \
  }

#endif
