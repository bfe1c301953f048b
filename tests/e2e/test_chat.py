"""A module compiled with a tokenizer and a chat: the manifest, sessions, and ``chimerac run --chat``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from made_once import Once
from torch import Tensor, nn

import chimerac
from chimerac.compiler.cli import run as cli
from chimerac.compiler.cli.main import main
from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.run import Conversation
from chimerac.runtime import bundle_format as bf
from chimerac.runtime import load
from chimerac.runtime.bundle_format import Chat, ChatPieces
from chimerac.runtime.reference.tokenizer import Special, byte_tokenizer
from chimerac.runtime.sessions.conversation import ChatPiece

TARGET = "x86_64-avx2"
TOKENIZER = byte_tokenizer(260, [Special("<end>", 256, "end"), Special("<user>", 257, "control")])
CHAT = Chat(ChatPieces((257,), (256, "\n"), (256, 257), (256, "\n"), ((257, "s:"), ("|",))))


class Letters(nn.Module):
    """One byte after another."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(260, 32)
        self.lstm = nn.LSTM(32, 32)
        self.head = nn.Linear(32, 260)

    def forward(self, tokens: Tensor) -> Tensor:
        x, _ = self.lstm(self.embedding(tokens))
        logits: Tensor = self.head(x)
        return logits


@pytest.fixture(scope="module")
def bundle(once: Once) -> Path:
    def make(folder: Path) -> None:
        import torch

        torch.manual_seed(3)
        chimerac.compile(Letters(), name="letters", targets=[TARGET], out=folder, tokenizer=TOKENIZER, chat=CHAT)

    return once("letters with a chat", make) / f"letters.{TARGET}"


def test_the_manifest_has_the_chat_and_sessions_answer(bundle: Path) -> None:
    with load(bundle) as session:
        assert session.manifest.chat == CHAT
        pieces = list(session.chat([{"role": "user", "content": "hi"}], max_tokens=5, temperature=1.0))
        made = session.tokens()
        list(session.generate([257, *b"hi", 256, 10], max_tokens=5, temperature=1.0))
        assert session.tokens() == made == [piece.token for piece in pieces if piece.token >= 0]


def test_a_chat_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    other = replace(CHAT, marks={"thinking": (256, 65)})
    with pytest.raises(UserError) as caught:
        chimerac.compile(Letters(), targets=[TARGET], out=tmp_path, tokenizer=TOKENIZER, chat=other)
    assert (caught.value.code, "token 65" in caught.value.message) == ("CHM263", True)


def run(*arguments: object, input: str = "") -> Any:
    # through the program: click keeps the help option of who asks a command first, and only the program has -h
    return CliRunner().invoke(main, ["run", *map(str, arguments)], input=input)


def test_the_command_line_answers_messages(bundle: Path) -> None:
    options = ("-n", "6", "--temperature", "1", "--seed", "4")
    conversation = Conversation(bundle, chat=True, max_tokens=6, temperature=1.0, seed=4)
    with conversation:
        first = "".join(piece.text for piece in conversation.reply("hello"))
        second = "".join(piece.text for piece in conversation.reply("more"))
    assert run(bundle, "hello", "--chat", *options).stdout == first + "\n"
    assert run(bundle, "--chat", *options, input="hello\n\nmore\n").stdout == f"{first}\n{second}\n"
    assert run(bundle, "hello", "--chat", "--system", "Be brief.", *options).stdout != first + "\n"


def test_options_that_do_not_go_together(bundle: Path) -> None:
    assert "--system needs --chat" in run(bundle, "x", "--system", "y").output
    assert "do not go together" in run(bundle, "x", "--chat", "--tokens").output


def test_a_bundle_without_a_chat(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for file in bundle.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    bf.write_manifest(folder, replace(bf.read_manifest(folder), chat=None))
    with pytest.raises(UserError) as caught:
        Conversation(folder, chat=True)
    assert caught.value.code == "CHM421"


def test_an_answer_that_is_interrupted_stays(bundle: Path) -> None:
    with Conversation(bundle, chat=True, max_tokens=9, temperature=1.0, seed=4) as conversation:
        steps = conversation.reply("hello")
        next(steps)
        steps.close()
        assert [message["role"] for message in conversation._messages] == ["user", "assistant"]
        assert list(conversation.reply("more"))


def test_ctrl_c_ends_an_answer_and_not_the_conversation(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At a terminal; thinking is shown on standard error."""

    class Interrupted:
        def __init__(self) -> None:
            self.asked: list[str] = []
            self.session = SimpleNamespace(manifest=SimpleNamespace(name="x"))

        def reply(self, message: str) -> Iterator[ChatPiece]:
            self.asked.append(message)
            yield ChatPiece("hm", 1, "thinking")
            yield ChatPiece("yes", 2, "answer")
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_lines", lambda: iter(["one", "two"]))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    one: Any = Interrupted()
    cli._chat(one, bundle, None)
    shown = capsys.readouterr()
    assert one.asked == ["one", "two"]
    assert shown.out.split() == ["yes", "yes"]
    assert shown.err.count("hm") == 2
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(KeyboardInterrupt):
        cli._chat(one, bundle, None)
