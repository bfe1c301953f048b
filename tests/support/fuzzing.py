"""Mutations of good inputs, given to everything in Python that reads bytes or texts from outside.

Each reader may return or raise its typed error, and nothing else: no other exception, and no more processor time than
its input deserves (the alarm of ``run`` ends what hangs).
"""

from __future__ import annotations

import json
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from bad_manifests import GOOD
from gguf_files import small_gguf
from numpy.typing import NDArray
from safetensors_files import SMALL_DATA, file_of, small_header, write_folder
from span_banks import random_bank

from chimerac.compiler.errors import UserError
from chimerac.frontends.config import loads
from chimerac.frontends.grammar.choices import choices_grammar, read_choices
from chimerac.frontends.grammar.lark_files import lark_grammar
from chimerac.frontends.grammar.regex import regex_grammar
from chimerac.frontends.grammar.schema import schema_grammar
from chimerac.frontends.published.reading import open_source, shape_of
from chimerac.frontends.sources.folder import open_folder
from chimerac.frontends.sources.gguf import open_gguf
from chimerac.frontends.sources.recognised import CONFIG
from chimerac.frontends.weights.files import open_checkpoint
from chimerac.passes.grammar_fst import GrammarFst
from chimerac.runtime import bundle_format as bf
from chimerac.runtime.bundle_format.fstpack import Pack, pack_bytes, pack_of_container
from chimerac.runtime.bundle_format.sfpack import bank_bytes, bank_of_container
from chimerac.runtime.bundle_format.state import SequenceState, StateForm, parse_state, state_bytes
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.merging import Merges
from chimerac.runtime.reference.tokenizer import (
    Special,
    Tokenizer,
    byte_tokenizer,
    tokenizer_of_container,
    tokenizer_sections,
)

#: Seconds of the processor after which a reader of so small an input counts as hanging.
SECONDS = 30.0
#: What breaks readers: ends of ranges, brackets, escapes, halves of characters.
TOKENS: Sequence[bytes] = (
    *(
        b"0",
        b"-1",
        b"1e999",
        b"NaN",
        b"null",
        b"9" * 400,
        b"18446744073709551615",
        b"9007199254740993",
        b"0.1",
        b"true",
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"\xed\xa0\x80",
        b"\xff\xfe",
        b"\x00",
        b"\xef\xbb\xbf",
    ),
    *(
        b"(" * 300,
        b"[" * 2000,
        b"{" * 40,
        b'{"a":' * 40,
        b"//",
        b"/*",
        b"*/",
        b"\n",
        b"\r",
        b"\xe2\x80\xa8",
        b"$ref",
        b"%ignore",
    ),
)
#: The same where a value of JSON stands.
VALUES: Sequence[Any] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**32,
        2**53,
        2**63,
        2**64,
        10**400,
        0.5,
        -0.0,
        1e308,
        "",
        "a",
        "\0",
        "\ud800",
    ),
    *(
        "x" * 5000,
        [],
        {},
        [[]],
        [None],
        {"a": 1},
        {"": {}},
        [0] * 300,
        {"$ref": "#"},
        "\x1b[2J",
        "../../etc/passwd",
        "F32",
    ),
)


@dataclass(frozen=True)
class Target:
    """A reader, and good inputs of it. ``header``: inputs are containers, whose JSON header is mutated as JSON, too."""

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    header: bool = False


def mutated(seed: bytes, rng: random.Random, others: Sequence[bytes], *, header: bool) -> bytes:
    """One to four changes of an input."""
    if header and rng.random() < 0.6:
        return with_other_header(seed, rng)
    if not header and rng.random() < 0.4:
        try:
            return json.dumps(other_value(json.loads(seed), rng)).encode()
        except (ValueError, RecursionError):
            pass  # not all inputs are JSON
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        length = min(rng.choice((1, 1, 2, 4, 8, 32, 300)), len(data) - at)
        match rng.randrange(6):
            case 0 if length:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = rng.choice(TOKENS)
            case 3:
                data[at : at + length] = data[at : at + length] * rng.choice((2, 3, 50))
            case 4:
                data[at : at + length] = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length)))
            case _:
                other = rng.choice(others)
                begin = rng.randrange(len(other) + 1)
                data[at : at + length] = other[begin : begin + rng.randrange(64)]
    return bytes(data)


