"""``generate_n4c`` draws the tokens that its description draws, from the same random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import n4_oracle
import pytest
import torch

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.n4.sampling import Sampling
from chimerac.models.n4 import N4C

PROMPT = [3, 41, 7, 7]


def model() -> N4C:
    torch.manual_seed(2)
    return N4C(vocab_size=50, hidden_size=16, inter_size=24, heads=2, layers=2).eval()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(0.7, 10, 2.0), (1.0, 0, 0.9), (1.5, 20, 0.5), (0.3, 1, 1.0), (1.0, 0, 2.0)]
)
def test_the_same_tokens_for_the_same_draws(temperature: float, top_k: int, top_p: float) -> None:
    made = model()
    torch.manual_seed(9)
    wanted = n4_oracle.generated(made.state_dict(), 2, PROMPT, 12, 2, temperature, top_k, top_p)
    torch.manual_seed(9)
    found = list(made.generate_n4c(torch.tensor([PROMPT]), 12, temperature, top_k, top_p))
    assert found == wanted


def test_tokens_come_one_by_one_and_the_end_is_not_among_them() -> None:
    made, ids = model(), torch.tensor([PROMPT])
    stream = made.generate_n4c(ids, 8, eos_token_id=-1, generator=torch.Generator().manual_seed(3))
    assert isinstance(stream, Iterator)
    first = [next(stream), next(stream), next(stream)]
    rest = list(stream)
    assert len(first + rest) == 8
    end = next(token for place, token in enumerate(first + rest) if place and token not in (first + rest)[:place])
    again = made.generate_n4c(ids, 8, eos_token_id=end, generator=torch.Generator().manual_seed(3))
    assert list(again) == (first + rest)[: (first + rest).index(end)]


def test_only_the_first_row_is_continued() -> None:
    made = model()
    rows = torch.tensor([PROMPT, [9, 9, 9, 9]])
    found = [list(made.generate_n4c(ids, 5, generator=torch.Generator().manual_seed(1))) for ids in (rows, rows[:1])]
    assert found[0] == found[1]


def test_equal_logits_stay_together() -> None:
    """top_k = 2 of 5, 4, 4, 1 leaves three."""
    sampling = Sampling(1.0, 2, 2.0)
    logits = torch.tensor([5.0, 4.0, 4.0, 1.0])
    draws = {sampling.draw(logits, torch.Generator().manual_seed(seed)) for seed in range(60)}
    assert draws == {0, 1, 2}


def test_the_fewest_likeliest_tokens_that_exceed_top_p_stay() -> None:
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1]).log()
    for top_p, kept in ((0.45, {1}), (0.55, {1, 2}), (0.95, {0, 1, 2, 3})):
        sampling = Sampling(1.0, 0, top_p)
        assert {sampling.draw(logits, torch.Generator().manual_seed(seed)) for seed in range(80)} == kept


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"temperature": 0}, "temperature is 0; it must be above 0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0}, "top_p is 0"),
        ({"input_ids": torch.zeros(1, 0, dtype=torch.int64)}, r"input_ids is \[1, 0\]"),
        ({"input_ids": torch.zeros(4, dtype=torch.int64)}, r"input_ids is \[4\]"),
    ],
)
def test_what_cannot_be_is_refused_at_the_call(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text) as error:
        model().generate_n4c(**{"input_ids": torch.tensor([PROMPT]), **options})
    assert error.value.code == "CHM225"
