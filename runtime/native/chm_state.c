/* Snapshots: the sequence of a session as a container of kind "state", which every runtime of the model reads.
 *
 * docs/bundle.md is the contract. The sections of a model have the same sizes in every snapshot, and equal sequences give
 * equal bytes whatever the target. Nothing is allocated: a snapshot goes to the caller's memory, and the table of the
 * sections of one that is read has its place in the session.
 */
#include "chm_spans.h"

CHM_COLD_BEGIN

#define CHM_LEDGER_WORDS (sizeof(chm_ledger) / 4 - 1) /* without its switch */
#define SPARE_SECTIONS 64u /* that a snapshot may have beyond those of the model */

typedef uint8_t chm_type_U8;
typedef int32_t chm_type_I32;
typedef uint32_t chm_type_U32;

/* The sections that every model has, in their order. */
#define CHM_FIELD(name, field, dtype, elements) chm_type_##dtype field[elements];
typedef struct chm_stored {
  CHM_STATE_SECTIONS(CHM_FIELD)
  int32_t valve[1]; /* levels below the high one, and CHM_LEVELS times what the router chose */
  uint32_t ledger[CHM_LEDGER_WORDS];
  bool has_ledger;
} chm_stored;
#undef CHM_FIELD

#define CHM_ROW(name, field, dtype, elements) \
  {name, #dtype, elements, offsetof(chm_stored, field), elements * sizeof(chm_type_##dtype)},
static const struct {
  const char *name, *dtype;
  uint64_t elements;
  size_t offset, bytes;
} fixed[] = {CHM_STATE_SECTIONS(CHM_ROW)};
#undef CHM_ROW
#define LOGITS ((uint32_t)(sizeof fixed / sizeof *fixed)) /* number of the section; those of the states come after it */
#define VALVE (LOGITS + 1 + (uint32_t)chm_model.n_states) /* which is there where it is not 0 */
#define LEDGER (VALVE + 1) /* where there is one; ITEMS is after the last */
#define ITEMS (LEDGER + 1)

_Static_assert(sizeof(chm_configuration) == CHM_GRAMMAR_PLACE_BYTES, "a place in a grammar is stored as it is");

/* Places in the section "sequence". */
enum { POSITION, DEEPEST, ITERATIONS, FINISHED, REMAINING, N_HISTORY, N_PENDING, N_TEXT };

/* ---- the sections of this model ---- */

#define CHM_SHAPE_BYTES 128u /* eight extents with commas */

typedef struct chm_item {
  char name[CHM_MAX_NAME_BYTES + 1];
  char shape[CHM_SHAPE_BYTES]; /* as in chm_state_desc */
  const char *dtype;
  uint8_t *data;
  uint64_t bytes; /* in the snapshot */
  chm_rows rows;  /* where they are in data */
} chm_item;

/* Whether a snapshot has an item. */
static bool has_item(const chm_stored *stored, uint32_t index) {
  return index == VALVE ? stored->valve[0] != 0 : index != LEDGER || stored->has_ledger;
}

static int32_t valve_of(const chm_sequence *sequence) {
  int32_t lowered = __atomic_load_n(&sequence->lowered, __ATOMIC_RELAXED);
  return lowered + CHM_LEVELS * __atomic_load_n(&sequence->routed, __ATOMIC_RELAXED);
}

/* What the sections depend on; another call may be running. */
static void load_switches(const chm_session *session, chm_stored *stored) {
  stored->valve[0] = valve_of(&session->sequence);
  stored->has_ledger = __atomic_load_n(&session->sequence.ledger.on, __ATOMIC_RELAXED) != 0;
}

static size_t text_bytes(const char *text) {
  size_t bytes = 0;
  while (text[bytes]) ++bytes;
  return bytes;
}

/* Two texts, cut off where there is no room; chm_state_names knows that there is. */
static void write_name(const char *prefix, const char *name, char *to) {
  size_t room = CHM_MAX_NAME_BYTES;
  for (; *prefix && room; --room) *to++ = *prefix++;
  for (; *name && room; --room) *to++ = *name++;
  *to = 0;
}

/* The shape of a state; of a cache with the rows of the text. */
static void write_shape(const char *shape, const chm_cache_desc *cache, int32_t position, char *to) {
  size_t room = CHM_SHAPE_BYTES - 24;
  int32_t axis = 0;
  for (const char *from = shape; *from && room; --room) {
    if (cache && axis == cache->axis && (from == shape || from[-1] == ',')) {
      to += chm_decimal((uint64_t)(position < cache->rows ? position : cache->rows), to);
      while (*from && *from != ',') ++from;
      if (!*from) break;
    }
    if (*from == ',') ++axis;
    *to++ = *from++;
  }
  *to = 0;
}

/* The item of a sequence at a position. */
static void describe(const chm_session *session, chm_stored *stored, int32_t position, uint32_t index, chm_item *item) {
  if (index >= VALVE) {
    bool valve = index == VALVE;
    write_name("", valve ? CHM_SECTION_VALVE : CHM_SECTION_LEDGER, item->name);
    item->dtype = valve ? "I32" : "U32";
    chm_decimal(valve ? 1 : CHM_LEDGER_WORDS, item->shape);
    item->data = valve ? (uint8_t *)stored->valve : (uint8_t *)stored->ledger;
    item->bytes = valve ? sizeof stored->valve : sizeof stored->ledger;
    item->rows = (chm_rows){1, item->bytes, item->bytes};
    return;
  }
  if (index > LOGITS) {
    int32_t number = (int32_t)(index - LOGITS - 1);
    const chm_state_desc *state = &chm_model.states[number];
    write_name(CHM_STATE_PREFIX, state->name, item->name);
    item->dtype = state->dtype;
    write_shape(state->shape, chm_cache_of(number), position, item->shape);
    item->data = session->state + state->offset;
    item->rows = chm_state_rows(number, position);
    item->bytes = item->rows.blocks * item->rows.bytes;
    return;
  }
  bool logits = index == LOGITS;
  write_name("", logits ? CHM_SECTION_LOGITS : fixed[index].name, item->name);
  chm_decimal(logits ? (uint64_t)chm_model.vocab : fixed[index].elements, item->shape);
  item->dtype = logits ? "F32" : fixed[index].dtype;
  item->data = logits ? (uint8_t *)session->logits : (uint8_t *)stored + fixed[index].offset;
  item->bytes = logits ? (uint64_t)chm_model.vocab * 4 : fixed[index].bytes;
  item->rows = (chm_rows){1, item->bytes, item->bytes};
}

bool chm_state_names(void) {
  for (int32_t i = 0; i < chm_model.n_states; ++i)
    if (text_bytes(chm_model.states[i].name) > CHM_MAX_NAME_BYTES - text_bytes(CHM_STATE_PREFIX) ||
        !chm_section_name(chm_model.states[i].name))
      return false;
  return true;
}

uint64_t chm_state_table_bytes(void) { return chm_container_bytes(2 * (ITEMS + SPARE_SECTIONS)); }

/* ---- the sequence ---- */

static void store(const chm_sequence *sequence, chm_stored *stored) {
  memset(stored, 0, sizeof *stored);
  uint32_t n_history = sequence->seen < CHM_HISTORY_TOKENS ? sequence->seen : CHM_HISTORY_TOKENS;
  stored->sequence[POSITION] = sequence->position;
  stored->sequence[DEEPEST] = sequence->deepest;
  stored->sequence[ITERATIONS] = sequence->iterations;
  stored->sequence[FINISHED] = sequence->finished;
  stored->sequence[REMAINING] = sequence->remaining;
  stored->sequence[N_HISTORY] = (int32_t)n_history;
  stored->sequence[N_PENDING] = sequence->n_pending;
  stored->sequence[N_TEXT] = (int32_t)sequence->utf8.count;
  for (uint32_t i = 0; i < n_history; ++i)
    stored->history[i] = sequence->history[(sequence->seen - n_history + i) % CHM_HISTORY_TOKENS];
  for (int32_t i = 0; i < sequence->n_pending; ++i) stored->pending[i] = sequence->pending[i];
  for (uint32_t i = 0; i < sequence->utf8.count; ++i) stored->text[i] = sequence->utf8.held[i];
  memcpy(stored->grammar, sequence->grammar, sizeof sequence->grammar);
  stored->grammar[2] = sequence->rhythm.sentence;
  stored->grammar[3] = sequence->rhythm.paragraph;
  memcpy(stored->place, &sequence->place, sizeof stored->place);
  stored->valve[0] = valve_of(sequence);
  stored->has_ledger = sequence->ledger.on != 0;
  memcpy(stored->ledger, &sequence->ledger.tokens, sizeof stored->ledger);
}

static bool are_tokens(const int32_t *tokens, int32_t count) {
  for (int32_t i = 0; i < count; ++i)
    if (tokens[i] < 0 || tokens[i] >= chm_model.vocab) return false;
  return true;
}

static chm_ledger ledger_of(const chm_stored *stored) {
  chm_ledger ledger = {.on = stored->has_ledger};
  if (ledger.on) memcpy(&ledger.tokens, stored->ledger, sizeof stored->ledger);
  return ledger;
}

/* The place in a grammar is checked when it is used, because the grammar is known only then. */
static bool is_valid(const chm_stored *stored) {
  const int32_t *s = stored->sequence;
  chm_ledger ledger = ledger_of(stored);
  chm_utf8 decoder = {{0}, 0};
  uint8_t text[16];
  return s[POSITION] >= 0 && s[DEEPEST] >= 0 && s[DEEPEST] <= chm_model.max_loops &&
         (s[POSITION] > 0) == (s[DEEPEST] > 0) && s[ITERATIONS] >= 0 && s[ITERATIONS] <= s[DEEPEST] &&
         (s[FINISHED] == 0 || s[FINISHED] == 1) && s[REMAINING] >= 0 && s[N_HISTORY] >= 0 &&
         s[N_HISTORY] <= (int32_t)CHM_HISTORY_TOKENS && are_tokens(stored->history, s[N_HISTORY]) && s[N_PENDING] >= 0 &&
         s[N_PENDING] <= (int32_t)CHM_MAX_PENDING && (s[POSITION] || !s[N_PENDING]) &&
         are_tokens(stored->pending, s[N_PENDING]) && s[N_TEXT] >= 0 && s[N_TEXT] <= 3 &&
         stored->valve[0] >= 0 && stored->valve[0] / CHM_LEVELS <= chm_model.max_loops && chm_ledger_valid(&ledger) &&
         (!chm_model.context || s[POSITION] <= chm_model.context - s[N_PENDING]) &&
         chm_utf8_push(&decoder, stored->text, (size_t)s[N_TEXT], text) == 0 && decoder.count == (uint32_t)s[N_TEXT];
}

/* Of valid ones. */
static void load(const chm_stored *stored, chm_sequence *sequence) {
  memset(sequence, 0, sizeof *sequence);
  sequence->position = stored->sequence[POSITION];
  sequence->deepest = stored->sequence[DEEPEST];
  sequence->iterations = stored->sequence[ITERATIONS];
  sequence->finished = stored->sequence[FINISHED];
  sequence->remaining = stored->sequence[REMAINING];
  sequence->seen = (uint32_t)stored->sequence[N_HISTORY];
  sequence->n_pending = stored->sequence[N_PENDING];
  sequence->utf8.count = (uint32_t)stored->sequence[N_TEXT];
  memcpy(sequence->history, stored->history, sizeof sequence->history);
  memcpy(sequence->pending, stored->pending, sizeof sequence->pending);
  memcpy(sequence->utf8.held, stored->text, sizeof sequence->utf8.held);
  memcpy(sequence->grammar, stored->grammar, sizeof sequence->grammar);
  sequence->rhythm = (chm_rhythm){stored->grammar[2], stored->grammar[3]};
  memcpy(&sequence->place, stored->place, sizeof sequence->place);
  sequence->lowered = stored->valve[0] % CHM_LEVELS;
  sequence->routed = stored->valve[0] / CHM_LEVELS;
  sequence->ledger = ledger_of(stored);
}

/* ---- writing ---- */

typedef struct chm_out {
  uint8_t *to; /* NULL: the bytes are only counted */
  uint64_t used;
} chm_out;

static void put(chm_out *out, const void *data, size_t bytes) {
  if (out->to) memcpy(out->to + out->used, data, bytes);
  out->used += bytes;
}

static void put_text(chm_out *out, const char *text) { put(out, text, text_bytes(text)); }

static void put_number(chm_out *out, uint64_t value) {
  char digits[CHM_DECIMAL];
  chm_decimal(value, digits);
  put_text(out, digits);
}

static void put_hex(chm_out *out, const uint8_t *data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    const char digits[] = {"0123456789abcdef"[data[i] >> 4], "0123456789abcdef"[data[i] & 15]};
    put(out, digits, sizeof digits);
  }
}

