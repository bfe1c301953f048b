"""A model of Apple's matrix coprocessor (AMX): the registers and the instructions that the product kernels use.

Apple documents nothing of it. What this model does is what the public notes of Peter Cawley say (github.com/corsix/amx,
from measurements on M1 to M4), in code of its own; nothing here was compared with hardware by this project. An
instruction is the word ``0x00201000 | operation << 5 | register``: the 64 bits of a general register are its operand,
but for operation 17, whose low bits are 0 to switch the coprocessor on and 1 to switch it off.

Registers: 8 of X and 8 of Y, of 64 bytes each, which operands address by byte as a ring of 512; and Z, 64 rows of 64
bytes. An outer product of 32 lanes of 16 bits with 32 others fills Z with int32: the lane i of X and j of Y meet in row
``2 * j + i % 2``, element ``i // 2``.

Whatever the kernels have no use for raises ``AmxError``, so that a kernel cannot come to rely on something unmodelled.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import numpy as np

WORD, WORD_MASK = 0x00201000, 0xFFFFFC00
LDX, LDY, STX, STY, LDZ, STZ, LDZI, STZI = range(8)
MAC16, SWITCH, MATINT = 14, 17, 20

REGISTER_BYTES = 64
LANES = 32  #: of 16 bits
PAIR_ALIGNMENT = 128
EVERYTHING = np.ones(LANES, bool)

Bits = int


class AmxError(Exception):
    """An instruction that hardware would refuse, or that the model does not have."""


class Memory(Protocol):
    """What loads and stores go to."""

    def read(self, address: int, size: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...


def is_amx(word: int) -> bool:
    """Whether an instruction word is one of the coprocessor's."""
    return word & WORD_MASK == WORD and (word >> 5 & 31) <= 22


def field(operand: Bits, place: int, width: int) -> int:
    """Bits of an operand."""
    return operand >> place & ((1 << width) - 1)


def enabled_lanes(mode: int, value: int) -> np.ndarray:
    """Which of 32 lanes are written: bool[32].

    Mode 0: value 0 all, 1 the odd ones, 2 the even ones, others none; mode 1: only lane ``value``; mode 2: the first
    ``value``, mode 3: the last ``value``, of both 0 means all.
    """
    lanes = np.arange(LANES)
    if mode == 0:
        chosen: dict[int, np.ndarray] = {0: lanes >= 0, 1: lanes % 2 == 1, 2: lanes % 2 == 0}
        return chosen.get(value, lanes < 0)
    if mode == 1:
        only: np.ndarray = lanes == value
        return only
    if mode == 2:
        return lanes < (value or LANES)
    if mode == 3:
        return lanes >= LANES - (value or LANES)
    raise AmxError(f"enable mode {mode} is not modelled")


