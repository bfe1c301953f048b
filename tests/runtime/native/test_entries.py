"""Entries of a compiled model are found by their roles; one that is missing is missed when a bundle is opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chimerac.runtime import bundle_format as bf
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.loading import load

TOY_C = Path(__file__).parent / "toy_model.c"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["-DTOY_DECODE=CHM_ROLE_VERIFY"], "no entry for one token"),
        (["-DTOY_PREFILL=8"], "no entry for a block of tokens"),
    ],
)
def test_a_missing_entry_is_said_on_opening(
    flags: list[str],
    message: str,
    compile_native: Callable[..., Path],
    toy_flags: list[str],
    native_target: str,
    make_toy_bundle: Callable[..., Any],
    tmp_path: Path,
) -> None:
    objects = [tmp_path / "model.o", tmp_path / "libchimera.so"]
    compile_native(objects[0], [TOY_C], "-c", "-fPIC", *toy_flags, *flags)
    sources = [bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES]
    library = compile_native(objects[1], [objects[0], *sources], "-shared", "-fPIC")
    toy = make_toy_bundle(tmp_path / "bundle", library, native_target)
    with pytest.raises(BundleError, match=message) as caught:
        load(toy.folder)
    assert caught.value.code == "CHM414"


def test_entries_are_found_by_role_in_any_order(toy: Any) -> None:
    """The toy has prefill before decode, and before both an entry of another role."""
    with load(toy.folder) as one, load(toy.folder) as many:
        many.prefill([5, 6, 7])
        for token in (5, 6, 7):
            one.prefill([token])
        assert one.state_hash() == many.state_hash()
        assert one.logits_hash() == many.logits_hash()
