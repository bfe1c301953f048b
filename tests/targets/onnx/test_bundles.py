"""ONNX bundles: what they compute beside the native bundle, what is in them, and how damage is reported."""

from __future__ import annotations

import ast
import builtins
import filecmp
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench_tools import LONG, measure_once
from cli_tools import run_script
from click.testing import CliRunner, Result

import chimerac
from chimerac.compiler.build.build import build
from chimerac.compiler.cli.main import main
from chimerac.runtime.bundle_format import (
    OBLIGATIONS,
    Generation,
    Ledger,
    Valve,
    file_entry,
    read_manifest,
    write_manifest,
)
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.interface import Session

PROMPT = "It was a bright cold day in April, and the clocks were striking thirteen."


def outcome(session: Session, prompt: str | list[int] = PROMPT, **options: Any) -> tuple[list[Any], str, str]:
    pieces = [(p.text, p.token) for p in session.generate(prompt, **options)]
    return [*pieces, session.finish_reason, session.position], session.logits_hash(), session.state_hash()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"max_tokens": 64}, marks=pytest.mark.slow),
        pytest.param({"max_tokens": 24, "loops": 1}, marks=pytest.mark.slow),
        pytest.param({"max_tokens": 24, "loops": 3}, marks=pytest.mark.slow),
        {"max_tokens": 12, "loops": 6, "exit_threshold": 0.3},
        {"max_tokens": 24, "temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.1, "seed": 2**40 + 7, "stream": 3},
        pytest.param({"max_tokens": 40, "temperature": 1.3, "top_k": 20}, marks=pytest.mark.slow),
        {"max_tokens": 0},
    ],
)
def test_bits_are_those_of_the_native_bundle(
    options: dict[str, Any], onnx_bundles: dict[str, Path], bundles: dict[str, Path]
) -> None:
    with chimerac.load(onnx_bundles["onnx"]) as ours, chimerac.load(bundles["x86_64-avx2"]) as native:
        assert outcome(ours, **options) == outcome(native, **options)
        again: dict[str, Any] = {"max_tokens": 5, "reset": False}  # the conversation goes on
        assert outcome(ours, " And", **again) == outcome(native, " And", **again)


def test_the_valve_is_the_native_one(onnx_bundles: dict[str, Path], bundles: dict[str, Path]) -> None:
    """A text that goes down where the grammar forces tokens, and up again; and snapshots on the way."""
    with chimerac.load(onnx_bundles["onnx"]) as ours, chimerac.load(bundles["x86_64-avx2"]) as native:
        grammar = chimerac.compile_grammar(
            lark='start: /a{30}[b-z ]{50}/ open\nopen: "(" open ")" open | /[b-z .]/ open |'
        )
        valve = Valve((0.5, 1.0), (1, 2, 4), ("grammar_branching", "debt_pressure"))
        for session in (ours, native):
            generation = Generation(valve=valve, ledger=Ledger(OBLIGATIONS, 64, 65535))
            session.manifest = replace(session.manifest, generation=generation)
        options: dict[str, Any] = {"grammar": grammar, "max_tokens": 120, "temperature": 1.0, "seed": 5, "loops": 4}
        texts = zip(ours.generate(PROMPT, **options), native.generate(PROMPT, **options), strict=True)
        lowered, depths = [], set()
        for number, (our, other) in enumerate(texts):
            assert our == other
            assert ours.diagnostics() == native.diagnostics()
            depths.add(ours.diagnostics().depth)
            if number % 9 == 0:
                saved = native.snapshot()
                assert ours.snapshot() == saved
                lowered.append(b'"valve":{"dtype":"I32"' in saved)
        assert lowered[0] is False
        assert False in lowered[lowered.index(True) :]
        assert len(depths) > 1
        assert (ours.state_hash(), ours.logits_hash()) == (native.state_hash(), native.logits_hash())


