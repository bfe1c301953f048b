"""The model of AMX against what the public notes say of each instruction, lane by lane."""

from __future__ import annotations

import numpy as np
import pytest
from amx_model import (
    LDX,
    LDY,
    LDZ,
    LDZI,
    MAC16,
    MATINT,
    STX,
    STY,
    STZ,
    STZI,
    SWITCH,
    WORD,
    Amx,
    AmxError,
    enabled_lanes,
    is_amx,
)

PAIR = 1 << 62
TO_INT32 = 1 << 62  #: of mac16
MATINT_INT32 = 3 << 42
SIGNED = 1 << 63 | 1 << 26
RANDOM = np.random.default_rng(5)


class Bytes:
    """Memory from address 0."""

    def __init__(self, size: int = 4096) -> None:
        self.data = bytearray(RANDOM.bytes(size))

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.data[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        self.data[address : address + len(data)] = data


def word(operation: int, register: int = 0) -> int:
    return WORD | operation << 5 | register


def switched_on() -> tuple[Amx, Bytes]:
    amx, memory = Amx(), Bytes()
    amx.execute(word(SWITCH, 0), 0, memory)
    for registers in (amx.x, amx.y, amx.z):
        registers[:] = RANDOM.integers(0, 256, registers.shape, np.uint8)
    return amx, memory


def ring16(registers: np.ndarray, offset: int) -> list[int]:
    """32 signed lanes of 16 bits, byte by byte."""
    flat = registers.reshape(-1).tolist()
    lanes = [flat[(offset + 2 * i) % 512] | flat[(offset + 2 * i + 1) % 512] << 8 for i in range(32)]
    return [v - (v >> 15 << 16) for v in lanes]


def int32(value: int) -> int:
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def element(amx: Amx, j: int, i: int) -> int:
    """Where lane j of Y and lane i of X meet: even lanes of X in the even row of a pair, odd ones in the odd row."""
    return int(amx.z.view(np.int32)[2 * j + i % 2, i // 2])


def test_words() -> None:
    assert word(MATINT, 12) == 0x0020128C
    assert all(is_amx(word(operation, register)) for operation in range(23) for register in (0, 31))
    assert not is_amx(word(23))
    assert not is_amx(0xD65F03C0)
    assert not is_amx(word(0) | 1 << 10)


def test_switching_on_zeroes_and_twice_is_refused() -> None:
    amx, memory = switched_on()
    with pytest.raises(AmxError, match="is on"):
        amx.execute(word(SWITCH, 0), 0, memory)
    amx.execute(word(SWITCH, 1), 0, memory)
    for operation in (LDX, STZ, MAC16, MATINT):
        with pytest.raises(AmxError, match="is off"):
            amx.execute(word(operation), 0, memory)
    with pytest.raises(AmxError, match="is off"):
        amx.execute(word(SWITCH, 1), 0, memory)
    amx.execute(word(SWITCH, 0), 0, memory)
    assert not amx.x.any()
    assert not amx.y.any()
    assert not amx.z.any()
    with pytest.raises(AmxError, match="switch 2"):
        amx.execute(word(SWITCH, 2), 0, memory)


@pytest.mark.parametrize(("load", "store", "name"), [(LDX, STX, "x"), (LDY, STY, "y"), (LDZ, STZ, "z")])
def test_loads_and_stores_of_registers(load: int, store: int, name: str) -> None:
    amx, memory = switched_on()
    registers = getattr(amx, name)
    count = len(registers)
    before = registers.copy()
    amx.execute(word(load), (3 << 56) | 77, memory)  # any address will do for one
    before[3] = list(memory.data[77:141])
    np.testing.assert_array_equal(registers, before)
    amx.execute(word(load), PAIR | (count - 1) << 56 | 256, memory)  # the register after the last is the first
    before[count - 1], before[0] = list(memory.data[256:320]), list(memory.data[320:384])
    np.testing.assert_array_equal(registers, before)
    rest = bytes(memory.data)
    amx.execute(word(store), (5 << 56) | 1001, memory)
    amx.execute(word(store), PAIR | 6 << 56 | 2048, memory)
    assert memory.data[1001:1065] == before[5].tobytes()
    assert memory.data[2048:2176] == before[6:8].tobytes()
    assert bytes(memory.data[:1001] + memory.data[2176:]) == rest[:1001] + rest[2176:]
    np.testing.assert_array_equal(registers, before)
    for operation in (load, store):
        with pytest.raises(AmxError, match="not aligned to 128"):
            amx.execute(word(operation), PAIR | 64, memory)


def test_four_registers_at_a_time_are_not_taken_for_granted() -> None:
    amx, memory = switched_on()
    with pytest.raises(AmxError, match="M2"):
        amx.execute(word(LDX), PAIR | 1 << 60, memory)


@pytest.mark.parametrize("half", [0, 1])
def test_interleaved_loads_and_stores(half: int) -> None:
    """Element m of memory is element m // 2 of the left half of row m % 2 of a pair, or 8 further on the right."""
    amx, memory = switched_on()
    before = amx.z.view(np.uint32).copy()
    amx.execute(word(LDZI), (2 * 9 + half) << 56 | 640, memory)
    data = np.frombuffer(memory.read(640, 64), np.uint32)
    for m in range(16):
        before[18 + m % 2, 8 * half + m // 2] = data[m]
    np.testing.assert_array_equal(amx.z.view(np.uint32), before)
    amx.execute(word(STZI), (2 * 9 + half) << 56 | 3001, memory)
    assert memory.read(3001, 64) == data.tobytes()


def test_enable_modes() -> None:
    def lanes(mode: int, value: int) -> list[int]:
        return np.flatnonzero(enabled_lanes(mode, value)).tolist()

    everything = list(range(32))
    assert [lanes(0, v) for v in (0, 1, 2, 6)] == [everything, everything[1::2], everything[0::2], []]
    assert lanes(1, 31) == [31]
    assert [lanes(2, v) for v in (0, 1, 16)] == [everything, [0], everything[:16]]
    assert [lanes(3, v) for v in (0, 1, 20)] == [everything, [31], everything[12:]]
    with pytest.raises(AmxError):
        enabled_lanes(4, 0)


@pytest.mark.parametrize("skip", range(8))
@pytest.mark.parametrize(("narrow", "shift"), [(0, 0), (1, 0), (2, 3), (3, 31), (0, 7)])
def test_mac16(skip: int, narrow: int, shift: int) -> None:
    amx, memory = switched_on()
    x_offset, y_offset = (int(v) for v in RANDOM.integers(0, 512, 2))
    x, y = ring16(amx.x, x_offset), ring16(amx.y, y_offset)
    if narrow & 2:
        x = [int(np.int8(v & 0xFF if v & 0xFF < 128 else (v & 0xFF) - 256)) for v in x]
    if narrow & 1:
        y = [int(np.int8(v & 0xFF if v & 0xFF < 128 else (v & 0xFF) - 256)) for v in y]
    before = Amx()
    before.z[:] = amx.z
    enable = 3 << 46 | 9 << 41 | 2 << 37 | 11 << 32  # the last 9 lanes of X, the first 11 of Y
    amx.execute(
        word(MAC16), TO_INT32 | narrow << 60 | shift << 55 | enable | skip << 27 | x_offset << 10 | y_offset, memory
    )
    skip_x, skip_y, skip_z = skip & 4, skip & 2, skip & 1
    for j in range(32):
        for i in range(32):
            value = x[i] * y[j]
            if skip_x or skip_y:
                value = 0 if skip_x and skip_y else y[j] if skip_x else x[i]
            z = element(before, j, i)
            expected = int32((value >> shift) + (0 if skip_z else z)) if i >= 23 and j < 11 else z
            assert element(amx, j, i) == expected, (j, i)


@pytest.mark.parametrize("indexed", [None, ("x", 4), ("x", 2), ("y", 4), ("y", 2)])
@pytest.mark.parametrize(("signs", "shift"), [(SIGNED, 0), (0, 0), (1 << 63, 4), (1 << 26, 9)])
def test_matint(indexed: tuple[str, int] | None, signs: int, shift: int) -> None:
    amx, memory = switched_on()
    x_offset, y_offset = 500, 37
    lanes = {"x": ring16(amx.x, x_offset), "y": ring16(amx.y, y_offset)}
    operand = signs | MATINT_INT32 | shift << 58 | x_offset << 10 | y_offset
    if indexed is not None:
        name, bits = indexed
        registers, offset = (amx.x, x_offset) if name == "x" else (amx.y, y_offset)
        stream = sum(int(registers.reshape(-1)[(offset + k) % 512]) << 8 * k for k in range(16))
        table = ring16(registers, 6 * 64)
        lanes[name] = [table[stream >> bits * i & ((1 << bits) - 1)] for i in range(32)]
        operand |= 1 << 53 | 6 << 49 | (bits == 4) << 48 | (name == "y") << 47
    before = Amx()
    before.z[:] = amx.z
    amx.execute(word(MATINT), operand | 1 << 25 | 2 << 38 | 13 << 32, memory)  # the first 13 lanes of Y
    x = [v if signs >> 63 & 1 else v & 0xFFFF for v in lanes["x"]]
    y = [v if signs >> 26 & 1 else v & 0xFFFF for v in lanes["y"]]
    for j in range(32):
        for i in range(32):
            z = element(before, j, i)
            assert element(amx, j, i) == (int32(z + (x[i] * y[j] >> shift)) if j < 13 else z), (j, i)


def test_matint_can_choose_lanes_of_x() -> None:
    amx, memory = switched_on()
    x, y = ring16(amx.x, 0), ring16(amx.y, 0)
    before = Amx()
    before.z[:] = amx.z
    amx.execute(word(MATINT), SIGNED | MATINT_INT32 | 1 << 38 | 7 << 32, memory)
    for j in range(32):
        for i in range(32):
            z = element(before, j, i)
            assert element(amx, j, i) == (int32(z + x[i] * y[j]) if i == 7 else z)


@pytest.mark.parametrize(
    ("operation", "operand"),
    [
        (MAC16, 0),  # into int16
        (MAC16, 1 << 63 | TO_INT32),  # of vectors
        (MATINT, 0),  # into int16
        (MATINT, MATINT_INT32 | 1 << 47),  # a difference
        (MATINT, MATINT_INT32 | 1 << 55),  # nothing at all
        (MATINT, MATINT_INT32 | 1 << 54 | 1 << 53),  # lanes of 8 bits
        (MATINT, MATINT_INT32 | 1 << 27),  # shuffled
        (MATINT, MATINT_INT32 | 4 << 38),  # an enable mode
        *((operation, 0) for operation in (8, 9, 10, 11, 12, 13, 15, 16, 18, 19, 21, 22)),
    ],
)
def test_what_is_not_modelled_is_refused(operation: int, operand: int) -> None:
    amx, memory = switched_on()
    with pytest.raises(AmxError, match="modelled"):
        amx.execute(word(operation), operand, memory)
