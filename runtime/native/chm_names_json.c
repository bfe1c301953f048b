/* Reading the names of a home: JSON of one form, and an error for any other.
 *
 * What is read is what is expected: nothing has to be skipped, and nothing recurs. The places and the code of errors are those of
 * Python (runtime/names.py) and of JavaScript (web/names.mjs). */
#include "chm_names.h"

static const char *const table_names[CHM_TABLES] = {"areas", "entities", "floors"};

/* ---- JSON ---- */

static int32_t no_json(const chm_reader *reader) {
  return chm_fail(CHM_ERROR_ARGUMENT, "the names are no JSON at byte %u", (uint64_t)(reader->at - reader->start));
}

/* The next character that is no space, 0 at the end. */
static uint8_t peek(chm_reader *reader) {
  while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\n' || *reader->at == '\r'))
    ++reader->at;
  return reader->at < reader->end ? *reader->at : 0;
}

static bool take(chm_reader *reader, uint8_t character) {
  if (peek(reader) != character) return false;
  ++reader->at;
  return true;
}

/* What the next value is, NULL for none. */
static const char *kind(chm_reader *reader) {
  uint8_t next = peek(reader);
  return next == '"'                  ? "a text"
         : next == '{'                ? "an object"
         : next == '['                ? "a list"
         : next == 'n'                ? "null"
         : next == 't' || next == 'f' ? "true or false"
         : next == '-' || (next >= '0' && next <= '9') ? "a number"
                                      : NULL;
}

/* Four hexadecimal digits; UINT32_MAX for others. */
static uint32_t read_hex(chm_reader *reader) {
  uint32_t code = 0;
  if (reader->end - reader->at < 4) return UINT32_MAX;
  for (int i = 0; i < 4; ++i) {
    uint32_t digit = *reader->at++, lower = digit | 0x20;
    if (digit >= '0' && digit <= '9') digit -= '0';
    else if (lower >= 'a' && lower <= 'f') digit = lower - 'a' + 10;
    else return UINT32_MAX;
    code = code << 4 | digit;
  }
  return code;
}

static uint8_t *put_code(uint8_t *to, uint32_t code) {
  if (code < 0x80) {
    *to++ = (uint8_t)code;
    return to;
  }
  int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static const uint8_t leads[] = {0, 0xc0, 0xe0, 0xf0};
  *to++ = (uint8_t)(leads[more] | code >> (6 * more));
  while (more--) *to++ = (uint8_t)(0x80 | (code >> (6 * more) & 0x3f));
  return to;
}

/* After \u: a character, or a pair of halves of one. */
static bool read_unicode(chm_reader *reader) {
  uint32_t code = read_hex(reader);
  if (code >= 0xd800 && code < 0xdc00) {
    if (reader->end - reader->at < 2 || reader->at[0] != '\\' || reader->at[1] != 'u') return false;
    reader->at += 2;
    uint32_t low = read_hex(reader);
    if (low < 0xdc00 || low > 0xdfff) return false;
    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
  } else if (code > 0xffff || (code >= 0xdc00 && code < 0xe000)) {
    return false;
  }
  reader->text = put_code(reader->text, code);
  return true;
}

static bool read_escape(chm_reader *reader) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (++reader->at == reader->end) return false;
  uint8_t letter = *reader->at++;
  if (letter == 'u') return read_unicode(reader);
  for (int i = 0; from[i]; ++i)
    if (letter == (uint8_t)from[i]) {
      *reader->text++ = (uint8_t)to[i];
      return true;
    }
  return false;
}

static bool read_text(chm_reader *reader, chm_span *text) {
  if (!take(reader, '"')) return false;
  text->at = reader->text;
  while (reader->at < reader->end && *reader->at != '"') {
    uint32_t code;
    if (*reader->at == '\\') {
      if (!read_escape(reader)) return false;
      continue;
    }
    size_t left = (size_t)(reader->end - reader->at), size = chm_utf8_character(reader->at, 0, left, &code);
    if (!size || code < 0x20) return false;
    memcpy(reader->text, reader->at, size);
    reader->text += size;
    reader->at += size;
  }
  text->bytes = (uint32_t)(reader->text - text->at);
  return take(reader, '"');
}

