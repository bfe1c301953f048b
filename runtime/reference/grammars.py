"""Grammars of sessions whose decode loop is Python: the same choices as ``native/chm_session.c`` makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.arguments import check_grammar_name
from chimerac.runtime.bundle_format import Ledger
from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.container import contents_sha256, parse_container
from chimerac.runtime.bundle_format.fstpack import (
    FLAG_DEFAULT,
    FLAG_PARAGRAPH,
    FLAG_PROSE,
    FLAG_REPETITION,
    FLAG_RHYTHM,
    Automaton,
    Pack,
    Vocabulary,
    pack_of_container,
)
from chimerac.runtime.bundle_format.grammar_trie import BLANK_LINE, SENTENCE_END, STRUCTURE, vocabulary_of
from chimerac.runtime.bundle_format.state import GrammarPlace
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR, GenerateOptions
from chimerac.runtime.reference.grammar_engine import GrammarEngine, GrammarState
from chimerac.runtime.reference.ledger import Debts, Open
from chimerac.runtime.reference.tokenizer import Tokenizer, tokenizer_sections

MOST_WEIGHT: Final = 512  #: in 1/256 nat
_MOST_OPEN: Final = 8


class PythonGrammars:
    """The grammars that a session is asked for."""

    def __init__(self, tokenizer: Tokenizer | None, file: Path | None) -> None:
        self._tokenizer, self._file = tokenizer, file
        self._pack: Pack | None = None
        self._vocabulary: Vocabulary | None = None
        self._engines: dict[str | bytes, GrammarEngine] = {}

    def choose(self, wanted: str | bytes | None) -> GrammarEngine | None:
        """The grammar that is meant by GenerateOptions.grammar; None for none.

        Raises BundleError CHM431 for a name that the bundle has not or a pack for another tokenizer, CHM400 to CHM406
        for a container, CHM421 without a tokenizer.
        """
        if wanted == NO_GRAMMAR or (wanted is None and self._file is None):
            return None
        if self._tokenizer is None:
            raise BundleError("CHM421", "the bundle has no tokenizer, which grammars need")
        if wanted is None:
            wanted = next((g.name for g in self._own().grammars if g.flags & FLAG_DEFAULT), None)
            if wanted is None:
                return None
        if wanted not in self._engines:
            while len(self._engines) >= _MOST_OPEN:
                self._engines.pop(next(iter(self._engines)))
            self._engines[wanted] = self._engine(*self._automaton(wanted), self._tokenizer)
        return self._engines[wanted]

    def set_words(self, engine: GrammarEngine, options: GenerateOptions) -> None:
        """Say what may stand in a grammar's slots, as the tokenizer has the text; raises BundleError CHM420, CHM421."""
        if not engine.automaton.slots:
            return
        assert self._tokenizer is not None
        for kind, text in options.slot_texts:
            engine.set_words(kind, self._tokenizer.tidied(text) if kind == "request" and text is not None else text)

    def _automaton(self, wanted: str | bytes) -> tuple[Automaton, Vocabulary | None]:
        """A grammar, and the tables of tokens that it came with."""
        if isinstance(wanted, bytes):
            pack = pack_of_container(parse_container(wanted))
            self._check(pack)
            found = pack.grammars[0] if len(pack.grammars) == 1 else None
            found = found or next((g for g in pack.grammars if g.flags & FLAG_DEFAULT), None)
            if found is None:
                raise BundleError("CHM431", "no grammar is the default")
            return found, pack.vocabulary
        check_grammar_name(wanted, [] if self._file is None else [g.name for g in self._own().grammars])
        return next(g for g in self._own().grammars if g.name == wanted), None

    def _engine(self, automaton: Automaton, given: Vocabulary | None, tokenizer: Tokenizer) -> GrammarEngine:
        if given is None and self._vocabulary is None:
            own = self._own().vocabulary if self._file is not None else None
            self._vocabulary = own or _without_classes(vocabulary_of(tokenizer.tokens))
        ends = tuple(special.id for special in tokenizer.specials if special.role == c.ROLE_END)
        vocabulary = given or self._vocabulary
        assert vocabulary is not None
        return GrammarEngine(automaton, vocabulary, tokenizer.tokens, ends)

    def _own(self) -> Pack:
        """The bundle's own grammars."""
        if self._pack is None:
            assert self._file is not None
            try:
                data = self._file.read_bytes()
            except OSError as error:
                message = f"cannot read the grammars: {error.strerror}"
                raise BundleError("CHM400", message, path=self._file) from None
            self._pack = pack_of_container(parse_container(data, path=self._file))
            self._check(self._pack)
        return self._pack

    def _check(self, pack: Pack) -> None:
        assert self._tokenizer is not None
        if pack.vocabulary is None:
            return
        if pack.tokenizer_sha256 != contents_sha256(tokenizer_sections(self._tokenizer)):
            raise BundleError("CHM431", "grammars: they were made for another tokenizer")


