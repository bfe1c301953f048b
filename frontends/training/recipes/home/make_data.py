"""Make all data that ``home`` is trained and judged with.

``python -m chimerac.frontends.training.recipes.home.make_data --out FOLDER``
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.frontends.training.recipes.home import negatives, text
from chimerac.frontends.training.recipes.home.copies import copy_documents
from chimerac.frontends.training.recipes.home.fresh import FreshNames
from chimerac.frontends.training.recipes.home.names import vocabularies
from chimerac.frontends.training.recipes.home.sentences import Row, Splits, make_splits
from chimerac.frontends.training.recipes.home.surface import json_text
from chimerac.frontends.training.recipes.home.tokens import VOCABULARY, FastEncoder, train_tokenizer
from chimerac.runtime.reference.tokenizer import Tokenizer, write_tokenizer

LONGEST: Final = 80  #: tokens of a training row; longer ones are left out
_TOKENIZER_ROWS: Final = 120_000  #: training rows that the tokenizer learns from
_TOKENIZER_DOCUMENTS: Final = 20  #: it learns from every so many-th document
_COPIED_SHARE: Final = 0.22  #: of the characters of pretraining: text that repeats itself
_PROSE_SHARE: Final = 0.02  #: training rows that are a sentence of prose, to refuse


def make_data(
    out: Path,
    documents: Sequence[str],
    *,
    words: Sequence[str] = (),
    sentences: int,
    validation: int = 2000,
    seed: int = 0,
    vocabulary: int = VOCABULARY,
    origin: Sequence[dict[str, str]] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Write the files of the data folder from documents of plain text and words; returns what ``data.json`` says.

    The same arguments and package versions give the same bytes. Files:
        tokenizer.model  container of the runtime; special tokens answer, end, pad at the end of the vocabulary.
        sft.npz          tokens u16[n, L] request, answer token, JSON, end token, then pad tokens; length i32[n] without
                         padding; loss_start i32[n]: tokens[i, loss_start[i]:length[i]] are to be predicted.
        pretrain.bin     u16 little-endian: documents of plain text and of text that repeats itself, an end token each.
        valid_text.bin   the same of held-out documents, plain text only.
        valid_text.bytes UTF-8 bytes of the latter, without separators.
        valid_*.jsonl    rows {"text", "json", "intent"}: _names, _templates, _seen.
        data.json        sizes, counts, versions, licences and SHA-256 digests.
    """
    out.mkdir(parents=True, exist_ok=True)
    train_texts, held_texts = text.hold_out(documents, seed)
    splits = make_splits(sentences, validation, seed, train_texts, words, progress)
    rows = [*splits.train, *_prose_rows(train_texts, int(_PROSE_SHARE * len(splits.train)))]
    random.Random(f"{seed} rows").shuffle(rows)

    sample = rows[:_TOKENIZER_ROWS]
    tokenizer = train_tokenizer(
        train_texts[::_TOKENIZER_DOCUMENTS], [row.text for row in sample], [row.json for row in sample], vocabulary
    )
    write_tokenizer(out / "tokenizer.model", tokenizer)
    progress("trained the tokenizer")

    encoder = FastEncoder(tokenizer)
    sizes = _write_rows(out / "sft.npz", rows, tokenizer, encoder)
    progress(f"encoded {sizes['rows']} rows of {sizes['tokens']} tokens")
    mixed, copied = _with_copies(train_texts, splits, seed)
    sizes_text = {
        "pretrain": {**_write_documents(out / "pretrain.bin", mixed, tokenizer, encoder), "copies": copied},
        "valid_text": _write_documents(out / "valid_text.bin", held_texts, tokenizer, encoder),
    }
    (out / "valid_text.bytes").write_bytes("".join(held_texts).encode())
    for name in ("names", "templates", "seen"):
        write_rows(out / f"valid_{name}.jsonl", getattr(splits, f"valid_{name}"))
    progress(f"encoded {sizes_text['pretrain']['tokens']} tokens of plain text")

    described = {
        "seed": seed,
        "sentences_asked_for": sentences,
        "packages": {name: importlib.metadata.version(name) for name in ("home-assistant-intents", "hassil")},
        "text_packages": list(origin),
        "vocabulary": vocabulary,
        "sft": sizes,
        "text": sizes_text,
        "templates": _template_counts(splits),
        "own_templates": dict(sorted(Counter(template.intent for template in splits.own).items())),
        "vocabulary_of_names": {
            "words": len(splits.pool.words),
            "proper": len(splits.pool.names),
            "phrases": len(splits.pool.phrases),
        },
        "rows_per_intent": _row_counts(splits, rows),
        "ambiguous_rows_dropped": splits.ambiguous,
        "files": _digests(out),
    }
    (out / "data.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")
    return described


