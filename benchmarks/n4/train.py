"""N4 and a plain transformer of equal size, trained on the same text in the same order with the document's settings.

    PYTHONPATH=src python benchmarks/n4/train.py --out /tmp/n4 --minutes 8

needs PyTorch and numpy only. It leaves corpus.json, a JSON file of losses for each model, and curves.svg. A model whose
file is there is not trained again, so that ``--models n4`` and ``--models gpt`` may be two calls.

The document (README of Nova-Nox-Neural-Network): vocabulary 32,768, hidden 768, inter 1536, heads 6, layers 18; AdamW
with lr 6e-4, betas (0.9, 0.95), eps 1e-9, weight decay 0.1 of all parameters, 2,000 steps of warm-up, which are more
than its 976 steps; 8 sequences of 512 tokens 16 times a step; bfloat16, which can only mean autocast. It says nothing
of clipping gradients: both models have 1. A forward pass here has 32 sequences, 4 times a step.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
import corpus
import curves
from gpt import GPT

from chimerac.models.n4 import N4C

BETAS, EPSILON, DECAY, CLIP = (0.9, 0.95), 1e-9, 0.1, 1.0
NAMES = {"n4": "N4", "gpt": "pre-norm transformer"}
EVERY, HELD_OUT_EVERY, HELD_OUT_ROWS = 8, 61, 256


def made(name: str, options: argparse.Namespace) -> nn.Module:
    """One of the two models, with the weights of seed 0."""
    torch.manual_seed(0)
    if name == "gpt":
        return GPT(options.vocabulary, options.hidden, options.heads, options.layers, options.length)
    return N4C(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        inter_size=options.inter,
        heads=options.heads,
        layers=options.layers,
    )


def rows_of(tokens: Tensor, length: int, seed: int) -> Iterator[Tensor]:
    """Windows [length] of a text, none twice before all were there."""
    count = len(tokens) // length
    windows = tokens[: count * length].view(count, length)
    for epoch in range(1 << 30):
        for place in np.random.default_rng((seed, epoch)).permutation(count):
            yield windows[place].long()


@torch.no_grad()
def held_out_loss(model: nn.Module, tokens: Tensor, options: argparse.Namespace) -> float:
    """Mean loss, in nats per token, of the first windows of the held-out text."""
    count = min(HELD_OUT_ROWS, len(tokens) // options.length)
    rows = tokens[: count * options.length].view(count, options.length).long()
    total = 0.0
    for part in rows.split(options.micro):
        with autocast(rows.device):
            total += float(model(input=part, labels=part)[1]) * len(part)
    return total / count


def autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16)


def trained(name: str, options: argparse.Namespace, facts: dict[str, Any]) -> tuple[dict[str, Any], nn.Module]:
    """Train one model until its steps or its minutes are over; what it did, and the model."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    model = made(name, options).to(device)
    train, held_out = (
        torch.from_numpy(np.fromfile(options.out / f"{part}.bin", np.uint16).astype(np.int32)).to(device)
        for part in ("train", "held_out")
    )
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.rate, betas=BETAS, eps=EPSILON, weight_decay=DECAY, fused=device.type == "cuda"
    )
    rows, passes = rows_of(train, options.length, options.seed), options.batch // options.micro
    losses, measured, begun, step = [], [], time.monotonic(), 0
    total = torch.zeros((), device=device)
    while step < options.steps and time.monotonic() - begun < 60 * options.minutes:
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1.0, (step + 1) / max(1, options.warmup))
        for _ in range(passes):
            batch = torch.stack([next(rows) for _ in range(options.micro)])
            with autocast(device):
                loss = model(input=batch, labels=batch)[1] / passes
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if step % EVERY == 0:
            losses.append([step, round(float(total) / EVERY, 4)])
            total.zero_()
            if not math.isfinite(losses[-1][1]):
                raise SystemExit(f"{name}: the loss is not finite any more at step {step}")
        if step % HELD_OUT_EVERY == 0:
            measured.append([step, round(held_out_loss(model, held_out, options), 4)])
            print(f"{name} {step} train {losses[-1][1]} held out {measured[-1][1]}", flush=True)
    seconds = time.monotonic() - begun
    if not measured or measured[-1][0] != step:
        measured.append([step, round(held_out_loss(model, held_out, options), 4)])
    bits = measured[-1][1] / math.log(2) * facts["held_out_tokens"] / facts["held_out_bytes"]
    found = {
        "model": NAMES[name],
        "parameters": sum(p.numel() for p in model.parameters()),
        "settings": {key: value for key, value in vars(options).items() if key not in ("out", "models", "roots")},
        "steps": step,
        "tokens": step * options.batch * options.length,
        "seconds": round(seconds, 1),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "type_of_cumsum_under_autocast": _type_of_cumsum(device),
        "train": losses,
        "held_out": measured,
        "held_out_bits_per_byte": round(bits, 4),
    }
    return found, model


def _type_of_cumsum(device: torch.device) -> str:
    """Whether tokens are counted in bfloat16, as the official code would do it here."""
    with autocast(device):
        return str(torch.cumsum(torch.ones(2, dtype=torch.bfloat16, device=device), 0).dtype)


def sample(model: N4C, options: argparse.Namespace, most: int = 96) -> str:
    """A text that the model continues."""
    pieces = [bytes.fromhex(text) for text in json.loads((options.out / "vocabulary.json").read_text())]
    table = {piece: token for token, piece in enumerate(pieces)}
    prompt = [t for p in corpus.PIECE.findall("def read(path):") for t in corpus.cut(p, table, max(map(len, table)))]
    device = next(model.parameters()).device
    tokens = model.eval().generate_n4c(torch.tensor([prompt], device=device), most, eos_token_id=-1)
    return b"".join(pieces[token] for token in [*prompt, *tokens]).decode(errors="replace")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="of training, for each model")
    parser.add_argument("--models", default="n4,gpt")
    numbers = {"steps": 976, "vocabulary": 32768, "hidden": 768, "inter": 1536, "heads": 6, "layers": 18}
    numbers |= {"length": 512, "batch": 128, "micro": 32, "warmup": 2000, "seed": 0}
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--megabytes", type=float, default=400.0, help="of text, where there is as much")
    parser.add_argument("--roots", type=Path, nargs="*", default=[], help="folders of text in place of Python's")
    options = parser.parse_args(arguments)
    if options.batch % options.micro:
        parser.error("--batch must be a multiple of --micro")
    begun = time.monotonic()
    facts = corpus.make(options.out, options.vocabulary, options.megabytes, min(16, os.cpu_count() or 1), options.roots)
    print(f"{facts['files']:,} files, {facts['train_tokens']:,} tokens, {time.monotonic() - begun:.0f} s", flush=True)
    options.vocabulary = facts["vocabulary"]
    for name in options.models.split(","):
        file = options.out / f"{name}.json"
        if not file.exists():
            found, model = trained(name, options, facts)
            file.write_text(json.dumps(found, indent=1) + "\n")
            if isinstance(model, N4C):
                (options.out / "sample.txt").write_text(sample(model, options))
    files = [options.out / f"{name}.json" for name in NAMES]
    done = [json.loads(file.read_text()) for file in files if file.exists()]
    (options.out / "curves.svg").write_text(curves.svg(done))
    for found in done:
        print(
            f"{found['model']}: {found['parameters']:,} parameters, {found['steps']} steps, "
            f"{found['tokens'] / found['seconds']:,.0f} tokens/s, held out {found['held_out'][-1][1]} nats per token, "
            f"{found['held_out_bits_per_byte']} bits per byte"
        )


if __name__ == "__main__":
    main()
