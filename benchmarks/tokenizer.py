"""Speed of encoding with o200k_base: the C runtime against tiktoken, in turns in the same run, one thread.

    PYTHONPATH=src python benchmarks/tokenizer.py [--rounds 7] [--python]

Both get the same bytes and have to give the same tokens. The texts are this repository's own: documentation, sources,
and letters of many scripts; then megabytes of the same, where a merge that is not bounded would stand out (tiktoken is
left out there: it gives up on them). Times are of the processor, so that a busy machine disturbs them less.
"""

from __future__ import annotations

import argparse
import ctypes as ct
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import splintr
import tiktoken
from native_parts import TOKENIZER_SOURCES, compile_parts

from chimerac.frontends.tokenizers.o200k import installed_ranks, o200k_tokenizer
from chimerac.runtime.reference.tokenizer import write_tokenizer

ROOT = Path(__file__).resolve().parent.parent
DRIVER = """
CHM_API int32_t bench_open(chm_bundle *bundle, const void *file, size_t bytes) {
  bundle->allocator = chm_default_allocator;
  bundle->has_tokenizer = true;
  return chm_tokenizer_open(file, bytes, CHM_MAX_VOCABULARY, 0, &bundle->allocator, &bundle->tokenizer);
}
CHM_API void bench_close(chm_bundle *bundle) { chm_tokenizer_close(&bundle->tokenizer, &bundle->allocator); }
"""


class Native:
    """The tokenizer of the C runtime, compiled as in bundles."""

    def __init__(self, folder: Path, container: bytes) -> None:
        self._library = compile_parts(folder, DRIVER, TOKENIZER_SOURCES)
        self._library.chm_tokenizer_encode.argtypes = [
            *[ct.c_void_p] * 2,
            ct.c_size_t,
            ct.c_void_p,
            ct.c_size_t,
            ct.c_void_p,
        ]
        self._bundle = ct.create_string_buffer(1 << 16)
        self._container = ct.create_string_buffer(container, len(container))
        self.open()

    def open(self) -> None:
        if self._library.bench_open(self._bundle, self._container, ct.c_size_t(len(self._container))):
            raise RuntimeError("the tokenizer does not open")

    def close(self) -> None:
        self._library.bench_close(self._bundle)

    def encode(self, data: bytes) -> tuple[float, list[int]]:
        """(seconds, tokens)"""
        tokens, count = (ct.c_int32 * len(data))(), ct.c_size_t()
        begun = time.process_time()
        status = self._library.chm_tokenizer_encode(self._bundle, data, len(data), tokens, len(data), ct.byref(count))
        seconds = time.process_time() - begun
        if status:
            raise RuntimeError(f"encoding failed with {status}")
        return seconds, tokens[: count.value]


def texts() -> dict[str, str]:
    """Name to text, about 1.5 megabytes each."""

    def joined(*patterns: str) -> str:
        files = [path for pattern in patterns for path in sorted(ROOT.glob(pattern))]
        found = "\n".join(path.read_text("utf-8") for path in files)
        return (found * -(-1_500_000 // len(found)))[:1_500_000]

    source = random.Random(1)
    scripts = [
        (0x4E00, 0x9FA5),
        (0xAC00, 0xD7A3),
        (0x0410, 0x044F),
        (0x05D0, 0x05EA),
        (0x0620, 0x064A),
        (0x0E01, 0x0E2E),
    ]
    words = []
    for _ in range(120_000):
        low, high = source.choice(scripts)
        words.append("".join(chr(source.randint(low, high)) for _ in range(source.randint(1, 7))))
    return {
        "English (docs)": joined("docs/*.md"),
        "Python": joined("compiler/**/*.py", "frontends/**/*.py", "runtime/**/*.py", "targets/**/*.py"),
        "C": joined("runtime/native/*.[ch]"),
        "six scripts": " ".join(words),
        "random letters": "".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=1_000_000)),
    }


def seconds_of(encode: Callable[[], object]) -> float:
    begun = time.process_time()
    encode()
    return time.process_time() - begun


def main() -> None:
    """Print a line per text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--python", action="store_true", help="also the Python tokenizer, on 200,000 characters")
    arguments = parser.parse_args()
    ranks = installed_ranks()
    tokenizer = o200k_tokenizer(ranks)
    pairs = {token: rank for rank, token in enumerate(ranks)}
    other = tiktoken.Encoding("o200k", pat_str=splintr.O200K_BASE_PATTERN, mergeable_ranks=pairs, special_tokens={})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer(folder / "o200k.model", tokenizer)
        native = Native(folder, (folder / "o200k.model").read_bytes())
    opened = []
    for _ in range(arguments.rounds):
        native.close()
        opened.append(seconds_of(native.open))
    print(f"opening the container with checksums: {1e3 * statistics.median(opened):.1f} ms")
    print(f"{'text':<16}{'MB':>6}{'C MB/s':>9}{'tiktoken':>10}{'ratio':>7}")
    for text_name, text in texts().items():
        data = text.encode()
        ours, theirs, expected = [], [], other.encode_ordinary(text)
        for _ in range(arguments.rounds):
            seconds, tokens = native.encode(data)
            if tokens != expected:
                raise RuntimeError(f"the tokens of {text_name} differ")
            ours.append(seconds)
            theirs.append(seconds_of(lambda text=text: other.encode_ordinary(text)))
        size = len(data) / 1e6
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        speeds = size / statistics.median(ours), size / statistics.median(theirs)
        print(f"{text_name:<16}{size:>6.1f}{speeds[0]:>9.1f}{speeds[1]:>10.1f}{ratio:>7.1f}")
        if arguments.python:
            part = text[:200_000]
            print(f"{'  Python':<16}{len(part.encode()) / 1e6:>6.1f}{_speed(tokenizer.encode, part):>9.2f}")
    for unit in ("a", " ", "=", "\n", "ab", "日"):
        data = (unit * (1_000_000 // len(unit.encode()))).encode()
        seconds = min(native.encode(data)[0] for _ in range(3))
        print(f"{repr(unit) + ' repeated':<16}{len(data) / 1e6:>6.1f}{len(data) / 1e6 / seconds:>9.1f}")


def _speed(encode: Callable[[str], object], text: str) -> float:
    return len(text.encode()) / 1e6 / seconds_of(lambda: encode(text))


if __name__ == "__main__":
    main()
