"""Modules that are no language models, from PyTorch to bundles: the interpreter's bits, PyTorch's numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from called_bundles import EVERYWHERE, FEW, KINDS, NATIVE, ONNX, TARGETS, WASM, bundle, drawn, model_of, module_of
from made_once import Once
from torch import nn

import chimerac
from chimerac.compiler.build.lowering import lower
from chimerac.compiler.ir.interpreter import Session as Interpreter
from chimerac.runtime.bundle_format import CallTest, Entry, Port, read_manifest, write_manifest
from chimerac.runtime.errors import BundleError
from chimerac.targets.registry import find_target

RANDOM = np.random.default_rng(0)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


def cases() -> Iterator[Any]:
    for kind in KINDS:
        for target in TARGETS:
            slow = kind not in EVERYWHERE and target not in FEW
            yield pytest.param(kind, target, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("kind", "target"), list(cases()))
def test_calls_are_those_of_the_interpreter_and_of_pytorch(kind: str, target: str, once: Once) -> None:
    module, model = module_of(kind), model_of(kind)
    (entry,) = model.entries
    lowered, _ = lower(model.module, find_target(NATIVE))
    reference = Interpreter(lowered)
    with chimerac.load(bundle(once, kind, target)) as session:
        assert session.manifest.entries == (entry,)
        assert session.vocab_size == 0
        for number, n in enumerate((entry.most, 1, 3 if entry.varies else 1, entry.most)):
            given = drawn(RANDOM, entry, n)
            found = session.call(given)
            assert session.position == number + 1
            types = [value.type.bind(n) for value in lowered.graphs["call"].inputs]
            flat = [
                given[p.name].astype(p.computed).reshape([int(d) for d in t.shape])
                for p, t in zip(entry.inputs, types, strict=True)
            ]
            expected = reference.run("call", flat)
            torched = module(*[torch.from_numpy(np.asarray(value)) for value in given.values()])
            near = [t for _, t in sorted(torched.items())] if isinstance(torched, dict) else torched
            near = [near] if isinstance(near, torch.Tensor) else list(near)
            names = sorted(found) if isinstance(torched, dict) else [port.name for port in entry.results]
            assert list(found) == [port.name for port in entry.results]
            for port, bits in zip(entry.results, expected, strict=True):
                array = found[port.name]
                assert array.shape == port.extents(n)
                assert array.dtype == (np.float32 if port.is_float else np.dtype(port.dtype))
                # ONNX Runtime may lose the sign of a zero
                np.testing.assert_array_equal(array.reshape(-1).astype(port.computed), bits.reshape(-1))
            for name, value in zip(names, near, strict=True):
                np.testing.assert_allclose(found[name], value.detach().numpy(), rtol=1e-4, atol=1e-4)
        assert session.self_test()
        assert session.position == 0


@pytest.mark.parametrize("target", TARGETS)
def test_state_is_saved_and_goes_on_anywhere(target: str, once: Once) -> None:
    """A snapshot of the native bundle goes on in the others; reset forgets."""
    with (
        chimerac.load(bundle(once, "classifier", NATIVE)) as one,
        chimerac.load(bundle(once, "classifier", target)) as other,
    ):
        (entry,) = one.manifest.entries
        first, second = drawn(RANDOM, entry, 4), drawn(RANDOM, entry, 2)
        one.call(first)
        other.restore(one.snapshot())
        assert other.position == 1
        assert other.state_hash() == one.state_hash()
        assert other.snapshot() == one.snapshot()
        here, there = one.call(second), other.call(second)
        for name, array in here.items():
            np.testing.assert_array_equal(array, there[name])
        assert int(there["seen"]) == 2
        other.reset()
        assert int(other.call(second)["seen"]) == 1
        with pytest.raises(BundleError) as caught:
            other.restore(b"nothing")
        assert caught.value.code == "CHM401"


PROGRAM = r"""
#include <stdio.h>
#include "chimera.h"
int main(int count, char **files) {
  chm_bundle *bundle;
  chm_session *session;
  float x[24], output[10];
  if (count != 2 || chm_bundle_open_files(files[1], NULL, 0, NULL, &bundle)) return puts(chm_last_error()), 1;
  if (chm_session_open(bundle, NULL, &session)) return puts(chm_last_error()), 1;
  for (int i = 0; i < 24; ++i) x[i] = (float)i / 8.0f - 1.0f;
  const chm_tensor inputs[] = {{"x", x, sizeof x}}, results[] = {{"output", output, sizeof output}};
  if (chm_session_call(session, "call", inputs, 1, results, 1, 1)) return puts(chm_last_error()), 1;
  for (int i = 0; i < 10; ++i) printf("%a\n", (double)output[i]);
  chm_session_close(session);
  return chm_bundle_close(bundle);
}
"""


def test_a_c_program_calls_it(once: Once, gcc: str, tmp_path: Path) -> None:
    """The example of docs/runtime.md, with the header and the library of the bundle."""
    folder = bundle(once, "mlp", NATIVE)
    source, program = tmp_path / "user.c", tmp_path / "user"
    source.write_text(PROGRAM)
    library = str(folder / "libchimera.so")
    subprocess.run(
        [gcc, "-std=c11", "-Wall", "-Werror", f"-I{folder}", str(source), library, "-o", str(program)], check=True
    )
    command = [str(program), str(folder / "mlp.b158")]
    done = subprocess.run(command, capture_output=True, text=True, env={"LD_LIBRARY_PATH": str(folder)}, check=True)
    x = (np.arange(24, dtype=np.float32) / np.float32(8) - np.float32(1)).reshape(2, 12)
    with chimerac.load(folder) as session:
        expected = session.call({"x": x})["output"]
    found = np.array([float.fromhex(line) for line in done.stdout.split()], np.float32)
    np.testing.assert_array_equal(found, expected.reshape(-1))


def test_javascript_calls_it_and_refuses_the_same(once: Once) -> None:
    folder = bundle(once, "classifier", WASM)
    command = ["node", str(Path(__file__).parent / "called.mjs"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["refused"] == [
        'CHM420: there is no input "idz"; did you mean "ids"?',
        'CHM420: the input ids is a value of type "Float32Array", not a Int32Array or an array of numbers',
        "CHM420: the input ids has 1.5, which is no int64",
        "CHM420: the input ids has the value 10; 0 to 9 are possible",
        "CHM420: the axis T has 9 elements; 1 to 8 are possible",
        "CHM420: the input kept has 1 elements; 4 are expected, of shape [T] with T = 4",
        'CHM420: the input kept is "yes", not a Int32Array or an array of numbers',
        "CHM420: the input scale has true, which is no float32",
        "CHM420: the input ids is missing",
        "CHM420: the inputs are null, not an object of arrays by name",
        'CHM420: there is no entry "main"; the bundle has call',
        "CHM420: the axis T has 0 elements; 1 to 8 are possible",
        "CHM421: the bundle holds no language model, and has no tokens; use call()",
        "CHM421: the bundle holds no language model, and has no tokens; use call()",
    ]
    assert found["tested"] is True
    assert found["position"] == 0
    with chimerac.load(folder) as session:
        expected = session.call({"ids": [0, 1, 2, 9], "kept": [True, False, True, True], "scale": 2})
    for name, (kind, *values) in found["results"].items():
        assert kind == ("Float32Array" if expected[name].dtype == np.float32 else "Int32Array")
        np.testing.assert_array_equal(np.array(values, expected[name].dtype), expected[name].reshape(-1))


@pytest.mark.parametrize("target", [NATIVE, ONNX])
def test_a_bundle_that_computes_otherwise_is_found_out(target: str, once: Once, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(bundle(once, "filter", target), folder)
    manifest = read_manifest(folder)
    assert isinstance(manifest.call_test, CallTest)
    *others, last = manifest.call_test.calls
    changed = replace(last, hashes=(last.hashes[0], "0" * 16, last.hashes[2]))
    write_manifest(folder, replace(manifest, call_test=replace(manifest.call_test, calls=(*others, changed))))
    with chimerac.load(folder) as session, pytest.raises(BundleError, match="1 of call 2 of the self-test") as caught:
        session.self_test()
    assert caught.value.code == "CHM450"
    write_manifest(folder, replace(manifest, call_test=replace(manifest.call_test, state_hash="0" * 16)))
    with chimerac.load(folder) as session, pytest.raises(BundleError, match="the state of the self-test"):
        session.self_test()


def test_the_fused_form_is_near(once: Once, tmp_path: Path) -> None:
    chimerac.compile(module_of("convnet"), targets=["onnx-fused"], out=tmp_path, name="net")
    with chimerac.load(tmp_path / "net.onnx-fused") as session:
        assert "within 2% of the largest" in session.self_test_compares
        assert session.self_test()
        manifest = session.manifest
    assert manifest.call_test is not None
    (record, *others) = manifest.call_test.calls
    wrong = replace(record, samples=(tuple(-(value or 0.0) - 1 for value in record.samples[0]),))
    write_manifest(
        tmp_path / "net.onnx-fused", replace(manifest, call_test=replace(manifest.call_test, calls=(wrong, *others)))
    )
    with chimerac.load(tmp_path / "net.onnx-fused") as session, pytest.raises(BundleError, match="is off by") as caught:
        session.self_test()
    assert caught.value.code == "CHM450"


def test_one_session_at_a_time_and_threads(once: Once) -> None:
    """Results do not depend on threads; a closed session says so."""
    folder = bundle(once, "convnet", NATIVE)
    image = RANDOM.standard_normal((1, 2, 8, 8)).astype(np.float32)
    with chimerac.load(folder) as one, chimerac.load(folder, threads=2) as two:
        np.testing.assert_array_equal(one.call({"image": image})["output"], two.call({"image": image})["output"])
    with pytest.raises(BundleError, match="closed") as caught:
        one.call({"image": image})
    assert caught.value.code == "CHM421"


class Sum(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


def test_texts_say_which_axis_varies(tmp_path: Path) -> None:
    report = chimerac.compile(Sum(), example=("T,3:f32", "3:f32"), out=tmp_path, targets=[ONNX], block=5)
    assert not report.has_tokens
    with chimerac.load(report.bundles[0].path) as session:
        (entry,) = session.manifest.entries
        assert entry == Entry(
            "call",
            5,
            (Port("x", ("T", 3), "float32"), Port("y", (3,), "float32")),
            (Port("output", ("T", 3), "float32"),),
        )
        x, y = RANDOM.standard_normal((4, 3)).astype(np.float32), np.ones(3, np.float32)
        np.testing.assert_array_equal(session.call({"x": x, "y": y})["output"], x + y)
