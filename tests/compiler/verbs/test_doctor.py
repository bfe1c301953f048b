"""``doctor`` and ``list_targets``: what is said of this machine and of what can be built."""

from __future__ import annotations

from importlib.metadata import version

from chimerac.compiler.verbs.doctor import BUILD_PACKAGES, Diagnosis, Finding, doctor
from chimerac.compiler.verbs.targets import list_targets
from chimerac.targets.registry import find_target


def test_a_diagnosis_is_bad_only_for_what_is_needed() -> None:
    there, optional, missing = (
        Finding("a", True, "1"),
        Finding("bcd", False, "x", needed=False),
        Finding("e", False, "y"),
    )
    assert Diagnosis((there, optional)).ok
    assert not Diagnosis((there, missing)).ok
    assert list(Diagnosis((there, optional, missing)).lines()) == ["ok  a    1", "--  bcd  x", "no  e    y"]


def test_this_machine_has_what_the_suite_needs() -> None:
    found = {finding.what: finding for finding in doctor().findings}
    for name in BUILD_PACKAGES:
        assert (found[name].ok, found[name].detail) == (True, version(name))
    assert found["C compiler"].ok


def test_targets_are_found_by_each_of_their_names() -> None:
    for target in list_targets():
        assert all(find_target(name) is target for name in (target.name, *target.aliases))
