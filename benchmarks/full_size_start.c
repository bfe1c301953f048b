/* Opens a bundle's weights and tokenizer, and prints one token: what a C program does that embeds a model.
 *
 *   full_size_start WEIGHTS TOKENIZER FLAGS */
#include <stdio.h>
#include <stdlib.h>

#include "chimera.h"

static int fail(void) {
  fprintf(stderr, "%s\n", chm_last_error());
  return 1;
}

int main(int count, char **arguments) {
  if (count != 4) return 2;
  chm_bundle *bundle;
  chm_session *session;
  int32_t token;
  if (chm_bundle_open_files(arguments[1], arguments[2], (uint32_t)atoi(arguments[3]), NULL, &bundle)) return fail();
  if (chm_bundle_set_threads(bundle, 0)) return fail();
  if (chm_session_open(bundle, NULL, &session)) return fail();
  if (chm_session_prompt(session, (const uint8_t *)"Hello", 5)) return fail();
  if (chm_session_begin_generation(session, 1)) return fail();
  if (chm_session_generate(session, &token) > CHM_FINISHED) return fail();
  printf("%d\n", token);
  return 0;
}
