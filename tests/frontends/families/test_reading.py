"""Documents as one dataclass of keys."""

from __future__ import annotations

import pytest
from toy_family.family import ToyKeys

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.document import document_of_text
from chimerac.frontends.families.reading import Reading, read_keys


def read(text: str, scale: str | None = None) -> Reading[ToyKeys]:
    return read_keys(document_of_text(text, "a.chimera", scale=scale), ToyKeys)


def test_keys_have_values_places_and_a_digest() -> None:
    found = read("heads: 2,\nlayers: 1, head_width: 4,\n")
    assert found.keys == ToyKeys(heads=2, head_width=4, layers=1)
    span = found.place("layers.nothing")
    assert span is not None
    assert (span.file, span.line) == ("a.chimera", 2)
    assert found.place("seed") is None
    assert found.digest == read('model_type: "toy", layers: 1, heads: 2, head_width: 4, seed: 0').digest
    assert found.digest != read("layers: 1, heads: 2, head_width: 4, seed: 1").digest


@pytest.mark.parametrize(
    ("text", "scale", "code"),
    [
        ("heads: 2, layers: 1, head_width: 4, colour: 3", None, "CHM110"),
        ("heads: 2, layers: 1, head_width: 4", "nano", "CHM110"),
        ("heads: 2, layers: 1", None, "CHM111"),
        ('heads: "two", layers: 1, head_width: 4', None, "CHM112"),
        ("heads: 0, layers: 1, head_width: 4", None, "CHM113"),
    ],
)
def test_mistakes_are_refused_where_they_are(text: str, scale: str | None, code: str) -> None:
    with pytest.raises(UserError) as error:
        read(text, scale)
    assert error.value.code == code
    assert error.value.span is not None
