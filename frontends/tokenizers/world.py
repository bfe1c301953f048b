"""RWKV's tokenizers: byte strings, of which the longest counts at each place of a text; and their file of texts."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from chimerac.frontends.tokenizers.components import Shape
from chimerac.frontends.tokenizers.json_files import invalid, read_text, unsupported
from chimerac.frontends.tokenizers.spelling import spelling_of_bytes
from chimerac.frontends.tokenizers.vocabulary import Named, Parts, Roles
from chimerac.runtime.bundle_format import constants as c

WORLD: Final = "rwkv_vocab_v20230424.txt"  #: what folders of RWKV's world models have in place of tokenizer.json
END: Final = Named("<|rwkv_tokenizer_end_of_text|>", 0)  #: the file begins with 1
#: An id, a literal of Python for a text or for bytes, and how many bytes it has.
_LINE: Final = re.compile(r"""(\d{1,7}) (b?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")) (\d{1,3})\r?""")


def longest_parts(
    where: str, vocabulary: int, tokens: Mapping[int, bytes], named: Sequence[Named], roles: Roles
) -> Parts:
    """The tokenizer of these byte strings."""
    spelt = {id: spelling_of_bytes(token) for id, token in tokens.items()}
    return Parts(where, vocabulary, Shape(c.PATTERN_NONE, (c.RULE_LONGEST,), byte_level=True), spelt, named, roles)


def parts_of_world(path: Path, vocabulary: int) -> Parts:
    """A file with a line for each token, all from 1 on.

    Raises:
        UserError: CHM260, a file that cannot be read, or a line that cannot be; CHM261, too many tokens.
    """
    where = str(path)
    lines = read_text(path).removesuffix("\n").split("\n")
    if len(lines) >= c.MAX_VOCABULARY:
        raise unsupported(where, f"{len(lines)} tokens; the most is {c.MAX_VOCABULARY}")
    tokens = {}
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line) if len(line) < 2000 else None
        token = _literal(found[2]) if found else None
        if not found or not token or len(token) != int(found[3]) or int(found[1]) != number:
            raise invalid(where, f"line {number} is not the next id, a token, and how many bytes it has")
        tokens[number] = token
    return longest_parts(where, vocabulary, tokens, [END], Roles(frozenset({END.id})))


def _literal(text: str) -> bytes | None:
    """The bytes of a literal of Python, None if it is none."""
    try:
        value = ast.literal_eval(text)
        return value.encode() if isinstance(value, str) else bytes(value)
    except (SyntaxError, ValueError):
        return None
