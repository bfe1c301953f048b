/* Token ids of texts on standard input (u32 little-endian size, then bytes), a line each: argv[1] is a tokenizer. */
#include <stdio.h>
#include <stdlib.h>

#include "chm_internal.h"

static void *allocate(void *user, size_t bytes) {
  (void)user;
  return malloc(bytes);
}

static void release(void *user, void *block, size_t bytes) {
  (void)user;
  (void)bytes;
  free(block);
}

const chm_allocator chm_default_allocator = {allocate, release, NULL};

int main(int argc, char **argv) {
  static uint8_t file[1 << 20], text[1 << 20];
  static int32_t tokens[1 << 20];
  static chm_bundle bundle;
  FILE *input = argc == 2 ? fopen(argv[1], "rb") : NULL;
  if (!input) return 1;
  size_t bytes = fread(file, 1, sizeof file, input), count;
  fclose(input);
  bundle.allocator = chm_default_allocator;
  bundle.has_tokenizer = true;
  if (chm_tokenizer_open(file, bytes, 65536, 0, &bundle.allocator, &bundle.tokenizer)) return 2;
  uint8_t size[4];
  while (fread(size, 1, 4, stdin) == 4) {
    uint32_t length = size[0] | size[1] << 8 | size[2] << 16 | (uint32_t)size[3] << 24;
    if (length > sizeof text || fread(text, 1, length, stdin) != length) return 3;
    if (chm_tokenizer_encode(&bundle, text, length, tokens, sizeof tokens / sizeof *tokens, &count)) return 4;
    for (size_t k = 0; k < count; ++k) printf("%d ", tokens[k]);
    printf("\n");
  }
  chm_tokenizer_close(&bundle.tokenizer, &bundle.allocator);
  return 0;
}
