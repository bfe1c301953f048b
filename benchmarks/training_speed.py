"""Tokens per second of training steps, for a few sizes: eager, as CUDA graphs, these with fused chains, and compiled.

    PYTHONPATH=src python benchmarks/training_speed.py [--sizes 256x4,384x6] [--length 96] [--tokens 32768] [--profile]

Steps are whole: data, forward and backward pass at the default loop depth, clipping, AdamW, routing biases. Compiled
ones come last, because compiling takes a minute or two for each size.
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import numpy as np
import torch

from chimerac.frontends.families.chimera.family import FAMILY
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.shape import ChimeraShape, MixerKind
from chimerac.frontends.families.phases import Phase
from chimerac.frontends.layers.shapes import LoopShape, MoeShape, TitansShape
from chimerac.frontends.layers.triangular import invert_unit_lower
from chimerac.frontends.training.data import TextSource
from chimerac.frontends.training.distributed import Processes
from chimerac.frontends.training.loop import PhaseRunner, prepare
from chimerac.frontends.training.settings import Plan
from chimerac.frontends.weights.sources import RandomWeights

FORMS = ("eager", "graphs", "fused", "compiled")


def shape_of(hidden: int, heads: int, width: int, expert: int) -> ChimeraShape:
    """Eight layers of all four kinds, the middle four looped, two mixtures of eight experts."""
    three: tuple[MixerKind, ...] = ("gated_deltanet", "xlstm_m", "gated_deltanet")
    return ChimeraShape(
        vocabulary=4096,
        hidden=hidden,
        width=width,
        heads=heads,
        head_width=hidden // heads,
        mixers=(*three, "titans_mac", *three, "tsp_span_knot"),
        moe=MoeShape(layers=(3, 7), experts=8, shared_experts=1, experts_per_token=2, width=expert),
        loop=LoopShape(first=2, last=5, minimum=1, maximum=3, default=2, exit_threshold=0.01),
        titans=TitansShape(persistent_slots=8, window=64, chunk=32),
        init_std=0.02,
    )


def measure(shape: ChimeraShape, options: argparse.Namespace, device: torch.device, form: str) -> None:
    """Print the speed of one size in one of FORMS."""
    batch = max(1, options.tokens // options.length)
    phase = Phase(
        "bench", steps=10**6, sequence_length=options.length, batch=batch, depth="default", truncate=options.truncate
    )
    graphs, fused = form in ("graphs", "fused"), form == "fused"
    plan = Plan(shape, (phase,), precision=options.precision, compile=form == "compiled", graphs=graphs, fused=fused)
    model = ChimeraModel(shape)
    RandomWeights(FAMILY, shape, 0).fill(model)
    alone = Processes(0, 1, device)
    trained = prepare(model, plan, alone)
    text = np.random.default_rng(0).integers(0, 4096, 4 * batch * options.length + 1).astype(np.uint16)
    runner = PhaseRunner(plan, 0, model, trained, TextSource(text, options.length, 0), alone)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    began = time.perf_counter()
    for number in range(3):
        runner.step(number)
    wait()
    first = time.perf_counter() - began
    began, steps = time.perf_counter(), 0
    while steps < 3 or time.perf_counter() - began < options.seconds:
        runner.step(3 + steps)
        steps += 1
        if steps % 5 == 0:
            wait()
    wait()
    seconds = time.perf_counter() - began
    memory = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0
    print(
        f"hidden {shape.hidden:4d}  {sum(p.numel() for p in model.parameters()) / 1e6:5.1f} M parameters  "
        f"{form:8}  {1000 * seconds / steps:7.1f} ms/step  "
        f"{steps * batch * options.length / seconds:10,.0f} tokens/s  first 3 steps {first:5.1f} s  {memory:.1f} GB",
        flush=True,
    )
    if options.profile and device.type == "cuda":
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as found:
            runner.step(steps + 3)
            wait()
        print(found.key_averages().table(sort_by="self_cuda_time_total", row_limit=25, max_name_column_width=70))


def solvers(device: torch.device) -> None:
    """Compare substitution with the blockwise inverse on the systems of one layer."""
    mixing = 0.1 * torch.randn(2048, 48, 48, device=device).tril(-1)
    rows = torch.randn(2048, 48, 128, device=device)
    for name, solve in (
        ("substitution", lambda: torch.linalg.solve_triangular(mixing, rows, upper=False, unitriangular=True)),
        ("inverse", lambda: invert_unit_lower(mixing) @ rows),
    ):
        solve()
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(20):
            solve()
        torch.cuda.synchronize()
        print(f"2048 systems of 48, {name}: {50 * (time.perf_counter() - began):.2f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="256x4x768x256,384x6x1024x384", help="hidden x heads x width x expert width")
    parser.add_argument("--length", type=int, default=96)
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--truncate", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--only", choices=FORMS, nargs="+")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(torch.__version__, torch.cuda.get_device_name() if device.type == "cuda" else "cpu", flush=True)
    if device.type == "cuda":
        solvers(device)
    shapes = [shape_of(*map(int, size.split("x"))) for size in options.sizes.split(",")]
    for form in FORMS:
        if form in (options.only or FORMS) and (form != "graphs" or device.type == "cuda"):
            for shape in shapes:
                measure(dataclasses.replace(shape), options, device, form)


if __name__ == "__main__":
    main()