/* After a member or an element: whether another one follows; *status is CHM_OK at the end. */
static bool goes_on(chm_reader *reader, uint8_t close, int32_t *status) {
  if (take(reader, ',')) return true;
  *status = take(reader, close) ? CHM_OK : no_json(reader);
  return false;
}

/* ---- texts ---- */

size_t chm_span_character(chm_span text, size_t at, uint32_t *code, bool *space) {
  uint32_t class;
  size_t size = chm_character_class(text.at, at, text.bytes, code, &class);
  *space = class == CHM_CLASS_SPACE || (*code >= 0x1c && *code <= 0x1f); /* as Python's split */
  return size;
}

/* Without the spaces around it. */
static chm_span stripped(chm_span text) {
  size_t first = SIZE_MAX, last = 0;
  uint32_t code;
  bool space;
  for (size_t at = 0, size; at < text.bytes; at += size) {
    size = chm_span_character(text, at, &code, &space);
    if (space) continue;
    if (first == SIZE_MAX) first = at;
    last = at + size;
  }
  return first == SIZE_MAX ? (chm_span){text.at, 0} : (chm_span){text.at + first, (uint32_t)(last - first)};
}

static bool is(chm_span text, const char *name) {
  size_t bytes = strlen(name);
  return text.bytes == bytes && !memcmp(text.at, name, bytes);
}

/* Whether answers can have a name. */
static int32_t check_name(chm_span name) {
  for (uint32_t i = 0; i < name.bytes; ++i)
    if (name.at[i] < 0x20 || name.at[i] == 0x7f)
      return chm_fail(CHM_ERROR_ARGUMENT, "the name %q has a control character", name.at, (size_t)name.bytes);
  if (name.bytes <= CHM_MOST_NAME) return CHM_OK;
  return chm_fail(CHM_ERROR_ARGUMENT, "%q is not a name of at most %u bytes", name.at, (size_t)name.bytes, (uint64_t)CHM_MOST_NAME);
}

/* ---- rows ---- */

/* The number of the row that is read, and what it is of. */
typedef struct chm_place {
  const char *table;
  uint64_t number;
} chm_place;

static int32_t not_a_name(chm_reader *reader, chm_place place, const char *key) {
  const char *found = kind(reader);
  if (!found) return no_json(reader);
  return chm_fail(CHM_ERROR_ARGUMENT, "%s[%u].%s is %s, not a name", place.table, place.number, key, found);
}

static int32_t read_aliases(chm_reader *reader, chm_place place, chm_row *row) {
  const char *found = kind(reader);
  if (!found) return no_json(reader);
  if (!take(reader, '['))
    return chm_fail(CHM_ERROR_ARGUMENT, "%s[%u].aliases is %s, not a list", place.table, place.number, found);
  row->first = reader->n_aliases;
  row->n_aliases = 0;
  int32_t status = CHM_OK;
  if (take(reader, ']')) return status;
  do {
    if (peek(reader) != '"') return not_a_name(reader, place, "aliases");
    if (row->n_aliases++ == CHM_MOST_ROWS)
      return chm_fail(CHM_ERROR_ARGUMENT, "%s[%u].aliases are over the limit of %u", place.table, place.number, (uint64_t)CHM_MOST_ROWS);
    if (!read_text(reader, &reader->aliases[reader->n_aliases++])) return no_json(reader);
  } while (goes_on(reader, ']', &status));
  return status;
}

