"""What somebody names is a regular file, or one error: pipes and devices are waited for by nobody, nor replaced."""

from __future__ import annotations

import os
import resource
import signal
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from torch import nn

from chimerac.compiler.errors import UserError
from chimerac.compiler.packaging.grammar_packs import read_grammar
from chimerac.compiler.packaging.options import checked_spans, packaging_options
from chimerac.compiler.texts import read_text
from chimerac.frontends.config.locate import read
from chimerac.frontends.sources.mapped import mapped_file
from chimerac.frontends.sources.recognised import is_published
from chimerac.frontends.tokenizers import o200k
from chimerac.frontends.tokenizers.json_files import read_value
from chimerac.frontends.training.checkpointing import STATE_FILE, read_place
from chimerac.frontends.training.data import DataFolder
from chimerac.frontends.training.files import read_examples, read_rows, read_tokens, read_whole, write_whole
from chimerac.frontends.training.make_data import read_rows as read_requests
from chimerac.frontends.training.progress import LOG_FILE, Progress
from chimerac.frontends.training.settings import read_plan
from chimerac.frontends.weights.checkpoint import save_safetensors
from chimerac.frontends.weights.files import open_checkpoint
from chimerac.frontends.weights.packed import is_packed
from chimerac.runtime.bundle_format import read_container
from chimerac.runtime.bundle_format.regular import open_input
from chimerac.runtime.errors import BundleError
from chimerac.runtime.serving.intents import actions_of

#: Name of a file → what reads it.
READERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: read_text(path, "the text", "CHM420", 9),
    "schema.json": read_grammar,
    "grammar.lark": read_grammar,
    "a.chimera": read,
    "prompts": lambda path: packaging_options(page=None, npm=None, runtime=None, examples=path, max_size=None),
    "spans": checked_spans,
    "container": read_container,
    "ranks": o200k.read_ranks,
    "tokenizer.json": read_value,
    "a.safetensors": open_checkpoint,
    "a.safetensors.index.json": open_checkpoint,
    "model": mapped_file,
    "plan": read_plan,
    "rows": read_requests,
    "pretrain.bin": lambda path: DataFolder(path.parent, lambda text: [1], None),
    "a.txt": lambda path: DataFolder(path.parent, lambda text: [1], None),
    "sft.npz": read_rows,
    "valid_seen.jsonl": read_examples,
    STATE_FILE: lambda path: read_place(path.parent, ""),
    LOG_FILE: lambda path: Progress(path.parent, 9, print, 1),
}
WRITERS: dict[str, Callable[[Path], object]] = {
    "whole": lambda path: write_whole(path, b"x"),
    "weights": lambda path: save_safetensors(nn.Linear(2, 2), path),
}


