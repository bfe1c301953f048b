"""Formats of weights as somebody writes them."""

from __future__ import annotations

import pytest

from chimerac.compiler.errors import UserError
from chimerac.frontends.matrices.rules import Given, rules_of


def test_the_last_rule_that_fits_decides() -> None:
    rules = rules_of(["layers.*=bf16", "int8", "layers.1.*=f32", "*.out.weight=ternary"])
    names = {
        "head.weight": "int8",
        "layers.0.in.weight": "bf16",
        "layers.1.in.weight": "f32",
        "layers.1.out.weight": "ternary",
    }
    assert {name: rules.format_of([name]) for name in names} == names
    assert str(rules) == "int8, layers.*=bf16, layers.1.*=f32, *.out.weight=ternary"


def test_a_parameter_is_known_by_each_of_its_names() -> None:
    assert rules_of("head.*=int8").format_of(["table.weight", "head.weight"]) == "int8"


def test_one_text_and_a_mapping_say_the_same() -> None:
    assert rules_of("int8").format_of(["a"]) == rules_of({"*": "int8"}).format_of(["a"]) == "int8"
    assert rules_of({"*": "int8", "a": "f32"}).format_of(["a"]) == "f32"
    assert rules_of([]).format_of(["a"]) == "f32"


def test_a_name_may_have_an_equals_sign() -> None:
    assert rules_of("a=b=int8").format_of(["a=b"]) == "int8"


@pytest.mark.parametrize(
    ("given", "words", "hint"),
    [
        ("int4", "'int4' is no format", "did you mean 'int8'"),
        (["int8", "head.*=ternery"], "'ternery' is no format", "did you mean 'ternary'"),
        (
            {"*": "float64"},
            "'float64' is no format",
            "there are f32, f16, bf16, int8, ternary, ternary-qat, ternary-qat-64, auto",
        ),
        ("head.*=", "'' is no format", "there are"),
        ("x" * 1000, "'x{80}' is no format", "there are"),
    ],
    ids=str,
)
def test_other_formats_are_refused(given: Given, words: str, hint: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        rules_of(given)
    assert error.value.code == "CHM236"
    assert hint in str(error.value.hint)
