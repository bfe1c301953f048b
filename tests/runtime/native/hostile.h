/* What drivers of hostile files share: reading a file, and random numbers that a seed decides. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct buffer {
  uint8_t *data;
  size_t size;
} buffer;

static buffer read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  buffer result = {NULL, 0};
  if (!file || fseek(file, 0, SEEK_END)) exit(3);
  result.size = (size_t)ftell(file);
  rewind(file);
  if (posix_memalign((void **)&result.data, 64, result.size + 1)) exit(3);
  if (fread(result.data, 1, result.size, file) != result.size) exit(3);
  fclose(file);
  return result;
}

static uint64_t random_state;
static uint32_t next_random(uint32_t below) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((random_state >> 33) % below);
}

#endif
