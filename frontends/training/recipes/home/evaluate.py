"""Exact match of predicted JSON: intent and all slots, overall and for each intent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from chimerac.runtime.sessions.interface import Session
from chimerac.runtime.sessions.loading import load


@dataclass(frozen=True)
class Example:
    """A request and the JSON that it means; ``intent`` is the one in the JSON."""

    text: str
    json: str
    intent: str


@dataclass
class Count:
    """Predictions of one intent: all, with the right intent, and right in every slot."""

    total: int = 0
    right_intent: int = 0
    exact: int = 0

    @property
    def share(self) -> float:
        """Exact matches in 0..1; 0 of none is 0."""
        return self.exact / self.total if self.total else 0.0


@dataclass
class Score:
    """The counts of all intents, by the intent that is right, and the predictions that are wrong."""

    per_intent: dict[str, Count] = field(default_factory=dict)
    wrong: list[tuple[Example, str]] = field(default_factory=list)

    @property
    def overall(self) -> Count:
        """The sum over all intents."""
        counts = self.per_intent.values()
        return Count(
            sum(count.total for count in counts),
            sum(count.right_intent for count in counts),
            sum(count.exact for count in counts),
        )

    def table(self) -> str:
        """A Markdown table, one row an intent, the overall one last."""
        rows = [*sorted(self.per_intent.items()), ("all", self.overall)]
        lines = ["| intent | sentences | intent right | exact match |", "|---|---:|---:|---:|"]
        lines += [
            f"| {name} | {count.total} | {count.right_intent / max(1, count.total):.1%} | {count.share:.1%} |"
            for name, count in rows
        ]
        return "\n".join(lines)


def parse(prediction: str) -> Mapping[str, Any] | None:
    """The prediction as an object, or None if it isn't one JSON object with different keys."""

    def different(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError("a key is there twice")
        return dict(pairs)

    try:
        found = json.loads(prediction, object_pairs_hook=different)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def add(score: Score, example: Example, prediction: str) -> bool:
    """Count one prediction; True for an exact match."""
    found = parse(prediction)
    count = score.per_intent.setdefault(example.intent, Count())
    count.total += 1
    count.right_intent += found is not None and found.get("intent") == example.intent
    exact = bool(found == json.loads(example.json))
    count.exact += exact
    if not exact:
        score.wrong.append((example, prediction))
    return exact


def evaluate(
    generate: Callable[[str], str],
    examples: Iterable[Example],
    progress: Callable[[Score], None] = lambda _: None,
) -> Score:
    """Ask ``generate`` for the JSON of each request; ``progress`` gets the score so far after each."""
    score = Score()
    for example in examples:
        add(score, example, generate(example.text))
        progress(score)
    return score


def evaluate_batches(
    generate: Callable[[Sequence[str]], Sequence[str]], examples: Sequence[Example], batch: int
) -> Score:
    """The same for a ``generate`` that answers up to ``batch`` requests at once."""
    score = Score()
    for first in range(0, len(examples), batch):
        part = examples[first : first + batch]
        predictions = generate([example.text for example in part])
        for example, prediction in zip(part, predictions, strict=True):
            add(score, example, prediction)
    return score


def read_examples(path: str | Path) -> list[Example]:
    """The rows of a ``valid_*.jsonl`` file."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Example(row["text"], row["json"], row["intent"]) for row in rows]


def answers_of(session: Session, max_tokens: int = 128) -> Callable[[str], str]:
    """A ``generate`` that asks an opened bundle, native or wasm, each request in a session of its own, greedily."""

    def generate(text: str) -> str:
        return "".join(piece.text for piece in session.generate(text, max_tokens=max_tokens, reset=True))

    return generate


@click.command()
@click.argument("bundle", type=click.Path(exists=True, path_type=Path))
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), help="Only every so many-th row, so that at most LIMIT are asked.")
@click.option("--show", default=0, show_default=True, help="Wrong answers to show.")
def main(bundle: Path, files: Sequence[Path], limit: int | None, show: int) -> None:
    """Print the exact match of a BUNDLE on FILES of requests with their JSON."""
    with load(bundle) as session:
        for file in files:
            examples = read_examples(file)
            step = -(-len(examples) // limit) if limit else 1
            score = evaluate(answers_of(session), examples[::step])
            click.echo(f"\n{file.name}\n\n{score.table()}")
            for example, prediction in score.wrong[:show]:
                click.echo(f"{example.text}\n  expected {example.json}\n  answered {prediction}")


if __name__ == "__main__":
    main()
