"""Whole models, as the dylibs compute them in the emulator: the interpreter's bits, with and without AMX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amx_model import MATINT
from apple_machine import A9, M1, M4, MachineError
from apple_models import CONFIGS, PROMPT, Built, build_apple, build_apple_text
from apple_session import AppleSession, StatusError

from chimerac.runtime.bundle_format import SelfTest

#: target, chip, and the kernels it takes
MACHINES = {
    "macOS on M1": ("apple-amx", M1, "amx"),
    "macOS on M4": ("apple-amx", M4, "dotprod"),
    "iOS on A14": ("ios-arm64", M1, "amx"),
    "iOS on A18": ("ios-arm64", M4, "dotprod"),
    "iOS on A9": ("ios-arm64", A9, "neon"),
}


def found(session: AppleSession, like: SelfTest, loops: int) -> SelfTest:
    session.reset()
    session.set_loops(loops)
    session.prefill(like.prompt)
    return SelfTest(like.prompt, tuple(session.generate(len(like.tokens))), *session.hashes())


def check(built: Built, machine: str) -> None:
    target, chip, kernels = MACHINES[machine]
    session = AppleSession(built.paths[target], chip)
    assert session.kernels == kernels
    for loops, expected in built.expected.items():
        assert found(session, expected, loops) == expected, f"{loops} loops"
    assert (session.machine.amx.executed[MATINT] > 0) == (kernels == "amx")
    session.close()


@pytest.mark.parametrize(
    "machine", [m if m in ("macOS on M1", "iOS on A9") else pytest.param(m, marks=pytest.mark.slow) for m in MACHINES]
)
def test_every_chip_computes_the_interpreters_bits(nano: Built, machine: str) -> None:
    check(nano, machine)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CONFIGS) - {"nano"}))
def test_other_shapes(name: str, tmp_path: Path) -> None:
    built = build_apple(name, tmp_path, loops=(1, 3))
    for machine in MACHINES:
        check(built, machine)


@pytest.mark.slow
def test_a_model_of_another_family(tmp_path: Path) -> None:
    """N4 with ternary matrices: attention over a cache, and a recurrence of its own."""
    sizes = "vocab_size: 300, hidden_size: 192, inter_size: 160, heads: 4, layers: 2, context: 64, seed: 3"
    built = build_apple_text(f'model_type: "n4", quantization: "ternary", {sizes}', tmp_path)
    for machine in ("macOS on M1", "macOS on M4", "iOS on A9"):
        check(built, machine)


def test_prefill_of_one_token_after_another_equals_all_at_once(nano: Built) -> None:
    """AMX serves the second, NEON the first."""
    session = AppleSession(nano.paths["apple-amx"], M1)
    session.prefill(PROMPT[:19])
    whole = (session.hashes(), session.logits().tobytes())
    assert np.isfinite(session.logits()).all()
    assert session.machine.amx.executed[MATINT]
    session.reset()
    session.machine.amx.executed.clear()
    for token in PROMPT[:19]:
        session.prefill([token])
    assert (session.hashes(), session.logits().tobytes()) == whole
    assert not session.machine.amx.executed
    session.close()


@pytest.mark.slow
def test_sampling_does_not_depend_on_the_kernels(nano: Built) -> None:
    session = AppleSession(nano.paths["ios-arm64"], M1)
    runs = []
    for kernels in ("amx", "dotprod", "neon"):
        session.choose_kernels(kernels)
        assert session.kernels == kernels
        session.reset()
        session.set_sampling(0.8, 0.9, 40, 1.1, 42)
        session.prefill(PROMPT[:7])
        runs.append((session.generate(12), session.hashes()))
    assert runs[0] == runs[1] == runs[2]
    assert len(set(runs[0][0])) > 3
    session.close()


def test_an_app_can_do_without_amx(nano: Built) -> None:
    """By the environment or by the C interface; what the chip cannot run is refused."""
    session = AppleSession(nano.paths["apple-amx"], M1, {"CHIMERA_CPU": "dotprod"})
    assert session.kernels == "dotprod"
    session.prefill(PROMPT[:5])
    assert not session.machine.amx.executed
    session = AppleSession(nano.paths["apple-amx"], M4)
    with pytest.raises(StatusError, match="cannot run the kernels amx"):
        session.choose_kernels("amx")
    with pytest.raises(StatusError, match="no kernels neon"):
        session.choose_kernels("neon")
    assert session.kernels == "dotprod"


#: hw.cpufamily → kernels on macOS
FAMILIES = {
    "A14, M1": (0x1B588BB3, "amx"),
    "A15, M2": (0xDA33D83D, "amx"),
    "A16": (0x8765EDEA, "amx"),
    "A17 Pro": (0x2876F5B5, "amx"),
    "M3": (0xFA33415E, "amx"),
    "M3 Pro": (0x5F4DEA93, "amx"),
    "M3 Max": (0x72015832, "amx"),
    "A13": (0x462504D2, "dotprod"),
    "A18 Pro": (0x75D4ACB9, "dotprod"),
    "M4": (0x6F5129AC, "dotprod"),
    "M4 Max": (0x17D5B93A, "dotprod"),
    "unknown": (0x12345678, "dotprod"),
}


@pytest.mark.parametrize("chip", FAMILIES)
def test_amx_is_used_where_it_is_known(nano: Built, chip: str) -> None:
    family, kernels = FAMILIES[chip]
    assert AppleSession(nano.paths["apple-amx"], replace(M4, family=family)).kernels == kernels


def test_the_emulator_notices_amx_where_there_is_none(nano: Built) -> None:
    """So that the tests without AMX mean something: an M1 whose coprocessor is missing is stopped."""
    session = AppleSession(nano.paths["apple-amx"], replace(M1, amx=False))
    with pytest.raises(MachineError, match="illegal instruction 0x00201220"):
        session.prefill(PROMPT[:8])


def test_nothing_is_left_allocated(nano: Built) -> None:
    session = AppleSession(nano.paths["apple-amx"], M4)
    before = session.machine.blocks
    session.prefill(PROMPT[:3])
    session.generate(2)
    assert session.machine.blocks == before
    session.close()
    assert session.machine.blocks == 3  # ours: two files, and a place for results
