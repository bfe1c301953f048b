"""A chat template as pieces: what stands around the messages of a conversation, found by rendering it and proved so."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from chimerac.frontends.tokenizers.rendering import Conversation, Rendered, render
from chimerac.runtime.bundle_format import Chat, ChatPieces
from chimerac.runtime.bundle_format.chat import MAX_CHAT_TEXT, TRIMS, Items
from chimerac.runtime.bundle_format.conversation import Message, tokens_of, whole
from chimerac.runtime.reference.tokenizer import STRIP_LEFT, STRIP_RIGHT, Tokenizer

#: Tokens that mark what is kept apart from an answer, by the names that models give them.
_MARKS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "thinking": (("<think>", "</think>"), ("<|think|>", "<|/think|>")),
    "tool_call": (("<tool_call>", "</tool_call>"), ("<|function|>", "<|/function|>")),
}
PROOFS: Final = 60  #: random conversations that pieces are compared with

Encode = Callable[[str], list[int]]


class Renderer(Protocol):
    """``rendering.render`` with a template and its names."""

    def __call__(self, conversations: Sequence[Conversation], /) -> list[Rendered]: ...


@dataclass(frozen=True)
class Found:
    """A chat, and what is to be said of it."""

    chat: Chat
    note: str


def chat_of_template(template: str, names: Mapping[str, str], tokenizer: Tokenizer, encode: Encode) -> Found:
    """The chat of a template.

    Args:
        template: its Jinja source.
        names: names of special tokens that it may use: ``bos_token``, ``eos_token``, ….
        tokenizer: that its text is encoded with.
        encode: a text's tokens, names of special tokens in it allowed, by the library ``tokenizers``.

    Returns:
        the pieces, where random conversations have the same text and tokens made of pieces as rendered; else the
        template as text, with the reason.
    """
    marks = _marks(tokenizer)
    space = any(rule.startswith("prefix") for rule in tokenizer.rules)
    plain = Chat(None, template if len(template) <= MAX_CHAT_TEXT else "", marks, space)
    try:
        pieces = _pieces(lambda conversations: render(template, conversations, names), tokenizer, encode)
    except _IrreducibleError as error:
        return Found(plain, f"its chat template is not compiled, prompts are raw: {error}")
    with_system = "" if pieces.system else ", without a system message"
    return Found(Chat(pieces, "", marks, space), f"conversations by its chat template{with_system}")


class _IrreducibleError(Exception):
    """Why a template is none of pieces."""


def _pieces(renderer: Renderer, tokenizer: Tokenizer, encode: Encode) -> ChatPieces:
    texts = _probe(renderer)
    drawn = list(_conversations(random.Random(1), PROOFS, texts.system is not None))
    shown = renderer([_plain(conversation) for conversation in drawn])
    wrong = [c for c, one in zip(drawn, shown, strict=True) if one.error or one.text != _joined(whole(texts, c))]
    if any(conversation[0].role != "system" for conversation in wrong):
        raise _IrreducibleError("what stands around a message depends on more than its place")
    if wrong:  # where the system's message goes depends on the turns
        texts = replace(texts, system=None)
    pieces = _with_tokens(texts, tokenizer)
    for conversation, rendered in zip(drawn, shown, strict=True):
        if texts.system is None and conversation[0].role == "system":
            continue
        made = tokens_of(
            whole(pieces, conversation), lambda text, begins: tokenizer.encode(text, begins=begins), begins=True
        )
        if made != encode(rendered.text):
            raise _IrreducibleError("its text and its pieces have other tokens")
    return pieces


def _joined(items: Items) -> str:
    return "".join(map(str, items))


def _plain(messages: Sequence[Message]) -> Conversation:
    return [{"role": message.role, "content": message.content} for message in messages]


def _turns(*contents: str) -> list[Message]:
    return [Message(("user", "assistant")[number % 2], content) for number, content in enumerate(contents)]


def _probe(renderer: Renderer) -> ChatPieces:
    """The pieces as texts, as conversations with contents of one's own show them."""
    one, two, three, four = "qXuOneZq", "qXaTwoZq", "qXuThreeZq", "qXsFourZq"
    spaced = f" \n {one} \n "
    asked = (_turns(one), _turns(one, two, three), [Message("system", four), *_turns(one)], _turns(spaced))
    first, second, system, around = renderer([_plain(conversation) for conversation in asked])
    for rendered in (first, second):
        if rendered.error:
            raise _IrreducibleError(rendered.error)
    opening, prompt = _around(first.text, one)
    again, answer, next, last = _around(second.text, one, two, three)
    if (again, last) != (opening, prompt):
        raise _IrreducibleError("the first message or the last one depends on the others")
    trim = {f"{opening}{spaced}{prompt}": "none", f"{opening}{one}{prompt}": "both"}.get(around.text)
    if trim is None:
        raise _IrreducibleError("white space around a message is changed in a way of its own")
    both = None
    if not system.error and all(system.text.count(part) == 1 for part in (four, one)):
        before, after, end = _around(system.text, four, one)
        both = ((before,), (after,)) if end == prompt else None
    return ChatPieces((opening,), (answer,), (next,), (prompt,), both, trim)


