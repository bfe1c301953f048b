/* Feeds damaged containers to the C reader; built with sanitizers, so that a read outside of the buffer ends the run.
 *
 * hostile cases FILE            FILE: {u8 kind, u32 size, bytes}…; prints one status a case
 * hostile truncate KIND FILE    every prefix; prints the number of prefixes that were accepted
 * hostile flip KIND FILE        every single bit; prints the offsets of the bytes where a flip was accepted
 * hostile mutate KIND FILE SEED COUNT   random damage with checksums off; what is accepted is used
 * KIND: b (weights container), t (tokenizer: the toy model opens its weights with it), s (snapshot of the toy model)
 */
#include <string.h>

#include "chm_internal.h"
#include "hostile.h"

static buffer toy_weights;

/* Exactly as large as the data, so that the sanitizer sees the first byte too many. */
static uint8_t *exact_copy(const uint8_t *data, size_t size) {
  void *copy = NULL;
  if (posix_memalign(&copy, 64, size ? size : 1)) exit(3);
  memcpy(copy, data, size);
  return copy;
}

static void use_bundle(chm_bundle *bundle) {
  chm_session *session;
  int32_t tokens[64], token;
  size_t count, bytes;
  uint64_t sum = 0;
  static const char text[] = "a text with \xc3\xa9 and \xff 'll\n123\xe2\x82 <e> thinging'l\xf0\x9f\x98\x80\xf0\x9f";
  for (size_t size = 0; size < sizeof text; ++size) {
    uint8_t *copy = exact_copy((const uint8_t *)text, size);
    chm_tokenizer_encode(bundle, copy, size, tokens, 64, &count);
    chm_tokenizer_encode_with_specials(bundle, copy, size, tokens, 64, &count);
    chm_tokenizer_encode_more(bundle, copy, size, tokens, 64, &count);
    free(copy);
  }
  for (int32_t id = -1; id < chm_vocab_size() + 1; ++id) {
    const uint8_t *token_bytes = chm_tokenizer_token(bundle, id, &bytes);
    for (size_t i = 0; i < bytes; ++i) sum += token_bytes[i];
  }
  if (chm_session_open(bundle, NULL, &session)) exit(4);
  chm_session_prompt(session, (const uint8_t *)"hello", 5);
  for (int i = 0; i < 8; ++i) chm_session_generate(session, &token);
  chm_session_close(session);
  volatile uint64_t sink = sum;
  (void)sink;
}

/* A snapshot that is accepted is continued, with a prompt and without. */
static int32_t try_snapshot(const uint8_t *data, size_t size) {
  static chm_bundle *bundle;
  static chm_session *session;
  int32_t token;
  if (!bundle && chm_bundle_open(toy_weights.data, toy_weights.size, NULL, 0, 0, NULL, &bundle)) exit(4);
  if (!session && chm_session_open(bundle, NULL, &session)) exit(4);
  int32_t status = chm_session_restore(session, data, size);
  if (status) return status;
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 3; ++i) chm_session_generate(session, &token);
    chm_session_complete(session);
    const int32_t tokens[] = {1, 2, 3};
    if (chm_session_prefill(session, tokens, 3)) exit(4);
    if (chm_session_begin_generation(session, 5)) exit(4);
  }
  size_t bytes = chm_session_snapshot_bytes(session);
  uint8_t *snapshot = malloc(bytes);
  if (!snapshot || chm_session_snapshot(session, snapshot, bytes) || chm_session_restore(session, snapshot, bytes)) exit(4);
  free(snapshot);
  return CHM_OK;
}

