"""Make all data that a household model is trained and judged with; docs/household-data.md describes it.

``python -m chimerac.frontends.training.recipes.household.make_data --out FOLDER``
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import numpy.typing as npt

from chimerac.frontends.training.recipes.home.templates import load_package
from chimerac.frontends.training.recipes.home.tokens import train_tokenizer
from chimerac.frontends.training.recipes.household import noise
from chimerac.frontends.training.recipes.household.answers import answer_schema
from chimerac.frontends.training.recipes.household.drawing import letters
from chimerac.frontends.training.recipes.household.parts import (
    SETS,
    Encoded,
    Encoder,
    Tokens,
    Told,
    draw_part,
    draw_valid,
    encode_part,
    parts_of,
    read_part,
    texts_of,
)
from chimerac.frontends.training.recipes.household.phrases import LANGUAGES
from chimerac.frontends.training.recipes.household.requests import RULES, tidied
from chimerac.runtime.bundle_format.constants import ROLE_HEARD
from chimerac.runtime.reference.tokenizer import Tokenizer, read_tokenizer, write_tokenizer

VOCABULARY: Final = 8192
LONGEST_VALID: Final = 640  #: tokens of a request with the names before it, in validation
_ENGLISH_SHARE: Final = 0.35
_PRETRAIN_TOKENS: Final = 5_000_000
_SAMPLE: Final = 150_000  #: rows that the tokenizer is trained with
_FEWEST: Final = 0.0002  #: times per request that a learnt token is there
_LETTER_TIMES: Final = 60  #: each letter of all languages counts as if it was there so often

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
    without: Sequence[Path] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write the data folder; returns what its ``data.json`` says. The same arguments and packages give the same bytes,
    whatever the number of ``jobs``, processes that draw. Of the rows of the longest set only a share ``long`` is kept;
    with a ``tokenizer`` of another run none is trained. No row has a request of the files ``without``, which are
    those that other runs are judged by.

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
    parts = parts_of(_shares(languages, rows))
    with tempfile.TemporaryDirectory(prefix=".rows-", dir=out) as folder, _processes(jobs) as each:
        paths = [Path(folder) / str(number) for number in range(len(parts))]
        judged = _shares(languages, validation)
        drawn = each(
            draw_valid, {one: (one, judged[one], seed) for one in languages}, lambda one, _: progress(f"judges {one}")
        )
        valid, homes = _gathered([drawn[language] for language in languages])
        each(
            draw_part,
            {part: (part, seed, path) for part, path in zip(parts, paths, strict=True)},
            lambda part, count: progress(f"drew {count} rows of {part.language}, {part.number + 1}/{part.parts}"),
        )
        if tokenizer is None:
            sample = [told for path in paths for told in read_part(path)[: -(-_SAMPLE // len(paths))]]
            plain = _tokenizer(sample, letters(packages.values()), vocabulary)
            write_tokenizer(out / "tokenizer.model", replace(plain, rules=RULES))
            progress("trained the tokenizer")
        else:
            plain = replace(read_tokenizer(tokenizer), rules=())
            (out / "tokenizer.model").write_bytes(tokenizer.read_bytes())
        texts = texts_of(told for found in valid.values() for told, _ in found) | _requests_of(without)
        given = {
            number: (path, out / "tokenizer.model", texts, long, f"{seed} long {number}")
            for number, path in enumerate(paths)
        }
        encoded = each(encode_part, given, lambda *_: None)
        found = [encoded[number] for number in given]
    encoder = Encoder(plain)
    sizes = _write_training(out, found, encoder.pad, seed)
    progress(f"encoded rows: {sizes}")
    for name, told in valid.items():
        _write_validation(out / f"valid_{name}.jsonl", told, encoder)
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
        "kinds": dict(sorted(sum((one.kinds for one in found), Counter[str]()).items())),
        "noises": dict(sorted(sum((one.noises for one in found), Counter[str]()).items())),
        "files": {str(file.relative_to(out)): _digest(file) for file in sorted(out.rglob("*")) if file.is_file()},
    }
    (out / "data.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return described


def _requests_of(files: Sequence[Path]) -> frozenset[str]:
    lines = (line for file in files for line in file.read_text("utf-8").splitlines())
    return frozenset(tidied(json.loads(line)["request"]) for line in lines)


def _digest(file: Path) -> dict[str, Any]:
    return {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def _shares(languages: Sequence[str], count: int) -> dict[str, int]:
    """Rows of each language: English more than others."""
    others = max(1, len(languages) - ("en" in languages))
    english = _ENGLISH_SHARE if "en" in languages and len(languages) > 1 else float("en" in languages)
    return {one: round(count * (english if one == "en" else (1 - english) / others)) for one in languages}


@contextmanager
def _processes(jobs: int) -> Iterator[Callable[..., dict[Any, Any]]]:
    """What calls a function with each of several arguments by key, in ``jobs`` processes, and tells of each result."""

    def alone(
        function: Callable[..., Any], given: Mapping[Any, tuple[Any, ...]], tell: Callable[[Any, Any], None]
    ) -> dict[Any, Any]:
        found = {}
        for key, arguments in given.items():
            found[key] = function(*arguments)
            tell(key, found[key])
        return found

    if jobs == 1:
        yield alone
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:

        def together(
            function: Callable[..., Any], given: Mapping[Any, tuple[Any, ...]], tell: Callable[[Any, Any], None]
        ) -> dict[Any, Any]:
            running = {pool.submit(function, *arguments): key for key, arguments in given.items()}
            found = {}
            for done in as_completed(running):
                found[running[done]] = done.result()
                tell(running[done], done.result())
            return found

        yield together


def _gathered(
    drawn: Sequence[Mapping[str, Sequence[Told]]],
) -> tuple[dict[str, list[tuple[Told, int]]], list[dict[str, Any]]]:
    """Rows of validation with numbers of homes, each text once; the homes."""
    valid: dict[str, list[tuple[Told, int]]] = {}
    homes: dict[str, int] = {}
    listed: list[dict[str, Any]] = []
    texts: set[str] = set()
    for one in drawn:
        for name, rows in one.items():
            for told in rows:
                if (said := tidied(told.row.text)) in texts:
                    continue
                texts.add(said)
                if told.home is not None and (key := json.dumps(told.home)) not in homes:
                    homes[key] = len(listed)
                    listed.append(told.home)
                number = -1 if told.home is None else homes[json.dumps(told.home)]
                valid.setdefault(name, []).append((told, number))
    return valid, listed


def _tokenizer(told: Sequence[Told], signs: str, vocabulary: int) -> Tokenizer:
    """Of requests, answers and names; every letter that a language's package has counts some times more."""
    rows = [one.row for one in told]
    alphabet = [" ".join(signs)] * _LETTER_TIMES
    prefixes = list(dict.fromkeys(one.prefix for one in told))[::3]
    texts = [tidied(row.text) for row in rows]
    return train_tokenizer(
        [*alphabet, *prefixes],
        texts,
        [row.json for row in rows],
        vocabulary,
        fewest=_FEWEST,
        more_specials=[(HEARD, ROLE_HEARD)],
    )


