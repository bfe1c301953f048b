/* Opening a bank of spans. With checksums all of it is looked at; without, sizes only, since whatever is used of it later
 * is checked then: a bank can make a text slower, never another. */
#include "chm_spans.h"

#define TABLES 16u
#define STARTS 65537u
#define TOMBSTONE 8u /* of the flags */

static int32_t invalid(const char *why) { return chm_fail(CHM_ERROR_SPANS, "spans: %s", why); }

chm_span chm_bank_span(const chm_bank *bank, uint32_t span) {
  const uint8_t *record = bank->records + (size_t)span * CHM_SPAN_RECORD;
  chm_span found = {.count = record[4], .risk = record[30]};
  int16_t boundary;
  memcpy(&found.at, record, 4);
  memcpy(&boundary, record + 28, 2);
  memcpy(&found.before, record + 32, 4);
  found.boundary = boundary;
  if (found.count > CHM_MAX_SPAN_TOKENS || found.at > bank->pool || bank->pool - found.at < found.count ||
      record[5] & TOMBSTONE)
    found.count = 0;
  return found;
}

/* ---- checking ---- */

/* Whether the first span's tokens come before the other's. */
static bool in_order(const chm_bank *bank, uint32_t first) {
  chm_span a = chm_bank_span(bank, first), b = chm_bank_span(bank, first + 1);
  uint32_t same = 0;
  while (same < a.count && same < b.count && chm_bank_token(bank, a.at + same) == chm_bank_token(bank, b.at + same)) ++same;
  if (same == a.count || same == b.count) return a.count < b.count;
  return chm_bank_token(bank, a.at + same) < chm_bank_token(bank, b.at + same);
}

static int32_t check_contents(const chm_bank *bank) {
  for (uint32_t i = 0; i < bank->count; ++i)
    if (!chm_bank_span(bank, i).count) return invalid("a record is out of range");
  for (uint32_t i = 0; i < bank->pool; ++i)
    if (chm_bank_token(bank, i) >= chm_model.vocab) return invalid("a token is out of range");
  for (uint32_t i = 0; i + 1 < bank->count; ++i)
    if (!in_order(bank, i)) return invalid("the records are not in order");
  for (uint32_t i = 0; i < bank->pairs; ++i) {
    const uint32_t *pair = bank->following + 2 * (size_t)i;
    if (pair[1] >= bank->count || (i && (pair[0] < pair[-2] || (pair[0] == pair[-2] && pair[1] <= pair[-1]))))
      return invalid("what follows what is not in order");
  }
  for (uint32_t t = 0; bank->starts && t < TABLES; ++t) {
    const uint32_t *starts = bank->starts + (size_t)t * STARTS, *ids = bank->ids + (size_t)t * bank->count;
    bool good = !starts[0] && starts[STARTS - 1] == bank->count;
    for (uint32_t i = 1; i < STARTS; ++i) good &= starts[i] >= starts[i - 1];
    for (uint32_t i = 0; i < bank->count; ++i) good &= ids[i] < bank->count;
    if (!good) return invalid("the index of keys is out of range");
  }
  return CHM_OK;
}

static bool same_tokenizer(const chm_container *container, const chm_tokenizer *tokenizer) {
  return container->tokenizer_bytes == tokenizer->contents_bytes &&
         !memcmp(container->tokenizer, tokenizer->contents, tokenizer->contents_bytes);
}

static int32_t find_sections(chm_bank *bank, const chm_container *container) {
  const chm_entry *records = chm_container_find(container, "spans.rec"), *tokens = chm_container_find(container, "spans.tok"),
                  *following = chm_container_find(container, "spans.next"), *keys = chm_container_find(container, "spans.key"),
                  *starts = chm_container_find(container, "spans.dir"), *ids = chm_container_find(container, "spans.ids");
  if (!container->tokenizer) return invalid("they do not tell their tokenizer");
  if (!same_tokenizer(container, &bank->bundle->tokenizer)) return invalid("they are of another tokenizer");
  uint64_t count = records ? records->bytes / CHM_SPAN_RECORD : 0;
  bool indexed = count > CHM_SPAN_SCAN;
  if (count > CHM_MAX_SPANS)
    return chm_fail(CHM_ERROR_SPANS, "spans: %u are over the limit of %u", count, (uint64_t)CHM_MAX_SPANS);
  if (!records || !tokens || !following || !keys || (indexed && (!starts || !ids))) return invalid("a section is missing");
  if (!count || records->bytes % CHM_SPAN_RECORD || records->element_bytes != 1 || tokens->element_bytes != 1 ||
      tokens->bytes % 3 || tokens->bytes / 3 > UINT32_MAX || following->element_bytes != 4 || following->bytes % 8 ||
      following->bytes / 8 > UINT32_MAX || keys->element_bytes != 1 || keys->bytes != count * 32)
    return invalid("a section has the wrong size");
  if (indexed && (starts->element_bytes != 4 || starts->bytes != (uint64_t)TABLES * STARTS * 4 || ids->element_bytes != 4 ||
                  ids->bytes != TABLES * count * 4))
    return invalid("a section has the wrong size");
  const uint8_t *file = container->file;
  bank->count = (uint32_t)count;
  bank->pool = (uint32_t)(tokens->bytes / 3);
  bank->pairs = (uint32_t)(following->bytes / 8);
  bank->records = file + records->begin;
  bank->tokens = file + tokens->begin;
  bank->following = (const uint32_t *)(const void *)(file + following->begin);
  bank->keys = (const uint64_t *)(const void *)(file + keys->begin);
  bank->starts = indexed ? (const uint32_t *)(const void *)(file + starts->begin) : NULL;
  bank->ids = indexed ? (const uint32_t *)(const void *)(file + ids->begin) : NULL;
  return CHM_OK;
}

