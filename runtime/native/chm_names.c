/* The names of a home: the text before each request, and the lists that grammars copy from. runtime/names.py is the same. */
#include "chm_names.h"

#define MOST_JSON (1u << 20)

struct chm_names {
  chm_allocator allocator;
  uint64_t allocated;
  uint8_t *texts[1 + CHM_TABLES]; /* the prefix; the lists of areas, of things and of floors, one a line */
  size_t bytes[1 + CHM_TABLES];
};

/* An area in the order of the prefix; that of what is in none has no name and comes last. */
typedef struct chm_group {
  chm_span area;
  const chm_row *head; /* the area's own row, or NULL */
} chm_group;

static bool same(chm_span a, chm_span b) { return a.bytes == b.bytes && (!a.bytes || !memcmp(a.at, b.at, a.bytes)); }

static uint8_t *put(uint8_t *to, chm_span text) {
  if (text.bytes) memcpy(to, text.at, text.bytes);
  return to + text.bytes;
}

/* A text as it stands before a request: signs that part names are spaces, and spaces are single. */
static uint8_t *put_plain(uint8_t *to, chm_span text) {
  uint8_t *start = to;
  bool space, waits = false;
  uint32_t code;
  for (size_t at = 0, size; at < text.bytes; at += size) {
    size = chm_span_character(text, at, &code, &space);
    if (space || code == '=' || code == ':' || code == ',' || code == ';' || code == '|' || code == '^') {
      waits = to > start;
      continue;
    }
    if (waits) *to++ = ' ';
    waits = false;
    to = put(to, (chm_span){text.at + at, (uint32_t)size});
  }
  return to;
}

/* A name and its aliases. */
static uint8_t *put_row(const chm_reader *reader, uint8_t *to, const chm_row *row) {
  to = put_plain(to, row->name);
  for (uint32_t i = 0; i < row->n_aliases; ++i) {
    *to++ = '=';
    to = put_plain(to, reader->aliases[row->first + i]);
  }
  return to;
}

/* The areas, those that things name too: of rows with one name the last is the head. Their number. */
static uint32_t find_groups(const chm_reader *reader, chm_group *groups) {
  uint32_t n = 0;
  bool others = false;
  for (int table = CHM_AREAS; table <= CHM_ENTITIES; ++table)
    for (uint32_t i = 0; i < reader->n_rows[table]; ++i) {
      const chm_row *row = &reader->rows[table][i];
      chm_span area = table == CHM_AREAS ? row->name : row->area;
      uint32_t k = 0;
      if (!area.bytes) {
        others = true;
        continue;
      }
      while (k < n && !same(groups[k].area, area)) ++k;
      if (k == n) groups[n++] = (chm_group){area, NULL};
      if (table == CHM_AREAS) groups[k].head = row;
    }
  if (others) groups[n++] = (chm_group){{NULL, 0}, NULL};
  return n;
}

/* An area and what is in it. */
static uint8_t *put_group(const chm_reader *reader, uint8_t *to, const chm_group *group) {
  to = group->head ? put_row(reader, to, group->head) : put_plain(to, group->area);
  *to++ = ':';
  bool more = false;
  for (uint32_t i = 0; i < reader->n_rows[CHM_ENTITIES]; ++i) {
    const chm_row *row = &reader->rows[CHM_ENTITIES][i];
    if (!same(row->area, group->area)) continue;
    if (more) *to++ = ',';
    more = true;
    if (row->domain.bytes) {
      to = put_plain(to, row->domain);
      *to++ = ' ';
    }
    to = put_row(reader, to, row);
  }
  *to++ = ';';
  return to;
}

/* The floors, before everything else. */
static uint8_t *put_floors(const chm_reader *reader, uint8_t *to) {
  uint32_t n = reader->n_rows[CHM_FLOORS];
  for (uint32_t i = 0; i < n; ++i) {
    *to++ = i ? ',' : '^';
    to = put_row(reader, to, &reader->rows[CHM_FLOORS][i]);
  }
  if (n) *to++ = ';';
  return to;
}

/* Whether a list can have an alias: no control characters, no space before it. */
static bool can_be_said(chm_span alias) {
  for (uint32_t i = 0; i < alias.bytes; ++i)
    if (alias.at[i] < 0x20 || alias.at[i] == 0x7f) return false;
  return alias.bytes && alias.bytes <= CHM_MOST_NAME && alias.at[0] != ' ';
}

/* Other names of a row after its name. */
static uint8_t *put_others(const chm_reader *reader, uint8_t *to, const chm_row *row) {
  for (uint32_t i = 0; i < row->n_aliases; ++i) {
    chm_span alias = reader->aliases[row->first + i];
    if (!can_be_said(alias)) continue;
    *to++ = '\t';
    to = put(to, alias);
  }
  return to;
}

/* Names of things or floors, one a line; rows that have the name of one before are in its line. */
static uint8_t *put_list(const chm_reader *reader, uint8_t *to, int table) {
  const chm_row *rows = reader->rows[table];
  for (uint32_t i = 0, k; i < reader->n_rows[table]; ++i) {
    for (k = 0; k < i && !same(rows[k].name, rows[i].name);) ++k;
    if (k < i) continue;
    to = put(to, rows[i].name);
    for (; k < reader->n_rows[table]; ++k)
      if (same(rows[k].name, rows[i].name)) to = put_others(reader, to, &rows[k]);
    *to++ = '\n';
  }
  return to;
}

