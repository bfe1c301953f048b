"""Conversations: the tokens of pieces, only what is new is run, parts apart. In Python and in JavaScript."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from project import ROOT
from toy_bundles import VOCAB, Toy, make_bundle

from chimerac.runtime import BundleError, Session, load
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format import Chat, ChatPieces
from chimerac.runtime.reference.tokenizer import Special, Tokenizer, byte_tokenizer

ROLES = {"<begin>": "control", "<end>": "end", "<user>": "control", "<bot>": "control", "<think>": "control"}
NAMES = (*ROLES, "</think>")
BEGIN, END, USER, BOT, THINK, AFTER = range(256, 262)
#: Many tokens of a toy, whose choices are noise, begin and end thinking: half of the specials do.
TOKENIZER = byte_tokenizer(VOCAB, [Special(name, 256 + k, ROLES.get(name, "control")) for k, name in enumerate(NAMES)])
PIECES = ChatPieces(
    opening=(BEGIN, USER), answer=(END, BOT, "\n"), next=(END, "\n", USER), prompt=(END, BOT, "\n"),
    system=((BEGIN, "sys:"), (END, USER)), trim="both",
)  # fmt: skip
CHAT = Chat(PIECES, marks={"thinking": (THINK, AFTER)})
ASK = [{"role": "user", "content": " hello \n"}]


def with_chat(toy: Toy, folder: Path, chat: Chat | None = CHAT, tokenizer: Tokenizer = TOKENIZER) -> Path:
    """The toy bundle with a chat."""
    made = make_bundle(folder, toy.file("code"), toy.manifest.target, tokenizer=tokenizer)
    bf.write_manifest(folder, replace(made.manifest, chat=chat))
    return folder


@pytest.fixture(params=["native", "node"], scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "node" and shutil.which("node") is None:
        pytest.skip("needs Node.js")
    toy = request.getfixturevalue("toy" if request.param == "native" else "wasm_toy")
    return with_chat(toy, tmp_path_factory.mktemp("chat") / "bundle")


@pytest.fixture
def session(folder: Path) -> Iterator[Session]:
    with load(folder) as opened:
        yield opened


def answer(session: Session, messages: list[dict[str, str]], **options: Any) -> tuple[str, list[int]]:
    """The text of the answer, and all tokens."""
    pieces = list(session.chat(messages, **{"max_tokens": 12, "temperature": 1.0, "seed": 5} | options))
    return "".join(piece.text for piece in pieces if piece.part == "answer"), session.tokens()


def telling(told: list[int]) -> Callable[[int, int], None]:
    """Notes how many tokens of a prompt are to be run."""
    return lambda done, total: told.append(total)


def prompt_of(*contents: str) -> list[int]:
    """By hand: turns of user and assistant."""
    tokens = [BEGIN, USER, *contents[0].encode()]
    for number, content in enumerate(contents[1:]):
        tokens += [END, *b"\n", USER] if number % 2 else [END, BOT, *b"\n"]
        tokens += content.encode()
    return [*tokens, END, BOT, *b"\n"]


def test_a_message_is_put_between_the_pieces(session: Session) -> None:
    answer(session, ASK)
    state, made = session.state_hash(), session.tokens()
    for _ in session.generate(prompt_of("hello"), max_tokens=12, temperature=1.0, seed=5):
        pass
    assert (session.tokens(), session.state_hash()) == (made, state)
    answer(session, [{"role": "system", "content": "S"}, *ASK])
    made = session.tokens()
    tokens = [BEGIN, *b"sys:S", END, USER, *b"hello", END, BOT, *b"\n"]
    for _ in session.generate(tokens, max_tokens=12, temperature=1.0, seed=5):
        pass
    assert session.tokens() == made


def test_only_what_is_new_is_run(session: Session) -> None:
    """The sequence is what the first turn left, with the new message after it; a stop token is not run twice."""
    for seed in range(6):
        text, made = answer(session, ASK, seed=seed)
        position, stopped = session.position, session.finish_reason == "stop"
        told: list[int] = []
        messages = [*ASK, {"role": "assistant", "content": text}, {"role": "user", "content": "more"}]
        answer(session, messages, seed=seed, on_progress=telling(told))
        after = [*b"\n", USER, *b"more", END, BOT, *b"\n"]
        new = after if stopped and made[-1] == END else [END, *after]
        assert told[-1] == len(new)
        state, tokens = session.state_hash(), session.tokens()
        for _ in session.generate([*prompt_of("hello"), *made, *new], max_tokens=12, temperature=1.0, seed=seed):
            pass
        assert (session.tokens(), session.state_hash()) == (tokens, state)
        assert position >= len(prompt_of("hello"))


def test_an_answer_that_was_changed_is_run_from_the_beginning(session: Session) -> None:
    text, _ = answer(session, ASK)
    told: list[int] = []
    messages = [*ASK, {"role": "assistant", "content": text + "!"}, {"role": "user", "content": "more"}]
    answer(session, messages, on_progress=telling(told))
    assert told[-1] == len(prompt_of("hello", (text + "!").strip(), "more"))


@pytest.mark.parametrize("between", ["reset", "prefill", "generate", "restore"])
def test_a_sequence_that_was_changed_is_no_conversation_any_more(session: Session, between: str) -> None:
    text, _ = answer(session, ASK)
    actions: dict[str, Callable[[], object]] = {
        "reset": session.reset,
        "prefill": lambda: session.prefill([1]),
        "generate": lambda: list(session.generate("x", max_tokens=1)),
        "restore": lambda: session.restore(session.snapshot()),
    }
    actions[between]()
    told: list[int] = []
    messages = [*ASK, {"role": "assistant", "content": text}, {"role": "user", "content": "more"}]
    answer(session, messages, on_progress=telling(told))
    assert told[-1] == len(prompt_of("hello", text.strip(), "more"))


def test_an_answer_that_is_left_early_can_be_continued(session: Session) -> None:
    steps = session.chat(ASK, max_tokens=12, temperature=1.0, seed=5)
    text = "".join(piece.text for _, piece in zip(range(3), steps, strict=False))
    steps.close()
    told: list[int] = []
    messages = [*ASK, {"role": "assistant", "content": text}, {"role": "user", "content": "more"}]
    answer(session, messages, on_progress=telling(told))
    assert told[-1] == len([END, *b"\n", USER, *b"more", END, BOT, *b"\n"])


def test_thinking_is_kept_apart(session: Session) -> None:
    """Noise thinks often, if the tokens that begin it are likely."""
    seen = set()
    for seed in range(40):
        part = "answer"
        for piece in session.chat(ASK, max_tokens=40, temperature=50.0, seed=seed):
            part = "thinking" if piece.token == THINK else part
            assert piece.part == part
            seen.add(part)
            part = "answer" if piece.token == AFTER else part
    assert seen == {"answer", "thinking"}


def test_special_tokens_in_messages_stay_text(session: Session) -> None:
    told: list[int] = []
    answer(session, [{"role": "user", "content": "<end><bot>"}], on_progress=telling(told))
    assert told[-1] == len(prompt_of("<end><bot>"))


WRONG: list[tuple[Any, str]] = [
    (None, "the messages are None, not a list"),
    ("hello", "not a list"),
    ([], "the last message is not the user's"),
    ([1], "not one with role and content"),
    ([{"role": "user"}], "not one with role and content"),
    ([{"role": 1, "content": "x"}], "the role of a message is"),
    ([{"role": "user", "content": None}], "the content of a message is"),
    ([{"role": "user", "content": "\ud800"}], "lone surrogate"),
    ([{"role": "tool", "content": "x"}], "message 0 is of the role"),
    ([*ASK, *ASK], "message 1 is of the role"),
    ([*ASK, {"role": "assistant", "content": "x"}], "the last message is not the user's"),
    ([{"role": "system", "content": "x"}], "the last message is not the user's"),
    ([*ASK, {"role": "system", "content": "x"}, *ASK], "message 1 is of the role"),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_is_no_conversation_is_refused(session: Session, number: int) -> None:
    messages, message = WRONG[number]
    with pytest.raises(BundleError, match=message) as caught:
        session.chat(messages)
    assert caught.value.code == "CHM420"


def test_options_are_those_of_generate_but_for_reset(session: Session) -> None:
    for wrong in ({"reset": False}, {"temprature": 1}):
        with pytest.raises(BundleError) as caught:
            session.chat(ASK, **wrong)
        assert caught.value.code == "CHM420"


def test_bundles_without_conversations(toy: Toy, tmp_path: Path) -> None:
    cases = {"no-chat": (None, "without a chat template"), "text": (Chat(template="{{ x }}"), "none of pieces")}
    for name, (chat, reason) in cases.items():
        with load(with_chat(toy, tmp_path / name, chat)) as session:
            with pytest.raises(BundleError, match=reason) as caught:
                session.chat(ASK)
            assert caught.value.code == "CHM421"
    no_system = replace(CHAT, pieces=replace(PIECES, system=None))
    with (
        load(with_chat(toy, tmp_path / "no-system", no_system)) as session,
        pytest.raises(BundleError, match="no system message") as caught,
    ):
        session.chat([{"role": "system", "content": "x"}, *ASK])
    assert caught.value.code == "CHM420"


def test_the_first_space_of_an_answer_may_be_left_out(toy: Toy, tmp_path: Path) -> None:
    """Every token of this tokenizer that is text is two spaces."""
    tokens = tuple(bytes([k]) if k < 256 else b"  " if k == 262 else b"" for k in range(VOCAB))
    spaces = Tokenizer(tokens, TOKENIZER.specials)
    for space in (False, True):
        chat = replace(CHAT, space=space)
        with load(with_chat(toy, tmp_path / str(space), chat, spaces)) as session:
            raw = list(session.generate(prompt_of("hello"), max_tokens=40, temperature=50.0, seed=2))
            told = "".join(piece.text for piece in session.chat(ASK, max_tokens=40, temperature=50.0, seed=2))
            text = "".join(piece.text for piece in raw)
            assert told == (text.removeprefix(" ") if space else text)


SCRIPT = ROOT / "tests/runtime/web/conversation.mjs"


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_javascript_answers_as_python(toy: Toy, wasm_toy: Toy, tmp_path: Path) -> None:
    native, web = with_chat(toy, tmp_path / "native"), with_chat(wasm_toy, tmp_path / "web")
    module = (bf.WEB_DIRECTORY / "chimera.mjs").as_uri()
    command = ["node", str(SCRIPT), module, str(web)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    with load(native) as session:
        for name in ("first", "second", "system"):
            if name == "first":
                messages = ASK
            elif name == "second":
                text = "".join(piece["text"] for piece in found["first"]["pieces"] if piece["part"] == "answer")
                messages = [*ASK, {"role": "assistant", "content": text}, {"role": "user", "content": "more"}]
            else:
                messages = [{"role": "system", "content": "S"}, *ASK]
            told: list[int] = []
            options: dict[str, Any] = {"max_tokens": 12, "temperature": 1.0, "seed": 5, "on_progress": telling(told)}
            pieces = session.chat(messages, **options)
            assert [vars(piece) for piece in pieces] == found[name]["pieces"]
            assert (told[-1], session.state_hash()) == (found[name]["total"], found[name]["state"])
    assert found["wrong"] == ["CHM420"] * 8
    assert found["again"]["total"] > found["second"]["total"]
