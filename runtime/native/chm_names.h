/* The names of a home, for the two files that make something of them: chm_names_json.c reads JSON into rows, chm_names.c makes
 * the text before requests and the lists of them. */
#ifndef CHM_NAMES_H
#define CHM_NAMES_H

#include "chm_session.h"

#define CHM_MOST_NAME 255u /* bytes */
#define CHM_MOST_ROWS 4096u /* things, areas, floors, and aliases of one */

enum { CHM_AREAS, CHM_ENTITIES, CHM_FLOORS, CHM_TABLES };

/* A decoded text. */
typedef struct chm_span {
  const uint8_t *at;
  uint32_t bytes;
} chm_span;

/* A thing, an area or a floor. */
typedef struct chm_row {
  chm_span name, domain, area;
  uint32_t first, n_aliases; /* in aliases */
} chm_row;

typedef struct chm_reader {
  const uint8_t *at, *start, *end;
  uint8_t *text;                          /* [bytes of the JSON] where the next text is decoded to */
  chm_span *aliases;                      /* [bytes / 2 + 1] */
  uint32_t n_aliases;
  chm_row *rows[CHM_TABLES];              /* [most_rows] */
  uint32_t n_rows[CHM_TABLES], most_rows; /* the latter as many as the JSON has room for, or CHM_MOST_ROWS */
} chm_reader;

/* Read a home; an error for everything else. */
int32_t chm_names_read(chm_reader *reader);
/* The character of a valid text, and whether it is a space. */
size_t chm_span_character(chm_span text, size_t at, uint32_t *code, bool *space);

#endif
