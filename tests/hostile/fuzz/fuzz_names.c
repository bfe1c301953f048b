/* The names of a home: JSON that is one gives texts of whole lines, which a session can be told; nothing of it is kept. */
#include "fuzz.h"

static chm_session *session;

static void prepare(void) {
  if (!session) FUZZ_CHECK(!chm_session_open(fuzz_bundle(), NULL, &session));
}

/* UTF-8, and of a list whole lines of names of 1 to 255 bytes, with tabs between. */
static void check_text(const uint8_t *text, size_t bytes, bool list) {
  uint32_t code;
  size_t line = 0;
  for (size_t at = 0, size; at < bytes; at += size) {
    size = chm_utf8_character(text, at, bytes, &code);
    FUZZ_CHECK(size);
    bool ends = code == '\n' || (list && code == '\t');
    if (list) FUZZ_CHECK(ends ? line > 0 : code >= 0x20);
    line = ends ? 0 : line + size;
    if (list) FUZZ_CHECK(line <= 255);
  }
  FUZZ_CHECK(!list || !line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  prepare();
  uint32_t blocks = fuzz_blocks();
  uint8_t *copy = fuzz_copy(data, size);
  chm_names *names = NULL;
  int32_t status = fuzz_status(chm_names_open(copy, size, &fuzz_allocator, &names));
  free(copy);
  FUZZ_CHECK(!names == !!status && (!status || status == CHM_ERROR_ARGUMENT));
  for (int32_t kind = 0; names && kind < 4; ++kind) {
    size_t bytes;
    const uint8_t *text = chm_names_text(names, kind, &bytes);
    FUZZ_CHECK(bytes <= 2 * size + 16);
    if (text) check_text(text, bytes, kind > 0);
  }
  if (names && size < 256) FUZZ_CHECK(!fuzz_status(chm_session_tell_names(session, names)));
  chm_names_close(names);
  FUZZ_CHECK(fuzz_blocks() == blocks);
  return 0;
}
