"""``check``: what a config contradicts itself in, through its family."""

from __future__ import annotations

from pathlib import Path

import pytest

from chimerac.compiler.errors import UserErrors
from chimerac.compiler.model import Remark
from chimerac.compiler.verbs.check import check
from chimerac.frontends import config as language
from chimerac.frontends.families.chimera import consistency, sizes
from chimerac.frontends.families.chimera.tables import ChimeraCheck
from chimerac.frontends.families.protocol import RemarksOnly


def test_a_chimera_config_is_checked_by_its_rules_and_sizes(document: Path) -> None:
    found = check(document, scale="nano", overrides=("seed=3",))
    settings = language.load(document, scale="nano", overrides=("seed=3",))
    assert found == ChimeraCheck(consistency.check(settings), sizes.audit(settings))
    shown = found.render()
    assert shown.index("findings: ") < shown.index("Parameters per layer")


def test_a_config_that_leaves_no_model_is_refused_with_every_reason(tmp_path: Path) -> None:
    path = tmp_path / "bad.chimera"
    path.write_text('extends: "home",\nname: "bad",\nnum_heads: 7,\nquantization: {group_size: 12}\n')
    with pytest.raises(UserErrors) as caught:
        check(path)
    assert {error.code for error in caught.value.errors} == {"CHM120"}
    assert len(caught.value.errors) > 1


def test_a_family_without_a_check_of_its_own_has_remarks() -> None:
    assert RemarksOnly("toy", ()).render() == "toy: consistent"
    assert RemarksOnly("toy", (Remark("T1", "one"), Remark("T2", "two"))).render() == "T1  one\nT2  two"
