"""The counter generator against the published test vectors, and the shape of what is made from it."""

from __future__ import annotations

import pytest
import torch

from chimerac.frontends.training.counter import normal, philox, uniform

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("start", "high", "key", "words"),
    [
        (0, 0, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (-1, -1, (0xFFFFFFFF, 0xFFFFFFFF), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            0x85A308D3243F6A88 - (1 << 64),
            0x0370734413198A2E,
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(start: int, high: int, key: tuple[int, int], words: tuple[int, ...]) -> None:
    """The vectors of Random123, the authors' library."""
    assert tuple(int(word[0]) for word in philox(start, 1, high, key, CPU)) == words


def test_numbers_depend_on_their_place_only() -> None:
    long, short = normal(1001, 5, (1, 2), CPU), normal(10, 5, (1, 2), CPU)
    assert torch.equal(long[:10], short)
    assert not torch.equal(normal(10, 6, (1, 2), CPU), short)
    assert not torch.equal(normal(10, 5, (1, 3), CPU), short)


def test_distributions() -> None:
    z = normal(100_000, 0, (7, 8), CPU).double()
    assert abs(float(z.mean())) < 0.01
    assert float(z.var()) == pytest.approx(1, abs=0.02)
    assert float((z**4).mean()) == pytest.approx(3, abs=0.15)
    assert abs(float((z[:-1] * z[1:]).mean())) < 0.01
    u = uniform(100_000, 0, (7, 8), CPU)
    assert 0 <= float(u.min()) < 0.001
    assert 0.999 < float(u.max()) < 1
    assert float(u.mean()) == pytest.approx(0.5, abs=0.005)
