/* Calls of the operating system and the C library of which one fails: linked with -Wl,--wrap=… in place of them.
 *
 * faults_at says which of all calls fails, from 1 on, and faults_after whether all later ones do so too. A program that is
 * linked with this gets them from the environment, too: FAULT_AT, and FAULT_ERRNO, with which it fails; chimera-run
 * tells at its end how many there were. */
#include "wrapped.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>

uint32_t faults_calls, faults_at;
bool faults_after;
int faults_errno = EIO;
int64_t faults_files, faults_mappings;

__attribute__((constructor)) static void read_environment(void) {
  const char *at = getenv("FAULT_AT"), *error = getenv("FAULT_ERRNO");
  if (at) faults_at = (uint32_t)atoi(at);
  if (error) faults_errno = atoi(error);
}

#if defined(WRAP_RUNNER)
__attribute__((destructor)) static void tell(void) { fprintf(stderr, "calls %u\n", faults_calls); }
#endif

static bool fails(void) {
  ++faults_calls;
  if (!faults_at || (faults_after ? faults_calls < faults_at : faults_calls != faults_at)) return false;
  errno = faults_errno;
  return true;
}

/* WRAP(result, name, parameters, arguments, what it answers where it fails) */
#define WRAP(result, name, parameters, arguments, failed) \
  result __real_##name parameters;                        \
  result __wrap_##name parameters;                        \
  result __wrap_##name parameters { return fails() ? failed : __real_##name arguments; }

WRAP(int, fstat, (int file, struct stat *status), (file, status), -1)
WRAP(ssize_t, read, (int file, void *to, size_t bytes), (file, to, bytes), -1)
WRAP(int, pthread_create, (pthread_t *thread, const pthread_attr_t *how, void *(*run)(void *), void *with), (thread, how, run, with), EAGAIN)
#if defined(WRAP_RUNNER) /* what chimera-run calls, and the runtime's own allocator */
WRAP(ssize_t, readlink, (const char *path, char *to, size_t bytes), (path, to, bytes), -1)
WRAP(void *, malloc, (size_t bytes), (bytes), NULL)
WRAP(void *, calloc, (size_t count, size_t bytes), (count, bytes), NULL)
WRAP(void *, aligned_alloc, (size_t alignment, size_t bytes), (alignment, bytes), NULL)
WRAP(FILE *, fopen, (const char *path, const char *mode), (path, mode), NULL)
WRAP(int, fseek, (FILE *file, long to, int from), (file, to, from), -1)
WRAP(long, ftell, (FILE *file), (file), -1)
WRAP(size_t, fread, (void *to, size_t bytes, size_t count, FILE *file), (to, bytes, count, file), 0)
WRAP(ssize_t, getline, (char **line, size_t *capacity, FILE *file), (line, capacity, file), -1)
#endif

int __real_open(const char *path, int how, ...);
int __wrap_open(const char *path, int how, ...);
int __wrap_open(const char *path, int how, ...) {
  int file = fails() ? -1 : __real_open(path, how);
  faults_files += file >= 0;
  return file;
}

int __real_close(int file);
int __wrap_close(int file);
int __wrap_close(int file) { /* a close that fails has closed the file */
  --faults_files;
  int result = __real_close(file);
  return fails() ? -1 : result;
}

void *__real_mmap(void *at, size_t bytes, int protection, int how, int file, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int how, int file, off_t offset);
void *__wrap_mmap(void *at, size_t bytes, int protection, int how, int file, off_t offset) {
  void *mapping = fails() ? MAP_FAILED : __real_mmap(at, bytes, protection, how, file, offset);
  faults_mappings += mapping != MAP_FAILED;
  return mapping;
}

int __real_munmap(void *start, size_t bytes);
int __wrap_munmap(void *start, size_t bytes);
int __wrap_munmap(void *start, size_t bytes) {
  --faults_mappings;
  return __real_munmap(start, bytes);
}
