"""Decode after a long text, by the speed at its beginning: bundles of one Llama-like model with each form of caches.

    python benchmarks/modules/long_context.py [smollm2 bonsai bitnet] [--layers N] [--vocabulary N] [--after N]
        [--threads N] [--processor-time] [--out FILE]

The models have the sizes of SmolLM2-135M, Ternary-Bonsai-1.7B and BitNet-b1.58-2B-4T, random weights (int8, ternary,
ternary), and fewer layers and tokens of a vocabulary where these are asked for. All bundles take turns, at the
beginning and after the text, to which a snapshot goes back; ratios are medians of the ratios of rounds.
``--processor-time`` counts what the one thread has used of the processor, which is what a busy machine changes least.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import chimerac
from chimerac.compiler.ir.caches import CACHE_TYPES
from chimerac.runtime.sessions.interface import Session

sys.path.insert(0, str(Path(__file__).parents[1] / "peers"))
from turns import SETTLE, machine

TOKENS = 24  #: in a round


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, and what its weights become."""

    layers: int
    width: int
    heads: int
    kept: int
    head: int
    inner: int
    vocabulary: int
    weights: str


SHAPES: Mapping[str, Shape] = {
    "smollm2": Shape(30, 576, 9, 3, 64, 1536, 49_152, "int8"),
    "bonsai": Shape(28, 2048, 16, 8, 128, 6144, 151_936, "ternary"),
    "bitnet": Shape(30, 2560, 20, 5, 128, 6912, 128_256, "ternary"),
}


class Block(nn.Module):
    """Grouped attention and SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.norms = nn.ModuleList(nn.RMSNorm(shape.width) for _ in range(2))
        self.qkv = nn.Linear(shape.width, (shape.heads + 2 * shape.kept) * shape.head, bias=False)
        self.out = nn.Linear(shape.heads * shape.head, shape.width, bias=False)
        self.up = nn.Linear(shape.width, 2 * shape.inner, bias=False)
        self.down = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [1, T, D] -> [1, T, D]."""
        s = self.shape
        parts = self.qkv(self.norms[0](x)).unflatten(-1, (-1, s.head)).transpose(1, 2)
        q, k, v = parts.split((s.heads, s.kept, s.kept), dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        gate, up = self.up(self.norms[1](x)).chunk(2, dim=-1)
        found: Tensor = x + self.down(F.silu(gate) * up)
        return found


class Model(nn.Module):
    """Without rotations, which cost the same after any text."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.Sequential(*(Block(shape) for _ in range(shape.layers)))
        self.norm = nn.RMSNorm(shape.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: [1, T] -> logits [1, T, V]."""
        found: Tensor = self.norm(self.blocks(self.table(tokens))) @ self.table.weight.T
        return found


def bundles(shape: Shape, given: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Session]]:
    """A session for each form of caches."""
    model = Model(shape).eval()
    for cache in CACHE_TYPES:
        report = chimerac.compile(
            model,
            name=cache,
            targets=["x86_64-avx2"],
            out=folder,
            context=given.after + 2 * TOKENS,
            cache=cache,
            weights_format=shape.weights,
            check=False,
        )
        yield cache, chimerac.load(report.bundles[0].path, threads=given.threads)


def seconds(session: Session, snapshot: bytes, clock: Callable[[], float]) -> float:
    """Of a token, once a few have been run."""
    session.restore(snapshot)
    session.prefill([5, 6])
    begun = clock()
    for token in range(TOKENS):
        session.prefill([token])
    return (clock() - begun) / TOKENS


def measure(name: str, shape: Shape, given: argparse.Namespace) -> dict[str, Any]:
    """Seconds a token of each form and round, at the beginning and after the text."""
    times: dict[str, dict[str, list[float]]] = {}
    clock = time.thread_time if given.processor_time else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        opened, texts = dict(bundles(shape, given, Path(folder))), {}
        for cache, session in opened.items():
            session.prefill([1])
            texts[cache] = {"begin": session.snapshot()}
            session.prefill([i % 251 for i in range(given.after)])
            texts[cache]["after"] = session.snapshot()
        for round_ in range(given.rounds + 1):
            for cache, session in opened.items():
                time.sleep(SETTLE)
                for place, snapshot in texts[cache].items():
                    found = seconds(session, snapshot, clock)
                    if round_:  # the first one is for caches and clocks
                        times.setdefault(cache, {}).setdefault(place, []).append(found)
        for session in opened.values():
            session.close()
    facts = {"model": name, "layers": shape.layers, "threads": given.threads, "after": given.after}
    return facts | {"processor_time": given.processor_time, "seconds": times}


def report(found: Mapping[str, Any]) -> None:
    """A line for each form of caches."""
    print(f"{found['model']}, {found['layers']} layers, {found['threads']} thread(s), after {found['after']} tokens")
    for cache, times in found["seconds"].items():
        ratio = statistics.median(a / b for a, b in zip(times["begin"], times["after"], strict=True))
        speeds = (1 / statistics.median(times[place]) for place in ("begin", "after"))
        print(f"  {cache:5}" + "".join(f"{speed:9.1f} tokens/s" for speed in speeds) + f"   {ratio:.2f} of the speed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(SHAPES))
    parser.add_argument("--layers", type=int, help="in place of the model's")
    parser.add_argument("--vocabulary", type=int, help="in place of the model's")
    parser.add_argument("--after", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--processor-time", action="store_true", help="in place of the clock's: for a busy machine")
    parser.add_argument("--out", type=Path, help="a JSON file for the results")
    given = parser.parse_args()
    if given.processor_time and given.threads != 1:
        parser.error("--processor-time is for --threads 1")
    results = []
    for name in given.models:
        shape = SHAPES[name]
        shape = replace(shape, layers=given.layers or shape.layers, vocabulary=given.vocabulary or shape.vocabulary)
        results.append(measure(name, shape, given))
        report(results[-1])
    if given.out:
        given.out.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
