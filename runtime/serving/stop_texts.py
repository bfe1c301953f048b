"""Texts at which an answer ends. What may be the beginning of one is held back until that is known."""

from __future__ import annotations

from collections.abc import Sequence


class StopTexts:
    """Passes a text on as it comes, up to the first of some texts. JavaScript has the same (``web/stops.mjs``)."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts, self._held = texts, ""
        self.found = False

    def pass_on(self, text: str) -> str:
        """What of the text so far may be shown."""
        whole = self._held + text
        places = [place for stop in self._texts if (place := whole.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return whole[: min(places)]
        kept = max((_overlap(whole, stop) for stop in self._texts), default=0)
        self._held = whole[len(whole) - kept :]
        return whole[: len(whole) - kept]

    def rest(self) -> str:
        """What was held back, after the last text."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of a text with which a stop text begins."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
