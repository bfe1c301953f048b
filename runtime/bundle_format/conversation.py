"""Messages put between the pieces of a chat, and these items as tokens: what every runtime does the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from chimerac.runtime.bundle_format.chat import ChatPieces, Items

#: White space that ``trim`` leaves out: that of Unicode, and the separators that Python strips.
SPACE: Final = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


@dataclass(frozen=True)
class Message:
    """``role``: system, user or assistant."""

    role: str
    content: str


def whole(pieces: ChatPieces, messages: Sequence[Message]) -> Items:
    """A conversation from its beginning to where the answer begins."""
    items, rest = [*pieces.opening], [*messages]
    if rest[0].role == "system":
        before, after = pieces.system or ((), ())
        items = [*before, trimmed(pieces, rest.pop(0)), *after]
    for number, message in enumerate(rest):
        if number:
            items += pieces.answer if number % 2 else pieces.next
        items.append(trimmed(pieces, message))
    return (*items, *pieces.prompt)


def continued(pieces: ChatPieces, message: Message, end: int | None) -> Items:
    """One more message of the user; ``end`` is the token that the answer before ended with, which was run already."""
    joint = pieces.next
    for number, item in enumerate(joint[:2]):
        if isinstance(item, int) and item == end:
            joint = joint[number + 1 :]
            break
        if isinstance(item, int) or item.strip(SPACE):
            break
    return (*joint, trimmed(pieces, message), *pieces.prompt)


def trimmed(pieces: ChatPieces, message: Message) -> str:
    """The content of a message without the white space that the chat leaves out."""
    text = message.content
    text = text.lstrip(SPACE) if pieces.trim in ("left", "both") else text
    return text.rstrip(SPACE) if pieces.trim in ("right", "both") else text


def tokens_of(items: Items, encode: Callable[[str, bool], list[int]], *, begins: bool) -> list[int]:
    """Tokens of items; texts side by side are one. ``encode`` takes a text, and whether a sequence begins with it."""
    tokens: list[int] = []
    text, first = "", begins
    for item in (*items, -1):
        if isinstance(item, str):
            text += item
            continue
        tokens += encode(text, first) if text else []
        tokens += [item] if item >= 0 else []
        text, first = "", False
    return tokens
