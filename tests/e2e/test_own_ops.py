"""Ops of another package (tests/support/own_ops): declared in one place, compiled for every target, or refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import own_ops
import pytest
import torch
from cli_tools import COMMAND_LINE, environment
from own_ops.model import Filters, Speaks
from project import ROOT
from torch import Tensor, nn

import chimerac
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.custom import CUSTOM, unregister_op
from chimerac.compiler.ir.ops import OPS

SUPPORT = Path(__file__).parents[1] / "support"
TARGETS = ("x86_64-avx2", "wasm", "onnx")
PROMPT = list(b"It was a bright cold day.")
SQUASH, HALVES = own_ops.OPS
X = np.linspace(-3, 3, 24, dtype=np.float32).reshape(3, 8)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def forget() -> None:
    for name in list(CUSTOM):
        unregister_op(name)


forget()  # other tests know the ops of the table only


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    own_ops.register()
    yield
    forget()


def built(out: Path, *targets: str) -> chimerac.BuildReport:
    return chimerac.compile(Filters(), targets=targets or TARGETS[:1], out=out)


def refused(out: Path, code: str, *targets: str, **changes: Any) -> UserError:
    chimerac.register_op(replace(SQUASH, **changes))
    with pytest.raises(UserError) as caught:
        built(out, *targets)
    assert caught.value.code == code, caught.value.message
    assert "own::squash" in caught.value.message
    return caught.value


@pytest.mark.slow
def test_a_file_that_imports_ops_builds_for_every_target(tmp_path: Path) -> None:
    path = os.pathsep.join([str(SUPPORT), *sys.path])
    source = f"{SUPPORT / 'own_ops' / 'model.py'}:Speaks"
    command = [*COMMAND_LINE, "build", source, "--out", str(tmp_path), "--seed", "3", "-q"]
    command += [word for target in TARGETS for word in ("--target", target)]
    subprocess.run(command, check=True, env=environment(PYTHONPATH=path), capture_output=True)
    torch.manual_seed(3)
    module, expected = Speaks().eval(), [*PROMPT]
    with torch.no_grad():
        for position in range(6):
            logits = module(torch.tensor(expected, dtype=torch.int32), torch.tensor(position))
            expected.append(int(logits[-1].argmax()))
    for target in TARGETS:
        with chimerac.load(tmp_path / f"speaks.{target}") as session:
            list(session.generate(PROMPT, max_tokens=6))
            assert session.tokens() == expected[len(PROMPT) :], target


def test_modules_of_tensors_have_them_too(tmp_path: Path) -> None:
    for bundle in built(tmp_path, *TARGETS).bundles:
        with chimerac.load(bundle.path) as session:
            assert session.call({"x": X})["output"].tobytes() == SQUASH.meaning(X, slope=0.5).tobytes()


def test_an_op_without_onnx_form_is_refused_there_only(tmp_path: Path) -> None:
    found = refused(tmp_path, "CHM301", "onnx", onnx=None)
    assert "no ONNX form" in found.message
    built(tmp_path)


def test_an_op_without_kernel_is_for_onnx_only(tmp_path: Path) -> None:
    found = refused(tmp_path, "CHM301", kernel=None)
    assert "has no kernel, so it can be built for onnx only" in found.message
    built(tmp_path, "onnx")


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        ("out[0] = x[0]\n;float y = ;", "does not compile for x86_64-avx2: the C compiler failed:\nkernel, line 2"),
        slow("out[0] = missing(x[0]);", "missing"),
        ("for (int32_t i = 0; i < out_size; ++i) out[i] = x[i];", "computes something else than its meaning: result 0"),
        slow("for (int32_t i = 0; i <= out_size; ++i) out[i] = x[0];", "writes behind its result 0"),
        slow("((float *)x)[0] = 7.0f;", "changes its operand 0"),
        ("volatile int32_t *nowhere = 0; *nowhere = 1;", "crashes (SIG"),
        slow(lambda spec, isa: 1 // 0, "cannot be built for x86_64-avx2: ZeroDivisionError"),
    ],
)
def test_wrong_kernels_are_found_before_the_build_is_done(kernel: Any, why: str, tmp_path: Path) -> None:
    found = refused(tmp_path, "CHM307", kernel=kernel)
    assert why in found.message, found.message
    assert not list(tmp_path.iterdir())


def test_a_wrong_onnx_form_fails_the_self_test(tmp_path: Path) -> None:
    chimerac.register_op(replace(SQUASH, onnx=lambda context, op: (context.value(op.operands[0]),)))
    with pytest.raises(UserError) as caught:
        built(tmp_path, "onnx")
    assert caught.value.code == "CHM450"
    assert "ONNX form or kernel of own::squash" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"meaning": lambda x, slope: x.astype(np.float64)}, "is float64[3, 8], by its type rule float32[3, 8]"),
        ({"meaning": lambda x, slope: (x, x)}, "its meaning gives 2 results, its type rule 1"),
        ({"meaning": lambda x, slope: 1.0}, "result 0 of its meaning is float"),
        ({"attributes": {"slope": int}}, "slope is '0.5', and is declared as int"),
        ({"operands": ("y",)}, "is declared with y, slope; the call gives the tensors x and the numbers slope"),
        (
            {"infer": lambda operands, attributes: (operands[0].with_shape((3, 4)),)},
            "type rule gives f32[3,4], PyTorch f32[3,8]",
        ),
    ],
)
def test_declarations_that_do_not_fit_pytorch_are_refused(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    assert why in refused(tmp_path, "CHM306", **changes).message


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"torch": "squash"}, "it is not named library::name"),
        ({"torch": "state::read"}, "the table of ops has one of this name"),
        ({"operands": ()}, "it has no operand"),
        ({"operands": ("x", "slope")}, "a name is there twice"),
        ({"operands": ("n",)}, "a name is none that C may have"),
        ({"operands": ("out",)}, "a name is none that C may have"),
        ({"attributes": {"slope": list}}, "an attribute is neither int, float nor str"),
        ({"kernel": 7}, "its kernel is neither"),
        *(
            ({"ranges": ranges}, "a range is of no operand")
            for ranges in ({"y": (0, 1)}, {"x": (1, 0)}, {"x": (0, 1e400)})
        ),
        ({"ranges": {"x": 3}}, "a range is of no operand"),
    ],
)
def test_declarations_are_checked_at_once(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError) as caught:
        chimerac.register_op(replace(SQUASH, **changes))
    assert caught.value.code == "CHM306"
    assert why in caught.value.message


def test_an_op_can_be_taken_away(tmp_path: Path) -> None:
    unregister_op("own.squash")
    assert "own.squash" not in OPS
    with pytest.raises(UserError, match=r"own\.squash\.default is not supported"):
        built(tmp_path)


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "modules.md").read_text("utf-8")
    found = re.search(r"^`squash.py`:\n\n```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    (tmp_path / "squash.py").write_text(found[1])
    report = chimerac.build(
        f"{tmp_path / 'squash.py'}:Squashed", example=["T,8:f32"], targets=TARGETS, out=tmp_path / "dist"
    )
    for bundle in report.bundles:
        with chimerac.load(bundle.path) as session:
            assert session.call({"x": X})["output"].tobytes() == SQUASH.meaning(X, slope=0.5).tobytes()


def test_an_op_that_writes_to_its_arguments_is_refused_by_name() -> None:
    @torch.library.custom_op("own::gather_up", mutates_args=("state",))
    def gather_up(x: Tensor, state: Tensor) -> Tensor:
        state.add_(x.sum(0))
        return x + state

    @gather_up.register_fake
    def _(x: Tensor, state: Tensor) -> Tensor:
        return torch.empty_like(x)

    class Module(nn.Module):
        state: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("state", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = gather_up(x, self.state)
            return made

    (obstacle,) = chimerac.explain(Module(), example=(torch.zeros(3, 4),)).obstacles
    assert obstacle.code == "CHM211"
    assert obstacle.message == "the PyTorch op own.gather_up.default writes to its arguments: state"
    assert "self.state.copy_(new)" in obstacle.advice


def test_kernels_are_tried_with_numbers_of_their_ranges(tmp_path: Path) -> None:
    """One that is right for what is drawn without a range, and wrong for what callers give."""
    changes: dict[str, Any] = {
        "meaning": lambda x, slope: np.minimum(x, np.float32(1000)),
        "kernel": "for (int32_t i = 0; i < out_size; ++i) out[i] = x[i] < 900.0f ? x[i] : 900.0f;",
    }
    found = refused(tmp_path, "CHM307", **changes, ranges={"x": (-5, 2000)})
    assert "and should be " in found.message
    chimerac.register_op(replace(SQUASH, **changes, ranges={"x": (-5, 100)}))
    built(tmp_path)


def test_texts_and_whole_numbers_are_attributes(tmp_path: Path) -> None:
    @torch.library.custom_op("own::scaled", mutates_args=())
    def scaled(x: Tensor, times: int, how: str, negated: bool = True) -> Tensor:
        return -x * times if negated else x * times

    @scaled.register_fake
    def _(x: Tensor, times: int, how: str, negated: bool = True) -> Tensor:
        return torch.empty_like(x)

    class Module(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = scaled(x, 3, 'plain "é"')
            return made

    chimerac.register_op(
        chimerac.CustomOp(
            "own::scaled",
            ("x",),
            lambda x, times, how, negated: (-x if negated else x) * np.float32(times),
            attributes={"times": int, "how": str, "negated": int},
            kernel="float sign = negated && how[0] == 'p' ? -1.0f : 1.0f;\n"
            "for (int32_t i = 0; i < out_size; ++i) out[i] = sign * x[i] * (float)times;",
        )
    )
    report = chimerac.compile(Module(), example=("4:f32",), targets=TARGETS[:1], out=tmp_path)
    with chimerac.load(report.bundles[0].path) as session:
        assert session.call({"x": X[0, :4]})["output"].tolist() == (-3 * X[0, :4]).tolist()
