"""How a conversation is put into tokens: what stands between its messages, and tokens that mark thinking. A manifest's
field ``chat``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chimerac.runtime.bundle_format.checked import count_of, list_of, need, object_of
from chimerac.runtime.bundle_format.constants import MAX_VOCABULARY

MAX_CHAT_TEXT: Final = 1 << 17  #: characters of all texts of a chat
MAX_ITEMS: Final = 256  #: of one piece
TRIMS: Final = ("none", "left", "right", "both")  #: sides, as numbers left + 2 * right
MARKS: Final = ("thinking", "tool_call")  #: what may be kept apart from an answer
#: Halves of characters, and what could speak to a terminal; line ends and tabs may be there.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

Items = tuple[int | str, ...]  #: tokens, and texts that become no special token


@dataclass(frozen=True)
class ChatPieces:
    """What stands around the messages: of the system or none, then of user and assistant in turns, the user's last.

    Attributes:
        opening: before the first message of a conversation without a system message.
        system: before and after a system message; None: there may be none.
        answer: between a message of the user and one of the assistant.
        next: between a message of the assistant and one of the user.
        prompt: after the user's last message; the model's answer follows.
        trim: on which sides white space of messages is left out, one of TRIMS.
    """

    opening: Items
    answer: Items
    next: Items
    prompt: Items
    system: tuple[Items, Items] | None = None
    trim: str = "none"


@dataclass(frozen=True)
class Chat:
    """A manifest's ``chat``.

    Attributes:
        pieces: None where the template is none of pieces: then prompts are raw.
        template: the model's own, where there are no pieces.
        marks: name of MARKS → the tokens before and after what is kept apart.
        space: whether the space at the beginning of an answer is left out.
    """

    pieces: ChatPieces | None = None
    template: str = ""
    marks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    space: bool = False

    def tokens(self) -> list[int]:
        """All tokens that it names."""
        found = [token for pair in self.marks.values() for token in pair]
        if self.pieces is not None:
            one = self.pieces
            lists = (one.opening, one.answer, one.next, one.prompt, *(one.system or ()))
            found += [item for items in lists for item in items if isinstance(item, int)]
        return found


def chat_fields(chat: Chat) -> dict[str, Any]:
    """What stands in a manifest."""
    fields: dict[str, Any] = {}
    if chat.pieces is not None:
        one = chat.pieces
        fields["pieces"] = {
            **{name: list(getattr(one, name)) for name in ("opening", "answer", "next", "prompt")},
            "system": None if one.system is None else [list(items) for items in one.system],
            "trim": one.trim,
        }
    if chat.template:
        fields["template"] = chat.template
    return fields | {"marks": {name: list(pair) for name, pair in chat.marks.items()}, "space": chat.space}


def read_chat(value: object) -> Chat | None:
    """The ``chat`` of a manifest; raises InvalidError."""
    if value is None:
        return None
    row = object_of(value, "chat", {"marks", "space"})
    pieces = None if row.get("pieces") is None else _pieces(row["pieces"])
    template = "" if row.get("template") is None else _text(row["template"], "chat.template")
    marks = object_of(row["marks"], "chat.marks", set())
    need(set(marks) <= set(MARKS), "chat.marks has another name than thinking and tool_call")
    need(isinstance(row["space"], bool), "chat.space is not true or false")
    chat = Chat(pieces, template, {name: _pair(pair) for name, pair in marks.items()}, row["space"])
    texts = [template] if pieces is None else [template, *_texts(pieces)]
    need(sum(map(len, texts)) <= MAX_CHAT_TEXT, "the texts of chat are too long")
    return chat


def _pieces(value: object) -> ChatPieces:
    row = object_of(value, "chat.pieces", {"opening", "answer", "next", "prompt", "system", "trim"})
    need(isinstance(row["trim"], str) and row["trim"] in TRIMS, "chat.pieces.trim is unknown")
    found = {name: _items(row[name], name) for name in ("opening", "answer", "next", "prompt")}
    system = None
    if row["system"] is not None:
        both = list_of(row["system"], "chat.pieces.system")
        need(len(both) == 2, "chat.pieces.system is not two lists")
        system = (_items(both[0], "system"), _items(both[1], "system"))
    return ChatPieces(**found, system=system, trim=row["trim"])


def _items(value: object, name: str) -> Items:
    items = list_of(value, f"chat.pieces.{name}")
    need(len(items) <= MAX_ITEMS, f"chat.pieces.{name} has more than {MAX_ITEMS} items")
    return tuple(_text(item, f"chat.pieces.{name}") if isinstance(item, str) else _token(item) for item in items)


def _token(value: object) -> int:
    token = count_of(value, "a token of chat")
    need(token < MAX_VOCABULARY, "a token of chat is not a number in range")
    return token


def _pair(value: object) -> tuple[int, int]:
    pair = list_of(value, "a mark of chat")
    need(len(pair) == 2, "a mark of chat is not two tokens")
    return _token(pair[0]), _token(pair[1])


def _text(value: object, what: str) -> str:
    need(isinstance(value, str) and 0 < len(value) <= MAX_CHAT_TEXT, f"{what} is not a text")
    assert isinstance(value, str)
    need(_UNPRINTABLE.search(value) is None, f"{what} has characters that are not printable")
    return value


def _texts(pieces: ChatPieces) -> list[str]:
    lists = (pieces.opening, pieces.answer, pieces.next, pieces.prompt, *(pieces.system or ()))
    return [item for items in lists for item in items if isinstance(item, str)]
