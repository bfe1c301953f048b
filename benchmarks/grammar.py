"""Grammars over the 200,073 tokens of o200k_base with agent tokens: this runtime against llguidance and xgrammar.

    PYTHONPATH=src OMP_NUM_THREADS=1 python benchmarks/grammar.py [--rounds 3] [--documents 12]

All three get the same documents token by token and make the mask before every token, in turns in the same run, one
thread, each through its Python interface. Reported are the time of one mask (median, 99th percentile), of compiling a
schema (median over schemas, best of the rounds), and of opening a compiled pack. Nothing is kept between documents but
what each engine keeps itself; the first document of a grammar counts, so the first mask of each state does too. Times
are of the processor, so that a busy machine disturbs them less.
"""

from __future__ import annotations

import argparse
import ctypes as ct
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llguidance
import llguidance.numpy
import numpy as np
import xgrammar
from native_parts import TOKENIZER_SOURCES, compile_parts

from chimerac.compiler.model import GrammarRequest
from chimerac.compiler.packaging.grammar_packs import compile_grammar, make_pack
from chimerac.frontends.tokenizers.o200k import installed_ranks, o200k_tokenizer
from chimerac.runtime.bundle_format.fstpack import pack_bytes
from chimerac.runtime.reference.tokenizer import Tokenizer, write_tokenizer
from chimerac.runtime.sessions.native_grammar import NativeGrammar, NativePack
from chimerac.runtime.sessions.native_library import _GRAMMAR_SIGNATURES

ROOT = Path(__file__).resolve().parent.parent
GRAMMAR_SOURCES = tuple(f"grammar{part}" for part in ("", "_mask", "_pack", "_soft", "_vocabulary", "_walk"))
DRIVER = """
static chm_bundle bundle;
CHM_API chm_bundle *bench_open(const void *file, size_t bytes) {
  bundle.allocator = chm_default_allocator;
  bundle.has_tokenizer = true;
  return chm_tokenizer_open(file, bytes, CHM_MAX_VOCABULARY, 0, &bundle.allocator, &bundle.tokenizer) ? NULL : &bundle;
}
"""

#: Schema and a maker of its instances.
Case = tuple[str, dict[str, Any], Callable[[random.Random], Any]]

WORDS = (
    "amber",
    "brook",
    "cedar",
    "delta",
    "ember",
    "flint",
    "grove",
    "haven",
    "island",
    "juniper",
    "kestrel",
    "lantern",
)


def _words(source: random.Random, count: int) -> str:
    return " ".join(source.choice(WORDS) for _ in range(count))


def _person(r: random.Random) -> Any:
    return {"name": _words(r, 2).title(), "age": r.randrange(120), "email": f"{r.choice(WORDS)}@example.com"}


def _order(r: random.Random) -> Any:
    lines = [{"sku": f"{r.choice('ABC')}-{r.randrange(1000):03}", "count": r.randrange(1, 20)} for _ in range(4)]
    return {
        "id": r.randrange(10**6),
        "status": r.choice(["open", "paid", "sent"]),
        "lines": lines,
        "note": _words(r, 12),
    }


def _tree(r: random.Random, depth: int = 3) -> Any:
    return {"label": _words(r, 1), "children": [_tree(r, depth - 1) for _ in range(2)] if depth else []}


def _event(r: random.Random) -> Any:
    day = f"2026-{r.randrange(1, 13):02}-{r.randrange(1, 28):02}"
    return {
        "title": _words(r, 5),
        "date": day,
        "place": {"lat": r.randrange(90), "lon": r.randrange(180)},
        "tags": list(WORDS[:3]),
    }


def _object(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    } | more


STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}
LINE = _object({"sku": {"type": "string", "pattern": "^[A-C]-[0-9]{3}$"}, "count": INTEGER})
CASES: tuple[Case, ...] = (
    ("person", _object({"name": STRING, "age": INTEGER, "email": STRING}), _person),
    (
        "order",
        _object(
            {
                "id": INTEGER,
                "status": {"enum": ["open", "paid", "sent"]},
                "lines": {"type": "array", "items": LINE},
                "note": {"type": "string", "maxLength": 200},
            }
        ),
        _order,
    ),
    (
        "tree",
        {
            "$ref": "#/$defs/node",
            "$defs": {
                "node": _object({"label": STRING, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}})
            },
        },
        _tree,
    ),
    (
        "event",
        _object(
            {
                "title": STRING,
                "date": {"type": "string", "format": "date"},
                "place": _object({"lat": INTEGER, "lon": INTEGER}),
                "tags": {"type": "array", "items": STRING},
            }
        ),
        _event,
    ),
)


