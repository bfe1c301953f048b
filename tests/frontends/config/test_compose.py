"""``extends``, ``overrides`` and ``--set``."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_fixtures import SMALL

from chimerac.compiler.errors import UserError
from chimerac.frontends.config import load, loads
from chimerac.frontends.config.compose import MAX_EXTENDS


def _write(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.chimera").write_text(text, encoding="utf-8")


def _error(text: str, **options: object) -> UserError:
    with pytest.raises(UserError) as caught:
        loads(text, **options)  # type: ignore[arg-type]
    return caught.value


def test_extends_is_relative_to_the_file(tmp_path: Path) -> None:
    _write(tmp_path / "deep", base=SMALL)
    _write(tmp_path, middle='extends: "deep/base.chimera", seed: 3, backbone: {moe: {n_routed_experts: 6}}')
    _write(tmp_path / "top", leaf='extends: "../middle.chimera", backbone: {moe: {layers: [7]}}')
    config = load(tmp_path / "top/leaf.chimera")
    assert (config.seed, config.hidden_size) == (3, 256)
    assert (config.backbone.moe.layers, config.backbone.moe.n_routed_experts) == ((7,), 6)
    assert config.backbone.moe.moe_intermediate_size == 192
    place = config.place("backbone.moe.moe_intermediate_size")
    assert place is not None
    assert place.file.endswith("base.chimera")


def test_mistakes_of_a_base_are_placed_in_it(tmp_path: Path) -> None:
    _write(tmp_path, base="{hidden_size: 'x'}", leaf='extends: "base.chimera"')
    with pytest.raises(UserError) as caught:
        load(tmp_path / "leaf.chimera")
    assert caught.value.span is not None
    assert caught.value.span.file.endswith("base.chimera")


@pytest.mark.parametrize(
    "secret",
    [b"root:hunter2:0:0\n", b"hunter2\xff\n", b"|hunter2\n", b'{"key": hunter2!}', b"\nhunter2\0", b"hunter2: 1 2"],
)
def test_a_base_that_is_no_config_is_not_quoted(secret: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(secret)
    _write(tmp_path, middle='{extends: "secret"}', leaf='{extends: "middle.chimera"}')
    for name in ("middle", "leaf"):
        with pytest.raises(UserError, match="secret is not a config: it breaks off at line") as caught:
            load(tmp_path / f"{name}.chimera")
        assert "hunter2" not in caught.value.render()
        assert caught.value.span is not None
        assert caught.value.span.text == '{extends: "secret"}'
        assert "check" in str(caught.value.hint)


def test_circles_and_long_chains(tmp_path: Path) -> None:
    _write(tmp_path, a='extends: "b.chimera"', b='extends: "./c.chimera"', c='\nextends: "../x/a.chimera"')
    (tmp_path.parent / "x").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"circle: a\.chimera -> b\.chimera -> c\.chimera -> a\.chimera") as caught:
        load(tmp_path / "a.chimera")
    (tmp_path.parent / "x").unlink()
    assert caught.value.code == "CHM114"
    assert caught.value.span is not None
    assert (caught.value.span.line, caught.value.span.column) == (2, 10)
    chain = {f"n{i}": f'extends: "n{i + 1}.chimera"' for i in range(MAX_EXTENDS + 5)}
    _write(tmp_path, **chain)
    with pytest.raises(UserError, match="more than 16") as caught:
        load(tmp_path / "n0.chimera")
    assert caught.value.code == "CHM114"


@pytest.mark.parametrize(
    "reference", ["nowhere", "../none.chimera", "\\u0000", "a\\u0000b/*", "a" * 5000, "~nobody-here/x", "", "."]
)
def test_missing_bases(reference: str) -> None:
    error = _error(f'{{extends: "{reference}"}}')
    assert error.code == "CHM100"
    assert error.span is not None
    assert (error.span.line, error.span.column) == (1, 11)


def test_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, lights="{}")
    monkeypatch.chdir(tmp_path)
    for name, hint in (("chimera15", "'chimera51'"), ("light.chimera", "lights.chimera"), ("qqq", "home")):
        with pytest.raises(UserError) as caught:
            load(name)
        assert caught.value.code == "CHM100"
        assert hint in (caught.value.hint or "")
    for folder in (tmp_path, Path("/dev/zero")):
        with pytest.raises(UserError) as caught:
            load(folder)
        assert caught.value.code == "CHM100"


def test_overrides_block() -> None:
    config = loads(
        'extends: "chimera51", backbone: {moe: {n_routed_experts: 8}}, overrides: {"backbone.moe.n_routed_experts": 4,'
        ' looping.loop_default: 3, modes: {fast: {loops: 2}}, "training.phases.0.lr": 1e-4, context_tiers.3: {mb: 9}}'
    )
    assert config.backbone.moe.n_routed_experts == 4
    assert config.looping.loop_default == 3
    assert config.modes.fast is not None
    assert (config.modes.fast.loops, config.modes.fast.tps) == (2, 200.0)
    assert (config.training.phases[0].lr, config.training.phases[0].name) == (1e-4, "pretrain")
    assert (config.context_tiers[3].mb, config.context_tiers[3].name) == (9.0, "ttt_compressed")


def test_command_line_has_the_last_word() -> None:
    config = loads(
        'extends: "chimera51", overrides: {seed: 1}',
        overrides=["seed=2", "name=my-model", '_v="a b"', "token_ids=[5, 6,]", "efla = {enabled: true}"],
    )
    assert (config.seed, config.name, config.version) == (2, "my-model", "a b")
    assert (config.token_ids, config.efla.enabled) == ((5, 6), True)


BAD = [
    ("seed", "CHM115", 1, "not an override"),
    ("=3", "CHM115", 1, "not a dotted key"),
    ("a..b=3", "CHM115", 1, "not a dotted key"),
    (".".join(["a"] * 65) + "=3", "CHM115", 1, "64 parts at most, and not 65"),
    (".".join(["a"] * 20_000) + "=3", "CHM115", 1, "64 parts at most"),
    ("extends=home", "CHM115", 1, "can't be overridden"),
    ("hidden_size.x=3", "CHM115", 1, "leads through the number 2560"),
    ("training.phases.9.lr=1", "CHM115", 1, "'9' in"),
    ("token_ids.x=1", "CHM115", 1, "counted from 0"),
    ("seed=[1", "CHM102", 6, "never closed"),
    ("seed=", "CHM115", 6, "set to nothing"),
    ("seed=1 2", "CHM102", 8, "unexpected"),
    ("sed=1", "CHM110", 1, "unknown key 'sed'"),
    ("seed=x", "CHM112", 6, "must be a whole number"),
    ("backbone.moe.layers=3", "CHM112", 21, "must be a list"),
]


@pytest.mark.parametrize(("argument", "code", "column", "message"), BAD)
def test_bad_command_line(argument: str, code: str, column: int, message: str) -> None:
    error = _error('extends: "chimera51"', overrides=[argument])
    assert error.code == code, error.render()
    assert message in error.message
    assert error.span is not None
    assert (error.span.file, error.span.column, error.span.text) == ("--set", column, argument)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ('{extends: "chimera51", overrides: [1]}', 35, "must be an object"),
        ('{extends: "chimera51", overrides: {"a.": 1}}', 36, "not a dotted key"),
        ('{extends: "chimera51", overrides: {extends: "home"}}', 36, "can't be overridden"),
        ('{extends: "chimera51", overrides: {seed.low: 1, "seed": 2}}', 0, ""),
    ],
)
def test_bad_overrides_blocks(text: str, column: int, message: str) -> None:
    if not message:
        assert loads(text).seed == 2
        return
    error = _error(text)
    assert message in error.message
    assert error.span is not None
    assert error.span.column == column