def _prose_rows(documents: Sequence[str], count: int) -> list[Row]:
    found = list(dict.fromkeys(text.short_sentences(documents)))
    refused = json_text(negatives.INTENT, {})
    step = max(1, len(found) // max(1, count))
    return [Row(one, refused, negatives.INTENT, one, refused, False) for one in found[::step][:count]]


def _with_copies(documents: Sequence[str], splits: Splits, seed: int) -> tuple[list[str], int]:
    """(the documents and those that repeat themselves, in random order; how many of the latter)."""
    generator = random.Random(f"{seed} copies")
    names = FreshNames(vocabularies(seed)[0], generator, splits.pool)
    characters = int(sum(map(len, documents)) * _COPIED_SHARE / (1 - _COPIED_SHARE))
    copies = copy_documents(names, generator, characters)
    mixed = [*documents, *copies]
    generator.shuffle(mixed)
    return mixed, len(copies)


def _write_rows(path: Path, rows: Sequence[Row], tokenizer: Tokenizer, encoder: FastEncoder) -> dict[str, int]:
    """Write sft.npz; rows of more than LONGEST tokens are left out."""
    answer, end, pad = (special.id for special in tokenizer.specials)
    requests, request_counts = encoder.encode([row.text for row in rows])
    answers, answer_counts = encoder.encode([row.json for row in rows])
    lengths = request_counts + answer_counts + 2
    fits = lengths <= LONGEST
    width = int(lengths[fits].max(initial=2))
    tokens = np.full((int(fits.sum()), width), pad, np.uint16)
    request_ends, answer_ends = np.cumsum(request_counts), np.cumsum(answer_counts)
    for row, k in enumerate(np.flatnonzero(fits).tolist()):
        n, m = int(request_counts[k]), int(answer_counts[k])
        tokens[row, :n] = requests[request_ends[k] - n : request_ends[k]]
        tokens[row, n] = answer
        tokens[row, n + 1 : n + 1 + m] = answers[answer_ends[k] - m : answer_ends[k]]
        tokens[row, n + 1 + m] = end
    np.savez_compressed(
        path,
        tokens=tokens,
        loss_start=(request_counts[fits] + 1).astype(np.int32),
        length=lengths[fits].astype(np.int32),
    )
    return {"rows": len(tokens), "too_long": int((~fits).sum()), "width": width, "tokens": int(lengths[fits].sum())}


def _write_documents(
    path: Path, documents: Sequence[str], tokenizer: Tokenizer, encoder: FastEncoder
) -> dict[str, int]:
    tokens, counts = encoder.encode(documents)
    joined = np.insert(tokens, np.cumsum(counts), tokenizer.specials[1].id)
    joined.astype("<u2").tofile(path)
    size = sum(len(document.encode()) for document in documents)
    return {"documents": len(documents), "tokens": len(joined), "bytes": size}


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON lines {"text", "json", "intent"}."""
    lines = ({"text": row.text, "json": row.json, "intent": row.intent} for row in rows)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def _template_counts(splits: Splits) -> dict[str, list[int]]:
    """Intent → [templates, of these held out]."""
    counts: dict[str, list[int]] = {}
    for template in splits.templates:
        count = counts.setdefault(template.intent, [0, 0])
        count[0] += 1
        count[1] += template.id in splits.held_out
    return counts


def _row_counts(splits: Splits, rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    parts = {
        "train": rows,
        **{name: getattr(splits, name) for name in ("valid_names", "valid_templates", "valid_seen")},
    }
    return {name: dict(sorted(Counter(row.intent for row in part).items())) for name, part in parts.items()}


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != "data.json")
    return {
        file.name: {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in files
    }


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the data.")
@click.option("--seed", default=0, show_default=True)
@click.option("--sentences", default=900_000, show_default=True, help="Training sentences.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default=Path.home() / ".cache" / "chimerac" / "text",
    show_default=True,
    help="Folder for the packages with plain text.",
)
def main(out: Path, seed: int, sentences: int, cache: Path) -> None:
    """Make the training and validation data of the home model."""
    start = time.monotonic()

    def progress(message: str) -> None:
        click.echo(f"{time.monotonic() - start:6.1f} s  {message}")

    try:
        documents, fetched = text.collect(cache, progress)
        words, word_list = text.collect_words(cache)
    except UserError as error:
        raise click.ClickException(error.render()) from None
    origin = [
        {
            "package": one.source.package,
            "version": one.source.version,
            "licence": one.source.licence,
            "sha256": one.sha256,
        }
        for one in [*fetched, word_list]
    ]
    described = make_data(out, documents, words=words, sentences=sentences, seed=seed, origin=origin, progress=progress)
    size = sum(file["bytes"] for file in described["files"].values())
    progress(f"wrote {out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
