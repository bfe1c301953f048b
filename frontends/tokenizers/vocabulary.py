"""Tokens, merges and special tokens of a public tokenizer, put together and checked: a Tokenizer, or one error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chimerac.compiler.errors import UserError
from chimerac.frontends.tokenizers.components import Shape
from chimerac.frontends.tokenizers.json_files import invalid, unsupported
from chimerac.frontends.tokenizers.spelling import byte_of_piece, bytes_of_spelling, text_of_piece
from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.merging import Merges
from chimerac.runtime.reference.tokenizer import Special, Tokenizer


@dataclass(frozen=True)
class Named:
    """A token that text becomes only where its name is allowed: what tokenizer files call an added token."""

    name: str
    id: int
    strip: int = 0


@dataclass(frozen=True)
class Roles:
    """Which tokens end a generation, fill a batch, and stand before a text; the others may be generated."""

    ends: frozenset[int] = frozenset()
    pad: int | None = None
    begin: int | None = None

    def of(self, id: int) -> str:
        if id == self.begin:
            return c.ROLE_BEGIN
        if id in self.ends:
            return c.ROLE_END
        return c.ROLE_PAD if id == self.pad else c.ROLE_CONTROL


@dataclass
class Parts:
    """What a file says of a tokenizer.

    Attributes:
        where: the file, in messages.
        vocabulary: entries of the model.
        tokens: id → spelling, the named ones left out.
        merges: the spellings of two parts, the first merge first; None: any two parts whose token is in ``order``, or
            nothing merges, by the rule ``longest``.
        order: ids in the order in which they are made, without ``merges``.
    """

    where: str
    vocabulary: int
    shape: Shape
    tokens: Mapping[int, str]
    named: Sequence[Named]
    roles: Roles
    merges: Iterable[tuple[str, str]] | None = None
    order: Sequence[int] = ()
    whole: bool = False
    byte_tokens: bool = False
    _bytes: dict[str, bytes] = field(default_factory=dict)

    def build(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            UserError: CHM244, more tokens than the vocabulary has; CHM260, tokens or merges that cannot be; CHM261,
                what no rule of ours does.
        """
        last = max((*self.tokens, *(named.id for named in self.named)), default=-1)
        if last >= self.vocabulary:
            message = f"the tokenizer of {self.where} has {last + 1} tokens, the model {self.vocabulary}"
            raise UserError("CHM244", message, hint="give the tokenizer that the weights were trained with")
        table = [b""] * self.vocabulary
        for id, token in self.tokens.items():
            table[id] = self._token(token)
        only_bytes = self._only_bytes()
        for id, byte in only_bytes.items():
            table[id] = bytes([byte])
        rules = [*self.shape.rules]
        if self.whole:
            if self.shape.pattern == c.PATTERN_NONE:
                raise unsupported(self.where, "ignore_merges without a pre-tokenizer that cuts")
            rules.append(c.RULE_WHOLE)
        present = set(table)
        if not only_bytes and any(bytes([byte]) not in present for byte in range(256)):
            if self.shape.pattern == c.PATTERN_NONE:
                raise unsupported(self.where, "a vocabulary without a token for each byte, and no pre-tokenizer")
            rules.append(c.RULE_DROP)
        specials = tuple(Special(n.name, n.id, self.roles.of(n.id), n.strip) for n in self.named)
        of_byte = {byte: id for id, byte in only_bytes.items()}
        byte_tokens = tuple(of_byte[byte] for byte in range(256)) if only_bytes else ()
        try:
            return Tokenizer(
                tuple(table), specials, self.shape.pattern, self._merges(table, only_bytes), byte_tokens, tuple(rules)
            )
        except BundleError as error:
            raise invalid(self.where, error.message) from None

    def _token(self, token: str) -> bytes:
        """The bytes of a token, noted for its merges."""
        found = bytes_of_spelling(token) if self.shape.byte_level else text_of_piece(token)
        if found is None:
            raise unsupported(self.where, f"the token {token!r}, which is not spelt in the byte-level alphabet")
        self._bytes[token] = found
        return found

    def _only_bytes(self) -> dict[int, int]:
        """id → byte of the tokens that stand for bytes of characters that are no token."""
        if not self.byte_tokens:
            return {}
        found = {id: byte for id, token in self.tokens.items() if (byte := byte_of_piece(token)) is not None}
        if sorted(found.values()) != list(range(256)):
            raise unsupported(self.where, "a byte fallback whose vocabulary has not <0x00> to <0xFF>, each once")
        return found

    def _merges(self, table: Sequence[bytes], only_bytes: Mapping[int, int]) -> Merges | None:
        if c.RULE_LONGEST in self.shape.rules:
            return None
        ids = {token: id for id, token in enumerate(table) if token and id not in only_bytes}
        if self.merges is None:
            return Merges(tuple(id for id in self.order if len(table[id]) > 1 and id not in only_bytes))
        made, splits = [], []
        for number, (left, right) in enumerate(self.merges):
            one, other = self._bytes.get(left), self._bytes.get(right)
            id = None if one is None or other is None else ids.get(one + other)
            if one is None or other is None or id is None or one not in ids or other not in ids:
                raise invalid(self.where, f"merge {number}, {left!r} and {right!r}, is not of tokens of the vocabulary")
            made.append(id)
            splits.append(len(one))
        return Merges(tuple(made), tuple(splits))


def check_named(where: str, early: Sequence[Named], late: Sequence[Named]) -> None:
    """Refuse names that are looked for in two rounds and may overlap in a text, where not the first and longest counts.

    Raises:
        UserError: CHM261 that names two of them.
    """
    if not early or not late:
        return
    starts = {name.name[:size]: name.name for name in early for size in range(1, len(name.name) + 1)}
    ends = {name.name[-size:]: name.name for name in early for size in range(1, len(name.name) + 1)}
    for one in (name.name for name in late):
        touching = (starts.get(one[-size:]) or ends.get(one[:size]) for size in range(1, len(one) + 1))
        inside = (name.name for name in early if name.name in one or one in name.name)
        other = next((name for name in (*touching, *inside) if name), None)
        if other:
            what = f"the added tokens {other!r} and {one!r}, which may overlap and differ in normalized"
            raise unsupported(where, what)