int chm_bank_read(chm_bank *bank, const void *data, size_t bytes, uint32_t flags) {
  chm_container container;
  int32_t status = chm_container_open(data, bytes, CHM_KIND_SPANS, "spans", flags, &bank->allocator, &container);
  if (status) return status;
  status = find_sections(bank, &container);
  chm_container_close(&container, &bank->allocator);
  if (!status && !(flags & CHM_OPEN_SKIP_CHECKSUMS)) status = check_contents(bank);
  return status;
}

/* ---- life ---- */

int32_t chm_bank_open(chm_bundle *bundle, const void *data, size_t bytes, uint32_t flags, const chm_allocator *allocator,
                      chm_bank **bank_out) {
  if (bank_out) *bank_out = NULL;
  if (!bundle || !data || !bank_out) return chm_fail(CHM_ERROR_ARGUMENT, "chm_bank_open: a pointer is NULL");
  if (flags & ~CHM_OPEN_SKIP_CHECKSUMS) return chm_fail(CHM_ERROR_ARGUMENT, "unknown flags");
  if ((uintptr_t)data % 8) return chm_fail(CHM_ERROR_ARGUMENT, "the spans are not aligned to 8 bytes");
  if (!chm_speculates()) return chm_fail(CHM_ERROR_STATE, "the bundle was built without speculation");
  if (!bundle->has_tokenizer) return chm_fail(CHM_ERROR_STATE, "the bundle has no tokenizer, which spans need");
  if (!allocator) allocator = &bundle->allocator;
  chm_bank *bank = chm_allocate(allocator, sizeof *bank);
  if (!bank) return CHM_ERROR_MEMORY;
  *bank = (chm_bank){.allocator = *allocator, .bundle = bundle};
  int32_t status = chm_model.speculation->read_bank(bank, data, bytes, flags);
  if (!status) {
    bank->seen = chm_allocate(allocator, chm_bank_seen_bytes(bank));
    status = bank->seen ? CHM_OK : CHM_ERROR_MEMORY;
  }
  if (status) {
    chm_release(allocator, bank, sizeof *bank);
    return status;
  }
  memset(bank->seen, 0, (size_t)chm_bank_seen_bytes(bank));
  __atomic_fetch_add(&bundle->sessions, 1, __ATOMIC_ACQ_REL);
  *bank_out = bank;
  return CHM_OK;
}

int32_t chm_bank_close(chm_bank *bank) {
  if (!bank) return chm_fail(CHM_ERROR_ARGUMENT, "chm_bank_close: NULL");
  if (__atomic_load_n(&bank->uses, __ATOMIC_ACQUIRE)) return chm_fail(CHM_ERROR_STATE, "the spans are still in use");
  chm_allocator allocator = bank->allocator;
  if (bank->unmap) bank->unmap(bank->mapping, bank->mapping_bytes);
  __atomic_fetch_sub(&bank->bundle->sessions, 1, __ATOMIC_ACQ_REL);
  chm_release(&allocator, bank->seen, chm_bank_seen_bytes(bank));
  chm_release(&allocator, bank, sizeof *bank);
  return CHM_OK;
}

int32_t chm_bank_count(const chm_bank *bank) { return bank ? (int32_t)bank->count : 0; }

void chm_bank_use(chm_bank **place, chm_bank *bank) {
  if (bank) __atomic_fetch_add(&bank->uses, 1, __ATOMIC_ACQ_REL);
  if (*place) __atomic_fetch_sub(&(*place)->uses, 1, __ATOMIC_ACQ_REL);
  *place = bank;
}

int32_t chm_session_set_bank(chm_session *session, chm_bank *bank) {
  int32_t status = chm_session_enter(session);
  if (status) return status;
  if (!session->spans) status = chm_fail(CHM_ERROR_STATE, "the bundle was built without speculation");
  else if (bank && bank->bundle != session->bundle) status = chm_fail(CHM_ERROR_ARGUMENT, "the spans are of another bundle");
  else {
    chm_bank_use(&session->spans->bank, bank);
    session->spans->inside.span.count = 0;
  }
  return chm_session_leave(session, status);
}
