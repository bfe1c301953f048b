/* The four memory functions that compilers call, for targets without a C library. */
#include <stddef.h>
#include <stdint.h>

#if defined(__clang__)
#define CHM_NO_BUILTIN __attribute__((no_builtin)) /* or the loops below would become calls of themselves */
#else
#define CHM_NO_BUILTIN __attribute__((optimize("no-tree-loop-distribute-patterns")))
#endif

typedef uint64_t __attribute__((may_alias, aligned(1))) word;

CHM_NO_BUILTIN void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
  unsigned char *t = to;
  const unsigned char *f = from;
  for (; bytes >= 8; bytes -= 8, t += 8, f += 8) *(word *)t = *(const word *)f;
  for (; bytes; --bytes) *t++ = *f++;
  return to;
}

CHM_NO_BUILTIN void *memmove(void *to, const void *from, size_t bytes) {
  unsigned char *t = to;
  const unsigned char *f = from;
  if ((uintptr_t)t - (uintptr_t)f >= bytes) return memcpy(to, from, bytes);
  while (bytes--) t[bytes] = f[bytes];
  return to;
}

CHM_NO_BUILTIN void *memset(void *to, int value, size_t bytes) {
  unsigned char *t = to;
  uint64_t pattern = 0x0101010101010101u * (unsigned char)value;
  for (; bytes >= 8; bytes -= 8, t += 8) *(word *)t = pattern;
  for (; bytes; --bytes) *t++ = (unsigned char)value;
  return to;
}

CHM_NO_BUILTIN int memcmp(const void *a, const void *b, size_t bytes) {
  const unsigned char *x = a, *y = b;
  for (; bytes; --bytes, ++x, ++y)
    if (*x != *y) return *x < *y ? -1 : 1;
  return 0;
}
