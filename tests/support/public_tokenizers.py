"""Small tokenizers of every kind that people publish, trained with the library ``tokenizers``."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from texts import STRANGE, random_text
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Library

from chimerac.frontends.tokenizers.components import NUMBERS_OF_THREE, REGEX_OF, UNDERLINE

#: Ids behind the vocabulary that is learnt.
NAMES = ("<|im_start|>", "<｜im▁end｜>", "<think>")


_WORDS = "the thing in the ing of a tokenizer returns tokens; for (int i = 0; i < count; ++i) 日本語 テキスト слово"


@cache
def corpus() -> tuple[str, ...]:
    """Hard texts, and words that merge."""
    source, words = random.Random(11), _WORDS.split(" ")
    hard = [text for data in STRANGE if (text := data.decode("utf-8", "ignore")).encode() == data]
    drawn = (random_text(source, 30) for _ in range(60))
    return (*hard, *hard, *drawn, *(" ".join(source.choices(words, k=40)) for _ in range(80)))


def _bytes_after(*parts: pre_tokenizers.PreTokenizer, regex: bool = False) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([*parts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)])


def _split(regex: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(regex), "isolated")


def _byte_level(
    pre: pre_tokenizers.PreTokenizer, *, nfc: bool = False, whole: bool = False, alphabet: bool = True
) -> Library:
    library = Library(models.BPE(ignore_merges=whole))
    library.pre_tokenizer = pre
    library.decoder = decoders.ByteLevel()
    library.post_processor = processors.ByteLevel(trim_offsets=False)
    if nfc:
        library.normalizer = normalizers.NFC()
    return _trained(library, ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet() if alphabet else [])


def _pieces(
    pre: pre_tokenizers.PreTokenizer | None, normal: list[normalizers.Normalizer], decoder: list[decoders.Decoder]
) -> Library:
    """As converted from SentencePiece: characters, and tokens of bytes for those that are none."""
    library = Library(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if pre is not None:
        library.pre_tokenizer = pre
    if normal:
        library.normalizer = normalizers.Sequence(normal)
    library.decoder = decoders.Sequence(decoder)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained = _trained(library, special, [])
    trained.post_processor = processors.TemplateProcessing("<s> $A", None, [("<s>", 1)])
    return trained


def _trained(library: Library, special: list[str], alphabet: list[str]) -> Library:
    trainer = trainers.BpeTrainer(
        vocab_size=len(special) + 560,
        special_tokens=special,
        initial_alphabet=alphabet,
        limit_alphabet=300,
        show_progress=False,
    )
    library.train_from_iterator(corpus(), trainer)
    document = json.loads(library.to_str())
    rows = [row for row in document["added_tokens"] if not row["content"].startswith("<0x")]
    for number, name in enumerate(NAMES):
        sides = {"lstrip": number == 1, "rstrip": number == 0}
        flags = {"normalized": False, "single_word": False, "special": number < 2, **sides}
        rows.append({"id": len(document["model"]["vocab"]) + number, "content": name, **flags})
    return Library.from_str(json.dumps(document | {"added_tokens": rows}))


_STRIPPED = [decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
_LLAMA2 = [normalizers.Prepend(UNDERLINE), normalizers.Replace(" ", UNDERLINE)]
_GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False)

_KINDS: dict[str, Callable[[], Library]] = {
    "gpt2": lambda: _byte_level(_GPT2),
    "gpt2 with a space before": lambda: _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "gpt2 without some bytes": lambda: _byte_level(_GPT2, alphabet=False),
    "bytes that nothing cuts": lambda: _byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)),
    "digits": lambda: _byte_level(_bytes_after(pre_tokenizers.Digits(individual_digits=True), regex=True)),
    "digits of three": lambda: _byte_level(_bytes_after(_split(NUMBERS_OF_THREE), regex=True)),
    "llama3": lambda: _byte_level(_bytes_after(_split(REGEX_OF["llama3"])), whole=True),
    "qwen2": lambda: _byte_level(_bytes_after(_split(REGEX_OF["qwen2"])), nfc=True),
    "qwen3.5": lambda: _byte_level(_bytes_after(_split(REGEX_OF["qwen35"])), nfc=True),
    "o200k": lambda: _byte_level(_bytes_after(_split(REGEX_OF["o200k"]))),
    "llama2": lambda: _pieces(None, _LLAMA2, _STRIPPED),
    "gemma": lambda: _pieces(pre_tokenizers.Split(" ", "merged_with_previous"), _LLAMA2[1:], _STRIPPED[:3]),
    "metaspace": lambda: _pieces(pre_tokenizers.Metaspace(), [], [decoders.ByteFallback(), decoders.Metaspace()]),
    "metaspace at first": lambda: _pieces(pre_tokenizers.Metaspace(prepend_scheme="first", split=False), [], _STRIPPED),
}
KINDS = tuple(_KINDS)


@cache
def library_of(kind: str) -> Library:
    """The tokenizer of a kind."""
    return _KINDS[kind]()


def document_of(kind: str) -> dict[str, Any]:
    """What its tokenizer.json holds."""
    document: dict[str, Any] = json.loads(library_of(kind).to_str())
    return document


def texts_with_names(seed: int, count: int) -> Iterator[str]:
    """Hard texts, with names of special tokens and beginnings of these among them."""
    source = random.Random(seed)
    yield from corpus()[: count // 4]
    for _ in range(count // 2):
        yield random_text(source, source.randrange(40))
    names = (*NAMES, "<|endoftext|>", "<s>", "<|im_", "<｜im")
    for _ in range(count // 4):
        yield "".join(source.choice([source.choice(names), random_text(source, source.randrange(5))]) for _ in range(6))
    yield from ("é" * 100, "a" * 300, " " * 200, "日本" * 50, "aé" * 60, "")
