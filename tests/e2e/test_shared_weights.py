"""Sixteen sessions of a bundle have one copy of its weights: a single mapping of the file, however many there are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import environment

from chimerac.runtime.bundle_format import read_manifest

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc")

SESSIONS = 16
PROGRAM = """
import ctypes as ct, json, re, sys
from chimerac.runtime.sessions.native_library import NativeLibrary

def mappings(weights):
    # resident bytes of each mapping of the weights file
    found, name = [], ""
    for line in open("/proc/self/smaps"):
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            name = line.split(maxsplit=5)[-1].strip()
            if name == weights:
                found.append(0)
        elif name == weights and line.startswith("Rss:"):
            found[-1] += 1024 * int(line.split()[1])
    return found

def status(what):
    return 1024 * int(re.search(what + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

code, weights, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
library, bundle, hashes, seen = NativeLibrary(code), ct.c_void_p(), [], []
library.call("chm_bundle_open_files", weights.encode(), None, 0, None, ct.byref(bundle))
for _ in range(count):
    session, value = ct.c_void_p(), ct.c_uint64()
    library.call("chm_session_open", bundle, None, ct.byref(session))
    for token in range(40):
        library.call("chm_session_decode", session, token)
    library.call("chm_session_logits_hash", session, ct.byref(value))
    hashes.append(value.value)
    seen.append({"file": status("RssFile"), "anonymous": status("RssAnon"), "weights": mappings(weights)})
print(json.dumps({"hashes": hashes, "seen": seen, "session": library.get("chm_session_bytes")}))
"""


def test_sixteen_sessions_share_one_mapping_of_the_weights(bundles: dict[str, Path]) -> None:
    folder = bundles["x86_64-avx2"]
    entry = read_manifest(folder).file("weights")
    assert entry is not None
    arguments = [str(folder / "libchimera.so"), str((folder / entry.name).resolve()), str(SESSIONS)]
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["hashes"]) == SESSIONS
    assert len(set(found["hashes"])) == 1
    first, last = found["seen"][0], found["seen"][-1]
    for seen in found["seen"]:
        (resident,) = seen["weights"]
        assert entry.bytes // 2 < resident < entry.bytes + 4096
    assert last["file"] - first["file"] < entry.bytes // 8, "mapped memory does not grow with sessions"
    grown = (last["anonymous"] - first["anonymous"]) / (SESSIONS - 1)
    assert grown < found["session"] + entry.bytes // 8, "a session allocates its own state and no weights"
