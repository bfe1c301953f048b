"""Banks of spans in C: the candidates of the Python engine, and damaged files under sanitizers."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from span_banks import WRONG, WRONG_INDEX, changed, of_tokenizer, random_bank

from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.sfpack import read_bank, write_bank
from chimerac.runtime.reference.span_bank import BankFinder, exponential
from chimerac.runtime.reference.tokenizer import byte_tokenizer, tokenizer_sections, write_tokenizer

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
_TOKENIZER = byte_tokenizer(288)
_DIGEST = bf.contents_sha256(tokenizer_sections(_TOKENIZER))


@pytest.fixture(scope="module")
def driver(compile_native: Callable[..., Path], toy_flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = Path(__file__).parent
    sources = [here / "bank_driver.c", here / "toy_model.c", *(bf.NATIVE_DIRECTORY / name for name in bf.POSIX_SOURCES)]
    output = tmp_path_factory.mktemp("driver") / "banks"
    return compile_native(output, sources, *SANITIZERS, "-pthread", *toy_flags)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    write_tokenizer(path, _TOKENIZER)
    return path


def run(driver: Path, *words: object, texts: Sequence[Sequence[int]] = ()) -> list[str]:
    lines = "".join(" ".join(map(str, text)) + "\n" for text in texts)
    command = [str(driver), *map(str, words)]
    result = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()


@pytest.mark.parametrize(("count", "vocabulary"), [(1, 9), (300, 7), (3000, 200), (12_000, 200), (12_000, 12)])
def test_candidates_are_those_of_the_reference(
    count: int, vocabulary: int, driver: Path, tokenizer: Path, tmp_path: Path
) -> None:
    """With few tokens many spans begin alike and have near keys, so that the limits of all sources are reached."""
    bank, texts = random_bank(count, count + vocabulary, vocabulary, _DIGEST)
    write_bank(tmp_path / "bank", bank)
    finder = BankFinder(bank)
    for flags in (0, 1):
        found = run(driver, tokenizer, tmp_path / "bank", "find", flags, texts=texts)
        wanted = [" ".join(f"{one.span}:{one.known}:{one.score}" for one in finder.find(text)) for text in texts]
        assert [line.strip() for line in found] == wanted
    assert sum(map(bool, wanted)) > len(wanted) / 3 or count == 1


def test_the_exponential() -> None:
    assert all(abs(exponential(x) / 65536 - math.exp(x / 256)) < 2e-5 for x in range(-255, 1))
    assert exponential(0) == 65536


@pytest.mark.parametrize("what", [*WRONG, *WRONG_INDEX])
def test_what_is_wrong_is_refused(what: str, driver: Path, tokenizer: Path, tmp_path: Path) -> None:
    """In the words of the Python reader."""
    section, change, message = (WRONG | WRONG_INDEX)[what]
    write_bank(tmp_path / "bank", random_bank(50 if what in WRONG else 8200, 1, digest=_DIGEST)[0])
    (tmp_path / "bad").write_bytes(changed(tmp_path / "bank", section, change))
    assert run(driver, tokenizer, tmp_path / "bad", "find", 0) == [f"spans: {message}"]


def test_banks_of_another_tokenizer_are_refused(driver: Path, tokenizer: Path, tmp_path: Path) -> None:
    bank, _ = random_bank(50, 1, 400, _DIGEST)
    write_bank(tmp_path / "bank", bank)
    assert run(driver, tokenizer, tmp_path / "bank", "find", 0) == ["spans: a token is out of range"]
    assert read_bank(tmp_path / "bank").tokens(0)  # which does not know the vocabulary
    write_bank(tmp_path / "bank", of_tokenizer(bank, "0" * 64))
    assert run(driver, tokenizer, tmp_path / "bank", "find", 1) == ["spans: they are of another tokenizer"]


@pytest.mark.parametrize("count", [40, 8300])
def test_random_damage_never_leads_outside(count: int, driver: Path, tokenizer: Path, tmp_path: Path) -> None:
    write_bank(tmp_path / "bank", random_bank(count, 2, digest=_DIGEST)[0])
    assert int(run(driver, tokenizer, tmp_path / "bank", "damage", 1, 300 if count < 100 else 20)[0]) > 0
    if count < 100:
        assert run(driver, tokenizer, tmp_path / "bank", "cuts") == ["0"]