def _write_training(out: Path, parts: Sequence[Encoded], pad: int, seed: int) -> dict[str, dict[str, int]]:
    running, sizes = list[Tokens](), {}
    for name in SETS:
        rows = [row for one in parts for row in one.rows[name]]
        random.Random(f"{seed} order {name}").shuffle(rows)
        (out / name).mkdir(exist_ok=True)
        sizes[name] = _write_rows(out / name / "sft.npz", rows, pad)
        if name != "long":
            running += _first([tokens for tokens, _ in rows], _PRETRAIN_TOKENS // 2)
    np.concatenate(running).astype("<u2").tofile(out / "pretrain.bin")
    return {**sizes, "left out": {"rows": sum(one.left_out for one in parts)}}


def _first(rows: Sequence[Tokens], most: int) -> list[Tokens]:
    """The first rows, until they have ``most`` tokens together."""
    found, count = list[Tokens](), 0
    for tokens in rows:
        if count >= most:
            break
        found.append(tokens)
        count += len(tokens)
    return found


def _write_rows(path: Path, rows: Sequence[tuple[Tokens, int]], pad: int) -> dict[str, int]:
    lengths = np.array([len(tokens) for tokens, _ in rows], np.int32)
    table: npt.NDArray[np.uint16] = np.full((len(rows), int(lengths.max(initial=2))), pad, np.uint16)
    for number, (tokens, _) in enumerate(rows):
        table[number, : len(tokens)] = tokens
    starts = np.array([start for _, start in rows], np.int32)
    np.savez_compressed(path, tokens=table, loss_start=starts, length=lengths)
    return {"rows": len(rows), "tokens": int(lengths.sum()), "width": table.shape[1]}


def _write_validation(path: Path, rows: Sequence[tuple[Told, int]], encoder: Encoder) -> None:
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
@click.option(
    "--without",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="A validation file of another run whose requests no row is to have; several times for several.",
)
@click.option("--jobs", default=1, show_default=True, help="Processes that draw rows.")
@click.option("--languages", default=",".join(LANGUAGES), help="Languages of the package.  [default: 31]")
def main(
    out: Path,
    seed: int,
    rows: int,
    long: float,
    tokenizer: Path | None,
    without: tuple[Path, ...],
    jobs: int,
    languages: str,
) -> None:
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
        without=without,
        progress=progress,
    )
    size = sum(file["bytes"] for file in described["files"].values())
    progress(f"wrote {out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