@pytest.mark.parametrize(
    "wanted",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("json", "markdown", "none")),
        {"regex": "[a-f]{3}-[0-9]+"},
    ],
)
def test_grammars_lead_to_the_native_text(wanted: Any, onnx_bundles: dict[str, Path], bundles: dict[str, Path]) -> None:
    grammar = chimerac.compile_grammar(**wanted) if isinstance(wanted, dict) else wanted
    options: dict[str, Any] = {"grammar": grammar, "max_tokens": 24, "temperature": 1.5, "seed": 3, "score": True}
    with chimerac.load(onnx_bundles["onnx"]) as session, chimerac.load(bundles["x86_64-avx2"]) as native:
        assert outcome(session, **options) == outcome(native, **options)
        assert session.finish_reason == native.finish_reason
        assert session.score == native.score


def test_one_call_at_a_time_that_can_be_interrupted(onnx_bundles: dict[str, Path]) -> None:
    """As for every session: tests/runtime/sessions."""
    with chimerac.load(onnx_bundles["onnx"]) as session:
        tokens = session.encode(PROMPT) * 2
        expected = outcome(session, tokens, max_tokens=6, repetition_penalty=1.3)
        first, second = (session.generate(PROMPT, max_tokens=6) for _ in range(2))
        pieces = [next(first)]
        for call in (lambda: next(second), session.reset, lambda: session.prefill([1])):
            with pytest.raises(BundleError) as caught:
                call()
            assert caught.value.code == "CHM421"
        assert [*pieces, *first] == list(second)

        def stop(done: int, total: int) -> None:
            with pytest.raises(BundleError, match="another call"):
                session.state_hash()
            raise KeyboardInterrupt

        session.reset()
        with pytest.raises(KeyboardInterrupt):
            session.prefill(tokens, on_progress=stop)
        assert 0 < session.position < len(tokens)
        rest = tokens[session.position :]
        assert outcome(session, rest, max_tokens=6, repetition_penalty=1.3, reset=False) == expected
    with pytest.raises(BundleError, match="closed"):
        session.encode("x")


def test_fewer_loops_then_more(onnx_bundles: dict[str, Path], bundles: dict[str, Path]) -> None:
    found = []
    for path in (onnx_bundles["onnx"], bundles["x86_64-avx2"]):
        with chimerac.load(path) as session:
            outcome(session, max_tokens=3, loops=1)
            found.append(outcome(session, "more", max_tokens=3, loops=3, reset=False))
    assert found[0] == found[1]


def test_prompt_in_pieces_equals_prompt_at_once(onnx_bundles: dict[str, Path]) -> None:
    with chimerac.load(onnx_bundles["onnx"]) as session:
        tokens = session.encode(PROMPT)
        session.prefill(tokens)
        whole = session.logits_hash(), session.state_hash()
        session.reset()
        for start, stop in ((0, 1), (1, 16), (16, 40), (40, len(tokens))):
            session.prefill(tokens[start:stop])
        assert (session.logits_hash(), session.state_hash()) == whole


@pytest.mark.slow
def test_threads_do_not_change_the_bits(onnx_bundles: dict[str, Path]) -> None:
    found = []
    for threads in (1, 2):
        with chimerac.load(onnx_bundles["onnx"], threads=threads) as session:
            assert session.threads == threads
            found.append(outcome(session, max_tokens=8))
    assert found[0] == found[1]


def test_self_tests_pass(onnx_bundles: dict[str, Path]) -> None:
    for name, path in onnx_bundles.items():
        with chimerac.load(path) as session:
            assert session.self_test(), name
            assert session.position == 0


def test_a_wrong_self_test_fails(onnx_bundles: dict[str, Path], tmp_path: Path) -> None:
    for name, path in onnx_bundles.items():
        copy = shutil.copytree(path, tmp_path / name)
        manifest = read_manifest(copy)
        assert manifest.self_test is not None
        with chimerac.load(path) as session:
            session.prefill(manifest.self_test.prompt)
            worst = int(np.argmin(session.logits()[:256]))  # type: ignore[index]
        write_manifest(copy, replace(manifest, self_test=replace(manifest.self_test, tokens=(worst,))))
        with chimerac.load(copy) as session, pytest.raises(BundleError) as caught:
            session.self_test()
        assert caught.value.code == "CHM450"


