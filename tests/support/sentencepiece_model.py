"""A tokenizer of SentencePiece, trained and asked in a process of its own: beside torch its library crashes.

python sentencepiece_model.py < {"corpus": […], "texts": […]} > {"pieces": […], "scores": […], …}
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

UNKNOWN, CONTROL, BYTE, NORMAL = 2, 3, 6, 1  #: llama.cpp's types of tokens


@dataclass(frozen=True)
class Pieces:
    """Its tokens in id order, and what texts are encoded to."""

    pieces: list[str]
    scores: list[float]
    kinds: list[int]
    tokens: list[list[int]]


def trained(corpus: Sequence[str], texts: Sequence[str]) -> Pieces:
    """The tokenizer that is learnt from a corpus, and the tokens of texts."""
    request = json.dumps({"corpus": corpus, "texts": texts})
    done = subprocess.run([sys.executable, __file__], input=request, capture_output=True, text=True, check=True)
    return Pieces(**json.loads(done.stdout))


def main() -> None:
    import sentencepiece

    request = json.load(sys.stdin)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(request["corpus"]),
        model_writer=model,
        model_type="bpe",
        vocab_size=620,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=0.98,
        num_threads=1,
        minloglevel=2,
    )
    one = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

    def kind(id: int) -> int:
        if one.IsUnknown(id):
            return UNKNOWN
        return CONTROL if one.IsControl(id) else BYTE if one.IsByte(id) else NORMAL

    ids = range(one.GetPieceSize())
    found = Pieces(
        [one.IdToPiece(id) for id in ids],
        [one.GetScore(id) for id in ids],
        [*map(kind, ids)],
        one.Encode(request["texts"]),
    )
    json.dump(vars(found), sys.stdout)


if __name__ == "__main__":
    main()