def _without_classes(vocabulary: Vocabulary) -> Vocabulary:
    """Tables that no pack has classes of tokens for: texts get no weights with them."""
    return replace(vocabulary, soft=np.zeros_like(vocabulary.soft))


@dataclass
class GrammarRun:
    """The place of a generation in a grammar.

    Args:
        left: tokens that may still be made.
        rhythm: tokens since the last sentence end and the last blank line.
        finished: an end token was accepted.
        ledger: what counts as an obligation; None: nothing.
        open: the obligations.
    """

    engine: GrammarEngine
    at: GrammarState
    left: int
    rhythm: tuple[int, int] = (0, 0)
    finished: bool = False
    ledger: Ledger | None = None
    open: Open = field(default_factory=Open)

    @classmethod
    def begin(cls, engine: GrammarEngine, max_tokens: int, ledger: Ledger | None = None) -> GrammarRun:
        """At the start of a text."""
        return cls(engine, engine.start(), max_tokens, ledger=ledger)

    def place(self) -> GrammarPlace:
        """What a snapshot keeps."""
        stored = self.engine.stored(self.at, finished=self.finished)
        return GrammarPlace(self.engine.identity, self.rhythm, stored, self.open.words() if self.ledger else None)

    def debts(self) -> Debts:
        """The obligations that are open."""
        return self.open.debts(self.ledger, self.engine.kinds(self.at)) if self.ledger else Debts({}, 0)

    def allowed(self, size: int) -> NDArray[np.bool_]:
        """bool[size]: the tokens that may come. Raises BundleError CHM431 where none may and the text is not whole."""
        mask = self.engine.mask(self.at, self.left)
        if not mask.any() and not self.engine.complete(self.at):
            raise BundleError("CHM431", "the grammar leads to no end")
        return np.concatenate([mask, np.zeros(size - len(mask), bool)])

    def weighted(self, logits: NDArray[np.float32], history: Sequence[int]) -> NDArray[np.float32]:
        """Logits with the weights of prose added; docs/fstpack.md, section 5."""
        flags = self.engine.automaton.flags
        if not flags & FLAG_PROSE:
            return logits
        soft = np.zeros(len(logits), np.uint8)
        soft[: self.engine.vocabulary.size] = self.engine.vocabulary.soft
        weights = np.zeros(len(logits), np.int64)
        if flags & FLAG_RHYTHM:
            weights[soft & SENTENCE_END > 0] += min(MOST_WEIGHT, 16 * max(0, self.rhythm[0] - 24))
        if flags & FLAG_PARAGRAPH:
            weights[soft & BLANK_LINE > 0] += min(MOST_WEIGHT, 4 * max(0, self.rhythm[1] - 120))
        if self.ledger:
            debts = self.debts()
            weights[soft & SENTENCE_END > 0] += debts.weight(self.ledger, "complete_sentence")
            weights[soft & BLANK_LINE > 0] += debts.weight(self.ledger, "finish_list")
        if flags & FLAG_REPETITION and len(history):
            window = np.asarray(history[-c.HISTORY_TOKENS :], np.int64)
            times = np.bincount(window[1:][window[:-1] == window[-1]], minlength=len(logits))
            weights -= np.where(soft & STRUCTURE, 0, np.minimum(128 * times, MOST_WEIGHT))
        return (logits + (np.clip(weights, -MOST_WEIGHT, MOST_WEIGHT) / 256).astype(np.float32)).astype(np.float32)

    def accept(self, token: int) -> None:
        """Go on by a token of the mask; an end token does not change the place."""
        self.left -= 1
        after = self.engine.accept(self.at, token)
        self.finished = after is None
        soft = int(self.engine.vocabulary.soft[token])
        if after is not None and self.ledger:
            self.open = self.open.taken(self.at.kept_in(after), len(after.frames))
            if self.engine.automaton.flags & FLAG_PROSE and self.engine.vocabulary.soft.any():
                self.open = self.open.read(self.engine.tokens[token], soft)
        self.at = after or self.at
        sentence, paragraph = (min(65535, count + 1) for count in self.rhythm)
        self.rhythm = (0 if soft & SENTENCE_END else sentence, 0 if soft & BLANK_LINE else paragraph)