def test_fused_model_stays_near(onnx_bundles: dict[str, Path], bundles: dict[str, Path]) -> None:
    """One flipped int8 code of an activation is worth about half a percent of the logits' range at this size."""
    with chimerac.load(onnx_bundles["onnx-fused"]) as fused, chimerac.load(bundles["x86_64-avx2"]) as native:
        worst = []
        for token in native.encode(PROMPT):
            fused.prefill([token])
            native.prefill([token])
            ours, expected = fused.logits(), native.logits()
            assert ours is not None
            assert expected is not None
            worst.append(np.abs(ours - expected).max() / np.ptp(expected))
        assert max(worst) < 0.03
        assert np.median(worst) < 0.01


def test_files(onnx_bundles: dict[str, Path]) -> None:
    for target, path in onnx_bundles.items():
        manifest = read_manifest(path)
        assert manifest.target == target
        assert {f.name: f.role for f in manifest.files} == {
            "model.onnx": "code",
            "model.onnx.data": "weights",
            "chimera51_tokenizer.model": "tokenizer",
            "chimera51_grammar.fstpack": "grammar",
            "MODEL_CARD.md": "document",
            "report.html": "document",
        }
        onnx.checker.check_model(str(path / "model.onnx"))
        model = onnx.load(str(path / "model.onnx"), load_external_data=False)
        used = {node.op_type for node in nodes_of(model.graph)}
        fused = {"LinearAttention", "CausalConvWithState", "RMSNormalization"}
        assert {"MatMulNBits", "Loop", "Scan"} <= used
        assert (fused <= used) == (target == "onnx-fused")
        assert {a.i for n in nodes_of(model.graph) for a in n.attribute if a.name == "bits"} == {2, 8}


def nodes_of(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [*graph.node, *(node for g in inner for node in nodes_of(g))]


@pytest.mark.slow
def test_builds_are_reproducible(document: Path, onnx_bundles: dict[str, Path], tmp_path: Path) -> None:
    build(document, scale="nano", targets=list(onnx_bundles), out=tmp_path, check=False)
    for path in onnx_bundles.values():
        names = sorted(p.name for p in path.iterdir())
        assert names == sorted(p.name for p in (tmp_path / path.name).iterdir())
        assert [n for n in names if not filecmp.cmp(path / n, tmp_path / path.name / n, shallow=False)] == []


@pytest.mark.slow
def test_unrolled_bundle_takes_no_other_count(document: Path, tmp_path: Path) -> None:
    built = build(document, scale="nano", targets=["onnx"], out=tmp_path, loops=2).bundles[0]  # runs the self-test
    with chimerac.load(built.path) as session:
        assert len(outcome(session, max_tokens=2, loops=2)[0]) > 2
        with pytest.raises(BundleError, match="1 loops; 2 to 2 are possible"):
            outcome(session, max_tokens=2, loops=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 101}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"repetition_penalty": 0.01}, "repetition penalty"),
        ({"exit_threshold": 2}, "exit threshold"),
        ({"loops": 99}, "99 loops"),
        ({"top_k": -1}, "top_k"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str, onnx_bundles: dict[str, Path]) -> None:
    with chimerac.load(onnx_bundles["onnx"]) as session, pytest.raises(BundleError, match=message) as caught:
        outcome(session, **options)
    assert caught.value.code == "CHM420"


def test_misuse(onnx_bundles: dict[str, Path]) -> None:
    session = chimerac.load(onnx_bundles["onnx"])
    calls: list[tuple[str, Callable[[], object]]] = [
        ("CHM420", lambda: session.prefill([320_000])),
        ("CHM420", lambda: session.prefill([-1])),
        ("CHM420", lambda: list(session.generate(""))),
        ("CHM421", lambda: list(session.generate([]))),
    ]
    for code, call in calls:
        with pytest.raises(BundleError) as caught:
            call()
        assert caught.value.code == code
    assert session.logits() is None
    session.close()
    session.close()
    with pytest.raises(BundleError, match="closed"):
        session.prefill([1])


