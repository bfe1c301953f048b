"""A data folder from texts and requests of one's own: ``python -m chimerac.frontends.training.make_data --help``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from chimerac.compiler.errors import ChimeracError, UserError
from chimerac.compiler.texts import json_of
from chimerac.frontends.tokenizers.byte_pairs import count_pieces, learn
from chimerac.frontends.training.counter import generator
from chimerac.frontends.training.files import read_text
from chimerac.runtime.reference.tokenizer import Special, Tokenizer, write_tokenizer

SPECIALS: Final = (("<|json|>", "answer"), ("<|endoftext|>", "end"), ("<|pad|>", "pad"))
HELD_OUT: Final = 10  #: one in so many requests, and of the text's paragraphs, is kept for measuring
FEWEST: Final = 2  #: times that a pair is there to become a token
SPLIT_STREAM: Final = 0x73706C6974  #: "split"

Row = tuple[str, str]  #: request, and the JSON of its answer


def make_data(out: Path, texts: Sequence[str], rows: Sequence[Row], vocabulary: int, seed: int = 0) -> dict[str, int]:
    """Learn a tokenizer and write everything that ``chimerac train`` reads.

    Args:
        texts: documents of plain text. rows: requests and answers. Either may be empty, then a phase has no data.
        vocabulary: tokens; the model's ``vocab_size`` must be the same.

    Returns:
        how many tokens, rows and held-out ones there are.

    Raises:
        UserError CHM251: nothing to train on. CHM255: a vocabulary without room for bytes and specials, or over 65536.
    """
    if not 256 + len(SPECIALS) <= vocabulary <= 1 << 16:
        raise UserError("CHM255", f"a vocabulary must have {256 + len(SPECIALS)} to 65536 tokens, not {vocabulary}")
    distinct = list(dict(rows).items())
    if len(distinct) < 2 and not any(texts):
        raise UserError("CHM251", "there is neither text nor two different requests to train on")
    out.mkdir(parents=True, exist_ok=True)
    paragraphs = [part.strip() + "\n" for text in texts for part in text.split("\n\n") if part.strip()]
    known, unknown = _split(paragraphs, seed)
    train, held = _split(distinct, seed)
    tokenizer = learn_tokenizer([*known, *(part for row in train for part in row)], vocabulary)
    write_tokenizer(out / "tokenizer.model", tokenizer)
    sizes = {"text_tokens": 0, "rows": len(train), "held_rows": len(held)}
    if known:
        sizes["text_tokens"] = _write_text(out / "pretrain.bin", known, tokenizer)
        _write_text(out / "valid_text.bin", unknown, tokenizer)
        (out / "valid_text.bytes").write_bytes("".join(unknown).encode())
    if train:
        _write_rows(out / "sft.npz", train, tokenizer)
        lines = [{"text": text, "json": answer, "intent": _intent(answer)} for text, answer in held]
        (out / "valid_seen.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return sizes


def learn_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """The 256 bytes, learnt merges, and the three specials at the end; what is left over stands for nothing."""
    first = vocabulary - len(SPECIALS)
    tokens = [bytes([byte]) for byte in range(256)] + learn(count_pieces(texts), first - 256, fewest=FEWEST)
    tokens += [b""] * (vocabulary - len(tokens))
    return Tokenizer(tuple(tokens), tuple(Special(name, first + k, role) for k, (name, role) in enumerate(SPECIALS)))


def read_rows(path: Path) -> list[Row]:
    """Rows of a file with a JSON object {"text": …, "json": …} in each line; ``json`` is any JSON value.

    Raises:
        UserError CHM252: a line is not that. CHM254: the file can't be read.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json_of(line)
            text, answer = row["text"], row["json"]
            if not isinstance(text, str) or not text:
                raise TypeError("text must be a string with something in it")
        except (ValueError, KeyError, TypeError) as error:
            why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError("CHM252", f'{path}:{number} is no row {{"text": …, "json": …}}: {why}') from error
        rows.append((text, json.dumps(answer, ensure_ascii=False, separators=(",", ":"))))
    return rows


def _split(items: Sequence[Any], seed: int) -> tuple[list[Any], list[Any]]:
    """Most items, and one in HELD_OUT; of two and more items, at least one."""
    order = generator(seed, SPLIT_STREAM, 0).permutation(len(items)).tolist()
    count = max(1, len(items) // HELD_OUT) if len(items) > 1 else 0
    held = set(order[:count])
    return [x for i, x in enumerate(items) if i not in held], [items[i] for i in order[:count]]


def _write_text(file: Path, documents: Sequence[str], tokenizer: Tokenizer) -> int:
    end = tokenizer.special_id("end")
    tokens = np.array([id for text in documents for id in (*tokenizer.encode(text), end)], "<u2")
    tokens.tofile(file)
    return len(tokens)


def _write_rows(file: Path, rows: Sequence[Row], tokenizer: Tokenizer) -> None:
    answer, end, pad = (special.id for special in tokenizer.specials)
    requests = [[*tokenizer.encode(text), answer] for text, _ in rows]
    whole = [[*request, *tokenizer.encode(json), end] for request, (_, json) in zip(requests, rows, strict=True)]
    lengths = np.array([len(row) for row in whole], np.int32)
    tokens = np.full((len(rows), int(lengths.max())), pad, np.uint16)
    for place, row in zip(tokens, whole, strict=True):
        place[: len(row)] = row
    np.savez(file, tokens=tokens, loss_start=np.array([len(r) for r in requests], np.int32), length=lengths)


def _intent(answer: str) -> str:
    """What the exact answers are counted by: the answer's "intent", if it has one."""
    value = json.loads(answer)
    return str(value.get("intent", "all")) if isinstance(value, dict) else "all"


def main(arguments: Sequence[str] | None = None) -> None:
    """The program ``python -m chimerac.frontends.training.make_data``."""
    parser = argparse.ArgumentParser(prog="python -m chimerac.frontends.training.make_data", description=__doc__)
    parser.add_argument("--text", action="append", default=[], type=Path, help="a file of plain text; repeatable")
    parser.add_argument("--rows", type=Path, help='requests and answers: {"text": …, "json": …} in each line')
    parser.add_argument("--vocabulary", type=int, default=512, help="tokens, as in the model's vocab_size")
    parser.add_argument("--seed", type=int, default=0, help="of what is held out")
    parser.add_argument("--out", type=Path, required=True, help="the folder for `chimerac train --data`")
    given = parser.parse_args(arguments)
    try:
        rows = [] if given.rows is None else read_rows(given.rows)
        sizes = make_data(given.out, [read_text(path) for path in given.text], rows, given.vocabulary, given.seed)
    except ChimeracError as error:
        print(error.render(), file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(
        f"{given.out}: {sizes['text_tokens']:,} tokens of text, {sizes['rows']:,} rows, {sizes['held_rows']:,} held out"
    )


if __name__ == "__main__":
    main()
