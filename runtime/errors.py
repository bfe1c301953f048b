"""The error of everything that can go wrong with a bundle: a stable code, what is wrong, and what to do about it."""

from __future__ import annotations

from pathlib import Path


class BundleError(Exception):
    """A bundle, a file in it or a request to it that cannot be used.

    Args:
        code: stable identifier, ``CHM4`` and two digits; ``chimerac.runtime.bundle_format.STATUSES`` lists them.
        message: one sentence that says what is wrong.
        path: the file, where there is one.
        hint: what to do about it.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, *, path: str | Path | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint
        self.path = None if path is None else str(path)

    def render(self) -> str:
        """The text the command line prints."""
        place = f"{self.path}: " if self.path else ""
        lines = [f"{place}error {self.code}: {self.message}"]
        if self.hint:
            lines.append(f"  help: {self.hint}")
        return "\n".join(lines)