def damaged(bundle: Path, copy: Path, change: Callable[[bytes], bytes]) -> Path:
    """A copy whose model is changed and whose manifest says so: what a wrong tool could write."""
    shutil.copytree(bundle, copy)
    model = copy / "model.onnx"
    model.write_bytes(change(model.read_bytes()))
    manifest = read_manifest(copy)
    files = tuple(file_entry(copy / f.name, f.role) for f in manifest.files)
    write_manifest(copy, replace(manifest, files=files))
    return copy


def without_metadata(data: bytes) -> bytes:
    model = onnx.load_from_string(data)
    del model.metadata_props[:]
    written: bytes = model.SerializeToString()
    return written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[: len(data) // 2], "ONNX Runtime cannot load it"),
        (lambda data: b"", "ONNX Runtime cannot load it"),
        (without_metadata, "not made by chimerac"),
    ],
)
def test_damaged_models(
    change: Callable[[bytes], bytes], message: str, onnx_bundles: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        chimerac.load(damaged(onnx_bundles["onnx"], tmp_path / "copy", change))
    assert caught.value.code == "CHM414"


def test_changed_weights_are_found(onnx_bundles: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(onnx_bundles["onnx"], tmp_path / "copy")
    data = copy / "model.onnx.data"
    data.write_bytes(data.read_bytes()[:-1] + b"\x55")
    with pytest.raises(BundleError) as caught:
        chimerac.load(copy)
    assert caught.value.code == "CHM412"


def test_without_onnxruntime(onnx_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BundleError, match="which Python cannot import") as caught:
        chimerac.load(onnx_bundles["onnx"])
    assert (caught.value.code, caught.value.hint) == ("CHM414", "pip install onnxruntime")


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_command_line(onnx_bundles: dict[str, Path], document: Path) -> None:
    bundle = str(onnx_bundles["onnx"])
    assert len(json.loads(command("run", bundle, "Hello", "-n", "4", "--tokens").stdout)) == 4
    told = command("verify", bundle)
    assert "self-test: the interpreter's tokens, logits and state" in told.stdout
    other = command("verify", bundle, "--config", str(document), "--scale", "nano", "--seed", "5")
    assert other.exit_code == 1
    assert "CHM330" in other.stderr


def test_what_is_in_it(onnx_bundles: dict[str, Path]) -> None:
    """Seen without the packages of a build; the weights file has no sections of ours."""
    bundle = str(onnx_bundles["onnx"])
    script = f"import chimerac, sys; print(chimerac.inspect({bundle!r}).render()); print(sorted(sys.modules))"
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "tvm", "onnx", "click"} & set(ast.literal_eval(done.stdout.splitlines()[-1]))
    found = chimerac.inspect(bundle)
    assert (found.kernels, found.sections) == ((), ())
    row = ["model.onnx.data", "weights", f"{found.manifest.memory.weights_bytes:,}"]
    assert row in [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_comparison_with_pytorch(onnx_bundles: dict[str, Path], document: Path) -> None:
    for bundle in onnx_bundles.values():
        told = command("verify", str(bundle), "--config", str(document), "--scale", "nano")
        assert "PyTorch: logits agree" in told.stdout


def test_a_benchmark_measures_what_is_possible(onnx_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    measure_once(monkeypatch)
    found = chimerac.bench(onnx_bundles["onnx"], threads=(1,), prompts=(2,), seconds=LONG)
    (run,) = found.runs
    assert run.decode is not None
    assert [rate.tokens for rate in run.prefill] == [2]
    assert run.first_token is not None
    assert found.decode_bytes == 0
    assert run.weight_bytes_per_second is None
    assert run.read_bytes_per_second is None
    assert run.time is None
    assert any("ONNX Runtime" in note for note in found.notes)