/* A member of a row, after its name and the colon. */
static int32_t read_value(chm_reader *reader, int table, chm_place place, chm_span key, chm_row *row) {
  static const char *const keys[] = {"name", "domain", "area"};
  chm_span *const values[] = {&row->name, &row->domain, &row->area};
  if (is(key, "aliases")) return read_aliases(reader, place, row);
  for (int i = 0; i < (table == CHM_ENTITIES ? 3 : 1); ++i) {
    if (!is(key, keys[i])) continue;
    if (peek(reader) != '"') return not_a_name(reader, place, keys[i]);
    if (!read_text(reader, values[i])) return no_json(reader);
    *values[i] = stripped(*values[i]);
    if (i || values[i]->bytes) return CHM_OK;
    return chm_fail(CHM_ERROR_ARGUMENT, "%s[%u].name is empty, not a name", place.table, place.number);
  }
  return chm_fail(CHM_ERROR_ARGUMENT, "there is no key of %s[%u] %q; there are %s", place.table, place.number, key.at,
                  (size_t)key.bytes, table == CHM_ENTITIES ? "name, aliases, domain, area" : "name, aliases");
}

static int32_t read_members(chm_reader *reader, int table, chm_place place, chm_row *row) {
  int32_t status = CHM_OK;
  if (take(reader, '}')) return status;
  do {
    chm_span key;
    if (!read_text(reader, &key) || !take(reader, ':')) return no_json(reader);
    status = read_value(reader, table, place, key, row);
    if (status) return status;
  } while (goes_on(reader, '}', &status));
  return status;
}

static int32_t read_row(chm_reader *reader, int table, chm_row *row) {
  chm_place place = {table_names[table], reader->n_rows[table]};
  const char *found = kind(reader);
  int32_t status = CHM_OK;
  if (!found) return no_json(reader);
  if (*reader->at == '"') {
    if (!read_text(reader, &row->name)) return no_json(reader);
    row->name = stripped(row->name);
    if (!row->name.bytes) return chm_fail(CHM_ERROR_ARGUMENT, "%s[%u].name is empty, not a name", place.table, place.number);
  } else if (take(reader, '{')) {
    status = read_members(reader, table, place, row);
  } else {
    return chm_fail(CHM_ERROR_ARGUMENT, "%s[%u] is %s, not an object with a name", place.table, place.number, found);
  }
  if (!status && !row->name.at) return chm_fail(CHM_ERROR_ARGUMENT, "%s[%u] has no name", place.table, place.number);
  if (!status) status = check_name(row->name);
  return status ? status : check_name(row->area);
}

static int32_t read_rows(chm_reader *reader, int table) {
  const char *found = kind(reader);
  if (!found) return no_json(reader);
  if (!take(reader, '[')) return chm_fail(CHM_ERROR_ARGUMENT, "%s is %s, not a list", table_names[table], found);
  reader->n_rows[table] = 0;
  int32_t status = CHM_OK;
  if (take(reader, ']')) return status;
  do {
    if (reader->n_rows[table] == reader->most_rows)
      return chm_fail(CHM_ERROR_ARGUMENT, "the %s are over the limit of %u", table_names[table], (uint64_t)CHM_MOST_ROWS);
    chm_row *row = &reader->rows[table][reader->n_rows[table]];
    *row = (chm_row){.first = 0};
    status = read_row(reader, table, row);
    if (status) return status;
    ++reader->n_rows[table];
  } while (goes_on(reader, ']', &status));
  return status;
}

int32_t chm_names_read(chm_reader *reader) {
  const char *found = kind(reader);
  int32_t status = CHM_OK;
  if (!found) return no_json(reader);
  if (!take(reader, '{')) return chm_fail(CHM_ERROR_ARGUMENT, "the names are %s, not an object with entities and areas", found);
  if (!take(reader, '}'))
    do {
      chm_span key;
      if (!read_text(reader, &key) || !take(reader, ':')) return no_json(reader);
      int table = 0;
      while (table < CHM_TABLES && !is(key, table_names[table])) ++table;
      if (table == CHM_TABLES)
        return chm_fail(CHM_ERROR_ARGUMENT, "there is no key %q; there are entities, areas, floors", key.at, (size_t)key.bytes);
      status = read_rows(reader, table);
      if (status) return status;
    } while (goes_on(reader, '}', &status));
  if (status) return status;
  return peek(reader) || reader->at < reader->end ? no_json(reader) : CHM_OK;
}
