"""A tokenizer of ours compared with the library ``tokenizers`` on drawn texts: the same tokens, and the text again."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from chimerac.compiler.errors import UserError
from chimerac.runtime.reference.tokenizer import Tokenizer

STRINGS: Final = 10_000


class Library(Protocol):
    """What is asked of ``tokenizers.Tokenizer``."""

    def encode(self, sequence: str, *, add_special_tokens: bool) -> Encoded: ...

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str: ...


class Encoded(Protocol):
    @property
    def ids(self) -> list[int]: ...


@dataclass(frozen=True)
class Comparison:
    """What was compared, and how long it took."""

    strings: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.strings:,} texts have the tokens of the library tokenizers ({self.seconds:.1f} s)"


_PROSE: Final = (
    *(
        "The",
        " quick",
        " brown fox",
        " doesn't",
        " jump; it's",
        " what they'd",
        " said, and WE'LL see:",
        " naïve",
        "café",
    ),
    *(" Ünïcode", " Straße", "e", "ing "),
)
_CODE: Final = (
    *("def f(self, x: int = 0) -> None:\n", "    return x ** 2\n", "for (int i = 0; i < n; ++i) {\n", "\t}\n", "\r\n"),
    *(
        "#include <a.h>\r\n",
        '{"key": [1, 2.5e-3, true, null]}',
        "https://a.b/c?d=e&f#g",
        "```\n",
        "<div/>",
        "/* … */ // ",
    ),
    "a_b.camelCase->PascalCase::CONST",
)
_SCRIPTS: Final = (
    *(
        "日本語テキスト",
        "漢字",
        "カタカナー",
        "ひらがな",
        "한국어",
        "中文，标点。",
        "Привет, мир",
        "Ελληνικά",
        "ไทยภาษา",
    ),
    *("हिन्दी", "தமிழ்", "שלום עולם", "مرحبا بالعالم", "\u200fعربي\u200f", "ქართული", "Հայերեն", "አማርኛ"),
)
_SIGNS: Final = (
    *(
        "😀",
        "👍🏽",
        "👩‍👩‍👧‍👦",
        "🇩🇪🇫🇷",
        "☃️",
        "e\u0301",
        "a\u0308\u0323",
        "\u0301",
        "Å",
        "ﬁ",
        "Ⅷ",
        "½",
        "²",
        "٣٤",
        "１２",
    ),
    *(
        "€",
        "—",
        "…",
        "\u200b",
        "\u200d",
        "\ufeff",
        "\ufffd",
        "\u2581",
        "\x00",
        "\x7f",
        "\x1b",
        "\U0010ffff",
        "<",
        ">",
        "|",
    ),
    *("'s", "'T", "'ſ"),
)
_SPACES: Final = (" ", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u3000", "\u2028", "\x85")


def drawn_texts(names: Sequence[str], count: int, seed: int = 1) -> Iterator[str]:
    """Texts of words, code, scripts, signs, spaces and numbers, some with names of special tokens among them."""
    source = random.Random(seed)
    choices: tuple[Sequence[str], ...] = (_PROSE, _PROSE, _CODE, _SCRIPTS, _SIGNS, _SPACES, _SPACES)
    for number in range(count):
        parts = []
        for _ in range(source.randrange(1, 14)):
            kind = source.randrange(len(choices) + 2)
            if kind < len(choices):
                parts.append(source.choice(choices[kind]))
            elif kind == len(choices):
                parts.append(str(source.randrange(10 ** source.randrange(1, 12))))
            elif names and number % 3 == 0:
                name = source.choice(names)
                parts.append(name if source.random() < 0.8 else name[: source.randrange(1, len(name) + 1)])
        text = "".join(parts)
        yield text if number % 17 else text * 9


def compare(where: str, tokenizer: Tokenizer, library: Library, strings: int = STRINGS) -> Comparison:
    """Encode and decode drawn texts with both.

    Args:
        where: the tokenizer's file, in the message.
        library: a ``tokenizers.Tokenizer`` of the same file.
        strings: how many.

    Raises:
        UserError: CHM262 with the first text whose tokens, or whose text again, are others.
    """
    begun = time.perf_counter()
    for text in drawn_texts([special.name for special in tokenizer.specials], strings):
        theirs, ours = library.encode(text, add_special_tokens=False).ids, tokenizer.encode(text, specials=True)
        if theirs != ours:
            raise _differs(where, "tokens", text, ours, theirs)
        plain = [id for id in ours if tokenizer.tokens[id]]
        again, found = library.decode(plain), tokenizer.decode(plain)
        if again not in (found, found.removeprefix(" ")):  # the space that is put before a text may be taken off
            raise _differs(where, "text again", text, found, again)
    return Comparison(strings, time.perf_counter() - begun)


def _differs(where: str, what: str, text: str, ours: object, theirs: object) -> UserError:
    message = (
        f"{where}: the {what} of {_shown(text)} is {_shown(ours)} here and {_shown(theirs)} in the library tokenizers"
    )
    return UserError("CHM262", message, hint="report this with the name of the model")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 300 else text[:300] + "…"