def with_other_header(container: bytes, rng: random.Random) -> bytes:
    """A container with values of its header, or of the table in it, replaced; lengths and padding are right again."""
    start = 8 + int.from_bytes(container[:8], "little")
    header = json.loads(container[8:start])
    metadata = header["__metadata__"]
    if rng.random() < 0.3:
        metadata["chimera.sections"] = json.dumps(other_value(json.loads(metadata["chimera.sections"]), rng))
    else:
        header = other_value(header, rng)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 4096)
    return len(text).to_bytes(8, "little") + text + container[start:]


def other_value(value: Any, rng: random.Random) -> Any:
    """A JSON value with one of the values in it replaced, left out or repeated."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        changed = dict(value)
        match rng.randrange(10):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice(("", "x", "__proto__", key + "x"))] = changed.pop(key)
            case _:
                changed[key] = other_value(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.9:
        at = rng.randrange(len(value))
        return [*value[:at], *([other_value(value[at], rng)] * rng.choice((0, 1, 1, 1, 2))), *value[at + 1 :]]
    if type(value) is int and rng.random() < 0.5:
        return value + rng.choice((-1, 1, -64, 64, 2**32))
    return rng.choice(VALUES)


def run(target: Target, count: int, seed: int) -> None:
    """Read so many mutated inputs; an AssertionError has the input that found something."""
    rng = random.Random(f"{target.name} {seed}")
    before = signal.signal(signal.SIGVTALRM, _hangs)
    try:
        for number in range(count):
            data = mutated(rng.choice(target.seeds), rng, target.seeds, header=target.header)
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                target.read(data)
            except (BundleError, UserError) as error:
                error.render().encode("utf-8", "backslashreplace")
            except BaseException as error:
                raise AssertionError(f"{target.name}, seed {seed}, {number}: {error!r} of {data[:3000]!r}") from error
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)


def _hangs(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {SECONDS} s of the processor")


def targets(folder: Path) -> list[Target]:
    """All readers. ``folder``: for those that read files."""
    weights = folder / "model.safetensors"

    def read_weights(data: bytes) -> None:
        weights.write_bytes(data)
        found = open_checkpoint(weights)
        for name in list(found.entries)[:4]:
            found.whole(name)

    model = folder / "model.gguf"

    def read_gguf(data: bytes) -> None:
        model.write_bytes(data)
        found = open_gguf(model)
        for tensor in list(found.tensors.values())[:4]:
            tensor.floats()

    published = folder / "published"
    published.mkdir()
    (published / CONFIG).write_text('{"model_type": "llama"}')

    def read_folder(data: bytes) -> None:
        (published / "model.safetensors").write_bytes(data)
        for tensor in list(open_folder(published).tensors.values())[:4]:
            if tensor.encoding is not None:
                tensor.floats()
            elif len(tensor.shape) == 2:
                tensor.raw()

    described = folder / "described"
    write_folder(described, {"model.safetensors": _weights()})

    def read_description(data: bytes) -> None:
        (described / CONFIG).write_bytes(data)
        shape_of(open_source(described))

    def unverified(read: Callable[[bf.Container], object]) -> Callable[[bytes], object]:
        return lambda data: read(bf.parse_container(data, verify=False))

    def text(read: Callable[[str], object]) -> Callable[[bytes], object]:
        return lambda data: read(data.decode("utf-8", "surrogateescape"))

    return [
        Target("manifest", bf.parse_manifest, (json.dumps(GOOD).encode(),)),
        Target("container", bf.parse_container, (_weights(), _tokenizer()), header=True),
        Target("tokenizer", unverified(tokenizer_of_container), (_tokenizer(), _merging_tokenizer()), header=True),
        Target("pack", unverified(pack_of_container), (_pack(),), header=True),
        Target("bank", unverified(bank_of_container), (bank_bytes(random_bank(40, 3)[0]),), header=True),
        Target("state", lambda data: parse_state(FORM, data), (_state(),), header=True),
        Target("checkpoint", read_weights, (_weights(), _tokenizer()), header=True),
        Target("gguf", read_gguf, (small_gguf().bytes(), small_gguf().but(version=2).bytes())),
        Target("model folder", read_folder, (file_of(small_header(), SMALL_DATA),)),
        Target("model config", read_description, (PUBLISHED,)),
        Target("config", text(loads), tuple(config.encode() for config in CONFIGS)),
        Target("schema", text(schema_grammar), tuple(json.dumps(schema).encode() for schema in SCHEMAS)),
        Target("regex", text(regex_grammar), tuple(pattern.encode() for pattern in PATTERNS)),
        Target("lark", text(lambda source: lark_grammar(source, "x")), tuple(source.encode() for source in LARK)),
        Target("choices", text(lambda line: choices_grammar(read_choices(line))), (b'on,off,"a, b",\xc3\xa9',)),
    ]


CONFIGS = (
    'extends: "chimera51", scale: "nano", seed: 3, overrides: {"backbone.moe.n_routed_experts": 4}',
    '{extends: "home", generation: {temperature: 0.7, top_p: 0.9}, vocab_size: 300, // a comment\n num_heads: 4}',
    '| {"extends": "chimera51",      |\n| "token_ids": [1, 2], "name": "x" } |',
)
SCHEMAS: Sequence[Any] = (
    {"type": "object", "properties": {"a": {"type": "integer", "minimum": -5, "maximum": 300}}, "required": ["a"]},
    {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/x"}, {"type": "null"}]}, "minItems": 1, "$defs": {"x": {}}},
    {"enum": ["on", "off", 1, None]},
    {"type": "string", "pattern": "^[a-c]{1,4}$", "maxLength": 3},
    {
        "type": "object",
        "additionalProperties": {"type": "number", "multipleOf": 0.5},
        "propertyNames": {"pattern": "^x"},
    },
)
PATTERNS = (r"[A-Z]{3}-\d{2,4}", r"(?:on|off)+?(?i:x)\.\x41[^\W_]", "a|b*|(c)?", r"(?P<n>é){2}(?=a)a")
LARK = (
    'start: pair ("," pair)*\npair: WORD "=" /[0-9]+/\nWORD: /[a-z]+/\n%ignore " "\n',
    'start: "(" start ")" | "x"~1..3\n%import common.INT\n',
)
FORM = StateForm("cd" * 32, "ab" * 32, 40, 4, {"trace": (8,)})


def _state() -> bytes:
    states, logits = {"trace": np.ones(8, np.float32)}, np.zeros(40, np.float32)
    return state_bytes(FORM, SequenceState(states=states, logits=logits, position=3, deepest=2, iterations=2, text=b""))


def _merging_tokenizer() -> bytes:
    tokens = (*(bytes([byte]) for byte in range(256)), b"ab", b"abc", b"")
    made = Tokenizer(
        tokens,
        (Special("<é>", 258, "end", 2),),
        "llama3",
        Merges((256, 257), (1, 2)),
        tuple(range(256)),
        ("nfc", "whole"),
    )
    return bf.container_bytes(bf.KIND_TOKENIZER, tokenizer_sections(made))


def _tokenizer() -> bytes:
    sections = tokenizer_sections(byte_tokenizer(260, [Special("<end>", 258, "end")]))
    return bf.container_bytes(bf.KIND_TOKENIZER, sections, {bf.KEY_CONFIG: "cd" * 32})


#: A config.json with keys of all types.
PUBLISHED = b"""{"model_type": "qwen3", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
"num_hidden_layers": 1, "num_attention_heads": 2,
"num_key_value_heads": 1, "head_dim": 4, "hidden_act": "silu", "rms_norm_eps": 1e-06,
"rope_parameters": {"rope_theta": 10000.0, "rope_type": "yarn", "factor": 4.0}, "layer_types": ["full_attention"],
"quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear"}, "sliding_window": null}"""


def _weights() -> bytes:
    arrays: dict[str, NDArray[Any]] = {
        "a": np.ones((2, 3), np.float32),
        "b": np.arange(70, dtype=np.uint8),
        "c": np.arange(5, dtype=np.int16),
    }
    return bf.container_bytes(
        "b158", [bf.array_section(name, array) for name, array in arrays.items()], {bf.KEY_CONFIG: "cd" * 32}
    )


def _pack() -> bytes:
    return pack_bytes(
        Pack((GrammarFst().compile(regex_grammar(PATTERNS[0])), GrammarFst().compile(lark_grammar(LARK[1], "x"))))
    )


def main() -> None:
    """``python -m fuzzing COUNT SEED``: every reader in turn."""
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        for target in targets(Path(folder)):
            begun = time.process_time()
            run(target, count, seed)
            print(f"{target.name:<12} {count:>9,} inputs  {time.process_time() - begun:8.1f} s", flush=True)


if __name__ == "__main__":
    main()