static uint64_t gap_at(uint64_t offset) { return (CHM_SECTION_ALIGNMENT - offset % CHM_SECTION_ALIGNMENT) % CHM_SECTION_ALIGNMENT; }

/* A row of chimera.sections; its digest also goes into that of all sections. */
static void put_row(chm_out *out, const chm_item *item, const uint8_t *data, const chm_crc32_tables *tables, chm_sha256 *all) {
  uint8_t digest[32] = {0}, crc[4] = {0};
  if (data) {
    chm_sha256 hash;
    chm_sha256_start(&hash);
    chm_sha256_add(&hash, data, item->bytes);
    chm_sha256_end(&hash, digest);
    uint32_t value = chm_crc32(tables, data, item->bytes);
    for (int i = 0; i < 4; ++i) crc[i] = (uint8_t)(value >> (24 - 8 * i));
    chm_sha256_add(all, item->name, text_bytes(item->name) + 1);
    chm_sha256_add(all, &item->bytes, sizeof item->bytes);
    chm_sha256_add(all, digest, sizeof digest);
  }
  put_text(out, "\\\"");
  put_text(out, item->name);
  put_text(out, "\\\":{\\\"bytes\\\":");
  put_number(out, item->bytes);
  put_text(out, ",\\\"crc32\\\":\\\"");
  put_hex(out, crc, sizeof crc);
  put_text(out, "\\\",\\\"sha256\\\":\\\"");
  put_hex(out, digest, sizeof digest);
  put_text(out, "\\\"}");
}

