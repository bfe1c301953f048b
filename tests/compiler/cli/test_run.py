"""``run``: options out of range, odd prompts, conversations through a pipe, Ctrl-C; the same on both targets."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from answering import with_answer_token
from cli_tools import COMMAND_LINE, NOISE, TARGETS, Command, environment, start

import chimerac as package


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--temperature", "-1"),
        ("--temperature", "0.001"),
        ("--temperature", "101"),
        ("--temperature", "nan"),
        ("--temperature", "inf"),
        ("--temperature", "1e300"),
        ("--top-p", "2"),
        ("--top-p", "-0.1"),
        ("--top-p", "nan"),
        ("--top-k", "-1"),
        ("--top-k", str(1 << 31)),
        ("--repetition-penalty", "0"),
        ("--repetition-penalty", "11"),
        ("--max-tokens", "-1"),
        ("--max-tokens", str(1 << 31)),
        ("--loops", "99"),
        ("--loops", "-1"),
        ("--seed", "-1"),
        ("--seed", str(1 << 64)),
        ("--exit-threshold", "-0.5"),
        ("--exit-threshold", "1.5"),
    ],
)
def test_option_out_of_range(chimerac: Command, bundles: dict[str, Path], target: str, option: str, value: str) -> None:
    shown = chimerac("run", bundles[target], "hello", option, value)
    shown.refused("CHM420", option.strip("-").replace("-", "_").split("_")[0])
    assert shown.out == ""


def test_limits_themselves_are_accepted(chimerac: Command, bundles: dict[str, Path]) -> None:
    for options in (
        ["--temperature", "100", "--top-p", "1", "--top-k", "1"],
        ["--temperature", "0.01", "--top-p", "0", "--repetition-penalty", "10", "--loops", "6"],
        ["--seed", str((1 << 64) - 1), "--exit-threshold", "1", "--repetition-penalty", "0.1", "--loops", "1"],
    ):
        shown = chimerac("run", bundles["x86_64-avx2"], "hello", "-n", "2", *options)
        assert (shown.code, shown.err) == (0, "")


def test_statistics_tell_levels_and_what_is_open(chimerac: Command, bundles: dict[str, Path]) -> None:
    words = ["run", bundles["x86_64-avx2"], "hello", "-n", "40", "--exit-threshold", "0", "--grammar", "python"]
    shown = chimerac(*words, "--stats", "--temperature", "1")
    assert shown.code == 0
    levels = re.search(r"tokens by level: (\d+) low, (\d+) medium, (\d+) high; \d+\.\d\d bits", shown.err)
    assert levels
    assert sum(map(int, levels.groups())) == int(re.search(r"(\d+) tokens:", shown.err)[1])  # type: ignore[index]
    assert "tokens by level" not in chimerac(*words, "--stats", "--no-valve").err


PROMPTS = {
    "one letter": "a",
    "a blank": " ",
    "a line end": "\n",
    "emoji": "😀👩‍👩‍👧 says hi",
    "scripts": "Ünïcödé שלום こんにちは नमस्ते",
    "control characters": "\x01\x7f\u200b\u202e",
    "like an option": "-- --help",
    "the end token's name": "<|endoftext|>",
    "10,000 characters": "It was a dark and stormy night. " * 313,
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
def test_any_text_gives_the_same_tokens_on_both_targets(
    chimerac: Command, bundles: dict[str, Path], prompt: str
) -> None:
    answers = []
    for target in TARGETS:
        shown = chimerac("run", bundles[target], "-n", "6", "--temperature", "0.8", "--tokens", "--", prompt)
        assert (shown.code, shown.err) == (0, "")
        answers.append(json.loads(shown.out))
    assert answers[0] == answers[1]
    assert len(answers[0]) == 6


@pytest.mark.parametrize("target", TARGETS)
def test_text_is_that_of_the_tokens(chimerac: Command, bundles: dict[str, Path], target: str) -> None:
    with package.load(bundles[target]) as session:
        text = "".join(map(str, session.generate("Once", max_tokens=24, temperature=0.9, seed=4)))
    shown = chimerac("run", bundles[target], "Once", "-n", "24", "--temperature", "0.9", "--seed", "4")
    assert shown.out == f"{text}\n"


@pytest.mark.parametrize("target", TARGETS)
def test_no_tokens_and_no_prompt(chimerac: Command, bundles: dict[str, Path], target: str) -> None:
    assert chimerac("run", bundles[target], "hello", "-n", "0").out == "\n"
    assert chimerac("run", bundles[target], "hello", "-n", "0", "--tokens").out == "[]\n"
    chimerac("run", bundles[target], "").refused("CHM420", "the prompt is empty")


@pytest.mark.parametrize("target", TARGETS)
def test_prompt_that_is_not_utf8(bundles: dict[str, Path], target: str) -> None:
    command = [*map(os.fsencode, COMMAND_LINE), b"run", os.fsencode(bundles[target]), b"caf\xe9"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr.startswith("error CHM420: the prompt is not UTF-8\n")


@pytest.mark.parametrize("target", TARGETS)
def test_conversation_through_a_pipe(chimerac: Command, bundles: dict[str, Path], target: str) -> None:
    with package.load(bundles[target]) as session:
        first = "".join(map(str, session.generate("hello", max_tokens=12)))
        second = "".join(map(str, session.generate("wörld", max_tokens=12, reset=False)))
    shown = chimerac("run", bundles[target], "-n", "12", input="hello\n\nwörld\r\n\n")
    assert (shown.code, shown.out, shown.err) == (0, f"{first}\n{second}\n", "")
    assert chimerac("run", bundles[target], "-n", "12", input="hello").out == f"{first}\n"
    assert chimerac("run", bundles[target], input="").out == ""


def test_a_bad_line_of_a_conversation_is_numbered(chimerac: Command, bundles: dict[str, Path]) -> None:
    shown = chimerac("run", bundles["x86_64-avx2"], "-n", "3", input=b"hello\ncaf\xe9\nmore\n")
    shown.refused("CHM420", "line 2 of the input is not UTF-8")
    assert shown.out.count("\n") == 1
    chimerac("run", bundles["wasm"], "--top-p", "3", input="hello\n").refused("CHM420", "top_p")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("prompt", [["hello"], []])
def test_ctrl_c_ends_quietly(bundles: dict[str, Path], target: str, prompt: list[str]) -> None:
    with start("run", bundles[target], *prompt, "-n", "100000000", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if not prompt:
            process.stdin.write("hello\n")
            process.stdin.flush()
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)  # of 100,000,000 tokens it would not end by itself
        assert process.returncode in (1, 130)
    assert not any(noise in err for noise in NOISE), err
    assert len(err) < 50


def test_output_in_a_terminal_without_utf8(bundles: dict[str, Path]) -> None:
    """Text that the encoding has is written in it; other text ends the command."""
    for text, code, out in (("größe", 0, "größe\n".encode("latin-1")), ("gr\u03c0", 1, b"")):
        finished = subprocess.run(
            [*COMMAND_LINE, "run", bundles["x86_64-avx2"], "hi", "-n", "64", "--choices", text],
            capture_output=True,
            check=False,
            env=environment(PYTHONIOENCODING="latin-1"),
        )
        assert (finished.returncode, b"CHM324" in finished.stderr) == (code, code == 1), finished.stderr
        assert finished.stdout.startswith(out or b"g")


def test_a_wasm_bundle_without_node(
    chimerac: Command, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHIMERAC_NODE", "/nonexistent/node")
    for verb in (["run", bundles["wasm"], "hi"], ["verify", bundles["wasm"]]):
        chimerac(*verb).refused("CHM440", "install Node.js 20")
    found = chimerac("doctor")
    assert found.code == 0, "Node is not needed for builds"
    assert "\n--  node" in found.out


def test_a_conversation_in_a_terminal(bundles: dict[str, Path]) -> None:
    """It asks with "> ", ends at Ctrl-D, and control characters that a model makes up do not reach the terminal."""
    ours, theirs = pty.openpty()
    command = [*COMMAND_LINE, "run", str(bundles["x86_64-avx2"]), "-n", "300", "--temperature", "3"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment()) as process:
        os.close(theirs)
        shown = read_until(ours, b"> ")
        os.write(ours, b"hello\n")
        shown += read_until(ours, b"\n> ")
        os.write(ours, b"\x04")
        assert process.wait(timeout=300) == 0
        os.close(ours)
    text = shown.decode()
    assert re.match(r"\S+ \(.*\)\. Type a line and press Enter; Ctrl-D ends\.\r\n> hello\r\n", text)
    assert "\ufffd" in text
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", text)
    with package.load(bundles["x86_64-avx2"]) as session:
        plain = "".join(map(str, session.generate("hello", max_tokens=300, temperature=3.0)))
    assert "\x1b" in plain, "the seed of this test makes no escape character; choose another"


def test_without_arguments_it_takes_the_bundle_built_last(
    chimerac: Command, bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chimerac("run", input="hello\n").refused("CHM323", "no bundle in dist/", "chimerac build")
    (tmp_path / "dist" / "page").mkdir(parents=True)
    (tmp_path / "dist" / "page" / "manifest.json").write_text("{}")
    chimerac("run", input="hello\n").refused("CHM323")
    for number, (target, folder) in enumerate(sorted(bundles.items())):
        made = shutil.copytree(folder, tmp_path / "dist" / f"{number}.{target}")
        os.utime(made / "manifest.json", (0, 10 - number))
    with package.load(tmp_path / "dist" / f"0.{sorted(bundles)[0]}") as session:
        expected = "".join(map(str, session.generate("hello", max_tokens=5)))
    shown = chimerac("run", "-n", "5", input="hello\n")
    assert (shown.code, shown.out, shown.err) == (0, f"{expected}\n", "")
    manifest = tmp_path / "dist" / f"0.{sorted(bundles)[0]}" / "manifest.json"
    manifest.write_text("not JSON")
    assert chimerac("run", "-n", "5", input="hello\n").out == f"{expected}\n", "the other bundle, with the same bits"


def test_requests_do_not_see_each_other(chimerac: Command, bundles: dict[str, Path], tmp_path: Path) -> None:
    """A model that answers requests starts each line anew."""
    with package.load(bundles["x86_64-avx2"]) as session:
        folder = with_answer_token(bundles["x86_64-avx2"], tmp_path / "asking", session.vocab_size)
    shown = chimerac("run", folder, "-n", "12", "--temperature", "0", input="hello\nlight\nhello\n")
    first, _, third = shown.out.splitlines()
    assert first == third


def read_until(terminal: int, end: bytes) -> bytes:
    shown = b""
    while not shown.replace(b"\r", b"").endswith(end):
        shown += os.read(terminal, 1024)
    return shown
