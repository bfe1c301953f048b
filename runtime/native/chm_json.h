/* A cursor over the JSON subset of container headers: printable ASCII, whole numbers up to 2^53, no escapes but \" and \\.
 *
 * The callers ask for exactly the structure they expect, so there is no recursion and nothing to allocate. A text that
 * is itself the content of a JSON string (chimera.sections) is read in place: its quotes are then the two bytes \".
 */
#ifndef CHM_JSON_H
#define CHM_JSON_H

#include "chm_internal.h"

typedef struct chm_json {
  const uint8_t *at, *end;
  bool nested; /* quotes are \" and strings have no escapes at all */
} chm_json;

typedef struct chm_text {
  const uint8_t *start; /* raw: escapes as they are in the file */
  size_t bytes;
} chm_text;

static inline bool chm_text_is(chm_text text, const char *expected) {
  size_t i = 0;
  for (; i < text.bytes && expected[i]; ++i)
    if (text.start[i] != (uint8_t)expected[i]) return false;
  return i == text.bytes && !expected[i];
}

static inline void chm_json_spaces(chm_json *json) {
  while (json->at < json->end && *json->at == ' ') ++json->at;
}

/* Take one punctuation character, spaces before it included. */
static inline bool chm_json_take(chm_json *json, char character) {
  chm_json_spaces(json);
  if (json->at == json->end || *json->at != (uint8_t)character) return false;
  ++json->at;
  return true;
}

static inline bool chm_json_quote(chm_json *json) {
  if (!json->nested) {
    if (json->at == json->end || *json->at != '"') return false;
    ++json->at;
    return true;
  }
  if (json->end - json->at < 2 || json->at[0] != '\\' || json->at[1] != '"') return false;
  json->at += 2;
  return true;
}

static inline bool chm_json_string(chm_json *json, chm_text *text) {
  chm_json_spaces(json);
  if (!chm_json_quote(json)) return false;
  text->start = json->at;
  for (; json->at < json->end; ++json->at) {
    const uint8_t *before = json->at;
    if (chm_json_quote(json)) {
      text->bytes = (size_t)(before - text->start);
      return true;
    }
    if (*before < 0x20 || *before > 0x7e) return false;
    if (*before == '\\') {
      if (json->nested || json->end - before < 2 || (before[1] != '"' && before[1] != '\\')) return false;
      ++json->at;
    }
  }
  return false;
}

static inline bool chm_json_number(chm_json *json, uint64_t *number) {
  chm_json_spaces(json);
  const uint8_t *start = json->at;
  uint64_t value = 0;
  for (; json->at < json->end && *json->at >= '0' && *json->at <= '9'; ++json->at) {
    value = value * 10 + (uint64_t)(*json->at - '0');
    if (value > CHM_MAX_INTEGER) return false;
  }
  if (json->at == start || (*start == '0' && json->at - start > 1)) return false;
  *number = value;
  return true;
}

/* After a member or element: true and *more for a comma, true and not *more for the closing bracket. */
static inline bool chm_json_next(chm_json *json, char close, bool *more) {
  *more = chm_json_take(json, ',');
  return *more || chm_json_take(json, close);
}

#endif