def json_document(source: random.Random, depth: int = 4) -> Any:
    """Any JSON value, an object or array at the top."""
    kind = source.randrange(6) if 0 < depth < 4 else source.randrange(2) if depth else 2 + source.randrange(4)
    if kind == 0:
        return {_words(source, 1) + str(i): json_document(source, depth - 1) for i in range(source.randrange(1, 5))}
    if kind == 1:
        return [json_document(source, depth - 1) for _ in range(source.randrange(1, 5))]
    if kind == 2:
        return source.uniform(-1e3, 1e3)
    return (
        _words(source, source.randrange(1, 12)) + source.choice(["", "é", ' "quoted"', "\n", "漢字"])
        if kind < 5
        else source.choice([True, None, 0])
    )


class Library:
    """The runtime without a model, as bundles compile it; stands in for NativeLibrary."""

    has_grammars = True

    def __init__(self, folder: Path) -> None:
        self._library = compile_parts(folder, DRIVER, (*TOKENIZER_SOURCES, *GRAMMAR_SOURCES))
        for name, (result, arguments) in _GRAMMAR_SIGNATURES.items():
            if not name.startswith("chm_session"):
                function = getattr(self._library, name)
                function.restype, function.argtypes = result, arguments
        self._library.bench_open.restype = ct.c_void_p
        self._library.bench_open.argtypes = (ct.c_char_p, ct.c_size_t)

    def get(self, name: str, *values: Any) -> Any:
        return getattr(self._library, name)(*values)

    def call(self, name: str, *values: Any) -> bool:
        status = self.get(name, *values)
        if status > 1:
            raise RuntimeError(f"{name}: CHM{status}")
        return bool(status)


@dataclass
class Engine:
    """What is measured: ``compile(schema or None for JSON)`` gives what ``start`` makes a matcher of."""

    name: str
    compile: Callable[[dict[str, Any] | None], Any]
    start: Callable[[Any], tuple[Callable[[], Any], Callable[[int], Any]]]


def ours(library: Library, bundle: ct.c_void_p, base: NativePack) -> Engine:
    def compile(schema: dict[str, Any] | None) -> NativeGrammar:
        if schema is None:
            return base.grammar("json")
        return NativePack(library, bundle, compile_grammar(schema=schema), base).grammar()  # type: ignore[arg-type]

    def start(grammar: NativeGrammar) -> tuple[Callable[[], Any], Callable[[int], Any]]:
        grammar.start()
        return grammar.mask_words, grammar.accept

    return Engine("chimerac", compile, start)


def guidance(tokenizer: Tokenizer) -> Engine:
    ranks = {token: number for number, token in enumerate(tokenizer.tokens) if token}
    specials = {special.name: special.id for special in tokenizer.specials}
    table = llguidance.LLTokenizer.from_tiktoken(  # type: ignore[attr-defined]
        encoder=ranks,
        special_tokens=specials,
        pattern=r"\S+|\s+",
        eos_token=end_token(tokenizer),
        n_vocab=len(tokenizer.tokens),
    )
    bitmask = llguidance.numpy.allocate_token_bitmask(1, len(tokenizer.tokens))

    def compile(schema: dict[str, Any] | None) -> llguidance.LLMatcher:
        source = {"type": ["object", "array"]} if schema is None else schema
        matcher = llguidance.LLMatcher(table, llguidance.LLMatcher.grammar_from_json_schema(source))
        if matcher.is_error():
            raise RuntimeError(matcher.get_error())
        return matcher

    def start(matcher: llguidance.LLMatcher) -> tuple[Callable[[], Any], Callable[[int], Any]]:
        matcher.reset()
        return lambda: llguidance.numpy.fill_next_token_bitmask(matcher, bitmask, 0), matcher.consume_token

    return Engine("llguidance", compile, start)


