"""Ten thousand sessions, and a million tokens: memory and descriptors stay as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

SOAK = """
import gc, json, os, resource, sys
import chimerac
from chimerac.runtime.errors import BundleError

folder = sys.argv[1]

def one(number):
    if number % 100 == 0:
        gc.collect()  # or the heap grows with what waits for it
    with chimerac.load(folder) as session:
        session.prefill([1 + number % 200, 2, 3])
        assert len(list(session.generate([7], max_tokens=4, seed=number))) <= 4
        saved = session.snapshot()
        with chimerac.load(folder) as second:
            second.restore(saved)
            assert second.state_hash() == session.state_hash()
        try:
            session.prefill([-1])
        except BundleError:
            pass
        else:
            raise AssertionError("no token")

def used():
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * resource.getpagesize(), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

for number in range(3000):  # and the heap is as large as it gets
    one(number)
found = [used()]
for number in range(3000, 8000):  # two sessions each
    one(number)
found.append(used())
with chimerac.load(folder) as session:
    tokens = [i * 7 % 256 for i in range(1000)]
    for number in range(1000):
        session.prefill(tokens)
        if not number:
            session.generate([1], max_tokens=1).__next__()
            found.append(used())
    found.append(used())
print(json.dumps(found))
"""


@pytest.mark.slow
def test_sessions_that_come_and_go_leave_nothing(toy: Any) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", SOAK, str(toy.folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-2000:]
    begun, ended, first, last = json.loads(done.stdout)
    assert ended[1:] == begun[1:], "descriptors and threads"
    assert last[1:] == first[1:], "descriptors and threads"
    assert ended[0] <= begun[0] * 1.01, "memory after sessions"
    assert last[0] <= first[0] * 1.01, "memory after tokens"