static void put_tensor(chm_out *out, const char *name, const char *dtype, const char *shape, uint64_t begin, uint64_t end) {
  put_text(out, ",\"");
  put_text(out, name);
  put_text(out, "\":{\"dtype\":\"");
  put_text(out, dtype);
  put_text(out, "\",\"shape\":[");
  put_text(out, shape);
  put_text(out, "],\"data_offsets\":[");
  put_number(out, begin);
  put_text(out, ",");
  put_number(out, end);
  put_text(out, "]}");
}

static void put_tensors(chm_out *out, const chm_session *session, chm_stored *stored, int32_t position) {
  uint64_t offset = 0, pads = 0;
  chm_item item;
  for (uint32_t i = 0; i < ITEMS; ++i) {
    if (!has_item(stored, i)) continue;
    uint64_t gap = gap_at(offset);
    if (gap) {
      char number[CHM_DECIMAL];
      chm_decimal(pads++, number);
      write_name(CHM_PAD_PREFIX, number, item.name);
      chm_decimal(gap, number);
      put_tensor(out, item.name, "U8", number, offset, offset + gap);
    }
    describe(session, stored, position, i, &item);
    put_tensor(out, item.name, item.dtype, item.shape, offset + gap, offset + gap + item.bytes);
    offset += gap + item.bytes;
  }
}

