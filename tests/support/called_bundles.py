"""Bundles of the modules of called_modules.py, made once in a run of tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from called_modules import Aliases, Classifier, Constant, ConvNet, Filter, Mlp, Upwards
from made_once import Once
from torch import nn

import chimerac
from chimerac.compiler.build.importing import model_of_tensors
from chimerac.compiler.model import Model
from chimerac.frontends.export.examples import example_of
from chimerac.runtime.bundle_format import Entry, Port
from chimerac.runtime.sessions.runner import find_emulator

NATIVE, WASM, ARM, ONNX = "x86_64-avx2", "wasm", "aarch64-neon", "onnx"
TARGETS = (NATIVE, WASM, ARM, ONNX)
KINDS = {
    "aliases": Aliases,
    "mlp": Mlp,
    "convnet": ConvNet,
    "classifier": Classifier,
    "filter": Filter,
    "constant": Constant,
    "upwards": Upwards,
}
#: Kinds that are built for every target; the others, but in slow runs, for these two.
EVERYWHERE, FEW = ("classifier",), (NATIVE, ONNX)
MISSING = {
    WASM: None if shutil.which("node") else "needs Node.js",
    ARM: None if find_emulator("aarch64") else "needs qemu-aarch64: scripts/setup-qemu.sh",
}


def module_of(kind: str) -> nn.Module:
    """A module with weights that are always the same."""
    torch.manual_seed(7)
    module = KINDS[kind]().eval()
    for name, buffer in module.named_buffers():
        if name.endswith("running_var"):  # so that the norm does something
            buffer.add_(0.5)
    return module


def model_of(kind: str) -> Model:
    module = module_of(kind)
    example = example_of(module, None, None, 8)
    assert example is not None
    return model_of_tensors(module, example, name=kind, block=8)


def built(once: Once, kind: str, targets: tuple[str, ...]) -> Path:
    """The folder of the bundles of a kind; each has passed its self-test."""

    def make(folder: Path) -> None:
        chimerac.compile(module_of(kind), name=kind, targets=targets, out=folder, block=8)

    return once(f"called {kind} {' '.join(targets)}", make)


def bundle(once: Once, kind: str, target: str) -> Path:
    if reason := MISSING.get(target):
        pytest.skip(reason)
    few = kind not in EVERYWHERE and target in FEW
    return built(once, kind, FEW if few else TARGETS) / f"{kind}.{target}"


def drawn(random: np.random.Generator, entry: Entry, n: int) -> dict[str, np.ndarray]:
    """Inputs as a caller has them."""

    def one(port: Port) -> np.ndarray:
        shape = port.extents(n)
        if port.is_float:
            return random.standard_normal(shape).astype(np.float32)
        low, high = port.values or (0, 7)
        return random.integers(low, high + 1, shape).astype(port.dtype)

    return {port.name: one(port) for port in entry.inputs}
