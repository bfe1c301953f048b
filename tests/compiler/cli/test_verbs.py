"""Every verb by name: help, success, misuse, and what an unexpected failure looks like."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import click
import pytest
from cli_tools import COMMAND_LINE, TARGETS, Command, run_script

from chimerac.compiler.cli import main as cli

VERBS = cli.main.list_commands(click.Context(cli.main))


def test_help_lists_every_verb(chimerac: Command) -> None:
    shown = chimerac("--help")
    assert shown.code == 0
    assert set(VERBS) == set(cli.main.commands)
    for verb in VERBS:
        assert f"\n  {verb} " in shown.out


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_describes_every_option(chimerac: Command, verb: str) -> None:
    for flag in ("-h", "--help"):
        shown = chimerac(verb, flag)
        assert shown.code == 0
        assert shown.err == ""
    for parameter in cli.main.commands[verb].params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[0] in shown.out
            assert parameter.help, f"{verb} {parameter.opts[0]} has no help text"


def test_version(chimerac: Command) -> None:
    import chimerac as package

    assert chimerac("--version").out == f"chimerac, version {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["biuld"], "Did you mean 'build'?"),
        (["build", "--sacle", "nano"], "--scale"),
        (["build", "home", "more"], "unexpected extra argument"),
        (["build", "--seed", "one"], "'one' is not a valid integer"),
        (["build", "--out"], "requires an argument"),
        (["run", "bundle", "--tokens"], "--tokens needs a PROMPT"),
        (["run", "bundle", "text", "--temperature", "hot"], "'hot' is not a valid float"),
        (["inspect"], "Missing argument 'SUBJECT'"),
        (["inspect", "home", "--ir", "optimised"], "'imported', 'lowered'"),
        (["inspect", "bundle", "--scale", "nano"], "need --ir or --after"),
        (["inspect", "home", "--ir", "lowered", "--after", "dead_code"], "exclude each other"),
        (["verify", "bundle", "--scale", "nano"], "need --config"),
        (["verify", "bundle", "--seed", "0"], "need --config"),
    ],
)
def test_misuse_is_exit_code_2(chimerac: Command, arguments: list[str], part: str) -> None:
    chimerac(*arguments).misused(part)


def test_an_out_that_is_a_file_is_misuse(chimerac: Command, tmp_path: Path) -> None:
    (tmp_path / "dist").write_text("mine")
    chimerac("build", "home", "--out", tmp_path / "dist").misused("is a file")
    assert (tmp_path / "dist").read_text() == "mine"


def test_training_without_data_is_refused(chimerac: Command, tmp_path: Path) -> None:
    shown = chimerac("train", "home", "--data", tmp_path / "gone", "--out", tmp_path / "out")
    shown.refused("CHM254", f"no data folder {tmp_path / 'gone'}")
    assert not (tmp_path / "out").exists()


def test_targets_lists_names_and_aliases(chimerac: Command) -> None:
    shown = chimerac("targets")
    assert shown.code == 0
    for word in (*TARGETS, "wasm_simd128", "x86_64"):
        assert word in shown.out


def test_doctor_finds_what_this_suite_runs_on(chimerac: Command) -> None:
    shown = chimerac("doctor")
    assert shown.code == 0, shown.out
    assert {"torch", "apache-tvm", "ziglang", "node"} <= {line.split()[1] for line in shown.out.splitlines()}


WITHOUT_BUILD_EXTRA = """
import importlib.metadata, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "tvm", "lark", "ziglang", "safetensors", "onnx", "onnxruntime"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
known = importlib.metadata.version

def version(name):
    if name in ("torch", "apache-tvm", "lark", "ziglang", "safetensors"):
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)

importlib.metadata.version = version
from chimerac.compiler.cli.main import main
main(prog_name="chimerac")
"""


@pytest.mark.parametrize("arguments", [["build", "home"], ["check", "home"], ["inspect", "home", "--ir", "imported"]])
def test_without_the_build_extra_the_error_says_what_to_install(arguments: list[str], tmp_path: Path) -> None:
    finished = run_script(WITHOUT_BUILD_EXTRA, *arguments, cwd=tmp_path)
    assert finished.returncode == 1
    assert finished.stderr.startswith("error CHM304: the package ")
    assert "pip install 'chimerac[build]'" in finished.stderr
    assert len(finished.stderr.splitlines()) == 2
    assert not list(tmp_path.iterdir())


def test_doctor_without_the_build_extra_names_what_is_missing() -> None:
    finished = run_script(WITHOUT_BUILD_EXTRA, "doctor")
    assert finished.returncode == 1, finished.stderr
    missing = [line.split()[1] for line in finished.stdout.splitlines() if line.startswith("no ")]
    assert missing[:5] == ["torch", "apache-tvm", "ziglang", "lark", "safetensors"]
    assert finished.stderr == ""


def test_a_bug_is_one_line_and_exit_code_2(chimerac: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(bundle: str) -> None:
        raise KeyError("layers.3")

    monkeypatch.setattr("chimerac.compiler.verbs.inspect.inspect", broken)
    shown = chimerac("inspect", "bundle")
    assert shown.code == 2
    assert shown.err.startswith("internal error: KeyError: 'layers.3'\n  help: this is a bug of chimerac")
    with pytest.raises(KeyError):
        chimerac("--traceback", "inspect", "bundle")


def test_the_reader_of_a_pipe_may_leave_early(bundles: dict[str, Path]) -> None:
    with subprocess.Popen(
        [*COMMAND_LINE, "inspect", str(bundles["wasm"])], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_check_and_inspect_print_machine_readable_forms(chimerac: Command) -> None:
    assert json.loads(chimerac("check", "--schema").out)["$schema"]
    assert json.loads(chimerac("check", "home", "--json", "--set", "seed=5").out)["seed"] == 5
    assert chimerac("check", "home").out.startswith("home.chimera: consistent\n")
