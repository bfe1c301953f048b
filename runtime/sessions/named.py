"""Sessions that know names: their text is run once, and each sequence begins where it ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from chimerac.runtime.names import Names, names_of
from chimerac.runtime.options import GenerateOptions


class NamedSession(ABC):
    """Part of every session: the names it was told, and the snapshot of the sequence that their text makes."""

    _names: Names | None = None
    _after_names: bytes | None = None
    _named_tokens = 0  #: of the text of the names

    def set_names(self, home: Any) -> None:
        """Tell the session which things and areas a home has; None: forget them. Starts a new sequence.

        Args:
            home: ``{"entities": [{"name", "aliases", "domain", "area"}], "areas": [{"name", "aliases"}],
                "floors": [{"name", "aliases"}]}``, of which only names are required; an area or a floor may be its
                name alone.

        A text of them is run before every prompt that starts a sequence (``reset``); that is done once, and kept as a
        snapshot. They are the lists ``names``, ``areas`` and ``floors`` of grammars, where ``generate`` is given none.
        Raises BundleError CHM420 for other values, CHM421 for a model without text, CHM424 where they do not fit the
        context.
        """
        names = None if home is None else names_of(home)
        self._forget_names()
        self.reset()
        if names is not None:
            self._tell_names(names, home)
            self._names = names

    def _forget_names(self) -> None:
        self._names, self._after_names, self._named_tokens = None, None, 0

    def _tell_names(self, names: Names, home: Any) -> None:
        """Run the text of the names."""
        tokens = self.encode(names.prefix)
        if tokens:
            self.prefill(tokens)
            self._after_names, self._named_tokens = self.snapshot(), len(tokens)

    def _with_names(self, options: GenerateOptions) -> GenerateOptions:
        """Options with the lists of the names that the session knows."""
        return options if self._names is None else options.with_lists(self._names.lists)

    def _start_sequence(self) -> None:
        """Back to the start of a sequence: after the names, if there are some."""
        if self._after_names is None:
            self._reset()
        else:
            self._restore(self._after_names)

    @contextmanager
    def _without_names(self) -> Iterator[None]:
        """For self-tests, which are of the model alone."""
        held = self._names, self._after_names, self._named_tokens
        self._forget_names()
        try:
            yield
        finally:
            self._names, self._after_names, self._named_tokens = held

    @abstractmethod
    def reset(self) -> None: ...

    @abstractmethod
    def _reset(self) -> None: ...

    @abstractmethod
    def _restore(self, snapshot: bytes) -> None: ...

    @abstractmethod
    def snapshot(self) -> bytes: ...

    @abstractmethod
    def encode(self, text: str | bytes, *, specials: bool = False, begins: bool = True) -> list[int]: ...

    @abstractmethod
    def prefill(self, tokens: Any, *, on_progress: Any = None) -> None: ...