static int32_t try_one(char kind, const uint8_t *data, size_t size, uint32_t flags) {
  uint8_t *copy = exact_copy(data, size);
  int32_t status;
  if (kind == 'b') {
    chm_container container;
    status = chm_container_open(copy, size, CHM_KIND_WEIGHTS, "weights", flags, &chm_default_allocator, &container);
    if (!status) {
      uint64_t sum = 0;
      for (uint32_t i = 0; i < container.count; ++i)
        for (uint64_t k = 0; k < container.entries[i].bytes; ++k) sum += copy[container.entries[i].begin + k];
      volatile uint64_t sink = sum;
      (void)sink;
      chm_container_close(&container, &chm_default_allocator);
    }
  } else if (kind == 's') {
    status = try_snapshot(copy, size);
  } else {
    chm_bundle *bundle = NULL;
    status = chm_bundle_open(toy_weights.data, toy_weights.size, copy, size, flags, NULL, &bundle);
    if (!status) {
      use_bundle(bundle);
      if (chm_bundle_close(bundle)) exit(4);
    }
  }
  if (status && !chm_last_error()[0]) exit(5);
  free(copy);
  return status;
}

static int cases(const char *path) {
  buffer all = read_file(path);
  for (size_t at = 0; at < all.size;) {
    uint32_t size;
    char kind = (char)all.data[at];
    memcpy(&size, all.data + at + 1, 4);
    printf("%d\n", try_one(kind, all.data + at + 5, size, 0));
    at += 5 + size;
  }
  free(all.data);
  return 0;
}

static void damage(uint8_t *data, size_t *size, size_t text) {
  static const char alphabet[] = "0123456789{}[]\",:\\ -.eUIF_";
  for (uint64_t edits = 1 + next_random(4); edits; --edits) {
    size_t at = next_random(4) ? 8 + next_random((uint32_t)text) : next_random((uint32_t)*size);
    switch (next_random(5)) {
      case 0: data[at] ^= (uint8_t)(1u << next_random(8)); break;
      case 1: data[at] = (uint8_t)alphabet[next_random(sizeof alphabet - 1)]; break;
      case 2: data[at] = (uint8_t)next_random(256); break;
      case 3: { /* move a piece of the text */
        size_t from = 8 + next_random((uint32_t)text), length = next_random(24);
        if (from + length <= *size && at + length <= *size) memmove(data + at, data + from, length);
        break;
      }
      default:
        if (!next_random(8)) *size -= next_random((uint32_t)*size);
    }
    if (*size < 9) return;
  }
}

int main(int count, char **arguments) {
  if (count < 3) return 2;
  if (!strcmp(arguments[1], "cases")) {
    toy_weights = read_file(arguments[3]);
    int result = cases(arguments[2]);
    free(toy_weights.data);
    return result;
  }
  char kind = arguments[2][0];
  buffer file = read_file(arguments[3]);
  toy_weights = read_file(arguments[4]);
  if (try_one(kind, file.data, file.size, 0)) return 6;
  unsigned long accepted = 0;
  if (!strcmp(arguments[1], "truncate")) {
    for (size_t size = 0; size < file.size; ++size)
      for (uint32_t flags = 0; flags < 2; ++flags) accepted += !try_one(kind, file.data, size, flags);
    printf("%lu\n", accepted);
  } else if (!strcmp(arguments[1], "flip")) {
    for (size_t at = 0; at < file.size; ++at)
      for (int bit = 0; bit < 8; ++bit) {
        file.data[at] ^= (uint8_t)(1u << bit);
        if (!try_one(kind, file.data, file.size, 0)) printf("%zu\n", at);
        file.data[at] ^= (uint8_t)(1u << bit);
      }
  } else {
    random_state = strtoull(arguments[5], NULL, 10);
    size_t text = file.size < 1200 ? file.size - 8 : 1200;
    for (long rounds = atol(arguments[6]); rounds; --rounds) {
      uint8_t *copy = exact_copy(file.data, file.size);
      size_t size = file.size;
      damage(copy, &size, text);
      accepted += !try_one(kind, copy, size, CHM_OPEN_SKIP_CHECKSUMS);
      free(copy);
    }
    printf("%lu\n", accepted);
  }
  free(file.data);
  free(toy_weights.data);
  return 0;
}
