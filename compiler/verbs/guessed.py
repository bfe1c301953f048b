"""Which tokens of a generation had been guessed: that is known of a token when the model has run it."""

from __future__ import annotations

from collections.abc import Iterator

from chimerac.runtime.sessions.interface import Piece, Session


class Guessed:
    """Pieces of a generation that runs, each with whether its token had been guessed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._held: list[str] = []  # pieces whose tokens were not run yet
        self._position: int | None = None
        self._accepted = 0

    def push(self, piece: Piece) -> Iterator[tuple[str, bool]]:
        """Take the next piece; give those before it that are known now."""
        position, accepted = self._session.position, self._session.speculation().accepted
        ran = 0 if self._position is None else position - self._position
        right = accepted - self._accepted  # of the tokens that ran, the first ones: a tree ends where a guess is wrong
        self._position, self._accepted = position, accepted
        for number, text in enumerate(self._held[:ran]):
            yield text, number < right
        self._held = [*self._held[ran:], piece.text]

    def rest(self) -> Iterator[tuple[str, bool]]:
        """What is left at the end: the last tokens, which nobody ran."""
        yield from ((text, False) for text in self._held)
        self._held = []
