"""Do the bundles of a model, and PyTorch, answer every request of the held-out files with the same tokens?

python benchmarks/home_agreement.py DATA/valid_*.jsonl --bundle dist/home.x86_64-avx2 --config home
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np

from chimerac.frontends.training.recipes.home.evaluate import read_examples
from chimerac.runtime.reference.tokenizer import read_tokenizer
from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.loading import load

BATCH = 32  #: requests that PyTorch runs at a time


def answers(session: Session, requests: Sequence[str], max_tokens: int = 128) -> Iterator[tuple[int, ...]]:
    """The tokens of greedy answers, the ending one included."""
    for request in requests:
        for _ in session.generate(request, max_tokens=max_tokens):
            pass
        yield tuple(session.tokens())


def pytorch_agrees(
    config: str, weights: str | None, prompts: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]
) -> list[bool]:
    """Whether PyTorch, decoding greedily, would answer each prompt with these tokens.

    One pass over prompt and answer tells: greedy decoding gives the answer exactly if each of its tokens is the
    likeliest one after those before it.
    """
    import torch

    from chimerac.compiler.build.importing import read_description
    from chimerac.frontends.families.chimera.model import ChimeraModel
    from chimerac.frontends.weights.sources import filled_module

    described = read_description(config)
    model = filled_module(described.family, described.description.shape, weights or described.weights).module
    assert isinstance(model, ChimeraModel)
    table = model.embedding.table()
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]) + len(tokens[i]))
    agrees = [False] * len(prompts)
    for first in range(0, len(order), BATCH):
        part = order[first : first + BATCH]
        rows = [[*prompts[i], *tokens[i]] for i in part]
        padded = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for row, values in zip(padded, rows, strict=True):
            row[: len(values)] = values
        with torch.no_grad():
            chosen = model.embedding.head(model.hidden(torch.from_numpy(padded), table), table).argmax(-1).numpy()
        for i, row in zip(part, chosen, strict=True):
            start = len(prompts[i])
            agrees[i] = list(row[start - 1 : start - 1 + len(tokens[i])]) == list(tokens[i])
    return agrees


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bundle", "bundles", multiple=True, required=True, type=click.Path(exists=True), help="Repeatable.")
@click.option("--config", help="Also compare with the PyTorch model of this config.")
@click.option("--weights", help="Its weights, if they do not come with the config.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many rows of each file, evenly spread.")
def main(
    files: Sequence[Path], bundles: Sequence[str], config: str | None, weights: str | None, limit: int | None
) -> None:
    """Print how many requests of FILES the bundles answer with the same tokens."""
    texts: list[str] = []
    for file in files:
        examples = read_examples(file)
        texts += [example.text for example in examples[:: -(-len(examples) // limit) if limit else 1]]
    found = []
    for bundle in bundles:
        with load(bundle) as session:
            found.append(list(answers(session, texts)))
    same = sum(len(set(row)) == 1 for row in zip(*found, strict=True))
    click.echo(f"{', '.join(bundles)}: the same tokens for {same} of {len(texts)} requests")
    if config is None:
        return
    with load(bundles[0]) as session:
        asked = _prompts(session, Path(bundles[0]), texts)
    agrees = pytorch_agrees(config, weights, asked, found[0])
    click.echo(f"PyTorch: the same tokens for {sum(agrees)} of {len(texts)} requests")
    for text, agreed in zip(texts, agrees, strict=True):
        if not agreed:
            click.echo(f"  other tokens: {text}")


def _prompts(session: Session, bundle: Path, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of requests as the run time forms them."""
    entry = session.manifest.file("tokenizer")
    assert entry is not None
    answer = read_tokenizer(bundle / entry.name).special_id("answer")
    return [[*session.encode(text), *([] if answer is None else [answer])] for text in texts]


if __name__ == "__main__":
    main()
