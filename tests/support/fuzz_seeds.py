"""Good inputs of the C fuzz targets, and the toy model's files that are linked into them.

They depend on the format, so they are made anew for every run; what fuzzing found is in ``tests/hostile/corpus``. Every
CRC-32 in them is 0: so is that of the targets, which lets mutated inputs pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from span_banks import random_bank
from toy_bundles import VOCAB, toy_tokenizer, toy_weights

from chimerac.compiler.packaging.grammar_packs import compile_grammar
from chimerac.passes.grammar_fst.masks import with_masks
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.constants import PATTERNS
from chimerac.runtime.bundle_format.fstpack import (
    END,
    FLAG_DEFAULT,
    PUSH,
    REJECT,
    RETURN,
    UNLIMITED,
    Automaton,
    Pack,
    Vocabulary,
    pack_bytes,
    pack_of_container,
)
from chimerac.runtime.bundle_format.grammar_trie import vocabulary_of
from chimerac.runtime.bundle_format.sfpack import bank_bytes
from chimerac.runtime.bundle_format.state import GrammarPlace, SequenceState, StateForm, state_bytes
from chimerac.runtime.reference.merging import Merges
from chimerac.runtime.reference.tokenizer import Special, Tokenizer, tokenizer_sections

BLOCK: Final = 16
GRAMMARS: Final[Mapping[str, dict[str, Any]]] = {
    "regex": {"regex": r"[a-z]{2,5}(-[0-9]{3})+"},
    "person": {
        "schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 2, "maxLength": 9},
                "tags": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 5},
                "kid": {"$ref": "#"},
            },
            "required": ["name", "tags"],
            "additionalProperties": False,
        }
    },
    "said": {
        "schema": {
            "type": "object",
            "properties": {
                "what": {"type": "array", "items": {"type": "string", "x-copy": "request"}, "minItems": 1},
                "name": {"type": "string", "x-copy": "names"},
                "area": {"anyOf": [{"type": "string", "x-copy": "areas"}, {"type": "null"}]},
                "floor": {"type": "string", "x-copy": "floors"},
            },
            "required": ["what"],
            "additionalProperties": False,
        }
    },
}
_PIECES = (b'{"', b'":', b'"}', b"}}", b"]]", b'": "', b"12", b"-1", b"true", b"ab", b"  ", b"on", b"onl", b'","')
_MERGED = (b"th", b"in", b"ing", b"thing", b" t", b"the", b"\xc3\xa9", b" " * 30, b"e" * 70, b"x" * 255)


def without_checksums(container: bytes) -> bytes:
    """The container with 0 for each CRC-32."""
    start = 8 + int.from_bytes(container[:8], "little")
    return re.sub(rb'(crc32\\":\\")[0-9a-f]{8}', rb"\g<1>00000000", container[:start]) + container[start:]


def _tokenizer(pieces: tuple[bytes, ...], pattern: str = "none") -> Tokenizer:
    tokens = (*(bytes([value]) for value in range(256)), *pieces, b"", b"", b"")
    roles = (("<end>", "end"), ("<|begin|>", "begin"), ("<p>", "pad"))
    specials = tuple(Special(name, len(tokens) - 3 + i, role) for i, (name, role) in enumerate(roles))
    return Tokenizer(tokens, specials, pattern)


def _with_merges() -> Iterator[Tokenizer]:
    """Tokenizers of every pattern, with merges and rules of every kind."""
    plain = _tokenizer(_MERGED)
    ids = {token: id for id, token in enumerate(plain.tokens)}
    ranked = [ids[token] for token in _MERGED[:7]]
    merges = Merges(tuple(ranked), (1, 1, 2, 2, 1, 2, 1))
    stripped = tuple(replace(special, strip=3) for special in plain.specials)
    yield replace(plain, merges=Merges(tuple(ranked)), rules=("nfc",))
    yield replace(plain, merges=merges, byte_tokens=tuple(range(256)), rules=("underline", "prefix"), specials=stripped)
    rules = (("whole", "nfc"), ("prefix-missing",), ("underline", "prefix-first"))
    for number, pattern in enumerate(PATTERNS[1:]):
        yield replace(plain, merges=merges, pattern=pattern, rules=rules[number % 3])
    without = (b"", *plain.tokens[1:107], b"", *plain.tokens[108:])
    yield replace(plain, tokens=without, merges=merges, pattern="gpt2", rules=("drop",))
    yield replace(plain, rules=("longest",))
    yield replace(plain, tokens=without, pattern="gpt2", rules=("drop", "longest"))


def _container(tokenizer: Tokenizer) -> bytes:
    return bf.container_bytes(bf.KIND_TOKENIZER, tokenizer_sections(tokenizer), {bf.KEY_CONFIG: "ab" * 32})


def _automata() -> dict[str, Automaton]:
    found = {}
    for name, source in GRAMMARS.items():
        automaton = pack_of_container(bf.parse_container(compile_grammar(**source))).grammars[0]
        flags = automaton.flags | (FLAG_DEFAULT if name == "person" else 0)
        found[name] = replace(automaton, name=name, flags=flags)
    return found


@dataclass(frozen=True)
class Seeds:
    """What is linked into the targets, and the inputs that they begin with."""

    weights: bytes
    tokenizer: bytes
    pack: bytes
    bank: bytes
    inputs: Mapping[str, tuple[bytes, ...]]  #: by target

    def write(self, folder: Path) -> None:
        """``folder/*.bin`` for the linker, ``folder/seeds/TARGET/*`` for the runs."""
        for name in ("weights", "tokenizer", "pack", "bank"):
            (folder / f"{name}.bin").write_bytes(getattr(self, name))
        for target, inputs in self.inputs.items():
            place = folder / "seeds" / target
            place.mkdir(parents=True)
            for number, data in enumerate(inputs):
                (place / f"{number:02}").write_bytes(data)


def make_seeds() -> Seeds:
    """All seeds; the same bytes in every process."""
    weights = bf.container_bytes("b158", toy_weights(), {bf.KEY_CONFIG: "ab" * 32})
    tokenizer = _tokenizer(_PIECES)
    vocabulary = vocabulary_of(tokenizer.tokens)
    digest = bf.contents_sha256(tokenizer_sections(tokenizer))
    automata = _automata()
    stored = {name: with_masks(automaton, vocabulary) for name, automaton in automata.items()}
    pack = pack_bytes(Pack(tuple(stored.values()), vocabulary, digest))
    tokenizers = (
        *(tokenizer, replace(tokenizer, pattern="o200k"), toy_tokenizer()),
        *(_tokenizer(_MERGED), _tokenizer(_MERGED, "o200k"), _tokenizer((*_MERGED, *_PIECES))),
        *_with_merges(),
    )
    packs = (
        *(pack_bytes(Pack((automaton,))) for automaton in automata.values()),
        *(pack_bytes(Pack((automaton,), vocabulary, digest)) for automaton in stored.values()),
        *(pack, deep_trie(vocabulary, digest)),
    )
    banks = tuple(bank_bytes(random_bank(count, count, 60, digest)[0]) for count in (1, 8, 30))
    inputs = {
        "container": (_small_container(), weights),
        "tokenizer": tuple(map(_container, tokenizers)),
        "pack": packs,
        "snapshot": tuple(_snapshots()),
        "spans": banks,
    }
    return Seeds(
        without_checksums(weights),
        without_checksums(_container(tokenizer)),
        without_checksums(pack),
        without_checksums(banks[-1]),
        {name: tuple(map(without_checksums, found)) for name, found in inputs.items()}
        | {
            "session": SESSIONS,
            "calls": CALLS,
            "names": NAMES,
            "heard": HEARD,
            "drafts": DRAFTS,
            "memory": MEMORIES,
            "runner": tuple(_requests(inputs["snapshot"][0], packs[0])),
        },
    )


def deep_trie(vocabulary: Vocabulary, digest: str) -> bytes:
    """A pack whose trie goes on below the longest token, with a grammar that fills the stack anew at every byte.

    Found by reading: the engine has room for the frames of as many bytes as the longest token has.
    """
    depth = np.arange(256, dtype=np.uint32)
    nodes = np.column_stack(
        [(depth > 0).astype(np.uint32) * (97 << 24), depth << np.uint32(24) | np.uint32(256) - depth]
    )
    nodes[-1, 0] |= 1
    op = np.array([END, PUSH, *[PUSH | 1 << 16] * 61, END], np.uint32)
    delta = np.array([[1 | 1 << 16, REJECT], [RETURN, REJECT]], np.uint32)
    loop = np.array([[0, UNLIMITED, 0, 0]], np.uint16)
    automaton = Automaton("deep", np.zeros(256, np.uint8), delta, op, np.zeros((2, 4), np.uint16), loop, 0)
    return pack_bytes(Pack((automaton,), replace(vocabulary, trie=nodes, rest=nodes), digest))


def toy_grammars(folder: Path) -> tuple[Path, ...]:
    """Files of the toy model: weights, the tokenizer of the targets, a pack and a bank for it; with checksums."""
    tokenizer = _tokenizer(_PIECES)
    vocabulary = vocabulary_of(tokenizer.tokens)
    automata = tuple(with_masks(automaton, vocabulary) for automaton in _automata().values())
    digest = bf.contents_sha256(tokenizer_sections(tokenizer))
    files = {
        "weights": bf.container_bytes("b158", toy_weights(), {bf.KEY_CONFIG: "ab" * 32}),
        "tokenizer": _container(tokenizer),
        "pack": pack_bytes(Pack(automata, vocabulary, digest)),
        "bank": bank_bytes(random_bank(30, 30, 60, digest)[0]),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return tuple(folder / name for name in files)


def tokenizer_with_rules(path: Path) -> Path:
    """A tokenizer for the toy model that copies texts: it normalizes, puts a space before, and has no token for k."""
    plain = _tokenizer(_MERGED)
    tokens = tuple(b"" if token == b"k" else token for token in plain.tokens)
    merges = Merges((256, 257, 258), (1, 1, 2))
    made = replace(plain, tokens=tokens, merges=merges, pattern="gpt2", rules=("nfc", "prefix-missing", "drop"))
    path.write_bytes(_container(made))
    return path


def _small_container() -> bytes:
    sections = [
        bf.array_section("a", np.arange(6, dtype=np.float32).reshape(2, 3)),
        bf.array_section("b", np.arange(70, dtype=np.uint8)),
        bf.array_section("c", np.arange(5, dtype=np.int16)),
    ]
    return bf.container_bytes("b158", sections, {bf.KEY_CONFIG: "cd" * 32})


def _snapshots() -> Iterator[bytes]:
    """Of the toy model: at its start, in the middle of a text, of a character, and in a grammar."""
    shapes = {"looped": (4, 8), "trace": (8,), "router.last": (1, 4)}
    form = StateForm("", bf.contents_sha256(toy_weights()), VOCAB, 4, shapes)
    states = {
        name: np.linspace(-1, 1, np.prod(shape), dtype=np.float32).reshape(shape) for name, shape in shapes.items()
    }
    logits = np.linspace(-9, 9, VOCAB, dtype=np.float32)
    start = SequenceState(states=states, logits=logits, text=b"")
    at = replace(start, position=3, deepest=2, iterations=2)
    for sequence in (
        start,
        at,
        replace(at, history=(1, 2, 3), pending=(4, 5), text=b"\xf0\x9f\x98", remaining=7),
        replace(at, position=2**31 - 20, history=tuple(range(256)), finished=True),
        replace(at, grammar=GrammarPlace(ledger=(9, 3, 2, 1, *(0,) * 64)), lowered=1, routed=3),
    ):
        yield state_bytes(form, sequence)


#: Calls by their codes: fuzz_session.c.
SESSIONS: Final = (
    bytes((2, 20, 65, 1, 6, 30, 8, 20, 20, 21, 17, 0, 18, 0, 8, 5, 0)),
    bytes((5, 5, *b"hello", 6, 90, 23, 0, 15, 1, 0, 6, 90, 8, 23, 8, 23, 17, 1, 18, 1, 8, 9)),
    bytes((11, 128, 214, 20, 128, 3, 4, 4, 7, 6, 60, 9, 20, 12, 4, 13, 9, 3, 40, 9, 3, 20)),
    bytes((10, 0, 0, 9, 10, 0, 5, 10, 1, 3, 2, 40, 65, 3, 6, 99, 8, 11, 20, 10, 0, 6, 20, 8, 11, 17, 0)),
    bytes((10, 0, 6, 20, 2, 40, 65, 3, 6, 99, 8, 11, 20, 17, 0, 20, 10, 0, 3, 10, 1, 0)),
    bytes((23, 64, 15, 1, 0, 10, 4, 2, 4, *b"lamp", 5, 9, *b"the lamp ", 10, 0, 0, 20, 6, 99, 8, 11, 8, 11, 20)),
    bytes((10, 2, 26, *b'{"entities":["lamp","TV"]}', 23, 64, 15, 1, 0, 6, 60, 8, 9)),
    bytes((23, 16, 26, 2, 200, 0, 26, 1, 123, 26, 2, 20, 26, 3, 26, 4, 26, 5, 4, 0, 2, 26, 7, 26, 8, 25)),
    bytes((31, 63, 0, 34, 5, 7, 1, 49, 0, 18, 0, 19, 0, 5, 200, 18, 0, 28, 29, 0, 4, *b"thth", 50, 3)),
    bytes((30, 1, 5, 3, *b"abc", 30, 1, 63, 0, 30, 1, 23, 0, 22, 0, 2, 5, 1, 1, 22, 1, 14, 3, 5, 1, 1)),
)
#: Actions by their codes: fuzz_drafts.c.
DRAFTS: Final = (
    bytes((0, 40, 97, 1, 10, 20, 2, 99, 3, 20, 4, 20, 13, 12, 2, 3, 20, 14, 3, 20, 13)),
    bytes((1, 12, *b"turn it on, ", 8, 0, 10, 9, 12, 3, 2, 250, 3, 23, 12, 1, 3, 23, 14, 3, 23, 13)),
    bytes((12, 1, 0, 30, 2, 2, 6, 1, 1, 1, 20, 7, 10, 33, 2, 60, 3, 9, 12, 31, 3, 9, 12, 249, 3, 9)),
    bytes((9, 9, 0, 7, 3, 1, 0, 50, 0, 0, 10, 230, 5, 4, 3, 2, 1, 0, 2, 90, 3, 20, 15, 0, 9, 1, 1, 2, 9, 3, 9)),
    bytes((8, 2, 1, 10, *b"the lamp, ", 10, 96, 11, 1, 2, 200, 3, 20, 3, 20, 3, 20, 14, 8, 3, 13)),
)
#: Actions by their codes: fuzz_memory.c.
MEMORIES: Final = (
    bytes((7, 3, 1, 5, 0, 40, 97, 1, 7, 4, 43, 9, 3, 60, 4, 11, 4, 11, 13, 2, 3, 2, 3, 60, 4, 11, 5, 11)),
    bytes((8, 1, 0, 0, *range(7, 39), 11, 45, 2, 5, 3, 12, 2, 3, 60, 5, 11, 6, 9, 1, 7, 9, 4, 11, 10, 3, 10, 7)),
    bytes((0, 20, 32, 3, 7, 40, 3, 9, 0, 30, 40, 1, 2, 1, 9, 3, 90, 4, 9, 14, 1, 128, 3, 4, 11, 6, 20, 0, 1, 13)),
    bytes((7, 3, 1, 5, 11, 12, 0, 16, 97, 1, 2, 3, 2, 3, 60, 4, 11, 2, 9, 2, 3, 60, 4, 11, 2, 1, 3, 3, 60, 4, 11)),
    bytes((12, 0, 7, 2, 7, 8, 1, 12, *b"the red lamp", 3, 99, 4, 11, 8, 5, 33, 8, 4, 11, 15, 2, 4, 8, 3, 60, 4, 11)),
)
#: Right calls of fuzz_calls.c: the entry, n, then for inputs and for results an order and each tensor's five bytes.
CALLS: Final = (
    bytes((0, 0, 4, 1, *(0, 0, 7, 1, 0) * 2, 1, *(0,) * 10, 0, 1, 0, 1, *(0, 0, 9, 255, 0), 1, *(0,) * 5)),
    bytes((0, 2, 0, 1, 1, *(0,) * 5, 245, 0, 2, 0, 1, 1, *(0,) * 5, 250, 0, 0, 2, 0, *(0,) * 10, 0, *(0,) * 10, 255)),
    bytes((0, 1, 0, 0, 0, 0, 3, 0, 0, 0, 0, 249, 0, 0, 0, 0, 0, 3, 0, *(0, 0, 0, 255, 0) * 2, 1, *(0,) * 10)),
)


#: Homes, and what is almost one: fuzz_names.c.
NAMES = (
    b'{"entities": [{"name": "Ceiling lamp", "aliases": ["big light"], "domain": "light", "area": "K\xc3\xbcche"}]}',
    b'{"areas": [{"name": "K\\u00fcche", "aliases": []}, "bath"], "entities": ["Kettle", {"name": "\\ud83c\\udfe0"}]}',
    b' {"areas":["a=b:c,d;e|f \\"\\\\\\/\\b\\f\\n\\r\\t"],"entities":[{"area":"x","name":"y","domain":""}]}\n',
    b'{"floors": ["top", {"aliases": ["attic", "loft"], "name": "upper floor"}], "areas": ["a", "a"], "floors": []}',
    b'{"entities": [{"name": 1.5e3}, null, true, {}, []]}',
)
#: A request and lists of names, with zero bytes between: fuzz_heard.c.
HEARD = (
    b"turn off the floor lmap in the Bath, please\0Lamp\tlight\nFloor lamp\nTV\n\0bath\tbathroom\nHall\n\0top\n",
    "die TÉLÉ im Кухня\0télé\nて\n\0кухня\n\0ǰ\u0301\n".encode(),
    b"lamp lamps lampslight\0lamp\nlamps\nlamp lamps\namp\n\0lamp\tlamp\n\0a\tb\n",
)


def _requests(snapshot: bytes, pack: bytes) -> Iterator[bytes]:
    """Lines for chimera-run --serve, and its options."""
    hello, special = b"hello there".hex(), b"<end>a".hex()
    settings = "settings 2 0 1065353216 1063675494 20 1066192077 18446744073709551615 7"
    looking = "position\nlogits\nstate_hash\nlogits_hash\nsnapshot\nreset"
    yield f"info\nprompt {hello}\n{settings}\nbegin 9\nnext\nnext\n{looking}".encode()
    yield b"prefill 1 2 3 287\ngrammar default\nbegin 40\nnext\ngrammar name regex\nbegin 5\nnext\ngrammar name none"
    yield f"encode {hello}\nencode_with_specials {special}\nspecial end\necho x\nprefill 288\nbegin 2147483648".encode()
    yield b"restore " + without_checksums(snapshot).hex().encode() + b"\nnext\nsnapshot"
    yield b"grammar pack " + without_checksums(pack).hex().encode() + b"\nprompt 61\nbegin 90\nnext\nnext"
    options = "-n 5 --temperature 0.7 --top-p .5 --top-k 3 --seed 18446744073709551615 --mode fast -- -x"
    yield options.replace(" ", "\n").encode()
    options = "--loops 2 --exit-threshold nan --repetition-penalty 1e999 --threads 2 --grammar regex --serve --info hi"
    yield options.replace(" ", "\n").encode()
