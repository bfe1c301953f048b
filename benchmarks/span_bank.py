"""What a bank of spans costs: opening it, and looking for spans after a text, at several sizes.

    python benchmarks/span_bank.py BUNDLE [--spans N …] [--rounds N]

BUNDLE was built with ``--speculate``. The banks hold random spans with tokens as in texts, few of them often. Opening
is chm_bank_open_file without checksums, as of a bundle's own file; looking is chm_bank_find, ranking chm_knot_rank,
in a program of its own (span_bank.c).
"""

from __future__ import annotations

import argparse
import ctypes as ct
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

import chimerac
from chimerac.runtime.bundle_format import C_FLAGS, NATIVE_DIRECTORY, POSIX_SOURCES, read_container
from chimerac.runtime.bundle_format.sfpack import Spans, make_bank, write_bank
from chimerac.runtime.bundle_format.span_hashes import bits_of, token_words, words_of
from chimerac.runtime.sessions.native import NativeSession


def drawn(count: int, vocabulary: int, digest: str, path: Path) -> None:
    """A bank of so many spans."""
    rng = np.random.default_rng(count)
    tokens = np.minimum(rng.zipf(1.2, (2 * count, 15)), vocabulary - 1).astype(np.int64)
    lengths = rng.integers(2, 9, 2 * count)
    found: dict[tuple[int, ...], int] = {}
    for i in range(2 * count):
        found.setdefault(tuple(tokens[i, 8 : 8 + min(7, int(lengths[i]))].tolist()), i)
        if len(found) == count:
            break
    chosen = np.array(list(found.values()))
    before = tokens[chosen, :8]
    votes = np.zeros((len(chosen), 256), np.int32)
    for back in range(8):
        votes += bits_of(token_words(before[:, back]))
    spans = Spans(
        list(found),
        before[:, 6:8],
        -rng.random(len(chosen)),
        rng.random(len(chosen)),
        rng.integers(3, 1000, len(chosen)),
        words_of(votes, token_words(before[:, 7])),
    )
    write_bank(path, make_bank(spans, digest))


def opened(session: NativeSession, path: Path, rounds: int) -> float:
    """Least milliseconds to open a bank."""
    times = []
    for _ in range(rounds):
        handle = ct.c_void_p()
        begun = time.perf_counter()
        session._library.call("chm_bank_open_file", session._bundle, str(path).encode(), 1, None, ct.byref(handle))
        times.append(1e3 * (time.perf_counter() - begun))
        session._library.call("chm_bank_close", handle)
    return min(times)


def looked(path: Path, folder: Path, looks: int = 2000) -> tuple[float, ...]:
    """Mean and longest microseconds of a look into a bank, of ranking, of a check; candidates; a memory.

    Compiled with gcc.
    """
    program = folder / "span_bank"
    if not program.exists():
        here = Path(__file__).with_name("span_bank.c")
        sources = [str(NATIVE_DIRECTORY / name) for name in POSIX_SOURCES]
        flags = [*C_FLAGS, "-mpopcnt", "-pthread", f"-I{NATIVE_DIRECTORY}"]
        subprocess.run(["gcc", *flags, "-o", str(program), str(here), *sources], check=True)
    result = subprocess.run([str(program), str(path), str(looks)], check=True, capture_output=True, text=True)
    return tuple(map(float, result.stdout.split()))


def main() -> None:
    """Measure the bundle of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--spans", type=int, nargs="+", default=[8192, 32768, 524288])
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with chimerac.load(arguments.bundle) as session, tempfile.TemporaryDirectory() as folder:
        assert isinstance(session, NativeSession)
        tokenizer = session.manifest.file("tokenizer")
        assert tokenizer is not None
        digest = read_container(arguments.bundle / tokenizer.name).contents_sha256
        for count in arguments.spans:
            path = Path(folder) / "bank"
            drawn(count, session.vocab_size, digest, path)
            size = path.stat().st_size / (1 << 20)
            milliseconds = opened(session, path, arguments.rounds)
            mean, longest, ranked, last, certified, most, found, far, near, token = looked(path, Path(folder))
            print(f"{count:7,} spans, {size:6.1f} MiB: opened in {milliseconds:.2f} ms", end="; ")
            print(f"a look takes {mean:.1f} µs, the longest {longest:.0f} µs, for {found:.1f} candidates", end="; ")
            print(f"16 are ranked by energy in {ranked:.1f} µs, the longest {last:.0f} µs", end="; ")
            print(f"a certificate is checked in {certified:.1f} µs, the longest {most:.0f} µs", end="; ")
            print(
                f"a memory is read in {far:.0f} µs, {near:.0f} where some is near; a token {token:.1f} µs", flush=True
            )


if __name__ == "__main__":
    main()
