/* Hosts with libc: memory and mapped files. */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE /* madvise */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chm_bank.h"

/* Aligned zeros. calloc touches no pages that come from the system; how far its block was moved is before ours. */
static void *host_allocate(void *user, size_t bytes) {
  (void)user;
  if (bytes > SIZE_MAX - CHM_SECTION_ALIGNMENT) return NULL;
  uint8_t *block = calloc(1, bytes + CHM_SECTION_ALIGNMENT);
  if (!block) return NULL;
  size_t moved = CHM_SECTION_ALIGNMENT - (uintptr_t)block % CHM_SECTION_ALIGNMENT;
  block += moved;
  block[-1] = (uint8_t)moved;
  return block;
}

static void host_release(void *user, void *block, size_t bytes) {
  (void)user;
  (void)bytes;
  if (block) free((uint8_t *)block - ((uint8_t *)block)[-1]);
}

const chm_allocator chm_default_allocator = {host_allocate, host_release, NULL};

static void host_unmap(const void *start, size_t bytes) { munmap((void *)(uintptr_t)start, bytes); }

static int32_t map_file(const char *path, const void **start, size_t *bytes) {
  int file;
  do file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  while (file < 0 && errno == EINTR);
  if (file < 0) return chm_fail(CHM_ERROR_IO, "%s: %s", path, strerror(errno));
  struct stat status;
  if (fstat(file, &status) || !S_ISREG(status.st_mode)) {
    close(file);
    return chm_fail(CHM_ERROR_IO, "%s: not a regular file", path);
  }
  if (status.st_size < 10 || (uint64_t)status.st_size > SIZE_MAX / 2) {
    close(file);
    return chm_fail(CHM_ERROR_NOT_A_CONTAINER, "%s: %d bytes cannot be a container", path, (int64_t)status.st_size);
  }
  *bytes = (size_t)status.st_size;
  void *mapping = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, file, 0);
  int map_error = errno;
  close(file);
  if (mapping == MAP_FAILED) return chm_fail(CHM_ERROR_IO, "%s: %s", path, strerror(map_error));
#if defined(MADV_HUGEPAGE)
  madvise(mapping, *bytes, MADV_HUGEPAGE); /* a system that cannot maps small ones */
#endif
  *start = mapping;
  return CHM_OK;
}

int32_t chm_bundle_open_files(const char *weights_path, const char *tokenizer_path, uint32_t flags,
                              const chm_allocator *allocator, chm_bundle **bundle) {
  const void *weights = NULL, *tokenizer = NULL;
  size_t weights_bytes = 0, tokenizer_bytes = 0;
  if (!weights_path || !bundle) return chm_fail(CHM_ERROR_ARGUMENT, "chm_bundle_open_files: a pointer is NULL");
  *bundle = NULL;
  int32_t status = map_file(weights_path, &weights, &weights_bytes);
  if (!status && tokenizer_path) status = map_file(tokenizer_path, &tokenizer, &tokenizer_bytes);
  if (!status)
    status = chm_bundle_open(weights, weights_bytes, tokenizer, tokenizer_bytes, flags, allocator, bundle);
  if (status) {
    if (weights) host_unmap(weights, weights_bytes);
    if (tokenizer) host_unmap(tokenizer, tokenizer_bytes);
    return status;
  }
  (*bundle)->unmap = host_unmap;
  (*bundle)->mappings[0].start = weights;
  (*bundle)->mappings[0].bytes = weights_bytes;
  (*bundle)->mappings[1].start = tokenizer;
  (*bundle)->mappings[1].bytes = tokenizer_bytes;
  return CHM_OK;
}

int32_t chm_bank_open_file(chm_bundle *bundle, const char *path, uint32_t flags, const chm_allocator *allocator,
                           chm_bank **bank) {
  const void *data = NULL;
  size_t bytes = 0;
  if (!path || !bank) return chm_fail(CHM_ERROR_ARGUMENT, "chm_bank_open_file: a pointer is NULL");
  *bank = NULL;
  int32_t status = map_file(path, &data, &bytes);
  if (!status) status = chm_bank_open(bundle, data, bytes, flags, allocator, bank);
  if (status) {
    if (data) host_unmap(data, bytes);
    return status;
  }
  (*bank)->mapping = data;
  (*bank)->mapping_bytes = bytes;
  (*bank)->unmap = host_unmap;
  return CHM_OK;
}
