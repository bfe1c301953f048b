"""Rows of a household in parts: each part is drawn, and then encoded, by a process of its own.

Parts and their seeds depend on how many rows are asked for, never on how many processes there are.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from chimerac.frontends.training.recipes.home.templates import Package, load_package
from chimerac.frontends.training.recipes.home.tokens import FastEncoder
from chimerac.frontends.training.recipes.household import noise
from chimerac.frontends.training.recipes.household.drawing import sources
from chimerac.frontends.training.recipes.household.dwellings import NameSource
from chimerac.frontends.training.recipes.household.readings import Readings
from chimerac.frontends.training.recipes.household.requests import HOMES, Requests, Row, draw, tidied
from chimerac.runtime.reference.tokenizer import Tokenizer, read_tokenizer

#: Folders of training rows, and the most tokens of one in them.
SETS: Final = {"short": 96, "middle": 384, "long": 2048}
PART: Final = 40_000  #: most rows that a process draws at a time
_SURELY_LONG: Final = 1500  #: characters of names that a row of the longest set has mostly
_PER_HOME: Final = 12  #: training rows to a home, where a language has many: names are to be read, not learnt
_MOST_TIMES: Final = 20  #: that training has a text: what has no names can only be said in a few ways

Tokens = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Told:
    """A row, the text of its home's names before it, and of a row of validation its home."""

    row: Row
    prefix: str
    home: dict[str, Any] | None = None


@dataclass(frozen=True)
class Part:
    """Training rows of a language that one process draws: the ``number``-th of ``parts``."""

    language: str
    number: int
    parts: int
    rows: int


@dataclass
class Encoded:
    """Rows of a part as tokens.

    Attributes:
        rows: by set, the tokens of each row and the place where its answer begins.
        kinds, noises: how many rows there are of each. left_out: rows that are too long, or longer than asked for.
    """

    rows: dict[str, list[tuple[Tokens, int]]] = field(default_factory=lambda: {name: [] for name in SETS})
    kinds: Counter[str] = field(default_factory=Counter)
    noises: Counter[str] = field(default_factory=Counter)
    left_out: int = 0


def parts_of(counts: Mapping[str, int]) -> list[Part]:
    """The parts of so many rows of each language, all parts of a language of nearly the same size."""
    found = []
    for language, rows in counts.items():
        parts = max(1, -(-rows // PART))
        found += [Part(language, k, parts, rows * (k + 1) // parts - rows * k // parts) for k in range(parts)]
    return found


def draw_valid(language: str, validation: int, seed: int) -> dict[str, list[Told]]:
    """Up to ``validation`` rows of a language for each file of validation; no text is in two of them."""
    forms = {  # file → whether templates and names are held out, and the noises
        "seen": (False, False, noise.KINDS),
        "names": (False, True, ()),
        "templates": (True, False, ()),
        "noise": (False, False, noise.HELD_OUT),
    }
    package, taken = load_package(language), set[str]()
    readings, valid = _readings(package, language, seed), dict[str, list[Told]]()
    for name, (templates, names, noises) in forms.items():
        source = Requests(
            package,
            language,
            f"{seed} {name}",
            held_templates=templates,
            held_names=names,
            homes=2 + validation // 3,
            readings=readings,
        )
        found = draw(source, validation, taken, _any, noises=noises, share=1.0 if name == "noise" else 0.35)
        valid[name] = [_told(row, source, judged=True) for row in found]
    return valid


def draw_part(part: Part, seed: int, path: Path) -> int:
    """Writes the rows of a part to ``path``, for ``read_part``; returns their number."""
    package = load_package(part.language)
    source = Requests(
        package,
        part.language,
        f"{seed} train {part.number}",
        held_templates=False,
        held_names=False,
        homes=max(HOMES, part.rows // _PER_HOME),
        readings=_readings(package, part.language, seed),
    )
    most = max(1, round(_MOST_TIMES / part.parts))
    rows = [_told(row, source) for row in draw(source, part.rows, set(), _any, most=most)]
    prefixes = {prefix: number for number, prefix in enumerate(dict.fromkeys(told.prefix for told in rows))}
    numbered = [(prefixes[told.prefix], *astuple(told.row)) for told in rows]
    path.write_text(json.dumps([list(prefixes), numbered], ensure_ascii=False), "utf-8")
    return len(rows)


def read_part(path: Path) -> list[Told]:
    """The rows that ``draw_part`` wrote."""
    prefixes, rows = json.loads(path.read_text("utf-8"))
    return [Told(Row(*values), prefixes[number]) for number, *values in rows]


def encode_part(path: Path, tokenizer: Path, judged: frozenset[str], long: float, seed: str) -> Encoded:
    """The rows of a part whose texts are not ``judged``; of the surely long ones only a share ``long``."""
    encoder = Encoder(replace(read_tokenizer(tokenizer), rules=()))
    source, found = random.Random(seed), Encoded()
    for told in read_part(path):
        if tidied(told.row.text) in judged:
            continue
        if len(told.prefix) > _SURELY_LONG and source.random() >= long:
            found.left_out += 1
            continue
        tokens, start = encoder.row(told.prefix, told.row)
        name = next((name for name, most in SETS.items() if len(tokens) <= most), None)
        if name is None:
            found.left_out += 1
            continue
        found.rows[name].append((tokens, start))
        found.kinds[told.row.kind] += 1
        found.noises[told.row.noise] += 1
    return found


def texts_of(rows: Iterable[Told]) -> frozenset[str]:
    """The requests of rows, tidied."""
    return frozenset(tidied(told.row.text) for told in rows)


def _any(row: Row) -> bool:
    return True


def _told(row: Row, source: Requests, *, judged: bool = False) -> Told:
    if row.home < 0:
        return Told(row, "")
    home = source.homes[row.home]
    return Told(row, home.names.prefix, home.described if judged else None)


def _readings(package: Package, language: str, seed: int) -> Readings:
    source = random.Random(f"{seed} readings {language}")
    return Readings(package, language, NameSource(sources(package), language, source, held_out=False), source)


class Encoder:
    """Tokens of rows, as a session has them: names, request and answer are each encoded by themselves.

    Args:
        plain: a tokenizer without rules, whose special tokens are answer, end, pad and heard.
    """

    def __init__(self, plain: Tokenizer) -> None:
        self._encoder = FastEncoder(plain)
        self.answer, self.end, self.pad, self.heard = (special.id for special in plain.specials)
        self._prefixes: dict[str, Tokens] = {"": np.zeros(0, np.uint16)}

    def encode(self, text: str) -> Tokens:
        """Tokens of a tidy text."""
        return self._encoder.encode([text])[0].astype(np.uint16)

    def row(self, prefix: str, row: Row) -> tuple[Tokens, int]:
        """The tokens of a row, and where its answer begins."""
        if prefix not in self._prefixes:
            self._prefixes[prefix] = self.encode(prefix)
        asked = [self._prefixes[prefix], self.encode(tidied(row.text))]
        if row.hint is not None:
            asked += [np.array([self.heard], np.uint16), self.encode(tidied(row.hint))]
        asked.append(np.array([self.answer], np.uint16))
        tokens = np.concatenate([*asked, self.encode(row.json), np.array([self.end], np.uint16)])
        return tokens, sum(map(len, asked))