/* The JSON of the header. data: the sections that were written, or NULL: checksums are zeros, of the same length. */
static void put_header(chm_out *out, const chm_session *session, chm_stored *stored, int32_t position, const uint8_t *data) {
  uint8_t digest[32] = {0};
  chm_crc32_tables tables;
  chm_sha256 all;
  chm_item item;
  chm_crc32_prepare(&tables);
  chm_sha256_start(&all);
  put_text(out, "{\"__metadata__\":{\"" CHM_KEY_KIND "\":\"" CHM_KIND_STATE "\",\"" CHM_KEY_ABI "\":\"" CHM_ABI
                "\",\"" CHM_KEY_CONTENTS "\":\"");
  chm_out contents = *out; /* known when all rows are */
  put_hex(out, digest, sizeof digest);
  put_text(out, "\",\"" CHM_KEY_CONFIG "\":\"");
  put_text(out, chm_model.config_sha256);
  put_text(out, "\",\"" CHM_KEY_MODEL "\":\"");
  put_text(out, chm_model.model_sha256);
  put_text(out, "\",\"" CHM_KEY_SECTIONS "\":\"{");
  uint64_t offset = 0;
  for (uint32_t i = 0; i < ITEMS; ++i) {
    if (!has_item(stored, i)) continue;
    describe(session, stored, position, i, &item);
    offset += gap_at(offset);
    if (i) put_text(out, ",");
    put_row(out, &item, data ? data + offset : NULL, &tables, &all);
    offset += item.bytes;
  }
  put_text(out, "}\"}");
  put_tensors(out, session, stored, position);
  put_text(out, "}");
  chm_sha256_end(&all, digest);
  put_hex(&contents, digest, sizeof digest);
}

