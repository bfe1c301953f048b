"""What sessions of all kinds refuse in the same words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from chimerac.runtime.arguments import kind
from chimerac.runtime.bundle_format import Manifest
from chimerac.runtime.errors import BundleError

Progress = Callable[[int, int], object]  #: is told how many tokens of a prompt were run, and of how many


NO_TEXT: Final = "the bundle has no tokenizer: its model takes and gives token ids, not text"


def check_has_tokens(manifest: Manifest) -> None:
    """Raises BundleError CHM421 if a bundle holds no language model."""
    if manifest.entries:
        raise no_tokens(manifest)


def no_tokens(manifest: Manifest) -> BundleError:
    """The error of what is of tokens, with a bundle of tensors."""
    example = ", ".join(f"{port.name!r}: …" for port in manifest.entries[0].inputs)
    hint = f"call it with tensors: session.call({{{example}}})"
    return BundleError("CHM421", "the bundle holds no language model, and has no tokens", hint=hint)


def check_has_text(manifest: Manifest, vocabulary: int) -> None:
    """Raises BundleError CHM421 if the tokens of a bundle's model are no text."""
    if manifest.file("tokenizer") is None:
        hint = f"give token ids, of 0 to {vocabulary - 1}: session.generate([0, 1])"
        raise BundleError("CHM421", NO_TEXT, hint=hint)


def check_same(what: str, here: str, there: str) -> None:
    if here != there:
        message = f"{what} differs: {here} here, {there} when the bundle was built"
        raise BundleError("CHM450", message, hint="report this with the name of the processor")


def checked_progress(on_progress: Progress | None) -> Progress:
    if on_progress is not None and not callable(on_progress):
        raise BundleError("CHM420", f"on_progress is {kind(on_progress)}, not a function")
    return on_progress or (lambda done, total: None)


def check_room(count: int, room: int, context: int) -> None:
    """Raises BundleError CHM424 if so many tokens more are too many for what is left of a context."""
    if count > room:
        message = f"{count} tokens more; of the context of {context}, {room} are left"
        raise BundleError("CHM424", message, hint="shorten the text, or build the bundle with a larger context")


def check_long_enough(closing: int, max_tokens: int) -> None:
    """Raises BundleError CHM420 if ``max_tokens`` may not do for a text of a grammar, which takes ``closing``."""
    if closing > max_tokens:
        message = f"max_tokens is {max_tokens}; the grammar's shortest text may need {closing}"
        raise BundleError("CHM420", message, hint=f"give max_tokens of at least {closing}")
