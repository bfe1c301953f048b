"""Conversations of a session: messages checked, and the parts of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from chimerac.runtime.arguments import checked_text, kind, shown
from chimerac.runtime.bundle_format.chat import Chat, Items
from chimerac.runtime.bundle_format.conversation import Message
from chimerac.runtime.errors import BundleError

Part = Literal["answer", "thinking", "tool_call"]


@dataclass(frozen=True)
class ChatPiece:
    """A step of an answer: the token, the text that became complete with it, and what it is part of.

    The tokens that begin and end thinking and calls of tools are pieces without text. ``str(piece)`` is the text.
    """

    text: str
    token: int
    part: Part

    def __str__(self) -> str:
        return self.text


def checked_messages(messages: object, chat: Chat | None) -> tuple[Message, ...]:
    """Messages of a supported shape: a system's or none, then the user's and the assistant's in turns, the user's last.

    Args:
        messages: a list of mappings with ``role`` and ``content``.
        chat: of the bundle.

    Raises:
        BundleError: CHM421, the bundle has no pieces of a conversation; CHM420, anything else than such messages.
    """
    if chat is None or chat.pieces is None:
        why = "its template is none of pieces" if chat else "it was built without a chat template"
        raise BundleError("CHM421", f"the bundle holds no conversations: {why}", hint="give generate() a raw prompt")
    if isinstance(messages, str | bytes) or not isinstance(messages, Sequence):
        raise BundleError("CHM420", f"the messages are {kind(messages)}, not a list")
    found = tuple(map(_message, messages))
    if found and found[0].role == "system" and chat.pieces.system is None:
        raise BundleError("CHM420", "the model takes no system message")
    turns = found[1:] if found and found[0].role == "system" else found
    for number, message in enumerate(turns):
        expected = ("user", "assistant")[number % 2]
        if message.role != expected:
            what = f"message {len(found) - len(turns) + number} is of the role {shown(message.role)}, not {expected!r}"
            raise BundleError("CHM420", what)
    if len(turns) % 2 == 0:
        raise BundleError("CHM420", "the last message is not the user's")
    return found


def _message(value: Any) -> Message:
    try:
        role, content = value["role"], value["content"]
    except (TypeError, KeyError, IndexError):
        raise BundleError("CHM420", f"a message is {kind(value)}, not one with role and content") from None
    if not isinstance(role, str):
        raise BundleError("CHM420", f"the role of a message is {kind(role)}, not a text")
    if not isinstance(content, str):
        raise BundleError("CHM420", f"the content of a message is {kind(content)}, not a text")
    checked_text(content, "the content of a message")
    return Message(role, content)


@dataclass(frozen=True)
class Held:
    """A conversation that is in a session's sequence, so that only what is new has to be run.

    Attributes:
        messages: the last is the model's own.
        end: the token that ended it, if it ended by itself.
    """

    messages: tuple[Message, ...]
    end: int | None


class Parts:
    """Which part of an answer each token is of, and its text."""

    def __init__(self, chat: Chat, prompt: Items) -> None:
        self._begins = {pair[0]: name for name, pair in chat.marks.items()}
        self._ends = {pair[1]: name for name, pair in chat.marks.items()}
        self._part: Any = "answer"
        self._at_start = chat.space
        for item in prompt:
            if isinstance(item, int):
                self._mark(item)

    def _mark(self, token: int) -> Part:
        """The part that a token is of; what follows may be another."""
        before: Part = self._part
        if token in self._begins:
            self._part = self._begins[token]
            return self._part  # type: ignore[no-any-return]  # one of MARKS
        if self._ends.get(token) == before:
            self._part = "answer"
        return before

    def piece(self, text: str, token: int) -> ChatPiece:
        """The next piece."""
        part = self._mark(token)
        if self._at_start and text:
            text, self._at_start = text.removeprefix(" "), False
        return ChatPiece(text, token, part)
