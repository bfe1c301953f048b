"""The pass list of a build: legal at every stage, the same numbers whatever is left out, errors that name passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from nano_model import lowered_nano, nano_module

from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import InternalError, UserError
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.ir.text import parse, print_module
from chimerac.compiler.ir.verify import verify
from chimerac.passes.base import Pass, PassRecord, Rewritten

PROMPT = [int(t) for t in np.random.default_rng(12).integers(0, 320, 6)]


@dataclass(frozen=True)
class Faulty:
    """A pass that fails, or makes illegal IR."""

    error: Exception | None
    name: str = "faulty"

    def run(self, module: Module) -> Rewritten:
        if self.error is not None:
            raise self.error
        return Rewritten(Module(module.name, module.graphs, {}, module.states, module.block, module.loops))


def outcome(module: Module, loops: int | None = None) -> list[bytes]:
    session = Session(module, loops=loops)
    found = [session.forward(PROMPT).tobytes(), session.forward([7]).tobytes()]
    return found + [session.states[name].tobytes() for name in sorted(session.states)]


def names(steps: Sequence[Pass]) -> list[str]:
    return [step.name for step in steps]


@pytest.mark.parametrize(
    "without",
    [
        *[(name,) for name in sorted(pipeline.OPTIONAL)],
        *combinations(sorted(pipeline.OPTIONAL), 2),
        tuple(sorted(pipeline.OPTIONAL)),
    ],
    ids="+".join,
)
def test_optional_passes_change_no_bit(without: tuple[str, ...]) -> None:
    module = lowered_nano(without=without)
    verify(module, "lowered")
    assert outcome(module) == outcome(lowered_nano())


@pytest.mark.parametrize("loops", [1, 3])
def test_optional_passes_change_no_bit_of_unrolled_loops(loops: int) -> None:
    module = lowered_nano(loops=loops, without=tuple(sorted(pipeline.OPTIONAL)))
    verify(module, "unrolled")
    assert outcome(module) == outcome(lowered_nano(loops=loops))
    assert outcome(module)[:2] == outcome(lowered_nano(), loops=loops)[:2]


@pytest.mark.parametrize("loops", [None, 2])
def test_every_pass_leaves_legal_ir(loops: int | None) -> None:
    seen: list[str] = []

    def check(record: PassRecord, module: Module) -> None:
        verify(module)
        assert record.ops == sum(1 for g in module.graphs.values() for _ in walk(g.ops))
        assert record.seconds >= 0
        seen.append(record.name)

    steps = pipeline.passes(loops=loops)
    _, records = pipeline.run(nano_module(), steps, check)
    assert seen == names(steps) == [r.name for r in records]


def test_a_run_can_end_after_a_pass() -> None:
    """With the module that ``run`` has there, and nothing of what comes after."""
    steps = pipeline.passes(loops=2)
    texts: dict[str, str] = {}

    def note(record: PassRecord, module: Module) -> None:
        texts[record.name] = print_module(module)

    pipeline.run(nano_module(), steps, note)
    for name in names(steps):
        assert print_module(pipeline.run_until(nano_module(), steps, name)) == texts[name], name
    assert len(set(texts.values())) >= 8, "passes change the text"


def test_the_end_must_be_a_pass_of_the_run() -> None:
    with pytest.raises(UserError) as caught:
        pipeline.run_until(nano_module(), pipeline.passes(), "loop_unrolling")
    assert caught.value.code == "CHM313"
    assert caught.value.message == "this build has no pass 'loop_unrolling'"


def test_every_pass_is_dumped(tmp_path: Path) -> None:
    (tmp_path / "40_of_before.ir").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    steps = pipeline.passes()
    dump = pipeline.dump_to(tmp_path, nano_module())
    lowered, _ = pipeline.run(nano_module(), steps, dump)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"{i:02}_{name}.ir" for i, name in enumerate(["imported", *names(steps)])] + ["notes.txt"]
    assert (tmp_path / files[0]).read_text() == print_module(nano_module())
    assert (tmp_path / files[-2]).read_text() == print_module(lowered)
    for name in files[:-1]:
        assert print_module(parse((tmp_path / name).read_text())) == (tmp_path / name).read_text()


def test_passes_leave_their_input_alone() -> None:
    before = print_module(nano_module())
    data = {n: c.data.tobytes() for n, c in nano_module().constants.items()}
    pipeline.run(nano_module(), pipeline.passes(loops=2))
    assert print_module(nano_module()) == before
    assert {n: c.data.tobytes() for n, c in nano_module().constants.items()} == data


def test_the_same_module_gives_the_same_text() -> None:
    texts = {print_module(pipeline.run(nano_module(), pipeline.passes())[0]) for _ in range(2)}
    assert len(texts) == 1


def test_the_list_follows_the_options() -> None:
    usual = names(pipeline.passes())
    assert usual[0] == "entry_points"
    assert usual[-2:] == ["fuse_elementwise", "dead_code"]
    assert names(pipeline.passes(loops=2)) == [usual[0], "loop_unrolling", *usual[1:]]
    packed = names(pipeline.passes(packing=[Faulty(None)]))  # of what has threads
    assert packed == [*usual[:-1], "faulty", "dead_code", "level_order"]
    assert names(pipeline.passes(without=["dead_code"])) == usual[:-1]
    assert set(packed) >= pipeline.OPTIONAL


@pytest.mark.parametrize(
    ("name", "hint"),
    [("dead_cod", "did you mean 'dead_code'?"), ("entry_points", "optional passes:"), ("xyz", "optional passes:")],
)
def test_leaving_out_what_cannot_be_left_out(name: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        pipeline.passes(without=[name])
    assert caught.value.code == "CHM311"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("error", [KeyError("w"), ValueError("bad"), InternalError("illegal"), AssertionError()])
def test_an_internal_error_names_the_pass_and_those_before(error: Exception) -> None:
    steps = pipeline.passes()
    with pytest.raises(InternalError) as caught:
        pipeline.run(nano_module(), [*steps[:2], Faulty(error), *steps[2:]])
    assert caught.value.stage == "faulty"
    assert caught.value.before == ("entry_points", "moe_sort_dispatch")
    assert str(error) in str(caught.value)
    assert caught.value.__cause__ is error
    assert "internal error in faulty after entry_points, moe_sort_dispatch" in caught.value.render()


def test_illegal_ir_is_found_at_the_end_or_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [*pipeline.passes(), Faulty(None)]
    monkeypatch.delenv("CHIMERAC_VERIFY", raising=False)
    with pytest.raises(InternalError, match="unknown constant") as caught:
        pipeline.run(nano_module(), [*steps, *pipeline.passes()[-1:]])
    assert caught.value.stage == "the last check"
    assert caught.value.before[-2:] == ("faulty", "dead_code")
    monkeypatch.setenv("CHIMERAC_VERIFY", "1")
    with pytest.raises(InternalError, match="unknown constant") as caught:
        pipeline.run(nano_module(), [*steps, *pipeline.passes()[-1:]])
    assert caught.value.stage == "faulty"


def test_user_errors_pass_through() -> None:
    error = UserError("CHM399", "not like this")
    with pytest.raises(UserError) as caught:
        pipeline.run(nano_module(), [Faulty(error)])
    assert caught.value is error
