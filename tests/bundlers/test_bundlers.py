"""A web bundle as an npm package: checked by publint and attw, and built and run by each bundler's example."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from project import ROOT
from web_tools import CHROMIUM, serving

from chimerac.compiler.packaging.options import PackagingOptions
from chimerac.compiler.packaging.package import Job
from chimerac.compiler.packaging.scripts import without_comments
from chimerac.compiler.packaging.squeezed import squeezed
from chimerac.compiler.packaging.web import WebPackage
from chimerac.compiler.verbs.runtime import write_runtime
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format import read_manifest
from chimerac.runtime.sessions.loading import load

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node_modules"
EXAMPLES = ROOT / "examples" / "web"
PROMPT = "turn off the lights in the bedroom"

pytestmark = [
    pytest.mark.skipif(not NODE_MODULES.exists(), reason="run scripts/setup-browser.sh"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="no npm"),
]

#: Example → the command that builds it, in its folder; none where nothing is built.
BUILDS: dict[str, list[str]] = {
    "vite": ["node", str(NODE_MODULES / "vite" / "bin" / "vite.js"), "build", "--logLevel", "error"],
    "webpack": ["node", str(HERE / "webpack.mjs"), "."],
    "rollup": ["node", str(NODE_MODULES / "rollup" / "dist" / "bin" / "rollup"), "--config", "--silent"],
    "esbuild": ["node", "build.js"],
    "script": [],
}


#: The end of each example's program, and what the test puts before it.
DONE = "output.dataset.done ="
COMPILED = (
    'for await (const { text } of model.generate("go", { choices: ["left"], maxTokens: 9 })) output.append(text);\n'
)


def packaged(toy: Any, folder: Path, options: PackagingOptions) -> Path:
    """The toy's web bundle as an npm package."""
    shutil.copytree(toy.folder, folder)
    roles = {entry.name: entry.role for entry in read_manifest(folder).files}
    model = Mock(examples=())
    model.name = "home"
    WebPackage({}).write_runtime(Job(model, (), folder, folder, Mock(), Mock(), options), roles)
    return folder


def check(folder: Path) -> dict[str, Any]:
    command = ["node", "check.mjs", str(folder)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _shared(toy: Any, folder: Path) -> Path:
    return packaged(toy, folder, PackagingOptions(npm="@me/home@2.1.0", runtime="@me/runtime"))


def _loader(toy: Any, folder: Path) -> Path:
    write_runtime(folder, package="@me/runtime")
    return folder


@pytest.mark.parametrize("make", [lambda toy, folder: packaged(toy, folder, PackagingOptions()), _loader])
def test_publint_and_attw_find_nothing(make: Callable[[Any, Path], Path], wasm_toy: Any, tmp_path: Path) -> None:
    folder = make(wasm_toy, tmp_path / "package")
    found = check(folder)
    assert (found["publint"], found["attw"], found["types"]) == ([], [], "included")
    listed = json.loads((folder / "package.json").read_text("utf-8"))["files"]
    assert set(found["files"]) == {*listed, "package.json"}


def test_a_package_without_loader_names_the_one_it_wants(wasm_toy: Any, tmp_path: Path) -> None:
    """Its types are the other package's, which attw does not have."""
    found = check(_shared(wasm_toy, tmp_path / "package"))
    assert found["publint"] == []
    assert not [name for name in found["files"] if name.endswith(".mjs") and name != "index.mjs"]
    for name, make in (("home", _shared), ("runtime", _loader)):
        place = tmp_path / "app" / "node_modules" / "@me" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        make(wasm_toy, place)
    program = (
        'import { bundle, Chimera } from "@me/home"; const model = await Chimera.load(bundle);'
        f"let text = ''; for await (const piece of model.generate({PROMPT!r}, {{ maxTokens: 20 }})) text += piece.text;"
        "console.log(JSON.stringify(text)); await model.dispose();"
    )
    (tmp_path / "app" / "main.mjs").write_text(program, "utf-8")
    command = ["node", "main.mjs"]
    done = subprocess.run(command, cwd=tmp_path / "app", capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    with load(wasm_toy.folder) as session:
        assert json.loads(done.stdout) == "".join(map(str, session.generate(PROMPT, max_tokens=20)))


def test_scripts_are_the_same_without_comments_and_spaces(tmp_path: Path) -> None:
    """esbuild, which reads them as JavaScript, makes the same of both."""
    sources = sorted(bf.WEB_DIRECTORY.rglob("*.mjs"))
    for source in sources:
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "shipped").mkdir(exist_ok=True)
        (tmp_path / "own" / source.name).write_bytes(source.read_bytes())
        (tmp_path / "shipped" / source.name).write_text(squeezed(without_comments(source.read_text("utf-8"))), "utf-8")
    program = """
    import { readFileSync } from "node:fs";
    import { transformSync } from "esbuild";
    const [folder, ...names] = process.argv.slice(2);
    const read = (kind, name) => readFileSync(`${folder}/${kind}/${name}`, "utf8");
    const made = (kind, name) => transformSync(read(kind, name), { minify: true, format: "esm" }).code;
    console.log(JSON.stringify(names.filter((name) => made("own", name) !== made("shipped", name))));
    """
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "compare.mjs").write_text(program)
    command = ["node", "compare.mjs", str(tmp_path), *(source.name for source in sources)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []
    shipped = sum((tmp_path / "shipped" / source.name).stat().st_size for source in sources)
    assert shipped < 0.85 * sum(source.stat().st_size for source in sources)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_every_example_builds_and_runs(wasm_toy: Any, tmp_path: Path) -> None:
    package = packaged(wasm_toy, tmp_path / "package", PackagingOptions())
    site = tmp_path / "site"
    shutil.copytree(EXAMPLES, site)
    (site / "node_modules").symlink_to(NODE_MODULES)
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == BUILDS.keys()
    for main in site.glob("*/main.js"):  # a worker loads what compiles grammars later, which each tool has to see
        text = main.read_text("utf-8")
        assert text.count(DONE) == 1
        main.write_text(text.replace(DONE, COMPILED + DONE), "utf-8")
    for name in BUILDS:
        uses_npm = '"chimera-home"' in (site / name / "main.js").read_text("utf-8")
        place = site / name / ("node_modules/chimera-home" if uses_npm else "home")
        shutil.copytree(package, place)
    pipe = subprocess.PIPE
    running = {
        name: subprocess.Popen(command, cwd=site / name, stdout=pipe, stderr=pipe, text=True)
        for name, command in BUILDS.items()
        if command
    }
    for name, process in running.items():
        said, wrong = process.communicate(timeout=300)
        assert process.returncode == 0, f"{name}: {said}{wrong}"
    with serving(site) as server, load(wasm_toy.folder) as session:
        urls = [f"{server.url}{name}/{'dist/' if command else ''}" for name, command in BUILDS.items()]
        command = ["node", "pages.mjs", str(CHROMIUM), *urls]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        expected = "".join(map(str, session.generate(PROMPT, max_tokens=64))) + "left"
    found = json.loads(done.stdout)
    assert found["messages"] == []
    assert dict(zip(BUILDS, found["shown"], strict=True)) == dict.fromkeys(BUILDS, expected)
