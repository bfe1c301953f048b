"""``chimerac run``: one prompt, or a conversation with standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chimerac.compiler.cli.output import plain_warnings, say, say_generated

if TYPE_CHECKING:
    from chimerac.compiler.verbs.run import Answer, Conversation
    from chimerac.runtime.sessions.diagnostics import Diagnostics
    from chimerac.runtime.sessions.speculation import Speculation


@click.command()
@click.argument("bundle", required=False, type=click.Path())
@click.argument("prompt", required=False)
@click.option("-n", "--max-tokens", type=int, help="Tokens to generate at most.  [default: the bundle's, else 64]")
@click.option("--temperature", type=float, help="0 always takes the likeliest token.  [default: the bundle's, else 0]")
@click.option("--top-p", type=float, help="Keep the likeliest tokens of this mass.  [default: the bundle's, else 1]")
@click.option("--top-k", default=0, show_default=True, help="Keep this many of the likeliest tokens; 0 keeps all.")
@click.option("--repetition-penalty", type=float, help="Above 1 for less of it.  [default: the bundle's, else 1]")
@click.option("--mode", metavar="NAME", help="One of the bundle's modes, which sets the loops.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same tokens everywhere.")
@click.option("--loops", type=int, help="Iterations of looped layers; 0: the model's.  [default: of the mode, else 0]")
@click.option(
    "--speculate/--no-speculate",
    default=None,
    help="Guess tokens and run several in one pass, which changes none.  [default: where the bundle can and it pays]",
)
@click.option(
    "--valve/--no-valve", default=True, help="Fewer loops where the next tokens are certain, or all loops always."
)
@click.option("--exit-threshold", type=float, help="Leave loops below this change.  [default: the bundle's, else 0]")
@click.option("--threads", default=1, show_default=True, help="Share the work; 0 takes one per core, at most 8.")
@click.option("--grammar", metavar="NAME", help="What the text must follow: a mode, a .lark file, or none.")
@click.option("--schema", metavar="FILE", help="Generate JSON that fits this JSON Schema.")
@click.option("--choices", metavar="A,B,…", help="Generate one of these texts.")
@click.option("--regex", metavar="PATTERN", help="Generate a text that this regular expression matches.")
@click.option("--names", metavar="FILE", help="JSON with the names of a home, which the model is told.")
@click.option("--spans", metavar="FILE", help="A bank of spans to guess from, of `chimerac spans mine`.")
@click.option("--chat", is_flag=True, help="Answer messages, as the model's chat template puts them.")
@click.option("--system", metavar="TEXT", help="With --chat: what the system says before the first message.")
@click.option("--stats", is_flag=True, help="Print how likely the answer was, and what guesses did, to standard error.")
@click.option("--no-refuse", is_flag=True, help="Give answers that are too unlikely for the bundle, too.")
@click.option("--tokens", "show_tokens", is_flag=True, help="Print token numbers, one JSON list, in place of text.")
def run(
    bundle: str | None,
    prompt: str | None,
    show_tokens: bool,
    stats: bool,
    choices: str | None,
    chat: bool,
    system: str | None,
    no_refuse: bool,
    **options: Any,
) -> None:
    """Generate text with BUNDLE after PROMPT.

    Without a prompt it answers standard input line by line. Without a bundle it takes the one built last in dist/.
    """
    from chimerac.compiler.cli.code import announce_code
    from chimerac.compiler.verbs.bundles import find_bundle
    from chimerac.compiler.verbs.grammars import read_choices
    from chimerac.compiler.verbs.run import Conversation
    from chimerac.compiler.verbs.run import run as generate

    if system is not None and not chat:
        raise click.UsageError("--system needs --chat.")
    if stats and (chat or prompt is None):
        raise click.UsageError("--stats needs a PROMPT, and no --chat.")
    options |= {"refuse": not no_refuse} | ({"score": True} if stats else {})
    options["choices"] = None if choices is None else read_choices(choices)
    chosen = Path(bundle) if bundle else find_bundle()
    announce_code(chosen)
    with plain_warnings():
        if chat:
            if show_tokens:
                raise click.UsageError("--tokens and --chat do not go together.")
            with Conversation(chosen, chat=True, system=system, **options) as conversation:
                _chat(conversation, chosen, prompt)
        elif prompt is None:
            if show_tokens:
                raise click.UsageError("--tokens needs a PROMPT.")
            with Conversation(chosen, **options) as conversation:
                _converse(conversation, chosen)
        elif show_tokens:
            answer = generate(chosen, prompt, **options)
            say(json.dumps(answer.tokens))
        else:
            coloured = stats and sys.stdout.isatty()
            hear: dict[str, Any] = {"hear_guessed": say_generated} if coloured else {"hear": _say}
            answer = generate(chosen, prompt, **hear, **options)
            say()
    if stats:
        say(_stats(answer.speculation, len(answer.tokens)), err=True)
        say(_likelihood(answer), err=True)
        for line in _diagnosed(answer.diagnostics):
            say(line, err=True)


def _likelihood(answer: Answer) -> str:
    right = "" if answer.probability is None else f"; right with a probability of {answer.probability:.1%}"
    return f"log probability {answer.score:.3f}{right}{', which is refused' if answer.refused else ''}"


def _diagnosed(found: Diagnostics) -> Iterator[str]:
    """Of a bundle with a valve, and of a text that leaves something open."""
    if any(found.levels.values()):
        tokens = ", ".join(f"{count} {level}" for level, count in found.levels.items())
        yield f"tokens by level: {tokens}; {found.entropy:.2f} bits where the valve looked last"
    if found.depth:
        counts = ", ".join(f"{count} {name}" for name, count in found.obligations.items())
        yield f"open: {counts}; pressure {found.pressure:.3f}"


def _stats(found: Speculation, tokens: int) -> str:
    by = "".join(f", {right} of {guessed} by {name}" for name, (guessed, right) in found.sources.items())
    passes = f"{found.passes} passes, {found.rollbacks} of them with guesses that were wrong{_counts(found.wrong)}"
    rejected = f"; spans not guessed from{_counts(found.rejected)}" if found.rejected else ""
    return f"{tokens} tokens: {found.accepted} of {found.proposed} guesses taken{by}; {passes}{rejected}"


def _counts(counts: Mapping[str, int]) -> str:
    return ": " + ", ".join(f"{count} {name}" for name, count in counts.items()) if counts else ""


def _converse(conversation: Conversation, bundle: Path) -> None:
    """Answer standard input line by line; blank lines are skipped; ends at end of input."""
    from chimerac.compiler.verbs.run import check_text

    if sys.stdin.isatty():
        name = conversation.session.manifest.name
        say(f"{name} ({bundle}). Type a line and press Enter; Ctrl-D ends.", err=True)
    for number, line in enumerate(_lines(), 1):
        if not line:
            continue
        check_text(line, f"line {number} of the input")
        for piece in conversation.answer(line):
            _say(piece.text)
        say()


def _chat(conversation: Conversation, bundle: Path, message: str | None) -> None:
    """Answer a message, or standard input line by line; Ctrl-C ends an answer. Thinking goes to standard error."""
    from chimerac.compiler.verbs.run import check_text

    if message is None and sys.stdin.isatty():
        name = conversation.session.manifest.name
        say(f"{name} ({bundle}). Type a message and press Enter; Ctrl-C ends an answer, Ctrl-D all.", err=True)
    for number, line in enumerate(_lines() if message is None else [message], 1):
        if not line:
            continue
        check_text(line, f"line {number} of the input")
        try:
            for piece in conversation.reply(line):
                if piece.part == "answer":
                    _say(piece.text)
                else:
                    say(piece.text, err=True, end="")
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
        say()


def _say(text: str) -> None:
    say_generated(text)


def _lines() -> Iterator[str]:
    """Lines of standard input, asked for when it is a terminal; bytes that are not UTF-8 stay as surrogates."""
    terminal = sys.stdin.isatty()
    while True:
        if terminal:
            say("> ", end="")
        line = sys.stdin.buffer.readline()
        if not line:
            if terminal:
                say()
            return
        yield line.decode("utf-8", "surrogateescape").strip("\r\n")
