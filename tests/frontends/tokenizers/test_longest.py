"""RWKV's tokenizers of GGUF files: the longest token at each place, in Python and C, as a walk over a tree finds it."""

from __future__ import annotations

import ctypes as ct
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from c_tokenizers import opened as opened_in_c
from gguf_files import Gguf, integer_value, text_value, texts_value
from gguf_tokenizers import CONTROL, NORMAL, UNUSED, integers_value, opened, with_keys
from public_tokenizers import corpus, texts_with_names

from chimerac.compiler.errors import UserError
from chimerac.frontends.tokenizers import read_folder, read_gguf
from chimerac.frontends.tokenizers.world import WORLD
from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.merging import Merges
from chimerac.runtime.reference.tokenizer import Tokenizer, read_tokenizer, write_tokenizer

#: Behind single bytes; some end or begin within a character, and some begin what no token goes on with.
DRAWN = random.Random(3)
PARTS = [text.encode() for text in corpus() if text]


def drawn_tokens(count: int) -> list[bytes]:
    found: dict[bytes, None] = {b"aaaaab": None, b"\\x41": None, b"'\"": None, b"\n\n": None, b"a" * 255: None}
    while len(found) < count:
        part = DRAWN.choice(PARTS)
        at = DRAWN.randrange(len(part))
        token = part[at : at + DRAWN.randrange(2, 12)]
        if len(token) > 1:
            found[token] = None
    return list(found)


TOKENS = [bytes([byte]) for byte in range(256)] + drawn_tokens(900)


def world(tokens: Sequence[bytes] = TOKENS) -> Gguf:
    """As llama.cpp's converter writes it: a special one first, escapes, and what pads the vocabulary at the end."""
    return with_keys(
        model=text_value("rwkv"),
        tokens=texts_value(["<s>", *(repr(token)[2:-1] for token in tokens), "[PAD0]"]),
        token_type=integers_value([CONTROL, *[NORMAL] * len(tokens), UNUSED]),
        eos_token_id=integer_value(0),
        chat_template=text_value("rwkv-world"),
    )


def spelt(*texts: str) -> Gguf:
    """Tokens spelt so."""
    return with_keys(model=text_value("rwkv"), tokens=texts_value(texts))


def walked(tokens: Sequence[bytes], data: bytes) -> Iterator[int]:
    """Ids by a tree of bytes, in which None says which token ends here."""
    tree: dict[int | None, Any] = {}
    for id, token in enumerate(tokens):
        node = tree
        for byte in token:
            node = node.setdefault(byte, {})
        node[None] = id + 1
    at = 0
    while at < len(data):
        node, place, last = tree, at, (0, 0)
        while place < len(data) and data[place] in node:
            node, place = node[data[place]], place + 1
            if None in node:
                last = node[None], place
        yield last[0]
        at = last[1]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = opened(tmp_path_factory.mktemp("world") / "a.gguf", world())
    parts = read_gguf(file, len(TOKENS) + 10, strings=300)
    assert (parts.chat, parts.notes[-1]) == (None, "there is no chat template: prompts are raw")
    return parts.tokenizer


def test_the_longest_token_counts(tokenizer: Tokenizer, internals: ct.CDLL, tmp_path: Path) -> None:
    assert (tokenizer.rules, tokenizer.pattern, tokenizer.merges) == (("longest",), "none", None)
    assert [(s.name, s.id, s.role) for s in tokenizer.specials] == [("<s>", 0, "end")]
    assert tokenizer.tokens[1 : len(TOKENS) + 1] == tuple(TOKENS)
    write_tokenizer(tmp_path / "a.model", tokenizer)
    assert read_tokenizer(tmp_path / "a.model") == tokenizer
    texts = [*(text.encode() for text in texts_with_names(7, 200)), DRAWN.randbytes(3000), b"a" * 700, b"aaaaa" * 9]
    with opened_in_c(internals, tmp_path / "a.model") as in_c:
        for data in texts:
            expected = list(walked(TOKENS, data))
            assert tokenizer.encode(data) == expected, data
            assert in_c.encode(data) == expected, data
            assert tokenizer.decode_bytes(expected) == in_c.decode(expected) == data
        whole = b"".join(texts)
        assert in_c.encode_parts(whole, 1000) == tokenizer.encode(whole)
        assert in_c.encode("a<s>b", specials=True) == tokenizer.encode("a<s>b", specials=True) == [98, 0, 99]