/* Bytes before the data. */
static uint64_t header_bytes(const chm_session *session, chm_stored *stored, int32_t position) {
  chm_out out = {NULL, 8};
  put_header(&out, session, stored, position, NULL);
  return (out.used + CHM_DATA_ALIGNMENT - 1) / CHM_DATA_ALIGNMENT * CHM_DATA_ALIGNMENT;
}

size_t chm_session_snapshot_bytes(const chm_session *session) {
  if (!session) return 0;
  chm_stored stored;
  chm_item item;
  uint64_t offset = 0;
  int32_t position = chm_session_position(session); /* once, like the next: a call may be running */
  load_switches(session, &stored);
  for (uint32_t i = 0; i < ITEMS; ++i) {
    if (!has_item(&stored, i)) continue;
    describe(session, &stored, position, i, &item);
    offset += gap_at(offset) + item.bytes;
  }
  return (size_t)(header_bytes(session, &stored, position) + offset);
}

static void write_snapshot(const chm_session *session, void *snapshot) {
  chm_stored stored;
  chm_item item;
  store(&session->sequence, &stored);
  int32_t position = session->sequence.position;
  uint64_t start = header_bytes(session, &stored, position), length = start - 8, offset = 0;
  uint8_t *file = snapshot, *data = file + start;
  memcpy(file, &length, sizeof length);
  memset(file + 8, ' ', (size_t)length);
  for (uint32_t i = 0; i < ITEMS; ++i) {
    if (!has_item(&stored, i)) continue;
    uint64_t gap = gap_at(offset);
    memset(data + offset, 0, (size_t)gap);
    describe(session, &stored, position, i, &item);
    offset += gap;
    /* the initial states are the model's, and not in snapshots */
    if (i > LOGITS && i < VALVE && !position) memset(data + offset, 0, (size_t)item.bytes);
    else
      for (uint64_t block = 0; block < item.rows.blocks; ++block)
        memcpy(data + offset + block * item.rows.bytes, item.data + block * item.rows.stride, (size_t)item.rows.bytes);
    offset += item.bytes;
  }
  chm_out out = {file, 8};
  put_header(&out, session, &stored, position, data);
}

int32_t chm_session_snapshot(chm_session *session, void *snapshot, size_t bytes) {
  if (!session || !snapshot || bytes != chm_session_snapshot_bytes(session))
    return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_snapshot: NULL, or not chm_session_snapshot_bytes() bytes");
  int32_t status = chm_session_enter(session);
  if (status) return status;
  chm_spans_commit(session);
  chm_session_answer(session);
  write_snapshot(session, snapshot);
  return chm_session_leave(session, CHM_OK);
}

/* ---- reading ---- */

/* The place of the table in the session as an allocator. */
static void *take_table(void *session, size_t bytes) {
  return bytes <= chm_state_table_bytes() ? ((chm_session *)session)->table : NULL;
}

static void leave_table(void *session, void *table, size_t bytes) {
  (void)session;
  (void)table;
  (void)bytes;
}

static bool is_text(const uint8_t *found, size_t bytes, const char *expected) {
  return found && bytes == text_bytes(expected) && !memcmp(found, expected, bytes);
}

static bool is_shape(const uint8_t *found, size_t bytes, const char *expected) {
  for (size_t i = 0; i < bytes; ++i)
    if (found[i] != ' ' && (!*expected || found[i] != (uint8_t)*expected++)) return false;
  return !*expected;
}

static bool is_item(const chm_session *session, chm_stored *stored, const chm_entry *entry) {
  chm_item item;
  for (uint32_t i = 0; i < ITEMS; ++i) {
    describe(session, stored, 0, i, &item);
    if (is_text(entry->name, entry->name_bytes, item.name)) return true;
  }
  return false;
}

/* Every section is one of the model's, or nothing depends on it. */
static int32_t check_names(const chm_session *session, chm_stored *stored, const chm_container *container) {
  static const char extra[] = CHM_EXTRA_PREFIX;
  for (uint32_t i = 0; i < container->count; ++i) {
    const chm_entry *entry = &container->entries[i];
    bool is_extra = entry->name_bytes >= sizeof extra - 1 && !memcmp(entry->name, extra, sizeof extra - 1);
    if (!entry->is_pad && !is_extra && !is_item(session, stored, entry))
      return chm_fail(CHM_ERROR_VERSION, "snapshot: this runtime does not know section %q", entry->name,
                      (size_t)entry->name_bytes);
  }
  return CHM_OK;
}