def _around(text: str, *contents: str) -> list[str]:
    """What stands before, between and after contents, each of which must be there once and in order."""
    found = []
    for content in contents:
        before, there, text = text.partition(content)
        if not there or content in text:
            raise _IrreducibleError("a message is not in the text once, as it is")
        found.append(before)
    return [*found, text]


_WORDS: Final = (
    *("Hello", " world", "\n", "  ", "日本", "é", "1234", "{{ x }}", "```py\nx\n```", "?", "\t", "'s", "“ok”", "👍🏽"),
    "</p>",
)


def _conversations(source: random.Random, count: int, system: bool) -> Iterator[list[Message]]:
    """Of one to four turns, contents of any words, with white space around some, and no names of special tokens."""
    for number in range(count):
        contents = ["".join(source.choices(_WORDS, k=source.randrange(1, 8))) + f"w{k}" for k in range(9)]
        if number % 3 == 0:
            contents = [f" {content}\n " for content in contents]
        turns = _turns(*contents[: 2 * source.randrange(4) + 1])
        yield [Message("system", contents[8]), *turns] if system and number % 2 else turns


def _marks(tokenizer: Tokenizer) -> dict[str, tuple[int, int]]:
    ids = {special.name: special.id for special in tokenizer.specials}
    found = {}
    for name, pairs in _MARKS.items():
        here = [(ids[a], ids[b]) for a, b in pairs if a in ids and b in ids]
        if here:
            found[name] = here[0]
    return found


def _with_tokens(texts: ChatPieces, tokenizer: Tokenizer) -> ChatPieces:
    """Pieces whose special tokens are numbers. Where one of these takes white space of its text, messages have none."""
    strip = {special.id: special.strip for special in tokenizer.specials}
    opening, answer, next, prompt = (
        _items(one, tokenizer) for one in (texts.opening, texts.answer, texts.next, texts.prompt)
    )
    system = None if texts.system is None else (_items(texts.system[0], tokenizer), _items(texts.system[1], tokenizer))
    befores, afters = [opening, answer, next, *(system or ())], [answer, next, prompt, *(system or ())[1:]]
    left = any(items and strip.get(_number(items[-1]), 0) & STRIP_RIGHT for items in befores)
    right = any(items and strip.get(_number(items[0]), 0) & STRIP_LEFT for items in afters)
    trim = texts.trim if texts.trim == "both" else TRIMS[left + 2 * right]
    return ChatPieces(opening, answer, next, prompt, system, trim)


def _number(item: int | str) -> int:
    return item if isinstance(item, int) else -1


def _items(text: Items, tokenizer: Tokenizer) -> Items:
    """A text's special tokens, and what is between them."""
    parts = (part if isinstance(part, int) else part.decode() for part in tokenizer.parted(_joined(text).encode()))
    return tuple(part for part in parts if part != "")
