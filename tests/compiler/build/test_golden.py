"""The text form of a small module after every pass, as tests/golden/ir has it: what a change does to IR is a diff."""

from __future__ import annotations

from collections.abc import Callable

import golden_modules
import pytest
from project import ROOT

from chimerac.compiler.build import pipeline
from chimerac.compiler.ir.module import Module
from chimerac.compiler.ir.text import print_module
from chimerac.passes.base import PassRecord

FOLDER = ROOT / "tests" / "golden" / "ir"


@pytest.mark.parametrize("loops", [None, 2], ids=["looped", "unrolled"])
def test_every_pass_leaves_the_golden_text(loops: int | None, golden: Callable[[str, str], None]) -> None:
    name = "looped" if loops is None else "unrolled"
    texts = {"imported": print_module(golden_modules.imported())}

    def note(record: PassRecord, module: Module) -> None:
        texts[record.name] = print_module(module)

    pipeline.run(golden_modules.imported(), golden_modules.passes(loops), note)
    assert texts.pop("scan_hoisting") == texts["moe_sort_dispatch"], "there is no scan in it"
    assert len(set(texts.values())) == len(texts), "every other pass changes this module"
    files = {f"{index:02}_{step}.ir": text for index, (step, text) in enumerate(texts.items())}
    for file, text in files.items():
        golden(f"ir/{name}/{file}", text)
    assert {path.name for path in (FOLDER / name).iterdir()} == files.keys(), "remove the others"
