"""Every encoding against what is not ours: gguf's own decoders, or the format's sentences read bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gguf
import numpy as np
import pytest

from chimerac.frontends.encodings.base3 import PTQ1_0
from chimerac.frontends.encodings.encoding import Encoding
from chimerac.frontends.encodings.i2_s import I2_S
from chimerac.frontends.encodings.one_bit import Q1_0
from chimerac.frontends.encodings.registry import NAMED, READ
from chimerac.frontends.encodings.two_bits import PQ2_0, Q2_0_64, Q2_0_128

RANDOM = np.random.default_rng(3)
OURS = (I2_S, Q1_0, Q2_0_64, Q2_0_128, PQ2_0, PTQ1_0)
THEIRS = tuple(one for several in READ.values() for one in several if one not in OURS and one.name != "F64")


def halves_at(encoding: Encoding) -> tuple[int, ...]:
    """Where the blocks of an encoding have float16 numbers, by the sizes of what lies around them."""
    places = {"Q4_1": (0, 2), "Q5_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2)}
    return places.get(
        encoding.name, {"Q6_K": (208,), "TQ1_0": (52,), "TQ2_0": (64,), "PTQ1_0": (26,)}.get(encoding.name, (0,))
    )


def random_rows(encoding: Encoding, rows: int, blocks: int) -> np.ndarray:
    """Random bytes, among them every byte at every place, with scales that are numbers."""
    data = RANDOM.integers(0, 256, (rows * blocks, encoding.size), np.uint8)
    data[:256] = np.arange(256, dtype=np.uint8)[: len(data), None]
    if encoding.weights == 1:
        numbers = RANDOM.standard_normal(rows * blocks).astype(np.float32)
        kinds = {"F32": numbers.view(np.uint32), "F16": numbers.astype(np.float16), "BF16": numbers.view("<u2")[1::2]}
        data = np.ascontiguousarray(kinds[encoding.name]).view(np.uint8).reshape(rows * blocks, -1)
    elif encoding is not I2_S:
        for place in halves_at(encoding):
            scales = (RANDOM.standard_normal(len(data)) * 0.1).astype(np.float16)
            data[:, place : place + 2] = scales.view(np.uint8).reshape(-1, 2)
    return data.reshape(rows, blocks * encoding.size)


@pytest.mark.parametrize("encoding", THEIRS, ids=lambda encoding: encoding.name)
def test_numbers_are_those_of_gguf(encoding: Encoding) -> None:
    data = random_rows(encoding, 3, 300)
    kind = gguf.GGMLQuantizationType[encoding.name]
    expected = gguf.quants.dequantize(data, kind)
    decoded = encoding.decode(data)
    assert decoded.dtype == np.float32
    assert np.array_equal(decoded.view(np.uint32), np.ascontiguousarray(expected, np.float32).view(np.uint32))
    assert np.array_equal(encoding.decode(data[1:2]), decoded[1:2])


def test_float64_is_rounded() -> None:
    numbers = RANDOM.standard_normal((2, 3))
    numbers[0, 0] = 1e300
    (encoding,) = READ[28]
    decoded = encoding.decode(numbers.view(np.uint8).reshape(2, -1))
    assert np.array_equal(decoded[:, 1:], numbers[:, 1:].astype(np.float32))
    assert decoded[0, 0] == np.inf


def test_sizes_and_numbers_of_types_are_those_of_gguf() -> None:
    mine = {i: {(one.weights, one.size) for one in several} for i, several in READ.items()}
    mine |= {number: {(one.weights, one.size)} for number, one in NAMED.items()}
    for kind, size in gguf.GGML_QUANT_SIZES.items():
        assert mine[int(kind)] == {size}, kind
        (found,) = READ.get(int(kind)) or (NAMED[int(kind)],)
        assert found.name == kind.name
    assert mine.keys() - set(map(int, gguf.GGML_QUANT_SIZES)) == {36, 42, 142, 143}


def bits(byte: int, start: int, count: int) -> int:
    """``count`` bits from bit ``start`` on, bit 0 being the lowest."""
    mask: int = (1 << count) - 1
    return byte >> start & mask


def half(block: bytes, start: int) -> float:
    return float(np.frombuffer(block[start : start + 2], "<f2")[0])


def of_two_bits(block: bytes) -> Iterator[float]:
    scale = half(block, 0)
    for j in range((len(block) - 2) * 4):
        yield (bits(block[2 + j // 4], 2 * (j % 4), 2) - 1) * scale


def of_one_bit(block: bytes) -> Iterator[float]:
    scale = half(block, 0)
    for j in range(128):
        yield scale if bits(block[2 + j // 8], j % 8, 1) else -scale


def trit(byte: int, n: int) -> int:
    return ((byte * int(3**n) % 256) * 3) >> 8


def of_base_3(block: bytes) -> Iterator[float]:
    order = [(m, n) for n in range(5) for m in range(16)]
    order += [(16 + m, n) for n in range(5) for m in range(8)]
    order += [(24 + m, n) for n in range(4) for m in range(2)]
    scale = half(block, 26)
    for byte, n in order:
        yield (trit(block[byte], n) - 1) * scale


def of_i2_s(block: bytes) -> Iterator[float]:
    for k in range(4):
        for i in range(32):
            yield bits(block[i], 6 - 2 * k, 2) - 1


SENTENCES: dict[str, Callable[[bytes], Iterator[float]]] = {
    I2_S.name: of_i2_s,
    Q1_0.name: of_one_bit,
    Q2_0_64.name: of_two_bits,
    Q2_0_128.name: of_two_bits,
    PQ2_0.name: of_two_bits,
    PTQ1_0.name: of_base_3,
}


@pytest.mark.parametrize("encoding", OURS, ids=lambda encoding: encoding.name)
def test_numbers_are_those_of_the_format(encoding: Encoding) -> None:
    data = random_rows(encoding, 4, 70)
    expected = [list(SENTENCES[encoding.name](bytes(block))) for block in data.reshape(-1, encoding.size)]
    assert np.array_equal(encoding.decode(data).reshape(-1, encoding.weights), np.array(expected, np.float32))
    codes, scales = encoding.integers(data)
    assert np.array_equal(codes * np.repeat(scales.astype(np.float32), encoding.weights, axis=1), encoding.decode(data))
    assert set(np.unique(codes)) <= {-1, 0, 1, encoding.most}


@pytest.mark.parametrize(
    "encoding", [e for several in READ.values() for e in several if e.codes], ids=lambda encoding: encoding.name
)
def test_codes_and_scales_are_the_numbers(encoding: Encoding) -> None:
    data = random_rows(encoding, 2, 300)
    codes, scales = encoding.integers(data)
    assert [codes.dtype, scales.dtype] == ["int8", "float16"]
    assert codes.max() == encoding.most
    product = codes * np.repeat(scales.astype(np.float32), encoding.weights, axis=1)
    assert np.array_equal(product, encoding.decode(data))


def test_position_major_order_is_not_that_of_bytes() -> None:
    """A decoder that goes byte by byte finds the right values at the wrong places."""
    block = np.zeros(PTQ1_0.size, np.uint8)
    block[26:28] = np.array([1], np.float16).view(np.uint8)
    block[1] = 255  # five times the digit 2
    (row,) = PTQ1_0.decode(block[None])
    assert np.flatnonzero(row == 1).tolist() == [1, 17, 33, 49, 65]
