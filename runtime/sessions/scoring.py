"""How likely the answers of a session are, and which of them its bundle refuses."""

from __future__ import annotations

from chimerac.runtime.bundle_format import Manifest, Refusal
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.sessions.guard import Guard


class ScoringSession:
    """Part of every session: what is known of its last generation beside the tokens."""

    manifest: Manifest
    _guard: Guard
    _scored = False  #: whether the last generation counts its score
    _refused = False

    @property
    def score(self) -> float | None:
        """The sum of the natural logarithms of the probabilities of the last generation's tokens, up to now.

        Each is the probability among the tokens that the grammar and the tokenizer allowed there, by the model's logits
        as they are: without temperature, penalty and weights of a grammar. The same bits on every target. None where it
        was not asked for (``score=True``), and of a bundle for wasm until the generation has ended.
        """
        with self._guard.call():
            return self._score()

    def _score(self) -> float | None:
        return None

    @property
    def refused(self) -> bool:
        """Whether the last generation was too unlikely for its bundle (``manifest.refusal``), and gave its refusal."""
        return self._refused

    @property
    def probability(self) -> float | None:
        """That the last generation is right, by the bundle's ``refusal``; None without one, and without a score."""
        score = self.score
        return None if score is None or self.manifest.refusal is None else self.manifest.refusal.probability(score)

    def _refusal_for(self, options: GenerateOptions) -> Refusal | None:
        """What a generation is held to: it is of the grammar that the bundle was judged with."""
        return self.manifest.refusal if options.refuse and options.grammar is None else None
