"""``chimerac run``: a bundle's text after a prompt, and a conversation of several."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.texts import MOST_NAMES, json_of, read_text
from chimerac.compiler.verbs.bundles import open_bundle
from chimerac.compiler.verbs.grammars import chosen_grammar
from chimerac.compiler.verbs.guessed import Guessed
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.tokenizer import read_tokenizer
from chimerac.runtime.sessions.conversation import ChatPiece, checked_messages
from chimerac.runtime.sessions.diagnostics import Diagnostics
from chimerac.runtime.sessions.interface import FinishReason, Piece, Prompt
from chimerac.runtime.sessions.speculation import Speculation

MAX_TOKENS: Final = 64  #: of an answer, where nobody says more


@dataclass(frozen=True)
class Answer:
    """What a model generated; ``str`` of it is the text.

    Attributes:
        tokens: their ids, without those of the prompt.
        finish_reason: "stop" where the model or the grammar ended it, "length" where ``max_tokens`` did.
        speculation: what guessing tokens did for it.
        diagnostics: levels of the entropy valve, and what is open in the text.
        score: the sum of its tokens' log probabilities, where it was counted: with ``score``, by a bundle that refuses.
        probability: what the bundle's ``refusal`` makes of it: that the answer is right.
        refused: whether that was too little, and the text is the bundle's refusal.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason | None
    speculation: Speculation = field(default_factory=Speculation)
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    score: float | None = None
    probability: float | None = None
    refused: bool = False

    def __str__(self) -> str:
        return self.text


def run(
    bundle: str | Path,
    prompt: Prompt,
    *,
    grammar: str | bytes | None = None,
    schema: str | Path | None = None,
    choices: Sequence[str] | None = None,
    regex: str | None = None,
    names: str | Path | None = None,
    spans: str | Path | None = None,
    threads: int = 1,
    hear: Callable[[str], None] | None = None,
    hear_guessed: Callable[[str, bool], None] | None = None,
    **options: Any,
) -> Answer:
    """Generate text with a bundle after a prompt. ``load`` opens it for more than one.

    Args:
        bundle: folder.
        prompt: text, UTF-8 text, or token ids.
        grammar: what the text must follow: name of one of the bundle's grammars or of a built-in mode, a file that ends
            in .lark, what ``compile_grammar`` made, or "none".
        schema: file with the JSON Schema that it must fit.
        choices: texts, one of which it must be.
        regex: regular expression that it must match.
        names: JSON file with the names of a home, for ``Session.set_names``.
        spans: a bank of spans to guess from, of ``chimerac spans mine``.
        threads: share the work; 0 takes one per core, at most 8.
        hear: is told each piece of text as it comes.
        hear_guessed: the same with whether it had been guessed, which is known a token later.
        options: of ``Session.generate``: max_tokens, temperature, top_p, top_k, repetition_penalty, mode, seed, loops,
            exit_threshold, speculate, score, refuse, valve. What is not given, or None, is the bundle's default; where
            it has none, max_tokens is 64.

    Raises:
        UserError: CHM4xx, a bundle that does not open or an option out of range; CHM280 to CHM285, a grammar that
            cannot be compiled.
    """
    with Conversation(
        bundle,
        grammar=grammar,
        schema=schema,
        choices=choices,
        regex=regex,
        names=names,
        spans=spans,
        threads=threads,
        **options,
    ) as conversation:
        text, session = [], conversation.session
        guessed = Guessed(session)
        for piece in conversation.answer(prompt):
            text.append(piece.text)
            if hear is not None:
                hear(piece.text)
            if hear_guessed is not None:
                for known in guessed.push(piece):
                    hear_guessed(*known)
        if hear_guessed is not None:
            for known in guessed.rest():
                hear_guessed(*known)
        return Answer(
            "".join(text),
            tuple(session.tokens()),
            session.finish_reason,
            session.speculation(),
            session.diagnostics(),
            session.score,
            session.probability,
            session.refused,
        )