class Amx:
    """Registers of one thread, and what instructions do to them.

    Attributes:
        x, y: uint8[8, 64].
        z: uint8[64, 64].
        on: whether the coprocessor is switched on.
        executed: how often each operation was run.
    """

    def __init__(self) -> None:
        self.on = False
        self.executed: Counter[int] = Counter()
        self.x, self.y = (np.zeros((8, REGISTER_BYTES), np.uint8) for _ in range(2))
        self.z = np.zeros((64, REGISTER_BYTES), np.uint8)

    def execute(self, word: int, operand: Bits, memory: Memory) -> None:
        """Run an instruction; ``operand`` is the content of the register that it names.

        Raises:
            AmxError: it is not modelled, or the coprocessor is off, or a pair is not aligned.
        """
        operation = word >> 5 & 31
        self.executed[operation] += 1
        if operation == SWITCH:
            self._switch(word & 31)
            return
        if not self.on:
            raise AmxError(f"operation {operation} while the coprocessor is off")
        if operation <= STZI:
            self._move(operation, operand, memory)
        elif operation == MAC16:
            self._mac16(operand)
        elif operation == MATINT:
            self._matint(operand)
        else:
            raise AmxError(f"operation {operation} is not modelled")

    def _switch(self, immediate: int) -> None:
        if immediate > 1 or self.on == (immediate == 0):
            raise AmxError(f"switch {immediate} while the coprocessor is {'on' if self.on else 'off'}")
        self.on = immediate == 0
        for registers in (self.x, self.y, self.z):
            registers[:] = 0 if self.on else 0xA5  # undefined once it is off

    # ---- loads and stores ----

    def _move(self, operation: int, operand: Bits, memory: Memory) -> None:
        """Bits 0-55 address, 56-61 register (3 bits of X and Y), 62 a pair of registers, aligned to 128 bytes."""
        address, pair = field(operand, 0, 56), field(operand, 62, 1)
        if operation in (LDZI, STZI):
            self._move_interleaved(operation, operand, memory)
            return
        registers = {LDX: self.x, STX: self.x, LDY: self.y, STY: self.y, LDZ: self.z, STZ: self.z}[operation]
        if pair and address % PAIR_ALIGNMENT:
            raise AmxError(f"a pair of registers at the address {address:#x}, which is not aligned to 128")
        if operation in (LDX, LDY) and pair and field(operand, 60, 1):
            raise AmxError("four registers at a time need an M2")
        first = field(operand, 56, 6)
        for i in range(1 + pair):
            register = registers[(first + i) % len(registers)]
            place = address + REGISTER_BYTES * i
            if operation in (LDX, LDY, LDZ):
                register[:] = np.frombuffer(memory.read(place, REGISTER_BYTES), np.uint8)
            else:
                memory.write(place, register.tobytes())

    def _move_interleaved(self, operation: int, operand: Bits, memory: Memory) -> None:
        """16 int32 of memory and the left or right half (bit 56) of a pair of rows: even elements, then odd ones."""
        row, half = field(operand, 57, 5) * 2, slice(8 * field(operand, 56, 1), 8 * field(operand, 56, 1) + 8)
        address = field(operand, 0, 56)
        rows = self.z.view(np.uint32)
        if operation == LDZI:
            data = np.frombuffer(memory.read(address, REGISTER_BYTES), np.uint32)
            rows[row, half], rows[row + 1, half] = data[0::2], data[1::2]
        else:
            memory.write(address, np.stack([rows[row, half], rows[row + 1, half]], axis=1).tobytes())

    # ---- products ----

    def _lanes(self, registers: np.ndarray, offset: int) -> np.ndarray:
        """32 int16 from a byte of the ring on."""
        ring = registers.reshape(-1)
        end = offset + REGISTER_BYTES
        found = ring[offset:end] if end <= ring.size else np.concatenate([ring[offset:], ring[: end - ring.size]])
        return found.view(np.int16)

    def _add(
        self, x: np.ndarray, y: np.ndarray, shift: int, columns: np.ndarray, rows: np.ndarray, keep: bool = True
    ) -> None:
        """``z[j][i] (+)= (x[i] * y[j]) >> shift`` as int32, for integers int64[32], where both lanes are enabled."""
        grid = self.z.view(np.int32).reshape(LANES, 2, LANES // 2)  # [j, i % 2, i // 2]
        chosen = np.flatnonzero(rows)
        products = np.multiply.outer(y[chosen], x.reshape(LANES // 2, 2).T) >> shift
        before = grid[chosen]
        results = (products + before if keep else products).astype(np.int32)
        grid[chosen] = np.where(columns.reshape(LANES // 2, 2).T, results, before)

    def _mac16(self, operand: Bits) -> None:
        """``z[j][i] (+)= (x[i] * y[j]) >> shift``, each input of which can be left out."""
        if field(operand, 63, 1) or not field(operand, 62, 1):
            raise AmxError("of mac16, only outer products into int32 are modelled")
        x, y = self._lanes(self.x, field(operand, 10, 9)), self._lanes(self.y, field(operand, 0, 9))
        if field(operand, 61, 1):
            x = x.astype(np.int8)
        if field(operand, 60, 1):
            y = y.astype(np.int8)
        skip_x, skip_y, skip_z = field(operand, 29, 1), field(operand, 28, 1), field(operand, 27, 1)
        x_values = np.full(LANES, not skip_y, np.int64) if skip_x else x.astype(np.int64)
        y_values = np.ones(LANES, np.int64) if skip_y else y.astype(np.int64)
        columns = enabled_lanes(field(operand, 46, 2), field(operand, 41, 5))
        rows = enabled_lanes(field(operand, 37, 2), field(operand, 32, 5))
        self._add(x_values, y_values, field(operand, 55, 5), columns, rows, not skip_z)

    def _matint(self, operand: Bits) -> None:
        """``z[j][i] += (x[i] * y[j]) >> shift`` with lanes of X or Y looked up by indices of 2 or 4 bits."""
        indexed = field(operand, 53, 1)
        if field(operand, 55, 2) or field(operand, 42, 4) != 3 or field(operand, 29, 2) or field(operand, 27, 2):
            raise AmxError("of matint, only products of 16-bit lanes in their order into int32 are modelled")
        if field(operand, 54, 1) or (not indexed and field(operand, 47, 6)):
            raise AmxError("of matint, only z + ((x * y) >> s) is modelled")
        x, y = self._lanes(self.x, field(operand, 10, 9)), self._lanes(self.y, field(operand, 0, 9))
        if indexed:
            bits, table = 4 if field(operand, 48, 1) else 2, field(operand, 49, 3)
            if field(operand, 47, 1):
                y = self._look_up(self.y[table], y, bits)
            else:
                x = self._look_up(self.x[table], x, bits)
        x_values, y_values = (
            v.astype(np.int64) if signed else v.view(np.uint16).astype(np.int64)
            for v, signed in ((x, field(operand, 63, 1)), (y, field(operand, 26, 1)))
        )
        chosen = enabled_lanes(field(operand, 38, 3), field(operand, 32, 6))
        rows, columns = (chosen, EVERYTHING) if field(operand, 25, 1) else (EVERYTHING, chosen)
        self._add(x_values, y_values, field(operand, 58, 5), columns, rows)

    @staticmethod
    def _look_up(table: np.ndarray, packed: np.ndarray, bits: int) -> np.ndarray:
        """Lanes of a register picked by 32 indices, lowest bits first, from the first bytes of a vector."""
        indices = packed.view(np.uint8)[: LANES * bits // 8, None] >> np.arange(0, 8, bits) & (1 << bits) - 1
        picked: np.ndarray = table.view(np.int16)[indices.reshape(-1)]
        return picked