@pytest.fixture(autouse=True)
def _end() -> Iterator[None]:
    """What waits for a pipe waits for ever."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", [name for name in READERS if name != "model"])  # which is mapped only
def test_a_file_of_a_terabyte_is_one_error(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, before[1]))  # what reads it whole fails here, too
    try:
        with pytest.raises((UserError, BundleError, ValueError)) as error:
            READERS[name](tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert "memory" not in str(error.value)
    assert isinstance(error.value, UserError | BundleError) or name == "ranks"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_one_error(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises((UserError, BundleError, OSError), match="not a regular file") as error:
        READERS[name](tmp_path / name)
    assert isinstance(error.value, UserError | BundleError) or name == "ranks"  # the caller knows where it was named
    assert "Errno" not in str(error.value) or name == "ranks"


def test_what_looks_at_a_file_first(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_published(tmp_path / "pipe")
    assert not is_packed(tmp_path / "pipe")


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "link").symlink_to("text")
    assert read_text(tmp_path / "link", "the text", "CHM420", 9) == "hello"
    with pytest.raises(IsADirectoryError):
        open_input(tmp_path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/null")], ids=["pipe", "device"])
@pytest.mark.parametrize("name", WRITERS)
def test_what_is_no_file_is_not_replaced(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "out")
    before = os.lstat(tmp_path / "out")
    with pytest.raises(UserError, match="there is something that is no file"):
        WRITERS[name](tmp_path / "out")
    assert os.lstat(tmp_path / "out").st_ino == before.st_ino


def test_deep_json_is_no_plan_no_row_no_intent_and_no_result(tmp_path: Path) -> None:
    deep = "[" * 100_000
    (tmp_path / "deep").write_text(deep)
    for reader in (read_plan, read_requests):
        with pytest.raises(UserError, match="nested too deep"):
            reader(tmp_path / "deep")
    assert actions_of(deep) == ()


def test_damaged_training_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd.bin").write_bytes(b"abc")
    (tmp_path / "junk.npz").write_bytes(b"PK\3\4" + b"x" * 100)
    (tmp_path / "text.npz").write_bytes(b"no archive")
    good: dict[str, Any] = {
        "tokens": np.ones((2, 3), np.int32),
        "loss_start": np.ones(2, np.int32),
        "length": np.ones(2, np.int32),
    }
    np.savez(tmp_path / "good.npz", **good)
    changed: dict[str, dict[str, Any]] = {
        "float.npz": {"tokens": np.ones((2, 3))},
        "flat.npz": {"tokens": np.ones(2, np.int32)},
        "short.npz": {"length": np.ones(1, np.int32)},
        "object.npz": {"length": np.array([{}, {}])},
    }
    for name, changes in changed.items():
        np.savez(tmp_path / name, **{**good, **changes})
    np.savez(tmp_path / "less.npz", tokens=good["tokens"])
    assert read_rows(tmp_path / "good.npz")[0].shape == (2, 3)
    for name in ("junk", "text", "float", "flat", "short", "object", "less"):
        with pytest.raises(UserError, match=f"{name}.npz is damaged") as error:
            read_rows(tmp_path / f"{name}.npz")
        assert error.value.code == "CHM252"
    lies = {"more": (3, 1 << 20), "vast": (1 << 50, 1 << 50), "less": (1, 1)}
    for name, shape in lies.items():  # an array whose header claims another size than the archive has of it
        header = BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as archive:
            archive.writestr("tokens.npy", header.getvalue() + bytes(24))
            for other in ("loss_start", "length"):
                array = BytesIO()
                np.save(array, good[other])
                archive.writestr(f"{other}.npy", array.getvalue())
        with pytest.raises(UserError, match="the array tokens has other bytes than its shape") as error:
            read_rows(tmp_path / f"{name}.npz")
        assert error.value.code == "CHM252"
    with pytest.raises(UserError, match="it needs more memory than there is") as error:
        read_whole(tmp_path / "good.npz", lambda stream: bytes(1 << 62))
    assert error.value.code == "CHM254"
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_bytes(b"x" * 7)
    monkeypatch.setattr("chimerac.frontends.training.data.MOST_TEXT", 13)
    with pytest.raises(UserError, match="have over 13 characters together") as error:
        DataFolder(tmp_path, lambda text: [1], None)
    assert error.value.code == "CHM254"
    monkeypatch.setattr("chimerac.frontends.training.files.MOST_ROWS", 24)
    with pytest.raises(UserError, match="its arrays take over 24 bytes"):
        read_rows(tmp_path / "good.npz")
    with pytest.raises(UserError, match="whole number of tokens"):
        read_tokens(tmp_path / "odd.bin")
    for line in ("[]", '{"text": "a"}', '{"text": "a", "json": "{", "intent": "b"}', "[" * 100_000, "\udcff"):
        (tmp_path / "rows").write_bytes(line.encode("utf-8", "surrogateescape"))
        with pytest.raises(UserError, match="rows is damaged"):
            read_examples(tmp_path / "rows")


@pytest.mark.parametrize("sign", ["\0", "\x1b", "\x7f", "\x9b"])
def test_prompts_of_a_page_have_no_control_characters(sign: str, tmp_path: Path) -> None:
    (tmp_path / "prompts").write_text(f"turn\ton\nturn{sign}off\n")
    with pytest.raises(UserError, match="has control characters") as error:
        READERS["prompts"](tmp_path / "prompts")
    assert error.value.code == "CHM314"
    (tmp_path / "prompts").write_text("turn\ton\n\n é \n")
    found = packaging_options(page=None, npm=None, runtime=None, examples=tmp_path / "prompts", max_size=None)
    assert found.examples == ("turn\ton", "é")
