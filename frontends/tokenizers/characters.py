"""A vocabulary of single characters: what a model that was trained on them has in place of a trained tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from chimerac.frontends.tokenizers.json_files import invalid, read_value
from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.reference.tokenizer import Tokenizer

#: The characters in the order of their ids, or the id of each.
Characters = Sequence[str] | Mapping[str, int]

_HINT: Final = 'write ["a", "b", …] in the order of their ids, or {"a": 0, "b": 1, …}'


def character_tokenizer(characters: Characters, vocabulary: int, where: str = "the tokenizer") -> Tokenizer:
    """A token for each of some characters; ids that none has are holes, and other characters of a text are left out.

    Args:
        vocabulary: entries of the model.
        where: what they are of, in messages.

    Raises:
        UserError: CHM260, an entry that is no single character, twice there, or has an id out of range.
    """
    pairs = characters.items() if isinstance(characters, Mapping) else ((one, id) for id, one in enumerate(characters))
    rows = list(pairs)
    table = [b""] * vocabulary
    for character, id in rows:
        if not isinstance(character, str) or len(character) != 1 or "\ud800" <= character <= "\udfff":
            raise invalid(where, f"{str(character)[:40]!r} is no single character", _HINT)
        if type(id) is not int or not 0 <= id < vocabulary:
            raise invalid(where, f"the id of {character!r} is {str(id)[:40]}; the model has 0 to {vocabulary - 1}")
        if table[id]:
            raise invalid(where, f"{table[id].decode()!r} and {character!r} have the same id, {id}")
        table[id] = character.encode()
    if len({character for character, _ in rows}) != len(rows):
        raise invalid(where, "a character is there twice", _HINT)
    return Tokenizer(tuple(table), pattern=c.PATTERN_CHARACTERS, rules=(c.RULE_DROP,))


def read_characters(path: Path, vocabulary: int) -> Tokenizer:
    """The characters of a file of JSON, a list or an object; raises UserError CHM260."""
    value: Any = read_value(path)
    if not isinstance(value, list | dict) or not value:
        raise invalid(str(path), "it lists no characters", _HINT)
    return character_tokenizer(value, vocabulary, str(path))
