"""Keys and values: what is refused, with all mistakes of a config at once."""

from __future__ import annotations

import pytest

from chimerac.compiler.errors import UserError, UserErrors
from chimerac.frontends.config import loads
from chimerac.frontends.config.reader import parse_quantity

BAD = [
    ("{extends: 'chimera51', hiden_size: 1}", "CHM110", (1, 24), "unknown key 'hiden_size'", "'hidden_size'"),
    ("{extends: 'chimera51', backbone: {moe: {layer: [1]}}}", "CHM110", (1, 41), "in 'backbone.moe'", "'layers'"),
    ("{extends: 'chimera51', backbone.kv_cache: 'none'}", "CHM110", (1, 24), "backbone.kv_cache", "overrides"),
    ("{extends: 'chimera51', modes: {quick: {}}}", "CHM110", (1, 32), "unknown key 'quick' in 'modes'", None),
    (
        "{hidden_size: 64}",
        "CHM111",
        (1, 1),
        "'intermediate_size', 'num_heads', 'vocab_size', 'backbone' are",
        "extends",
    ),
    ("{extends: 'chimera51', context_tiers: [{mb: 1}]}", "CHM111", (1, 40), "'name' of 'context_tiers.0' is", "Name"),
    ("{extends: 'chimera51', hidden_size: '64'}", "CHM112", (1, 37), "must be a whole number, not a string", "quotes"),
    ("{extends: 'chimera51', hidden_size: 64.5}", "CHM112", (1, 37), "a whole number, not the number 64.5", None),
    ("{extends: 'chimera51', hidden_size: true}", "CHM112", (1, 37), "not true or false", None),
    ("{extends: 'chimera51', use_cache: 1}", "CHM112", (1, 35), "must be true or false, not the number 1", None),
    ("{extends: 'chimera51', modes: []}", "CHM112", (1, 31), "must be an object, not a list", None),
    ("{extends: 'chimera51', looping: {loop: [1, 2, 3]}}", "CHM112", (1, 40), "a list of 2", None),
    ("{extends: 'chimera51', backbone: {layer_pattern: null}}", "CHM112", (1, 50), "a string, not null", None),
    ("{extends: 'chimera51', backbone: {moe: {total_params: '3X'}}}", "CHM112", (1, 55), 'like "350M"', None),
    ("{extends: 'chimera51', §: {r0: 5}}", "CHM112", (1, 32), "'§.r0' must be a string", None),
    ("{extends: 'chimera51', hidden_size: 0}", "CHM113", (1, 37), "below its least value 1", "num_heads"),
    ("{extends: 'chimera51', hidden_size: 4194304}", "CHM113", (1, 37), "over its largest value", None),
    ("{extends: 'chimera51', seed: 99999999999999999999}", "CHM113", (1, 30), "too large", None),
    ("{extends: 'chimera51', rms_norm_eps: 0}", "CHM113", (1, 38), "greater than 0", None),
    ("{extends: 'chimera51', generation: {top_p: 1.5}}", "CHM113", (1, 44), "over its largest value 1", None),
    ("{extends: 'chimera51', token_ids: [1, -2]}", "CHM113", (1, 39), "'token_ids.1' is -2", None),
    ("{extends: 'chimera51', hidden_act: 'swigloo'}", "CHM113", (1, 36), "can't be 'swigloo'", "'swiglu'"),
    ("{extends: 'chimera51', backbone: {layer_aliases: {GD: 'conv'}}}", "CHM113", (1, 55), "can't be 'conv'", "one of"),
    ("{extends: 'chimera51', name: 'a/b'}", "CHM113", (1, 30), "not a valid 'name'", "match"),
    ("{extends: 'chimera51', §: {r0: 'x'}}", "CHM113", (1, 32), "not a valid '§.r0'", "match"),
    ("{extends: 'chimera51', scale: 'huge'}", "CHM113", (1, 31), "can't be 'huge'", "nano"),
    ("{extends: 'chimera51', scale: {preset: 'nano', hiden: 1}}", "CHM110", (1, 48), "unknown key 'hiden'", None),
    ("{extends: 'chimera51', scale: 3}", "CHM112", (1, 31), "must be a string or an object", None),
    ("{extends: 3}", "CHM112", (1, 11), "must be a string", None),
]


@pytest.mark.parametrize(("text", "code", "place", "message", "hint"), BAD)
def test_refused(text: str, code: str, place: tuple[int, int], message: str, hint: str | None) -> None:
    with pytest.raises(UserError) as caught:
        loads(text.replace("'", '"'))
    error = caught.value
    assert not isinstance(error, UserErrors), error.render()
    assert error.code == code, error.render()
    assert message in error.message
    assert hint is None or hint in (error.hint or "")
    assert error.span is not None
    assert (error.span.line, error.span.column) == place


def test_all_mistakes_at_once_in_order() -> None:
    text = '{extends: "chimera51",\n use_cache: 1,\n wat: 2,\n backbone: {moe: {layers: 3, routing: "x"}},\n seed: -1}'
    with pytest.raises(UserErrors) as caught:
        loads(text)
    assert [error.code for error in caught.value.errors] == ["CHM112", "CHM110", "CHM112", "CHM113", "CHM113"]
    assert [error.span.line for error in caught.value.errors if error.span] == [2, 3, 4, 4, 5]


def test_null_resets() -> None:
    config = loads('{extends: "chimera51", params: null, backbone: {layer_counts: null}, §: {r35: null}, seed: null}')
    assert config.params.base is None
    assert config.backbone.layer_counts is None
    assert "r35" not in config.references
    assert "r34" in config.references
    assert config.seed == 0


def test_lenient_numbers_and_single_values() -> None:
    config = loads('{extends: "chimera51", seed: 7.0, rms_norm_eps: 1, efla: {§: "r22"}, titans: {rope_theta: 500}}')
    assert (config.seed, config.rms_norm_eps, config.efla.papers, config.titans.rope_theta) == (7, 1.0, ("r22",), 500.0)
    assert isinstance(config.seed, int)
    assert isinstance(config.rms_norm_eps, float)


@pytest.mark.parametrize(
    ("text", "base", "value"),
    [
        ("350M", "decimal", 350_000_000),
        ("2.65B", "decimal", 2_650_000_000),
        ("2T", "decimal", 2 * 10**12),
        ("12", "decimal", 12),
        ("1.5K", "decimal", 1500),
        ("4M", "binary", 4_194_304),
        ("1.5K", "binary", 1536),
        ("0.3", "decimal", None),
        ("0.0001K", "decimal", None),
        ("-1M", "decimal", None),
        ("1e3", "decimal", None),
        ("M", "decimal", None),
        ("٣M", "decimal", None),
        ("9" * 16, "decimal", None),
    ],
)
def test_quantities(text: str, base: str, value: int | None) -> None:
    assert parse_quantity(text, base) == value