def grammar_x(tokenizer: Tokenizer) -> Engine:
    table = xgrammar.TokenizerInfo(list(tokenizer.tokens), stop_token_ids=end_token(tokenizer))
    compiler = xgrammar.GrammarCompiler(table, max_threads=1, cache_enabled=False)
    bitmask = np.zeros((1, (len(tokenizer.tokens) + 31) // 32), np.int32)

    def compile(schema: dict[str, Any] | None) -> Any:
        return compiler.compile_builtin_json_grammar() if schema is None else compiler.compile_json_schema(schema)

    def start(grammar: Any) -> tuple[Callable[[], Any], Callable[[int], Any]]:
        matcher = xgrammar.GrammarMatcher(grammar)
        return lambda: matcher.fill_next_token_bitmask(bitmask), matcher.accept_token

    return Engine("xgrammar", compile, start)


def end_token(tokenizer: Tokenizer) -> int:
    """The token that ends a text."""
    return next(special.id for special in tokenizer.specials if special.role == "end")


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """(Microseconds, result)."""
    begun = time.thread_time_ns()
    result = call()
    return (time.thread_time_ns() - begun) / 1000, result


def masks(engine: Engine, compiled: Any, documents: list[list[int]]) -> Iterator[float]:
    """Microseconds of the mask before each token of each document."""
    for document in documents:
        fill, accept = engine.start(compiled)
        for token in document:
            microseconds, _ = timed(fill)
            yield microseconds
            accept(token)


#: Files of this repository in the language of a mode.
MODE_FILES = {
    "plain_text": "docs/*.md",
    "markdown": "docs/*.md",
    "python": "runtime/*.py",
    "javascript": "runtime/web/*.mjs",
}


def mode_masks(grammar: NativeGrammar, mode: str, tokenizer: Tokenizer) -> Iterator[float]:
    """Microseconds of the mask before each token of the mode's files, up to what the mode does not take."""
    for path in sorted(ROOT.glob(MODE_FILES[mode]))[:6]:
        grammar.start()
        for token in tokenizer.encode(path.read_text("utf-8")[:6000]):
            microseconds, mask = timed(grammar.mask_words)
            yield microseconds
            if not mask[token >> 5] >> (token & 31) & 1:
                break
            grammar.accept(token)


def show(what: str, times: dict[str, list[float]]) -> None:
    for name, values in times.items():
        p99 = float(np.percentile(values, 99))
        print(
            f"{what:<22}{name:<12} median {statistics.median(values):8.2f} µs   p99 {p99:8.2f} µs   {len(values)} masks"
        )


def main() -> None:  # noqa: C901  one measurement after the other
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=12)
    parser.add_argument("--pack", type=Path, help="A pack with the mode json, and others, for this tokenizer.")
    options = parser.parse_args()
    tokenizer = o200k_tokenizer(installed_ranks())
    source = random.Random(5)

    with tempfile.TemporaryDirectory() as folder:
        library = Library(Path(folder))
        write_tokenizer(Path(folder) / "tokenizer", tokenizer)
        container = (Path(folder) / "tokenizer").read_bytes()
        bundle = ct.c_void_p(library.get("bench_open", container, len(container)))
        pack = options.pack or Path(folder) / "pack"
        if not options.pack:
            pack.write_bytes(pack_bytes(make_pack(GrammarRequest(("json",)), tokenizer)))
        opened = []
        for _ in range(options.rounds + 2):
            microseconds, base = timed(lambda: NativePack(library, bundle, pack, skip_checksums=True))  # type: ignore[arg-type]
            opening, grammar = timed(lambda base=base: base.grammar("json"))
            opened.append((microseconds, opening))
            grammar.close()
            if len(opened) < options.rounds + 2:
                base.close()
        whole, one = (min(times) for times in zip(*opened, strict=True))
        print(
            f"opening the pack of {pack.stat().st_size / 2**20:.1f} MiB: {whole:.0f} µs; its grammar json: {one:.0f} µs"
        )
        engines = [ours(library, bundle, base), guidance(tokenizer), grammar_x(tokenizer)]

        def encode(value: Any) -> list[int]:
            return tokenizer.encode(json.dumps(value, ensure_ascii=False))

        documents = [encode(json_document(source)) for _ in range(options.documents)]
        instances = {name: [encode(make(source)) for _ in range(options.documents)] for name, _, make in CASES}
        compile_times: dict[str, list[float]] = {engine.name: [] for engine in engines}
        json_times: dict[str, list[float]] = {engine.name: [] for engine in engines}
        schema_times: dict[str, list[float]] = {engine.name: [] for engine in engines}
        for engine in engines:
            compiled = engine.compile(None)
            for _ in range(options.rounds):
                json_times[engine.name] += masks(engine, compiled, documents)
        for name, schema, _ in CASES:
            for engine in engines:
                best = float("inf")
                for _ in range(options.rounds):
                    microseconds, compiled = timed(lambda engine=engine, schema=schema: engine.compile(schema))
                    best = min(best, microseconds)
                    schema_times[engine.name] += masks(engine, compiled, instances[name])
                compile_times[engine.name].append(best)
        show("JSON", json_times)
        for mode in base.names:
            if mode in MODE_FILES:
                show(mode, {"chimerac": list(mode_masks(base.grammar(mode), mode, tokenizer))})
        show("schemas", schema_times)
        for name, values in compile_times.items():
            median = statistics.median(values) / 1000
            print(f"{'compile a schema':<22}{name:<12} median {median:8.2f} ms   most {max(values) / 1000:8.2f} ms")


if __name__ == "__main__":
    main()
