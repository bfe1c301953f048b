"""A tokenizer as grammars see it: the trie of its tokens in depth-first order, the text slice, classes of tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format.fstpack import Vocabulary

Configuration = TypeVar("Configuration", bound=Hashable)

SENTENCE_END: Final = 1
BLANK_LINE: Final = 2
NEWLINE: Final = 4
STRUCTURE: Final = 8

_ENDS = tuple(".!?…。！？")
_CLOSERS = " \t\r\n\"'’”»)]}*_`"
_BLANK = re.compile(r"\n[ \t\r]*\n")


def trie_of(tokens: Sequence[tuple[bytes, int]]) -> NDArray[np.uint32]:
    """Nodes [N, 2] of (bytes, id) pairs, none of them empty or twice; docs/fstpack.md, section 2."""
    words: list[int] = [0]
    depths: list[int] = [0]
    before = b""
    for data, token in sorted(tokens):
        shared = 0
        for left, right in zip(before, data, strict=False):
            if left != right:
                break
            shared += 1
        for depth in range(shared, len(data)):
            words.append(data[depth] << 24)
            depths.append(depth + 1)
        words[-1] |= token + 1
        before = data
    sizes = [0] * len(words)
    open_: list[int] = []
    for index, depth in enumerate(depths):
        while len(open_) > depth:
            first = open_.pop()
            sizes[first] = index - first
        open_.append(index)
    for first in open_:
        sizes[first] = len(words) - first
    level = np.array(depths, np.uint32) << np.uint32(24)
    return np.column_stack([np.array(words, np.uint32), level | np.array(sizes, np.uint32)])


def slice_characters(token: bytes) -> int:
    """Characters of a token of the text slice, 0 for other tokens."""
    if any(byte < 0x20 or byte in b'"\\' for byte in token):
        return 0
    try:
        count = len(token.decode("utf-8"))
    except UnicodeDecodeError:
        return 0
    return count if count < 255 else 0


def soft_class(token: bytes) -> int:
    """The class bits of a token; docs/fstpack.md, section 5."""
    text = token.decode("utf-8", "replace")
    bits = SENTENCE_END if text.rstrip(_CLOSERS).endswith(_ENDS) else 0
    bits |= NEWLINE if "\n" in text else 0
    bits |= BLANK_LINE if _BLANK.search(text) else 0
    return bits | (0 if any(letter.isalnum() for letter in text) else STRUCTURE)


def vocabulary_of(tokens: Sequence[bytes]) -> Vocabulary:
    """The tables of a tokenizer, whose token ``id`` has the bytes ``tokens[id]``, b"" for specials and holes."""
    chars = np.array([slice_characters(token) if token else 0 for token in tokens], np.uint8)
    soft = np.array([soft_class(token) if token else 0 for token in tokens], np.uint8)
    pairs = [(token, number) for number, token in enumerate(tokens) if token]
    rest = [(token, number) for token, number in pairs if not chars[number]]
    return Vocabulary(trie_of(pairs), chars, trie_of(rest), soft)


class TrieShape:
    """A trie by depth, for walking all nodes of one depth at a time."""

    def __init__(self, trie: NDArray[np.uint32]) -> None:
        depth = (trie[:, 1] >> 24).astype(np.int64)
        self.bytes = (trie[:, 0] >> 24).astype(np.int64)
        self.parents = _parents(depth)
        order = np.argsort(depth, kind="stable")
        cuts = np.searchsorted(depth[order], np.arange(1, int(depth.max()) + 1))
        self.levels = np.split(order, cuts)[1:]

    def walk(
        self, at: Configuration, step: Callable[[Configuration, int], Configuration | None]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], list[Configuration]]]:
        """For each depth from 1: the nodes that ``step`` reaches, the index of each one's configuration, and those.

        A pair of configuration and byte is stepped once, however many nodes share it.
        """
        nodes, index, listed = np.zeros(1, np.int64), np.zeros(1, np.int64), [at]
        number = np.full(len(self.parents), -1, np.int64)
        for level in self.levels:
            number[nodes] = index
            mine = level[number[self.parents[level]] >= 0]
            key = number[self.parents[mine]] << 8 | self.bytes[mine]
            number[nodes] = -1
            present = np.zeros(len(listed) << 8, bool)
            present[key] = True
            following: dict[Configuration, int] = {}
            goal = np.full(len(present), -1, np.int64)
            for pair in np.flatnonzero(present).tolist():
                after = step(listed[pair >> 8], pair & 0xFF)
                if after is not None:
                    goal[pair] = following.setdefault(after, len(following))
            reached = goal[key]
            nodes, index, listed = mine[reached >= 0], reached[reached >= 0], list(following)
            if not len(nodes):
                return
            yield nodes, index, listed


def _parents(depth: NDArray[np.int64]) -> NDArray[np.int64]:
    """The parent of each node of a depth-first order; the root is its own."""
    parents = np.zeros(len(depth), np.int64)
    last = [0] * 257
    for index, level in enumerate(depth.tolist()):
        parents[index] = last[level - 1] if level else 0
        last[level] = index
    return parents
