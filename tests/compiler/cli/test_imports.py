"""Running bundles and asking for help load nothing of the build: neither torch nor tvm nor any other heavy package."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_tools import TARGETS, run_script

from chimerac.compiler.cli.main import main

HEAVY = ("torch", "tvm", "onnx", "onnxruntime", "lark", "safetensors", "ziglang", "transformers", "numba", "scipy")

SCRIPT = """
import json, sys
def run(*arguments):
    from chimerac.compiler.cli.main import main
    main(arguments, prog_name="chimerac", standalone_mode=False)
{}
print("\\n" + json.dumps(sorted(sys.modules)))
"""


def loaded_by(action: str) -> set[str]:
    finished = run_script(SCRIPT.format(action))
    assert finished.returncode == 0, finished.stderr
    return set(json.loads(finished.stdout.splitlines()[-1]))


def test_importing_chimerac_loads_nothing_but_itself() -> None:
    loaded = loaded_by("import chimerac")
    assert {"chimerac", "chimerac.version"} <= loaded
    assert not loaded & {*HEAVY, "numpy", "click", "chimerac.compiler", "chimerac.runtime"}


@pytest.mark.parametrize("verb", ["", *main.commands])
def test_help_loads_no_package_but_click(verb: str) -> None:
    loaded = loaded_by(f"run(*{[verb, '--help'] if verb else ['--help']!r})")
    assert "click" in loaded
    assert not loaded & {*HEAVY, "numpy"}


@pytest.mark.parametrize("target", TARGETS)
def test_running_a_bundle_loads_numpy_at_most(bundles: dict[str, Path], target: str) -> None:
    loaded = loaded_by(f'run("run", {str(bundles[target])!r}, "hello", "-n", "2")')
    assert "chimerac.runtime.sessions.loading" in loaded
    assert not loaded & set(HEAVY)
    assert not [
        name for name in loaded if name.startswith(("chimerac.frontends", "chimerac.passes", "chimerac.targets"))
    ]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("verb", ["inspect", "verify"])
def test_looking_at_a_bundle_loads_no_compiler(bundles: dict[str, Path], verb: str, target: str) -> None:
    path = str(bundles[target])
    assert not loaded_by(f"run({verb!r}, {path!r})") & set(HEAVY)
    loaded = loaded_by(f"import chimerac\nchimerac.{verb}({path!r})")
    assert not loaded & {*HEAVY, "click"}


def test_loading_from_python(bundles: dict[str, Path]) -> None:
    path = str(bundles["x86_64-avx2"])
    loaded = loaded_by(f"import chimerac\nwith chimerac.load({path!r}) as s: list(s.generate('hi', max_tokens=2))")
    assert not loaded & {*HEAVY, "click", "chimerac.compiler"}
