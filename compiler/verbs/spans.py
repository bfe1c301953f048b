"""``chimerac spans``: a bank of spans out of texts, or of what a model answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.texts import MOST_TEXT, read_text
from chimerac.compiler.units import decimal_size
from chimerac.compiler.verbs.bundles import open_bundle
from chimerac.compiler.verbs.run import MAX_TOKENS
from chimerac.frontends.spans.mining import Text, mine
from chimerac.runtime.bundle_format.constants import MAX_SPANS
from chimerac.runtime.bundle_format.container import read_container
from chimerac.runtime.bundle_format.sfpack import make_bank, write_bank
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.tokenizer import Tokenizer, tokenizer_of_container
from chimerac.runtime.sessions.interface import Session


@dataclass(frozen=True)
class MinedSpans:
    """What was made.

    Attributes:
        texts: that were read, or answers.
        tokens: of them.
        spans: in the bank.
        mean: tokens of a span.
    """

    path: Path
    texts: int
    tokens: int
    spans: int
    mean: float
    bytes: int

    def __str__(self) -> str:
        made = f"{self.spans:,} spans of {self.mean:.1f} tokens, {decimal_size(self.bytes)}"
        return f"{self.path}: {made}, from {self.tokens:,} tokens of {self.texts:,} texts"


def mine_spans(
    bundle: str | Path,
    files: Sequence[str | Path],
    *,
    out: str | Path = "spans.sfpack",
    entries: int = 32_768,
    least: int = 3,
    answers: bool = False,
    max_tokens: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> MinedSpans:
    """Make a bank of spans for bundles with the same tokenizer.

    Args:
        bundle: folder; its tokenizer makes tokens of the texts.
        files: texts in UTF-8.
        entries: spans at most, up to 524,288; each takes 190 bytes or so.
        least: times that a span must come to be one.
        answers: each line of the files is a prompt, and spans are those of the model's answers.
        max_tokens: of an answer; the bundle's where it is None, else 64.

    Raises:
        UserError: CHM4xx, a bundle that does not open; CHM420, files, numbers or texts that no span is in; CHM421, a
            bundle without tokenizer.
    """
    if not 1 <= entries <= MAX_SPANS:
        raise UserError("CHM420", f"a bank of {entries} spans; 1 to {MAX_SPANS} are possible")
    if least < 2:
        raise UserError("CHM420", f"spans that come {least} times; twice is the least")
    texts = [_read(Path(file)) for file in files]
    with open_bundle(bundle) as session:
        tokenizer, digest = _tokenizer(session, Path(bundle))
        if answers:
            found = _answers(session, tokenizer, texts, max_tokens, tell)
        else:
            found = [_of_text(session, text) for text in texts]
        allowed = np.array([bool(token) for token in tokenizer.tokens])
        spans = mine(
            found,
            allowed,
            entries=entries,
            least=least,
            accept=lambda tokens: _is_canonical(session, tokenizer, tokens),
        )
    if not spans.tokens:
        raise UserError("CHM420", f"nothing comes {least} times in the texts", hint="give longer ones")
    try:
        write_bank(out, make_bank(spans, digest))
    except BundleError as error:
        raise as_user_error(error) from None
    mean = sum(map(len, spans.tokens)) / len(spans.tokens)
    read = sum(len(text.tokens) - text.begin for text in found)
    return MinedSpans(Path(out), len(found), read, len(spans.tokens), mean, Path(out).stat().st_size)


def _read(path: Path) -> str:
    return read_text(path, "the text", "CHM420", MOST_TEXT)


def _tokenizer(session: Session, bundle: Path) -> tuple[Tokenizer, str]:
    entry = session.manifest.file("tokenizer")
    if entry is None:
        raise UserError("CHM421", "the bundle has no tokenizer, which spans need")
    container = read_container(bundle / entry.name)
    return tokenizer_of_container(container), container.contents_sha256


def _of_text(session: Session, text: str) -> Text:
    return Text(np.array(session.encode(text), np.int64))


def _answers(
    session: Session,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    max_tokens: int | None,
    tell: Callable[[str], None],
) -> list[Text]:
    """What the model says to each line, after the line."""
    prompts = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    own = session.manifest.generation
    if max_tokens is None and (own is None or own.max_tokens is None):
        max_tokens = MAX_TOKENS
    options: dict[str, Any] = {} if max_tokens is None else {"max_tokens": max_tokens}
    found = []
    for number, prompt in enumerate(prompts, 1):
        try:
            for _ in session.generate(prompt, **options):
                pass
        except BundleError as error:
            raise as_user_error(error) from None
        before = [*_special(tokenizer, "begin"), *session.encode(prompt), *_special(tokenizer, "answer")]
        found.append(Text(np.array(before + session.tokens(), np.int64), len(before)))
        if not number % 100:
            tell(f"{number} of {len(prompts)} answers")
    return found


def _special(tokenizer: Tokenizer, role: str) -> Iterator[int]:
    found = tokenizer.special_id(role)
    if found is not None:
        yield found


def _is_canonical(session: Session, tokenizer: Tokenizer, tokens: tuple[int, ...]) -> bool:
    """Whether the tokenizer makes these tokens of their own text, so that a model may come to say them."""
    data = tokenizer.decode_bytes(tokens)
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return session.encode(data, begins=False) == list(tokens)
