"""Hashes of tokens that banks of spans are searched by: of two tokens, of the last eight, of a span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
KEY_TOKENS: Final = 8  #: before a span, which its key is of
_SEED: Final = np.uint64(0x5CA1AB1E0DDBA11)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


def _mix(value: Words) -> Words:
    """The finaliser of SplitMix64."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def token_words(tokens: NDArray[Any], words: int = 4) -> Words:
    """H(t), uint64[n, words]: the first words that SplitMix64 gives from the seed of a token."""
    start = _SEED ^ (tokens.astype(np.uint64) * _GOLDEN)
    steps = np.arange(1, words + 1, dtype=np.uint64) * _GOLDEN
    return _mix(start[:, None] + steps[None, :])


def context_hash(before: NDArray[Any], last: NDArray[Any]) -> NDArray[np.uint32]:
    """uint32[n] of two tokens one after the other, never 0."""
    mixed = _mix((before.astype(np.uint64) << np.uint64(32)) | last.astype(np.uint64))
    low = (mixed & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    return np.where(low == 0, np.uint32(1), low)


def bits_of(words: Words) -> NDArray[np.int8]:
    """1 and -1 for the bits of words [n, w] → int8[n, 64 w], the lowest bit of the first word first."""
    raw = np.ascontiguousarray(words, "<u8").view(np.uint8)
    return 2 * np.unpackbits(raw, axis=1, bitorder="little").astype(np.int8) - np.int8(1)


def words_of(votes: NDArray[Any], ties: Words) -> Words:
    """The majority of votes, int[n, 64 w], as words; where there is none the bits of ``ties``."""
    tied = bits_of(ties) > 0
    packed = np.packbits(np.where(votes == 0, tied, votes > 0), axis=1, bitorder="little")
    words: Words = np.ascontiguousarray(packed).view("<u8").astype(np.uint64)
    return words


def majority(words: Words) -> Words:
    """The bits that most of words [n, k, w] have → [n, w]; those of the first one where as many have them as not."""
    count = words.shape[1]
    places = count.bit_length()
    planes = [np.zeros((len(words), words.shape[2]), np.uint64) for _ in range(places)]  # of a counter of each bit
    for i in range(count):
        carry = words[:, i]
        for plane in planes:
            both = plane & carry
            plane ^= carry
            carry = both
    half = _reached(planes, (count + 1) // 2)
    return half if count % 2 else _reached(planes, count // 2 + 1) | (half & words[:, 0])


def _reached(planes: Sequence[Words], least: int) -> Words:
    """Where counters are no less: where they and the rest to a power of two have a carry."""
    rest = (1 << len(planes)) - least
    carry = np.zeros_like(planes[0])
    for i, plane in enumerate(planes):
        carry = (plane | carry) if rest >> i & 1 else (plane & carry)
    return carry


def context_key(tokens: Sequence[int]) -> Words:
    """uint64[4]: the key of a place after some tokens, of which the last eight count; there is at least one."""
    words = token_words(np.array(tokens[-KEY_TOKENS:]))
    votes = bits_of(words).astype(np.int32).sum(axis=0)
    key: Words = words_of(votes[None, :], words[-1:])[0]
    return key


_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_ALL = 0xFFFFFFFFFFFFFFFF


def _turned(value: int, bits: int) -> int:
    value &= _ALL
    return ((value << bits) | (value >> (64 - bits))) & _ALL


def _round(state: int, word: int) -> int:
    return _turned(state + word * _P2, 31) * _P1 & _ALL


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0 (Collet's specification)."""
    at, size = 0, len(data)
    if size >= 32:
        lanes = [(_P1 + _P2) & _ALL, _P2, 0, -_P1 & _ALL]
        at = size - size % 32
        for start in range(0, at, 32):
            for i in range(4):
                lanes[i] = _round(lanes[i], int.from_bytes(data[start + 8 * i : start + 8 * i + 8], "little"))
        total = sum(_turned(lane, turn) for lane, turn in zip(lanes, (1, 7, 12, 18), strict=True)) & _ALL
        for lane in lanes:
            total = ((total ^ _round(0, lane)) * _P1 + _P4) & _ALL
    else:
        total = _P5
    total = (total + size) & _ALL
    for start in range(at, size - 7, 8):
        total = (_turned(total ^ _round(0, int.from_bytes(data[start : start + 8], "little")), 27) * _P1 + _P4) & _ALL
    at = size - size % 8
    if size % 8 >= 4:
        total = (_turned(total ^ int.from_bytes(data[at : at + 4], "little") * _P1, 23) * _P2 + _P3) & _ALL
        at += 4
    for byte in data[at:]:
        total = _turned(total ^ byte * _P5, 11) * _P1 & _ALL
    total = (total ^ (total >> 33)) * _P2 & _ALL
    total = (total ^ (total >> 29)) * _P3 & _ALL
    return total ^ (total >> 32)
