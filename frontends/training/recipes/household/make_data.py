"""Make all data that a household model is trained and judged with; docs/household-data.md describes it.

``python -m chimerac.frontends.training.recipes.household.make_data --out FOLDER``
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt

from chimerac.frontends.training.recipes.home.templates import Package, load_package
from chimerac.frontends.training.recipes.home.tokens import FastEncoder, train_tokenizer
from chimerac.frontends.training.recipes.household import noise
from chimerac.frontends.training.recipes.household.answers import answer_schema
from chimerac.frontends.training.recipes.household.drawing import letters, sources
from chimerac.frontends.training.recipes.household.dwellings import NameSource
from chimerac.frontends.training.recipes.household.phrases import LANGUAGES
from chimerac.frontends.training.recipes.household.readings import Readings
from chimerac.frontends.training.recipes.household.requests import HOMES, RULES, Requests, Row, draw, tidied
from chimerac.runtime.bundle_format.constants import ROLE_HEARD
from chimerac.runtime.reference.tokenizer import Tokenizer, read_tokenizer, write_tokenizer

VOCABULARY: Final = 8192
#: Folders of training rows, and the most tokens of one in them.
SETS: Final = {"short": 96, "middle": 384, "long": 2048}
_SURELY_LONG: Final = 1500  #: characters of names that a row of the longest set has mostly
LONGEST_VALID: Final = 640  #: tokens of a request with the names before it, in validation
_ENGLISH_SHARE: Final = 0.35
_PER_HOME: Final = 12  #: training rows to a home, where a language has many: names are to be read, not learnt
_MOST_TIMES: Final = 20  #: that training has a text: what has no names can only be said in a few ways
_PRETRAIN_TOKENS: Final = 5_000_000
_FEWEST: Final = 0.0002  #: times per request that a learnt token is there
_LETTER_TIMES: Final = 60  #: each letter of all languages counts as if it was there so often

Tokens = npt.NDArray[np.uint16]
HEARD: Final = "<|heard|>"


def make_data(
    out: Path,
    *,
    languages: Sequence[str] = LANGUAGES,
    rows: int = 420_000,
    validation: int = 1500,
    seed: int = 0,
    vocabulary: int = VOCABULARY,
    jobs: int = 1,
    long: float = 1.0,
    tokenizer: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write the data folder; returns what its ``data.json`` says. The same arguments and packages give the same bytes,
    whatever the number of ``jobs``, processes that draw. Of the rows of the longest set only a share ``long`` is kept;
    with a ``tokenizer`` of another run none is trained.

    Files:
        tokenizer.model     with the rules nfc and tidy; special tokens answer, end, pad, heard.
        short/, middle/, long/sft.npz   rows by their length: names of the home, request, the token heard and the names
            that the request says (with a home), answer token, JSON, end token.
        pretrain.bin        the same tokens of some rows, one after the other.
        valid_*.jsonl       rows {"text", "heard", "json", "intent"} as training has them, the names before the request;
                            and for ``benchmarks/home_quality.py`` {"request", "home", "language", "kind", "noise",
                            "template"}.
        homes.json          the homes of validation by number, as ``Session.set_names`` takes them.
        answer.schema.json  the grammar of answers.
    """
    out.mkdir(parents=True, exist_ok=True)
    packages = {language: load_package(language) for language in languages}
    progress(f"read the templates of {len(packages)} languages")
    drawn = _drawn(languages, rows, validation, seed, jobs, progress)
    valid, train, homes = _gathered(drawn, seed)
    progress(f"drew {len(train)} training rows")
    if tokenizer is None:
        plain = _tokenizer(train, letters(packages.values()), vocabulary)
        write_tokenizer(out / "tokenizer.model", replace(plain, rules=RULES))
        progress("trained the tokenizer")
    else:
        plain = replace(read_tokenizer(tokenizer), rules=())
        (out / "tokenizer.model").write_bytes(tokenizer.read_bytes())
    encoder = _Encoder(plain)
    sizes = _write_training(out, train, encoder, seed, long)
    progress(f"encoded rows: {sizes}")
    for name, found in valid.items():
        _write_validation(out / f"valid_{name}.jsonl", found, encoder)
    (out / "homes.json").write_text(json.dumps(homes, ensure_ascii=False), "utf-8")
    schema = answer_schema(packages.values())
    (out / "answer.schema.json").write_text(json.dumps(schema, ensure_ascii=False, indent=1) + "\n", "utf-8")
    described = {
        "seed": seed,
        "packages": {name: importlib.metadata.version(name) for name in ("home-assistant-intents", "hassil")},
        "languages": {language: len(package.templates) for language, package in packages.items()},
        "held_out": "templates: recipes/home/split.py; names: a word whose CRC-32 is 0 modulo 8; the last of "
        f"Phrases.never and Phrases.past; noise: {', '.join(noise.HELD_OUT)}",
        "rows": sizes,
        "kinds": dict(sorted(Counter(one.row.kind for one in train).items())),
        "noises": dict(sorted(Counter(one.row.noise for one in train).items())),
        "files": {str(file.relative_to(out)): _digest(file) for file in sorted(out.rglob("*")) if file.is_file()},
    }
    (out / "data.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return described


def _digest(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def _shares(languages: Sequence[str], count: int) -> dict[str, int]:
    """Rows of each language: English more than others."""
    others = max(1, len(languages) - ("en" in languages))
    english = _ENGLISH_SHARE if "en" in languages and len(languages) > 1 else float("en" in languages)
    return {one: round(count * (english if one == "en" else (1 - english) / others)) for one in languages}


@dataclass(frozen=True)
class _Told:
    """A row, the text of its home's names before it, and of a row of validation its home."""

    row: Row
    prefix: str
    home: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Drawn:
    """Rows of a language."""

    valid: dict[str, list[_Told]]
    train: list[_Told]


def _draw_language(language: str, rows: int, validation: int, seed: int) -> _Drawn:
    """Validation and training rows of a language."""
    forms = {  # file → whether templates and names are held out, and the noises
        "seen": (False, False, noise.KINDS),
        "names": (False, True, ()),
        "templates": (True, False, ()),
        "noise": (False, False, noise.HELD_OUT),
    }
    package, taken = load_package(language), set[str]()
    readings, valid = _readings(package, language, seed), dict[str, list[_Told]]()
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
    source = Requests(
        package,
        language,
        f"{seed} train",
        held_templates=False,
        held_names=False,
        homes=max(HOMES, rows // _PER_HOME),
        readings=readings,
    )
    return _Drawn(valid, [_told(row, source) for row in draw(source, rows, taken, _any, most=_MOST_TIMES)])


def _any(row: Row) -> bool:
    return True


def _told(row: Row, source: Requests, *, judged: bool = False) -> _Told:
    if row.home < 0:
        return _Told(row, "")
    home = source.homes[row.home]
    return _Told(row, home.names.prefix, home.described if judged else None)


def _readings(package: Package, language: str, seed: int) -> Readings:
    source = random.Random(f"{seed} readings {language}")
    return Readings(package, language, NameSource(sources(package), language, source, held_out=False), source)


def _drawn(
    languages: Sequence[str], rows: int, validation: int, seed: int, jobs: int, progress: Callable[[str], None]
) -> list[_Drawn]:
    """Rows of all languages, each drawn by itself."""
    counts, judged = _shares(languages, rows), _shares(languages, validation)
    found: dict[str, _Drawn] = {}
    if jobs == 1:
        for language in languages:
            found[language] = _draw_language(language, counts[language], judged[language], seed)
            progress(f"drew {len(found[language].train)} rows of {language}")
        return list(found.values())
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        largest = sorted(languages, key=lambda language: -counts[language])
        running = {pool.submit(_draw_language, one, counts[one], judged[one], seed): one for one in largest}
        for done in as_completed(running):
            found[running[done]] = done.result()
            progress(f"drew {len(found[running[done]].train)} rows of {running[done]}")
    return [found[language] for language in languages]


def _gathered(
    drawn: Sequence[_Drawn], seed: int
) -> tuple[dict[str, list[tuple[_Told, int]]], list[_Told], list[dict[str, Any]]]:
    """Rows of validation with numbers of homes, rows of training whose texts no language judges; the homes."""
    valid: dict[str, list[tuple[_Told, int]]] = {}
    homes: dict[str, int] = {}
    listed: list[dict[str, Any]] = []
    texts: set[str] = set()
    for one in drawn:
        for name, rows in one.valid.items():
            for told in rows:
                if (said := tidied(told.row.text)) in texts:
                    continue
                texts.add(said)
                if told.home is not None and (key := json.dumps(told.home)) not in homes:
                    homes[key] = len(listed)
                    listed.append(told.home)
                number = -1 if told.home is None else homes[json.dumps(told.home)]
                valid.setdefault(name, []).append((told, number))
    train = [told for one in drawn for told in one.train if tidied(told.row.text) not in texts]
    random.Random(f"{seed} order").shuffle(train)
    return valid, train, listed


def _tokenizer(told: Sequence[_Told], signs: str, vocabulary: int) -> Tokenizer:
    """Of requests, answers and names; every letter that a language's package has counts some times more."""
    rows = [one.row for one in told[:150_000]]
    alphabet = [" ".join(signs)] * _LETTER_TIMES
    prefixes = list(dict.fromkeys(one.prefix for one in told))[::8]
    texts = [tidied(row.text) for row in rows]
    return train_tokenizer(
        [*alphabet, *prefixes],
        texts,
        [row.json for row in rows],
        vocabulary,
        fewest=_FEWEST,
        more_specials=[(HEARD, ROLE_HEARD)],
    )


class _Encoder:
    """Tokens of rows, as a session has them: names, request and answer are each encoded by themselves."""

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


def _write_training(
    out: Path, rows: Sequence[_Told], encoder: _Encoder, seed: int, long: float
) -> dict[str, dict[str, int]]:
    held: dict[str, list[tuple[Tokens, int]]] = {name: [] for name in SETS}
    left_out, running, count = 0, list[Tokens](), 0
    source = random.Random(f"{seed} long")
    for told in rows:
        if len(told.prefix) > _SURELY_LONG and source.random() >= long:
            left_out += 1
            continue
        tokens, start = encoder.row(told.prefix, told.row)
        name = next((name for name, most in SETS.items() if len(tokens) <= most), None)
        if name is None:
            left_out += 1
            continue
        held[name].append((tokens, start))
        if count < _PRETRAIN_TOKENS and len(tokens) <= SETS["middle"]:
            running.append(tokens)
            count += len(tokens)
    np.concatenate(running).astype("<u2").tofile(out / "pretrain.bin")
    sizes = {}
    for name, found in held.items():
        (out / name).mkdir(exist_ok=True)
        sizes[name] = _write_rows(out / name / "sft.npz", found, encoder.pad)
    return {**sizes, "left out": {"rows": left_out}}


def _write_rows(path: Path, rows: Sequence[tuple[Tokens, int]], pad: int) -> dict[str, int]:
    lengths = np.array([len(tokens) for tokens, _ in rows], np.int32)
    table: npt.NDArray[np.uint16] = np.full((len(rows), int(lengths.max(initial=2))), pad, np.uint16)
    for number, (tokens, _) in enumerate(rows):
        table[number, : len(tokens)] = tokens
    starts = np.array([start for _, start in rows], np.int32)
    np.savez_compressed(path, tokens=table, loss_start=starts, length=lengths)
    return {"rows": len(rows), "tokens": int(lengths.sum()), "width": table.shape[1]}


def _write_validation(path: Path, rows: Sequence[tuple[_Told, int]], encoder: _Encoder) -> None:
    """Rows short enough to be generated in batches; the names of a home stand before the request."""
    lines = []
    for told, number in rows:
        row, prefix = told.row, told.prefix
        if len(encoder.row(prefix, row)[0]) > LONGEST_VALID:
            continue
        line = {"text": prefix + tidied(row.text), "json": row.json, "intent": row.intent}
        line |= {} if row.hint is None else {"heard": tidied(row.hint)}
        line |= {"request": row.text}
        line |= {key: value for key, value in asdict(row).items() if key not in ("text", "json", "home", "hint")}
        lines.append(json.dumps({**line, "home": number}, ensure_ascii=False) + "\n")
    random.Random(str(path.name)).shuffle(lines)
    path.write_text("".join(lines), "utf-8")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the data.")
@click.option("--seed", default=0, show_default=True)
@click.option("--rows", default=420_000, show_default=True, help="Training rows.")
@click.option("--long", default=1.0, show_default=True, help="Share of the longest rows that is kept.")
@click.option("--tokenizer", type=click.Path(path_type=Path, exists=True), help="A tokenizer instead of a new one.")
@click.option("--jobs", default=1, show_default=True, help="Processes that draw rows.")
@click.option("--languages", default=",".join(LANGUAGES), help="Languages of the package.  [default: 31]")
def main(out: Path, seed: int, rows: int, long: float, tokenizer: Path | None, jobs: int, languages: str) -> None:
    """Make the training and validation data of a household model."""
    start = time.monotonic()

    def progress(message: str) -> None:
        print(f"{time.monotonic() - start:6.1f} s  {message}", flush=True)

    described = make_data(
        out,
        languages=languages.split(","),
        rows=rows,
        seed=seed,
        jobs=jobs,
        long=long,
        tokenizer=tokenizer,
        progress=progress,
    )
    size = sum(file["bytes"] for file in described["files"].values())
    progress(f"wrote {out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
