"""A toy bundle that holds conversations, and servers of sessions that say what they are told to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from scripted_chats import Scripted, client_of, compiled, running
from toy_bundles import VOCAB, Toy, make_bundle

from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format import Chat, ChatPieces
from chimerac.runtime.reference.tokenizer import Special, byte_tokenizer
from chimerac.runtime.serving.chat_server import ChatServer

ROLES = {"<begin>": "control", "<end>": "end", "<user>": "control", "<bot>": "control"}
BEGIN, END, USER, BOT = range(256, 260)
PIECES = ChatPieces(
    opening=(BEGIN, USER), answer=(END, BOT, "\n"), next=(END, "\n", USER), prompt=(END, BOT, "\n"),
    system=((BEGIN, "sys:"), (END, USER)), trim="both",
)  # fmt: skip
TOKENIZER = byte_tokenizer(VOCAB, [Special(name, 256 + k, role) for k, (name, role) in enumerate(ROLES.items())])


@pytest.fixture(scope="session")
def with_chat() -> Callable[[Toy, Path], Path]:
    """with_chat(toy, folder): the toy's bundle with a chat."""

    def make(toy: Toy, folder: Path) -> Path:
        made = make_bundle(folder, toy.file("code"), toy.manifest.target, tokenizer=TOKENIZER)
        bf.write_manifest(folder, replace(made.manifest, chat=Chat(PIECES)))
        return folder

    return make


@pytest.fixture
def commands(toy: Any) -> Scripted:
    return Scripted(toy.manifest)


@pytest.fixture
def server(commands: Scripted) -> Iterator[ChatServer]:
    with running(ChatServer(commands, compiled, port=0)) as server:  # type: ignore[arg-type]
        yield server


@pytest.fixture
def client(server: ChatServer) -> Iterator[openai.OpenAI]:
    with client_of(server) as client:
        yield client


@pytest.fixture
def chats(toy: Any, with_chat: Callable[[Any, Path], Path], tmp_path: Path) -> Scripted:
    return Scripted(bf.read_manifest(with_chat(toy, tmp_path / "chat")), thinks=True)


@pytest.fixture
def chat_client(chats: Scripted) -> Iterator[openai.OpenAI]:
    with running(ChatServer(chats, compiled, port=0)) as server, client_of(server) as client:  # type: ignore[arg-type]
        yield client
