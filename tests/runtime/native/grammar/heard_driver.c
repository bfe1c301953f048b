/* What chm_heard hears: cases of a request and three lists from standard input, the three lists and the hint to standard output,
 * each text with its length in 32 bits before it. */
#include <stdio.h>
#include <stdlib.h>

#include "chm_grammar.h"

static void *allocate(void *user, size_t bytes) {
  (void)user;
  return aligned_alloc(64, (bytes + 63) / 64 * 64);
}
static void release(void *user, void *block, size_t bytes) {
  (void)user;
  (void)bytes;
  free(block);
}

static bool read_text(chm_text *text) {
  uint32_t bytes;
  if (fread(&bytes, 4, 1, stdin) != 1) return false;
  uint8_t *block = malloc((size_t)bytes + 1);
  if (!block || fread(block, 1, bytes, stdin) != bytes) abort();
  *text = (chm_text){block, bytes};
  return true;
}

static void write_text(const uint8_t *text, size_t size) {
  uint32_t bytes = (uint32_t)size;
  if (fwrite(&bytes, 4, 1, stdout) != 1 || fwrite(text, 1, bytes, stdout) != bytes) abort();
}

int main(void) {
  const chm_allocator allocator = {allocate, release, NULL};
  chm_text given[CHM_SLOTS], heard[CHM_SLOTS];
  while (read_text(&given[0])) {
    size_t room = 0, used;
    for (uint32_t kind = 1; kind < CHM_SLOTS; ++kind) {
      if (!read_text(&given[kind])) abort();
      room += given[kind].bytes + 1;
    }
    uint8_t *to = malloc(room);
    if (!to || chm_heard(given, heard, to, &allocator)) abort();
    for (uint32_t kind = 1; kind < CHM_SLOTS; ++kind) write_text(heard[kind].text, heard[kind].bytes);
    static uint8_t hint[CHM_HINT_BYTES];
    if (chm_hint(given, hint, &used, &allocator)) abort();
    write_text(hint, used);
    for (uint32_t kind = 0; kind < CHM_SLOTS; ++kind) free((void *)(uintptr_t)given[kind].text);
    free(to);
  }
  return 0;
}