/* Texts of the rows, one after the other. */
static void fill(const chm_reader *reader, chm_group *groups, uint8_t *to, chm_names *names) {
  uint32_t n = find_groups(reader, groups);
  uint8_t *begin = names->texts[0] = to;
  to = put_floors(reader, to);
  for (uint32_t i = 0; i < n; ++i) to = put_group(reader, to, &groups[i]);
  if (to > begin) *to++ = '|';
  names->bytes[0] = (size_t)(to - begin);
  begin = names->texts[1] = to;
  for (uint32_t i = 0; i < n; ++i) {
    if (!groups[i].area.bytes) continue;
    to = put(to, groups[i].area);
    if (groups[i].head) to = put_others(reader, to, groups[i].head);
    *to++ = '\n';
  }
  names->bytes[1] = (size_t)(to - begin);
  for (int table = CHM_ENTITIES; table < CHM_TABLES; ++table) {
    begin = names->texts[1 + table] = to;
    to = put_list(reader, to, table);
    names->bytes[1 + table] = (size_t)(to - begin);
  }
}

/* ---- the interface ---- */

/* Of a text of JSON: a name may be in the prefix as a thing's and an area's, and in a list. */
static uint64_t room(size_t bytes) { return sizeof(chm_names) + 4 * (uint64_t)bytes + 64; }

/* Where a reader and the groups have their memory; its bytes. */
static uint64_t lay_out(chm_reader *reader, chm_group **groups, uint8_t *block, size_t bytes) {
  uint64_t rows = bytes / 2 + 1 < CHM_MOST_ROWS ? bytes / 2 + 1 : CHM_MOST_ROWS;
  const uint64_t sizes[] = {CHM_TABLES * rows * sizeof(chm_row), (2 * rows + 1) * sizeof(chm_group),
                            (bytes / 2 + 1) * sizeof(chm_span), bytes + 1};
  uint64_t starts[4], end = 0;
  for (int i = 0; i < 4; ++i) {
    starts[i] = end;
    end += (sizes[i] + 15) / 16 * 16;
  }
  if (!block) return end;
  for (int table = 0; table < CHM_TABLES; ++table)
    reader->rows[table] = (chm_row *)(void *)(block + starts[0]) + (uint64_t)table * rows;
  *groups = (chm_group *)(void *)(block + starts[1]);
  reader->aliases = (chm_span *)(void *)(block + starts[2]);
  reader->text = block + starts[3];
  reader->most_rows = (uint32_t)rows;
  return end;
}

int32_t chm_names_open(const uint8_t *json, size_t bytes, const chm_allocator *allocator, chm_names **names_out) {
  if (names_out) *names_out = NULL;
  if (!json || !names_out) return chm_fail(CHM_ERROR_ARGUMENT, "chm_names_open: a pointer is NULL");
  if (bytes > MOST_JSON) return chm_fail(CHM_ERROR_ARGUMENT, "the names have over %u bytes", (uint64_t)MOST_JSON);
  if (!allocator) allocator = &chm_default_allocator;
  chm_reader reader = {.at = json, .start = json, .end = json + bytes};
  chm_group *groups = NULL;
  uint64_t scratch = lay_out(&reader, &groups, NULL, bytes), size = room(bytes);
  uint8_t *block = chm_allocate(allocator, scratch);
  if (!block) return CHM_ERROR_MEMORY;
  lay_out(&reader, &groups, block, bytes);
  int32_t status = chm_names_read(&reader);
  chm_names *names = status ? NULL : chm_allocate(allocator, size);
  if (!status && !names) status = CHM_ERROR_MEMORY;
  if (names) {
    *names = (chm_names){.allocator = *allocator, .allocated = size};
    fill(&reader, groups, (uint8_t *)(names + 1), names);
    *names_out = names;
  }
  chm_release(allocator, block, scratch);
  return status;
}

void chm_names_close(chm_names *names) {
  if (!names) return;
  chm_allocator allocator = names->allocator;
  chm_release(&allocator, names, names->allocated);
}

const uint8_t *chm_names_text(const chm_names *names, int32_t kind, size_t *bytes) {
  static const int places[] = {0, 1 + CHM_ENTITIES, 1 + CHM_AREAS, 1 + CHM_FLOORS}; /* by kinds of slots */
  bool known = names && kind >= 0 && kind < 4;
  if (bytes) *bytes = known ? names->bytes[places[kind]] : 0;
  return known && (names->bytes[places[kind]] || !kind) ? names->texts[places[kind]] : NULL;
}

/* Run the text before requests. */
static int32_t run_prefix(chm_session *session, const chm_names *names) {
  chm_bundle *bundle = session->bundle;
  size_t bytes = names ? names->bytes[0] : 0, count = 0;
  if (!bytes) return CHM_OK;
  uint64_t most = chm_tokenizer_room(bundle, bytes), scratch = (most + 1) * sizeof(int32_t);
  int32_t *tokens = chm_allocate(&bundle->allocator, scratch);
  if (!tokens) return CHM_ERROR_MEMORY;
  int32_t status = chm_tokenizer_encode(bundle, names->texts[0], bytes, tokens, (size_t)most, &count);
  if (!status) status = chm_session_prefill(session, tokens, count);
  chm_release(&bundle->allocator, tokens, scratch);
  return status;
}

int32_t chm_session_tell_names(chm_session *session, const chm_names *names) {
  int32_t status = chm_session_reset(session);
  if (!status) status = run_prefix(session, names);
  chm_grammar *grammar = status ? NULL : session->grammar;
  for (int32_t kind = 1; kind < 4 && grammar && !status; ++kind) {
    size_t bytes;
    const uint8_t *list = chm_names_text(names, kind, &bytes);
    status = chm_grammar_set_words(grammar, kind, list, bytes);
  }
  return status;
}