class Conversation:
    """Prompts to one session of a bundle, one after the other. Use it in ``with``.

    Each continues what was said before, except with a model that was trained to answer one request at a time (its
    tokenizer has a token that asks for the answer). ``reply`` takes messages, which are put together as the model's
    chat template does.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        grammar: str | bytes | None = None,
        schema: str | Path | None = None,
        choices: Sequence[str] | None = None,
        regex: str | None = None,
        names: str | Path | None = None,
        spans: str | Path | None = None,
        threads: int = 1,
        chat: bool = False,
        system: str | None = None,
        **options: Any,
    ) -> None:
        """Open the bundle; arguments and errors as of ``run``, and CHM421 for ``chat`` with a bundle that has none.

        Args:
            chat: whether ``reply`` will be called.
            system: what the system says before them.
        """
        options["grammar"] = chosen_grammar(bundle, grammar=grammar, schema=schema, choices=choices, regex=regex)
        self._folder = Path(bundle)
        self.session = open_bundle(bundle, threads, spans)
        try:
            self.session.need_tokens()
            self._messages = [] if system is None else [{"role": "system", "content": system}]
            if names is not None:
                self.session.set_names(read_names(names))
            if chat:
                checked_messages([*self._messages, {"role": "user", "content": ""}], self.session.manifest.chat)
        except (BundleError, UserError) as error:
            self.session.close()
            raise (as_user_error(error) if isinstance(error, BundleError) else error) from None
        own = self.session.manifest.generation
        if options.get("max_tokens") is None and (own is None or own.max_tokens is None):
            options["max_tokens"] = MAX_TOKENS
        self._options = options
        self._begun = False

    def answer(self, prompt: Prompt) -> Iterator[Piece]:
        """Pieces of what the model says to a prompt, as they come; errors as of ``run``."""
        if isinstance(prompt, str):
            check_text(prompt, "the prompt")
        try:
            yield from self.session.generate(prompt, reset=not self._begun or self._single, **self._options)
        except BundleError as error:
            raise as_user_error(error) from None
        self._begun = True

    def reply(self, message: str) -> Generator[ChatPiece, None, None]:
        """Pieces of the answer to a message of the user, with the part that each is of; an answer that is left early
        stays as far as it came. Errors as of ``run``, CHM421 if the bundle has no chat.
        """
        check_text(message, "the message")
        messages = [*self._messages, {"role": "user", "content": message}]
        text, begun = "", False
        try:
            for piece in self.session.chat(messages, **self._options):
                begun = True
                text += piece.text if piece.part == "answer" else ""
                yield piece
        except BundleError as error:
            raise as_user_error(error) from None
        finally:
            if begun:
                self._messages = [*messages, {"role": "assistant", "content": text}]

    @cached_property
    def _single(self) -> bool:
        """Whether the tokenizer, which takes its time to read, has a token that asks for the answer."""
        entry = self.session.manifest.file("tokenizer")
        return entry is not None and read_tokenizer(self._folder / entry.name).special_id("answer") is not None

    def close(self) -> None:
        """End the session."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def check_text(text: str, what: str) -> None:
    """Raise UserError CHM420 for text of a terminal or file that was not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError("CHM420", f"{what} is not UTF-8", hint="set the terminal or the file to UTF-8") from None


def read_names(path: str | Path) -> Any:
    """What a file with the names of a home holds; raises UserError CHM420 if it cannot be read, is no JSON or null."""
    text = read_text(path, "the names", "CHM420", MOST_NAMES)
    try:
        names = json_of(text)
    except ValueError as error:
        raise UserError("CHM420", f"cannot read the names {path}: it is no JSON: {error}") from None
    if names is None:  # which would be no home at all
        raise UserError("CHM420", f"cannot read the names {path}: it holds null", hint="{} is a home without names")
    return names
