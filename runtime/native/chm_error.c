/* Texts of errors: the fixed meaning of each status, and the sentence of the last failure of this thread. */
#include "chm_internal.h"

#include <stdarg.h>

CHM_COLD_BEGIN

#if defined(__wasm__)
#define CHM_THREAD_LOCAL /* one thread a module instance */
#else
#define CHM_THREAD_LOCAL _Thread_local
#endif

static CHM_THREAD_LOCAL char last_error[256];

typedef struct chm_writer {
  size_t used;
} chm_writer;

static void put(chm_writer *writer, char character) {
  if (writer->used + 1 < sizeof last_error) last_error[writer->used++] = character;
}

size_t chm_decimal(uint64_t value, char *to) {
  char digits[20];
  size_t count = 0, written = 0;
  do {
    digits[count++] = (char)('0' + value % 10);
    value /= 10;
  } while (value);
  while (count) to[written++] = digits[--count];
  to[written] = 0;
  return written;
}

static void put_number(chm_writer *writer, uint64_t value) {
  char digits[CHM_DECIMAL];
  size_t count = chm_decimal(value, digits);
  for (size_t i = 0; i < count; ++i) put(writer, digits[i]);
}

int32_t chm_fail(int32_t status, const char *format, ...) {
  chm_writer writer = {0};
  va_list arguments;
  va_start(arguments, format);
  for (; *format; ++format) {
    if (*format != '%') {
      put(&writer, *format);
      continue;
    }
    ++format;
    if (*format == 's') {
      for (const char *text = va_arg(arguments, const char *); *text; ++text) put(&writer, *text);
    } else if (*format == 'u') {
      put_number(&writer, va_arg(arguments, uint64_t));
    } else if (*format == 'd') {
      int64_t value = va_arg(arguments, int64_t);
      if (value < 0) put(&writer, '-');
      put_number(&writer, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    } else { /* %q */
      const uint8_t *bytes = va_arg(arguments, const uint8_t *);
      size_t count = va_arg(arguments, size_t);
      put(&writer, '\'');
      for (size_t i = 0; i < count && i < 40; ++i)
        put(&writer, bytes[i] >= 0x20 && bytes[i] < 0x7f ? (char)bytes[i] : '?');
      put(&writer, '\'');
    }
  }
  va_end(arguments);
  last_error[writer.used] = 0;
  return status;
}

const char *chm_last_error(void) { return last_error; }

const char *chm_status_text(int32_t status) {
  switch (status) {
    case CHM_OK: return "no error";
    case CHM_FINISHED: return "the generation has ended";
#define CHM_CASE(name, meaning) \
  case name: return meaning;
    CHM_STATUSES(CHM_CASE)
#undef CHM_CASE
    default: return "unknown status";
  }
}

void *chm_allocate(const chm_allocator *allocator, uint64_t bytes) {
  void *block = bytes && bytes <= SIZE_MAX / 2 ? allocator->allocate(allocator->user, (size_t)bytes) : NULL;
  if (!block) chm_fail(CHM_ERROR_MEMORY, "no memory for %u bytes", bytes);
  return block;
}

void chm_release(const chm_allocator *allocator, void *block, uint64_t bytes) {
  if (block) allocator->release(allocator->user, block, (size_t)bytes);
}

CHM_COLD_END
