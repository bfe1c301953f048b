"""The targets that a build can name."""

from __future__ import annotations

import pytest

from chimerac.compiler.errors import UserError
from chimerac.targets.isa import load_isa
from chimerac.targets.registry import TARGETS, Target, find_target, host_target


def test_names_and_aliases_are_found_and_belong_to_one_target() -> None:
    names = [(name, t) for t in TARGETS.values() for name in (t.name, *t.aliases)]
    assert len({name for name, _ in names}) == len(names)
    for name, target in names:
        assert find_target(f" {name.upper()} ") is target


def test_compiled_targets_share_one_layout_of_weights() -> None:
    compiled = [t for t in TARGETS.values() if t.package != "onnx"]
    assert {load_isa(t.isa).panel_rows for t in compiled} == {8}


@pytest.mark.parametrize("target", [t for t in TARGETS.values() if t.runner], ids=lambda t: t.name)
def test_targets_with_a_runner_can_link_one(target: Target) -> None:
    assert load_isa(target.isa).program_triple


def test_an_unknown_target() -> None:
    with pytest.raises(UserError, match="unknown target 'aarch64-neno'") as caught:
        find_target("aarch64-neno")
    assert caught.value.code == "CHM300"
    assert "aarch64-neon" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("linux", "x86_64", "x86_64-avx2"),
        ("linux", "aarch64", "aarch64-neon"),
        ("darwin", "arm64", "apple-amx"),
        ("win32", "AMD64", "x86_64-avx2"),
    ],
)
def test_the_target_of_this_machine(system: str, machine: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert host_target() == expected
    assert find_target(expected).name == expected
