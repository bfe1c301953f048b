"""Texts that are hard to tokenize: every kind of character, runs, contractions, bytes that are no UTF-8."""

from __future__ import annotations

import random

#: As it is in tiktoken's definition of o200k_base.
O200K_PATTERN = "|".join(
    [
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
        r"""\p{N}{1,3}""",
        r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
        r"""\s*[\r\n]+""",
        r"""\s+(?!\S)""",
        r"""\s+""",
    ]
)

_STRANGE = (
    "",
    " ",
    "a",
    "'",
    "it's IT'S we'RE I'll 'tis O'ſ x'ſt rock'n'roll I'D've l'le 'LL 're'",
    "HelloWorld HELLOworld helloWORLD ÉÀé ǅabc ABCǅ aʰbʰ ªº ßẞ",
    "日本語テキスト カタカナー ひらがな 한국어 漢字AB 日AAAA日 ABC日DEFghi",
    "שלום עולם مرحبا بالعالم ‏rtl‏ हिन्दी ไทยภาษา",
    "é e\u0301\u0308x \u0301 \u0301\u0301AB \u0301ab !\u0301ABC \u0301's A\u0301B\u0301c",
    "1 12 123 1234 12345678 ²³½ ٣٤٥٦ １２３４ Ⅳ 3.14159 a1b22c333d4444",
    "😀👍🏽👩‍👩‍👧‍👦🇩🇪🇫🇷 ☃️ 😀a 😀A 😀1 :-) <<<>>> // /* */ http://a.b/c?d=e&f#g",
    "a\nb\r\nc\n\n\nd \n e\n \n f \r g\t\th\n\t i   j    \n\n   k \u3000\u2028\x85\u00a0l ",
    "   \n   x\n   ",
    "!!\n\n/\n x ...\r\n//y #/\n/",
    "\x00\x01\x1c\x1f\x7f\x80\x9f \ufeff \u200b\u200d\ufffd \ufffe \U000e0100\U000e01ef \U0010ffff",
    "<|endoftext|> <|pad|><|im_start|>system<|im_end|> <|/think|> <|nothing|> <|endof",
)
_NO_UTF8 = (
    b"\xff",
    b"abc\xffdef \xff\xfe ghi\x80",
    b"\xc3 \xe2\x82 \xf0\x9f\x98 \xc3",
    b"\xc0\xaf \xe0\x80\xaf \xed\xa0\x80\xed\xb0\x80 \xf4\x90\x80\x80 \xf5\x80\x80\x80",
    b"A\xffb \xffA's\xff's 1\xff2 \n\xff\n \xcc\x81\xcc \xf0\x9f\x98\x80\xf0\x9f\x98",
)
STRANGE = (*(text.encode() for text in _STRANGE), *_NO_UTF8)

#: Characters of every class and of every case of the o200k pattern, drawn together.
_HARD = (
    *("'s", "'T", "'re", "'VE", "'m", "'lL", "'D", "'ſ", "'", "s", "t", "re", "ll", "S", "K"),
    *(" ", " ", " ", "\n", "\r", "\r\n", "\t", "/", "\x85", "\u00a0", "\u2003", "\u2028", "\u3000"),
    *("a", "b", "é", "ß", "A", "B", "É", "Ⅷ", "ǅ", "ʰ", "ª", "日", "ー", "ع", "ע", "ท", "ก็", "ह", "\u0301", "\u0903"),
    *("\u20dd", "\ufe0f", "\U000e0100", "1", "12", "²", "½", "٣", "１", "!", "=", "—", "…", "€", "_", "-", "<|", "|>"),
    *("😀", "👍🏽", "\u200d", "\u200b", "🇩", "\x00", "\x1c", "\ufffd", "\U0010ffff"),
)
_BROKEN = b"\x00aZ '\n\x7f\x80\xbf\xc0\xc2\xc3\xa9\xcc\x81\xe0\xe2\x82\xac\xed\xa0\xf0\x9f\x98\x80\xf4\x90\xf5\xff"


def random_text(source: random.Random, characters: int) -> str:
    """Characters that are hard to split, or any of Unicode."""
    if source.random() < 0.7:
        return "".join(source.choices(_HARD, k=characters))
    tops = (0x250, 0x3000, 0x20000, 0x110000)
    codes = (source.randrange(source.choice(tops)) for _ in range(characters))
    return "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)


def random_bytes(source: random.Random, size: int) -> bytes:
    """Bytes that are mostly parts of characters, or any."""
    return bytes(source.choices(_BROKEN, k=size)) if source.random() < 0.7 else source.randbytes(size)


def random_texts(seed: int, count: int, longest: int = 40) -> list[bytes]:
    """Texts and broken texts in turn, after the ones that are always there."""
    source = random.Random(seed)
    drawn = [
        random_text(source, source.randrange(longest)).encode()
        if k % 3
        else random_bytes(source, source.randrange(longest))
        for k in range(count)
    ]
    return [*STRANGE, *drawn]
