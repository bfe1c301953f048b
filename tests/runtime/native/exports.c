/* Internal functions of the runtime over arrays, for comparing them with numpy. */
#include "chm_internal.h"
#include "chm_math.h"
#include "chm_philox.h"

#define EXPORT __attribute__((visibility("default")))

#define MAP(name)                                                              \
  EXPORT void test_##name(const float *x, float *y, int64_t count) {           \
    for (int64_t i = 0; i < count; ++i) y[i] = chm_##name(x[i]);               \
  }
MAP(exp)
MAP(log)
MAP(log1p)
MAP(sigmoid)
MAP(silu)
MAP(softplus)
MAP(logsigmoid)
MAP(tanh)
MAP(erf)
MAP(gelu_erf)

EXPORT void test_sin_cos(const uint32_t *phase, float *sine, float *cosine, int64_t count) {
  for (int64_t i = 0; i < count; ++i) chm_sin_cos_phase(phase[i], &sine[i], &cosine[i]);
}

EXPORT float test_lanes8_sum(const float *x, uint64_t count) { return chm_lanes8_sum(x, count); }

EXPORT void test_philox(const uint32_t *counter, uint32_t key0, uint32_t key1, uint32_t *words) {
  chm_philox4x32_10(counter, key0, key1, words);
}

EXPORT uint32_t test_crc32(const uint8_t *data, uint64_t bytes) {
  chm_crc32_tables tables;
  chm_crc32_prepare(&tables);
  return chm_crc32(&tables, data, bytes);
}

/* decode in pieces of the given sizes; returns the bytes written */
EXPORT size_t test_utf8(const uint8_t *data, const uint32_t *pieces, uint32_t n_pieces, uint8_t *out) {
  chm_utf8 decoder = {{0}, 0};
  size_t used = 0;
  for (uint32_t i = 0; i < n_pieces; ++i) {
    used += chm_utf8_push(&decoder, data, pieces[i], out + used);
    data += pieces[i];
  }
  return used + chm_utf8_flush(&decoder, out + used);
}

EXPORT int32_t test_sample(float temperature, float top_p, int32_t top_k, float penalty, const uint32_t *key,
                           const float *logits, int32_t vocab, const uint8_t *excluded, const int32_t *history,
                           uint32_t n_history, int32_t position, float *scratch) {
  chm_sampling sampling = {temperature, top_p, penalty, top_k, key[0], key[1], key[2]};
  return chm_sample(&sampling, logits, vocab, excluded, history, n_history, position, scratch, scratch + vocab,
                    (uint32_t *)(void *)(scratch + 2 * (int64_t)vocab));
}

/* ends of the pieces of a text; returns their number */
EXPORT size_t test_pieces(int32_t split, const uint8_t *text, size_t bytes, uint64_t *ends) {
  size_t count = 0;
  for (size_t at = 0; at < bytes;) ends[count++] = at = chm_piece((chm_split)split, text, at, bytes);
  return count;
}

/* the normalized text in out[3 * bytes]; its size, SIZE_MAX without memory */
EXPORT size_t test_normalize(const uint8_t *text, size_t bytes, uint8_t *out) {
  size_t size;
  return chm_normalize(text, bytes, &chm_default_allocator, out, &size) ? SIZE_MAX : size;
}

/* the tidied text in out[bytes]; its size, or SIZE_MAX where chm_is_tidy says otherwise */
EXPORT size_t test_tidy(const uint8_t *text, size_t bytes, uint8_t *out) {
  size_t size = chm_tidy(text, bytes, out);
  bool same = size == bytes && !memcmp(text, out, bytes);
  return same == chm_is_tidy(text, bytes) ? size : SIZE_MAX;
}

/* a bundle with nothing but a tokenizer, whose file has to stay where it is; NULL if it cannot be opened */
EXPORT chm_bundle *test_tokenizer_open(const void *file, size_t bytes) {
  chm_bundle *bundle = chm_allocate(&chm_default_allocator, sizeof *bundle);
  if (!bundle) return NULL;
  memset(bundle, 0, sizeof *bundle);
  bundle->allocator = chm_default_allocator;
  bundle->has_tokenizer = !chm_tokenizer_open(file, bytes, CHM_MAX_VOCABULARY, 0, &bundle->allocator, &bundle->tokenizer);
  if (bundle->has_tokenizer) return bundle;
  chm_release(&chm_default_allocator, bundle, sizeof *bundle);
  return NULL;
}

EXPORT void test_tokenizer_close(chm_bundle *bundle) {
  chm_tokenizer_close(&bundle->tokenizer, &bundle->allocator);
  chm_release(&chm_default_allocator, bundle, sizeof *bundle);
}
