"""``chimerac grammar check``."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from chimerac.compiler.cli.main import main


def test_a_mode_a_file_and_a_schema(tmp_path: Path) -> None:
    (tmp_path / "words.lark").write_text('start: "a" | "(" start ")"')
    (tmp_path / "schema.json").write_text('{"type": "boolean"}')
    for source in ("json", str(tmp_path / "words.lark"), str(tmp_path / "schema.json")):
        result = CliRunner().invoke(main, ["grammar", "check", source])
        assert result.exit_code == 0
        assert "states" in result.output
        assert "example" in result.output


def test_errors_have_codes_and_places(tmp_path: Path) -> None:
    (tmp_path / "bad.lark").write_text("start: WORD\nWORD: /a(?=b)/")
    (tmp_path / "bad.json").write_text('{"items": {"not": {}}}')
    cases = {"nothing": "CHM285", str(tmp_path / "bad.lark"): "bad.lark:2:1", str(tmp_path / "bad.json"): "/items/not"}
    for source, says in cases.items():
        result = CliRunner().invoke(main, ["grammar", "check", source])
        assert result.exit_code == 1
        assert says in result.output