static int32_t find_item(const chm_container *container, const chm_item *item, const uint8_t **data) {
  const chm_entry *entry = chm_container_find(container, item->name);
  if (!entry) return chm_fail(CHM_ERROR_LAYOUT, "snapshot: there is no section %s", item->name);
  if (!is_text(entry->dtype, entry->dtype_bytes, item->dtype) || !is_shape(entry->shape, entry->shape_bytes, item->shape))
    return chm_fail(CHM_ERROR_LAYOUT, "snapshot: section %s is not %s[%s]", item->name, item->dtype, item->shape);
  *data = container->file + entry->begin;
  return CHM_OK;
}

static int32_t damaged(void) { return chm_fail(CHM_ERROR_ARGUMENT, "the snapshot is damaged: a number is out of range"); }

/* Whether a cache has such numbers: those of float16 are finite, codes are within 127 of zero. */
static bool may_be_held(const chm_item *item, const uint8_t *data) {
  bool halves = is_text((const uint8_t *)item->dtype, text_bytes(item->dtype), "F16");
  if (!halves && !is_text((const uint8_t *)item->dtype, text_bytes(item->dtype), "I8")) return true;
  for (uint64_t i = 0; i < item->bytes; i += halves ? 2 : 1)
    if (halves ? (data[i + 1] & 0x7c) == 0x7c : data[i] == 0x80) return false;
  return true;
}

/* Everything is checked before the session changes. */
static int32_t restore(chm_session *session, const chm_container *container) {
  chm_stored stored;
  chm_item item;
  const uint8_t *data;
  if (!is_text(container->config, container->config_bytes, chm_model.config_sha256) ||
      !is_text(container->model, container->model_bytes, chm_model.model_sha256))
    return chm_fail(CHM_ERROR_MISMATCH, "the snapshot is of another model");
  int32_t status = check_names(session, &stored, container);
  for (uint32_t i = 0; !status && i < LOGITS; ++i) {
    describe(session, &stored, 0, i, &item);
    status = find_item(container, &item, &data);
    if (!status) memcpy(item.data, data, (size_t)item.bytes);
  }
  stored.valve[0] = 0;
  stored.has_ledger = chm_container_find(container, CHM_SECTION_LEDGER) != NULL;
  for (uint32_t i = VALVE; i < ITEMS; ++i) {
    describe(session, &stored, 0, i, &item);
    if (status || !chm_container_find(container, item.name)) continue;
    status = find_item(container, &item, &data);
    if (!status) memcpy(item.data, data, (size_t)item.bytes);
  }
  if (status) return status;
  if (!is_valid(&stored)) return damaged();
  int32_t position = stored.sequence[POSITION];
  for (uint32_t i = LOGITS; !status && i < VALVE; ++i) {
    describe(session, &stored, position, i, &item);
    status = find_item(container, &item, &data);
    if (!status && !may_be_held(&item, data)) status = damaged();
  }
  if (status) return status;
  chm_session_start(session);
  load(&stored, &session->sequence);
  for (int32_t i = 0; i < stored.sequence[N_HISTORY]; ++i) chm_spans_remember(session, stored.history[i]);
  for (uint32_t i = LOGITS; i < VALVE && position; ++i) {
    describe(session, &stored, position, i, &item);
    status = find_item(container, &item, &data);
    for (uint64_t block = 0; !status && block < item.rows.blocks; ++block)
      memcpy(item.data + block * item.rows.stride, data + block * item.rows.bytes, (size_t)item.rows.bytes);
  }
  return status;
}

static int32_t read_snapshot(chm_session *session, const void *snapshot, size_t bytes) {
  chm_container container;
  const chm_allocator table = {take_table, leave_table, session};
  int32_t status = chm_container_open(snapshot, bytes, CHM_KIND_STATE, "snapshot", 0, &table, &container);
  if (status == CHM_ERROR_MEMORY) return chm_fail(CHM_ERROR_LIMIT, "snapshot: too many sections");
  if (status) return status;
  status = restore(session, &container);
  chm_container_close(&container, &table);
  return status;
}

int32_t chm_session_restore(chm_session *session, const void *snapshot, size_t bytes) {
  if (!session || !snapshot) return chm_fail(CHM_ERROR_ARGUMENT, "chm_session_restore: a pointer is NULL");
  int32_t status = chm_session_enter(session);
  return status ? status : chm_session_leave(session, read_snapshot(session, snapshot, bytes));
}

CHM_COLD_END
