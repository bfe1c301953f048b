"""The span knot's correction against the layer in PyTorch, and against every choice of bits of a small sketch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from ir_tools import draw, run_op

from chimerac.compiler.ir.ops import OPS, TypeRuleError
from chimerac.compiler.ir.ops.rotations import walsh_hadamard
from chimerac.compiler.ir.types import f32, i32
from chimerac.frontends.layers.knot import random_signs

RULE: dict[str, float] = {"flips": 5, "rounds": 3, "weight": 0.3, "early_exit": 1e-4}


def operands(seed: int, rows: int, width: int, bits: int, hit: float = 0.4) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    signs = np.stack([random_signs(bits // 2, seed, 0, copy).numpy() for copy in range(2)])
    memory = random.integers(-(2**31), 2**31, (1, bits // 32)).astype(np.int32)
    return [draw(seed, rows, width), draw(seed + 1, width), signs, memory, np.full((1, 1), hit, np.float32)]


@pytest.mark.parametrize(("width", "bits"), [(16, 64), (24, 64), (100, 256), (128, 1024)])
def test_it_is_the_correction_of_the_layer(width: int, bits: int) -> None:
    given = operands(width, 7, width, bits)
    rule = RULE | {"flips": bits // 12}
    (got,) = run_op("knot_relax", *given, **rule)
    theirs = torch.ops.chimera.knot_relax(*map(torch.from_numpy, given), *rule.values()).numpy()
    assert np.abs(got - given[0]).max() > 1e-3
    np.testing.assert_allclose(got, theirs, atol=1e-5)


@pytest.mark.parametrize("hit", [0.0, -0.5, float("nan")])
def test_without_a_memory_rows_stay_as_they_are(hit: float) -> None:
    given = operands(3, 4, 20, 64, hit)
    given[0][0, :3] = [-0.0, np.inf, np.nan]
    (got,) = run_op("knot_relax", *given, **RULE)
    assert got.tobytes() == given[0].tobytes()


def test_the_bits_that_it_turns_lower_the_energy_most() -> None:
    """One round of a sketch with few bits that may turn: no other choice of as many bits has a lower E."""
    weight = 1.5
    for seed in range(12):
        u, kappa, signs, memory, hit = operands(seed, 1, 12, 64)
        kappa[:] = 64  # then what is added is P^T (z_end - z_0)
        (got,) = run_op("knot_relax", u, kappa, signs, memory, hit, flips=3, rounds=1, weight=weight, early_exit=0.0)
        padded = np.zeros((2, 32), np.float32)
        padded[:, :12] = u
        f = walsh_hadamard(padded * signs, 32).reshape(-1).astype(np.float64)
        f /= np.abs(f).mean() + 1e-6
        z = np.where(f >= 0, 1.0, -1.0)
        s = 2.0 * np.unpackbits(memory.view(np.uint8).reshape(-1), bitorder="little") - 1

        def energy(bits: np.ndarray, f: np.ndarray = f, s: np.ndarray = s) -> float:
            return float(-(bits * f).mean() + weight * (1 - (bits * s).mean()) / 2)

        possible = [i for i in range(64) if energy(np.where(np.arange(64) == i, -z, z)) < energy(z)]
        choices = [c for count in range(4) for c in itertools.combinations(possible, count)]
        best = min(choices, key=lambda c: energy(np.where(np.isin(np.arange(64), c), -z, z)))
        turned = np.where(np.isin(np.arange(64), best), -2 * z, 0).reshape(2, 32)
        back = (walsh_hadamard(turned.astype(np.float32), 32) * signs).sum(0)[:12]
        np.testing.assert_allclose(got[0] - u[0], back, atol=1e-4)


def test_types() -> None:
    infer = OPS["knot_relax"].infer
    good = [f32("T", 24), f32(24), f32(2, 32), i32(1, 2), f32(1, 1)]
    assert infer(good, RULE) == (good[0],)
    wrong = {0: i32("T", 24), 1: f32(25), 2: f32(2, 48), 3: i32(1, 3), 4: f32(1)}
    for place, other in wrong.items():
        with pytest.raises(TypeRuleError):
            infer([other if i == place else t for i, t in enumerate(good)], RULE)
    changes: list[dict[str, float]] = [{"flips": 0}, {"flips": 65}, {"rounds": -1}]
    for change in changes:
        with pytest.raises(TypeRuleError):
            infer(good, RULE | change)
