"""How many tokens of a prompt JavaScript runs in a call: as Python's, but fewer than 4 where these take too long."""

from __future__ import annotations

import shutil

import pytest
from web_tools import Server, run_node

from chimerac.runtime import bundle_format as bf

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")

AIM, LEAST, LEAST_MS = 20.0, 4, 60.0  #: milliseconds of a call, its tokens, and what they may take


def simulated(server: Server, milliseconds: float, weight_bytes: int) -> list[list[int]]:
    """Counts and positions of 60 calls of a model whose tokens take so long each."""
    program = f"""
    import {{ Slices }} from "{(bf.WEB_DIRECTORY / "slices.mjs").as_uri()}";
    const slices = new Slices({weight_bytes});
    const calls = [];
    for (let [position, left] = [7, 500_000]; left && calls.length < 60;) {{
      const count = slices.next(position, left);
      slices.took(count, count * {milliseconds});
      calls.push([position, count]);
      position += count;
      left -= count;
    }}
    result(calls);
    """
    found: list[list[int]] = run_node(server, program)
    return found


@pytest.mark.parametrize("milliseconds", [1e-4, 0.1, 4, 12, 18, 25, 70, 400])
def test_calls_take_what_they_aim_at(server: Server, milliseconds: float) -> None:
    calls = simulated(server, milliseconds, 1 << 20)
    times = [count * milliseconds for _, count in calls]
    assert all(count >= 1 for _, count in calls)
    assert max(times[1:]) <= max(1.01 * AIM, min(LEAST * milliseconds, LEAST_MS), milliseconds)
    # 4 tokens share the reading of weights, unless they take too long together
    if milliseconds * LEAST <= LEAST_MS:
        assert all(count >= LEAST for position, count in calls[1:] if position % LEAST == 0)


def test_a_large_model_begins_with_few_tokens(server: Server) -> None:
    """How many bytes its weights have tells that 4 of its tokens take too long, before any was run."""
    assert simulated(server, 1.0, 64 << 20)[0] == [7, 9]
    assert simulated(server, 100.0, 8 << 30)[0] == [7, 1]
