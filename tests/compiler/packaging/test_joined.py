"""Scripts joined to few do what their modules did."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from chimerac.compiler.errors import InternalError
from chimerac.compiler.packaging.joined import joined
from chimerac.compiler.packaging.scripts import write_web_files
from chimerac.runtime.bundle_format import DEMO_FILES, PAGE_FILES, WEB_DIRECTORY, WEB_FILES, WEB_SHARED

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no Node")

MODULES = {
    "a.mjs": """// The first.
// It is known by name.
import { twice, other as another } from "./both.mjs";
import { size } from "./only-a.mjs";
import "./effect.mjs";
export { Kind, later } from "./both.mjs";
export * from "./c.mjs";
const text = "a";
export const [ONE, TWO] = [1, twice(1)];
export async function all() {
return [text, size(), another, (await import("./c.mjs")).own(), globalThis.effect];
}
""",
    "b.mjs": """import {
twice,
later,
} from "./both.mjs";
import { own } from "./c.mjs";
import { deep } from "./only-b.mjs";
const text = "b";
export const found = [text, twice(4), later, own(), deep];
""",
    "c.mjs": """const text = "c";
export const own = () => text;
""",
    "both.mjs": """// Comments of the beginning are not kept.
import { base } from "./base-of-both.mjs";
const text = "both";
export function twice(value) {
return base * value;
}
class Kind {
name = text;
}
export const other = text;
const later = [text];
export { Kind, later };
""",
    "base-of-both.mjs": "export const base = 2;\n",
    "only-a.mjs": """const text = "only a";
export function size() {
return text.length;
}
""",
    "only-b.mjs": """import { own } from "./c.mjs";
const text = own();
export const deep = `only b ${text}`;
""",
    "effect.mjs": "globalThis.effect = (globalThis.effect ?? 0) + 1;\n",
}
PROGRAM = """
const [a, b] = await Promise.all(["a", "b"].map((name) => import(`${process.argv[1]}/${name}.mjs`)));
const kind = new a.Kind();
const names = [a, b].map((one) => Object.keys(one));
const same = a.later === b.found[2];
console.log(JSON.stringify([await a.all(), a.ONE, a.TWO, a.own(), kind, a.later, same, b.found, names]));
"""


def in_node(program: str, folder: Path) -> object:
    command = ["node", "--input-type=module", "-e", program, folder.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found: object = json.loads(done.stdout)
    return found


@needs_node
def test_joined_modules_do_the_same(tmp_path: Path) -> None:
    """Names that several modules have, names under others, what is passed on, what runs when it is imported."""
    (tmp_path / "apart").mkdir()
    (tmp_path / "joined").mkdir()
    for name, text in MODULES.items():
        (tmp_path / "apart" / name).write_text(text)
    made = joined(["a.mjs", "b.mjs", "c.mjs"], "common.mjs", MODULES.__getitem__)
    assert set(made) == {"a.mjs", "b.mjs", "c.mjs", "common.mjs"}
    assert made["a.mjs"].startswith("// The first.\n// It is known by name.\nimport { $both }")
    assert "not kept" not in "".join(made.values())
    assert "$baseOfBoth" in made["common.mjs"]
    for name, text in made.items():
        (tmp_path / "joined" / name).write_text(text)
    found = in_node(PROGRAM, tmp_path / "apart")
    assert in_node(PROGRAM, tmp_path / "joined") == found
    assert isinstance(found, list)
    assert found[0] == ["a", 6, "both", "c", 1]


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        (
            {"b.mjs": 'import { c } from "./c.mjs";\nexport const b = 1;\n', "c.mjs": 'import { b } from "./b.mjs";\n'},
            "other",
        ),
        ({"b.mjs": "export default 1;\n"}, "b.mjs cannot be joined: export default 1;"),
        ({"b.mjs": 'import b from "./c.mjs";\n'}, "b.mjs cannot be joined: import b"),
    ],
)
def test_what_cannot_be_joined(modules: dict[str, str], message: str) -> None:
    entry = {"a.mjs": 'import { b } from "./b.mjs";\nexport const a = b;\n'}
    with pytest.raises(InternalError, match=re.escape(message)):
        joined(["a.mjs"], "common.mjs", {**modules, **entry}.__getitem__)


def test_a_module_of_several_scripts_imports_none_of_them() -> None:
    modules = {
        "a.mjs": 'import { c } from "./c.mjs";\n',
        "b.mjs": 'import { c } from "./c.mjs";\nexport const b = c;\n',
    }
    modules["c.mjs"] = 'import { d } from "./d.mjs";\nexport const c = d;\n'
    modules["d.mjs"] = "export const d = 1;\n"
    with pytest.raises(InternalError, match=r"common\.mjs imports d\.mjs"):
        joined(["a.mjs", "b.mjs", "d.mjs"], "common.mjs", modules.__getitem__)


@needs_node
def test_the_shipped_scripts(tmp_path: Path) -> None:
    """They export what their sources do; each module is in one of them; the start holds no compiler and no page."""
    write_web_files(tmp_path, (*WEB_FILES, *PAGE_FILES, *DEMO_FILES))
    entries = [name for name in WEB_FILES if name.endswith(".mjs") and name not in {WEB_SHARED, "worker.mjs"}]
    program = f"""
    const found = {{}};
    for (const name of {json.dumps(entries)}) found[name] = Object.keys(await import(`${{process.argv[1]}}/${{name}}`));
    console.log(JSON.stringify(found));
    """
    assert in_node(program, tmp_path) == in_node(program, WEB_DIRECTORY)
    shipped = {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.mjs")}
    modules = [name for text in shipped.values() for name in re.findall(r"\bconst (\$\w+)=\(\(\)=>{", text)]
    assert len(set(modules)) == len(modules) > 30
    for name in ("chimera.mjs", WEB_SHARED, "host.mjs", "worker.mjs"):
        assert not re.search(r"\$(compiler|page|demo)[^.]", shipped[name])
        assert not re.search(r'from ?"\./(compiler|page|demo)', shipped[name])
    assert shipped["chimera.mjs"].startswith("// Loads chimera web bundles")
