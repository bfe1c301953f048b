"""Build the bundles that ``benchmarks/page_speculation.mjs`` measures: web bundles that can be told what to guess.

    python benchmarks/page_speculation.py CONFIG… [options of chimerac build]

A module in a page has no function that takes a drafter, as no program there can give it one. Those of these bundles
have one more, ``told``, which takes the text that will follow and with what probability each token is guessed right.
"""

from __future__ import annotations

import sys
from typing import Any

from chimerac.compiler.cli.main import main
from chimerac.targets.code import driver

#: Guesses in a row, as ``Subject.right`` of speculation.py: what is after a wrong one is of no matter.
DRAFTER = """
#include "chimera.h"
static const int32_t *told_text;
static int32_t told_count, told_vocabulary;
static uint32_t told_share, told_random;
static int32_t told_guess(void *context, int32_t position, int32_t *tokens, int32_t *parents, int32_t most) {
  (void)context;
  int32_t count = 0;
  for (; count < most && position + count < told_count; ++count) {
    told_random = told_random * 1664525u + 1013904223u;
    int32_t right = told_text[position + count];
    tokens[count] = told_random >> 8 < told_share ? right : (right + 1) % told_vocabulary;
    parents[count] = count - 1;
  }
  return count;
}
/* share: of guesses that are right, times 2^24; text NULL: sessions guess by themselves. */
__attribute__((export_name("told"))) int32_t told(chm_session *session, const int32_t *text, int32_t count,
                                                  uint32_t share) {
  told_text = text;
  told_count = count;
  told_share = share;
  told_random = 1;
  told_vocabulary = chm_vocab_size();
  return chm_session_set_drafter(session, text ? told_guess : NULL, NULL);
}
"""


def build(arguments: list[str]) -> None:
    """``chimerac build`` for the web, with speculation and ``told`` in the modules."""
    own = driver.write_driver

    def write_driver(*values: Any) -> str:
        return own(*values) + DRAFTER

    driver.write_driver = write_driver
    main(["build", *arguments, "--target", "wasm", "--speculate", "--page", "none"])


if __name__ == "__main__":
    build(sys.argv[1:])