def test_pieces_and_bytes_that_are_no_token(internals: ct.CDLL, tmp_path: Path) -> None:
    """The rule is of pieces: what a pattern cuts stays apart, and what is dropped joins what is beside it."""
    tokens = (b"a", b"b", b" ", b"ab", b"b a", b"abb")
    made = Tokenizer(tokens, pattern=c.PATTERN_GPT2, rules=(c.RULE_DROP, c.RULE_LONGEST))
    write_tokenizer(tmp_path / "a.model", made)
    with opened_in_c(internals, tmp_path / "a.model") as in_c:
        for text, expected in {"ab ab": [3, 2, 3], "axbb": [5], "x": [], "b a": [1, 2, 0]}.items():
            assert made.encode(text) == in_c.encode(text) == expected


def test_a_rule_that_has_no_merges() -> None:
    tokens = (*(bytes([byte]) for byte in range(256)), b"ab")
    with pytest.raises(BundleError, match="the longest token counts, and there are merges"):
        Tokenizer(tokens, merges=Merges((256,)), rules=(c.RULE_LONGEST,))


@pytest.mark.parametrize(
    ("gguf", "code", "words"),
    [
        (world(tokens=TOKENS[1:]), "CHM261", "without a token for each byte"),
        (world(tokens=[*TOKENS, b"a"]), "CHM260", "two tokens have the same bytes"),
        (spelt("a", "\\q"), "CHM260", "token 1 has an escape that is none"),
        (spelt("\\x4"), "CHM260", "token 0 has an escape"),
        (spelt("\\x4G"), "CHM260", "token 0 has an escape"),
        (spelt("a\\"), "CHM260", "token 0 has an escape"),
    ],
    ids=["a byte is missing", "a token twice", "an unknown escape", "half a byte", "another digit", "half an escape"],
)
def test_files_that_are_refused(gguf: Gguf, code: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_gguf(opened(tmp_path / "a.gguf", gguf), 2000, strings=1)
    assert (caught.value.code, words in caught.value.message) == (code, True), caught.value.message


def lines(tokens: Sequence[bytes]) -> list[str]:
    """Of a folder's file: texts where the bytes are some."""
    found = []
    for id, token in enumerate(tokens, 1):
        text = token.decode("utf-8", "replace")
        found.append(f"{id} {text!r} {len(token)}" if text.encode() == token else f"{id} {token!r} {len(token)}")
    return found


def test_a_folder_without_a_tokenizer_json(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / WORLD).write_text("\n".join([*lines(TOKENS), ""]), "utf-8", newline="\n")
    found = read_folder(tmp_path, len(TOKENS) + 10, strings=100).tokenizer
    assert found.tokens == tokenizer.tokens
    assert [(s.name, s.id, s.role) for s in found.specials] == [("<|rwkv_tokenizer_end_of_text|>", 0, "end")]


@pytest.mark.parametrize(
    "line",
    [
        "2 'a' 2",
        "3 'a' 1",
        "2 'a'",
        "2 a 1",
        "2 ['a'] 1",
        "2 '' 0",
        "2 'a' 'b' 2",
        "2 b'\u00e9' 2",
        "2 '\\ud800' 3",
        "",
    ],
)
def test_lines_that_are_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / WORLD).write_text(f"1 'b' 1\n{line}\n3 'c' 1\n", "utf-8")
    with pytest.raises(UserError, match="line 2 is not the next id") as caught:
        read_folder(tmp_path, 300, strings=1)
    assert caught.value.code == "CHM260"


def test_the_world_vocabulary(internals: ct.CDLL, tmp_path: Path) -> None:
    """That of the package rwkv, with 65,529 tokens, by its own walk."""
    package: Any = pytest.importorskip("rwkv.rwkv_tokenizer")
    theirs = package.TRIE_TOKENIZER(str(Path(package.__file__).with_name(WORLD)))
    tokens = [theirs.idx2token[id] for id in range(1, len(theirs.idx2token) + 1)]
    tokenizer = read_gguf(opened(tmp_path / "a.gguf", world(tokens)), 65_536, strings=300).tokenizer
    (tmp_path / WORLD).write_bytes(Path(package.__file__).with_name(WORLD).read_bytes())
    assert read_folder(tmp_path, 65_536, strings=1).tokenizer.tokens == tokenizer.tokens
    write_tokenizer(tmp_path / "a.model", tokenizer)
    with opened_in_c(internals, tmp_path / "a.model") as in_c:
        for text in texts_with_names(8, 300):
            expected = theirs.encodeBytes(text.encode())
            assert tokenizer.encode(text) == in_c.encode(text) == expected, text
