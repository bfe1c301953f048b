"""What no file can be named is one error at every public function that takes a path, before work and before writing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import chimerac
from chimerac.compiler.packaging.grammar_packs import read_grammar
from chimerac.frontends.config.locate import read
from chimerac.frontends.tokenizers.json_files import read_value
from chimerac.frontends.weights.files import open_checkpoint
from chimerac.runtime.bundle_format import file_entry, read_container, read_manifest, write_atomically
from chimerac.runtime.reference.tokenizer import read_tokenizer

NAMES: dict[str, Any] = {
    "zero byte": "a\0b",
    "zero byte below": Path("a\0b") / "c.chimera",
    "surrogate": "a\ud800b",
    "long": "x" * 5000,
    "deep": "a/" * 3000 + "b",
}
#: What is called → with a name, and a bundle where it needs a right one.
CALLS: dict[str, Callable[[Any, Path], object]] = {
    "bench": lambda name, _: chimerac.bench(name),
    "bench_calls": lambda name, _: chimerac.bench_calls(name),
    "build": lambda name, _: chimerac.build(name),
    "build out": lambda name, _: chimerac.build("home", out=name),
    "build dump": lambda name, _: chimerac.build("home", dump_passes=name),
    "build weights": lambda name, _: chimerac.build("home", weights=name),
    "build tokenizer": lambda name, _: chimerac.build("home", tokenizer=name),
    "build spans": lambda name, _: chimerac.build(
        "home", speculate=True, packaging=chimerac.PackagingOptions(spans=name)
    ),
    "calibrate": lambda name, _: chimerac.calibrate(name, __file__),
    "calibrate data": lambda name, bundle: chimerac.calibrate(bundle, name),
    "calibrate homes": lambda name, bundle: chimerac.calibrate(bundle, __file__, homes=name),
    "check": lambda name, _: chimerac.check(name),
    "check_grammar": lambda name, _: chimerac.check_grammar(name),
    "compile": lambda name, _: chimerac.compile(str(name)),
    "explain": lambda name, _: chimerac.explain(str(name)),
    "find_bundle": lambda name, _: chimerac.find_bundle(name),
    "inspect": lambda name, _: chimerac.inspect(name),
    "load": lambda name, _: chimerac.load(name),
    "load spans": lambda name, bundle: chimerac.load(bundle, spans=name),
    "load_config": lambda name, _: chimerac.load_config(name),
    "mine_spans": lambda name, _: chimerac.mine_spans(name, [__file__]),
    "mine_spans files": lambda name, bundle: chimerac.mine_spans(bundle, [name]),
    "print_ir": lambda name, _: chimerac.print_ir(name),
    "run": lambda name, _: chimerac.run(name, "hello"),
    "run schema": lambda name, bundle: chimerac.run(bundle, "hello", schema=name),
    "run names": lambda name, bundle: chimerac.run(bundle, "hello", names=name),
    "run spans": lambda name, bundle: chimerac.run(bundle, "hello", spans=name),
    "serve": lambda name, _: chimerac.serve(name, port=0),
    "serve_api": lambda name, _: chimerac.serve_api(name, port=0),
    "serve_wyoming": lambda name, _: chimerac.serve_wyoming(name, port=0),
    "train": lambda name, _: chimerac.train(str(name), data=".", out="out"),
    "train data": lambda name, _: chimerac.train("home", data=name, out="out"),
    "verify": lambda name, _: chimerac.verify(name),
    "verify config": lambda name, bundle: chimerac.verify(bundle, config=name),
    "write_runtime": lambda name, _: chimerac.write_runtime(name),
    # doors below them
    "config": lambda name, _: read(Path(name)),
    "entry": lambda name, _: file_entry(name, "weights"),
    "container": lambda name, _: read_container(name),
    "grammar": lambda name, _: read_grammar(name),
    "manifest": lambda name, _: read_manifest(name),
    "tokenizer": lambda name, _: read_tokenizer(name),
    "value": lambda name, _: read_value(Path(name)),
    "weights": lambda name, _: open_checkpoint(name),
    "write": lambda name, _: write_atomically(name, b"x"),
}
#: Of these the name is a config's.
CONFIGS = ("build", "check", "load_config", "print_ir", "train", "verify config", "config")


@pytest.mark.parametrize("call", CALLS)
def test_what_no_file_can_be_named(call: str, toy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, name in NAMES.items():
        with pytest.raises((chimerac.UserError, chimerac.BundleError), match=r"(?s).+") as error:
            CALLS[call](name, toy.folder)
        code = str(getattr(error.value, "code", None))
        assert code.startswith("CHM"), kind
        assert (code == "CHM100") == (call in CONFIGS), kind
    assert os.listdir(tmp_path) == []


def test_every_public_function_of_paths_is_called() -> None:
    takes = {name for name in chimerac.__all__ if name[0].islower()}
    others = {"compile_grammar", "config_schema", "doctor", "list_targets", "register_op", "scan"}
    assert takes - others == {call.split()[0] for call in CALLS} & takes
