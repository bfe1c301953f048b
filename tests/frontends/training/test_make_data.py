"""The data folder of one's own texts and requests: what is in it, what is held out, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from chimerac.compiler.errors import UserError
from chimerac.frontends.training import Phase
from chimerac.frontends.training.data import DataFolder, RowSource, TextSource
from chimerac.frontends.training.make_data import main, make_data, read_rows
from chimerac.runtime.reference.tokenizer import read_tokenizer

TEXTS = ["The lamp is on.\n\nThe fan is off.\n\nGrüße aus dem Flur.\n\n", "One more document, of one paragraph."]
ROWS = [(f"turn the {thing} {way}", f'{{"thing":"{thing}","way":"{way}"}}') for thing in ("lamp", "fan", "blind",
        "radio", "oven", "heater") for way in ("on", "off")]  # fmt: skip


def test_a_folder_is_what_training_reads(tmp_path: Path) -> None:
    sizes = make_data(tmp_path, TEXTS, ROWS, 300)
    tokenizer = read_tokenizer(tmp_path / "tokenizer.model")
    assert len(tokenizer.tokens) == 300
    folder = DataFolder(tmp_path, tokenizer.encode, tokenizer.special_id("end"))
    text = folder.source(Phase("p", sequence_length=8), 300, 0)
    assert isinstance(text, TextSource)
    assert len(text.tokens) == sizes["text_tokens"]
    rows = folder.source(Phase("s", "sft", sequence_length=64, batch=4), 300, 0)
    assert isinstance(rows, RowSource)
    assert rows.count == sizes["rows"] == 11
    answer, end = (tokenizer.special_id(role) for role in ("answer", "end"))
    seen = set()
    for tokens, start, length in zip(rows.tokens, rows.starts, rows.lengths, strict=True):
        assert tokens[start - 1] == answer
        assert tokens[length - 1] == end
        request, written = (tokenizer.decode(part.tolist()) for part in (tokens[: start - 1], tokens[start:length]))
        assert (request, written) in ROWS
        seen.add(request)
    held = [json.loads(line) for line in (tmp_path / "valid_seen.jsonl").read_text().splitlines()]
    assert len(held) == sizes["held_rows"] == 1
    assert not seen & {row["text"] for row in held}
    assert {(row["text"], row["json"]) for row in held} <= set(ROWS)


def test_text_and_held_text_are_all_the_text(tmp_path: Path) -> None:
    make_data(tmp_path, TEXTS, [], 280)
    tokenizer = read_tokenizer(tmp_path / "tokenizer.model")
    parts = [tokenizer.decode(np.fromfile(tmp_path / f, "<u2").tolist()) for f in ("pretrain.bin", "valid_text.bin")]
    paragraphs = {p.strip() for text in TEXTS for p in text.split("\n\n") if p.strip()}
    assert {line for part in parts for line in part.splitlines()} == paragraphs
    assert parts[1].encode() == (tmp_path / "valid_text.bytes").read_bytes()
    assert not (tmp_path / "sft.npz").exists()


def test_equal_input_gives_equal_files_and_the_seed_chooses_what_is_held_out(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_data(tmp_path / name, TEXTS, ROWS, 300, seed)
    read = [{f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in "abc"]
    assert read[0] == read[1]
    assert read[0]["valid_seen.jsonl"] != read[2]["valid_seen.jsonl"]


def test_one_request_with_two_answers_is_one_row(tmp_path: Path) -> None:
    sizes = make_data(tmp_path, [], [("a", "1"), ("a", "2"), ("b", "3"), ("c", "4")], 259)
    assert sizes == {"text_tokens": 0, "rows": 2, "held_rows": 1}


def test_the_program_tells_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text(TEXTS[0])
    lines = [json.dumps({"text": text, "json": json.loads(answer)}) for text, answer in ROWS]
    (tmp_path / "rows.jsonl").write_text("\n".join([*lines, "", ""]))
    main(["--text", f"{tmp_path}/text.txt", "--rows", f"{tmp_path}/rows.jsonl", "--out", f"{tmp_path}/data"])
    assert capsys.readouterr().out.endswith("11 rows, 1 held out\n")
    assert read_rows(tmp_path / "rows.jsonl") == ROWS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"rows.jsonl:2 is no row"),
        ('{"text": "a"}', "it has no 'json'"),
        ('{"text": 3, "json": 1}', "text must be a string"),
        ('{"text": "", "json": 1}', "something in it"),
        ("[]", "is no row"),
    ],
)
def test_mistakes_in_rows_are_named_with_their_line(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a", "json": 1}\n' + line + "\n")
    with pytest.raises(UserError, match=message) as error:
        read_rows(file)
    assert error.value.code == "CHM252"


def test_other_mistakes_have_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="neither text nor two different requests") as nothing:
        make_data(tmp_path / "out", ["", ""], ROWS[:1], 300)
    assert nothing.value.code == "CHM251"
    assert not (tmp_path / "out").exists()
    for vocabulary in (258, 65537):
        with pytest.raises(UserError, match="259 to 65536") as size:
            make_data(tmp_path, TEXTS, ROWS, vocabulary)
        assert size.value.code == "CHM255"
    with pytest.raises(SystemExit):
        main(["--text", f"{tmp_path}/gone.txt", "--out", f"{tmp_path}/data"])
    assert "CHM254" in capsys.readouterr().err
