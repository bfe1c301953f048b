/* Containers of weights: what the reader accepts is read whole, found by name, and opened as the toy model's weights. */
#include "fuzz.h"

FUZZ_CONTAINERS

static void use_container(const chm_container *container, const uint8_t *file, size_t size) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < container->count; ++i) {
    const chm_entry *entry = &container->entries[i];
    char name[CHM_MAX_NAME_BYTES + 1];
    FUZZ_CHECK(entry->begin <= size && entry->bytes <= size - entry->begin && entry->name_bytes <= CHM_MAX_NAME_BYTES);
    for (uint64_t k = 0; k < entry->bytes; ++k) sum += file[entry->begin + k];
    memcpy(name, entry->name, entry->name_bytes);
    name[entry->name_bytes] = 0;
    FUZZ_CHECK(chm_container_find(container, name) == (entry->is_pad ? NULL : entry));
  }
  volatile uint64_t sink = sum;
  (void)sink;
}

static void use_bundle(chm_bundle *bundle) {
  chm_session *session;
  const int32_t tokens[] = {1, 2, 3};
  FUZZ_CHECK(!chm_session_open(bundle, NULL, &session));
  FUZZ_CHECK(!chm_session_prefill(session, tokens, 3));
  FUZZ_CHECK(chm_bundle_close(bundle) == CHM_ERROR_STATE);
  FUZZ_CHECK(!chm_session_close(session));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t *file = fuzz_copy(data, size);
  chm_container container;
  int32_t status = fuzz_status(chm_container_open(file, size, CHM_KIND_WEIGHTS, "weights", 0, &fuzz_allocator, &container));
  if (!status) {
    use_container(&container, file, size);
    chm_container_close(&container, &fuzz_allocator);
    chm_bundle *bundle;
    status = fuzz_status(chm_bundle_open(file, size, NULL, 0, 0, &fuzz_allocator, &bundle));
    FUZZ_CHECK(!status == (bundle != NULL));
    if (bundle) {
      use_bundle(bundle);
      FUZZ_CHECK(!chm_bundle_close(bundle));
    }
  }
  FUZZ_CHECK(!fuzz_blocks());
  free(file);
  return 0;
}
