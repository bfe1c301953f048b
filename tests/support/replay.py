"""Compiles many small models into one program per target and runs recorded calls with it (replay.c)."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from token_trees import Tree

from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.runtime.bundle_format import NATIVE_DIRECTORY
from chimerac.runtime.sessions.runner import find_emulator
from chimerac.targets.code.descriptor import Identity
from chimerac.targets.code.driver import kernel_specs, used_sections, write_driver
from chimerac.targets.code.library import c_kernel_sources
from chimerac.targets.code.link import link
from chimerac.targets.code.memory_planning import plan_memory
from chimerac.targets.code.places import MemoryPlan
from chimerac.targets.code.variants import compile_variants, kernel_sets
from chimerac.targets.isa import load_isa

Calls = Sequence[Sequence[int] | Tree]
#: target → triple of a program, flags to link it
PROGRAMS = {
    "x86_64-avx2": ("x86_64-linux-gnu", ("-pthread",)),
    "aarch64-neon": ("aarch64-linux-musl", ("-static",)),
    "wasm32-simd128": ("wasm32-wasi", ()),
}


@dataclass(frozen=True)
class Recorded:
    """A lowered and packed module, and the calls to run."""

    module: Module
    calls: Calls
    loops: int

    def expected(self) -> list[dict[str, np.ndarray]]:
        """Logits and states after each call, from the interpreter; of a tree logits of all nodes, one by one."""
        session = Session(self.module, loops=self.loops)
        found = []
        for tokens in self.calls:
            if isinstance(tokens, Tree):
                logits = session.verify(tokens.tokens, tokens.parents).reshape(-1)
                session.commit(tokens.path)
            else:
                logits = session.forward(tokens)
            found.append({"logits": logits, **{name: s.copy() for name, s in session.states.items()}})
        return found


def _numbers(call: Sequence[int] | Tree) -> list[int]:
    """What replay.c reads of a call."""
    if not isinstance(call, Tree):
        return [len(call), *call]
    numbers = [-len(call.tokens), *call.tokens, *call.parents, call.span]
    for paths in (call.paths(), call.chosen()):
        numbers += [len(paths), *(number for path in paths for number in path)]
    return numbers


class Program:
    """Some modules compiled for a target."""

    def __init__(self, name: str, recorded: Sequence[Recorded], directory: Path) -> None:
        self.isa = load_isa(name)
        self.recorded = recorded
        self.plans: list[MemoryPlan] = [plan_memory(r.module) for r in recorded]
        directory.mkdir(parents=True)
        specs = [spec for r in recorded for spec in kernel_specs(r.module)]
        objects = compile_variants(specs, self.isa, directory / "kernels")
        sources = [Path(__file__).with_name("replay.c"), directory / "models.c", *c_kernel_sources(self.isa)]
        table = []
        for i, (r, plan) in enumerate(zip(recorded, self.plans, strict=True)):
            sources.append(directory / f"model{i}.c")
            text = write_driver(r.module, plan, Identity(name, "", "", "", kernel_sets(self.isa)))
            sources[-1].write_text(f"#define chm_model chm_model_{i}\n{text}")
            table.append(i)
        externs = "".join(f"extern const chm_model_desc chm_model_{i};\n" for i in table)
        pointers = ", ".join(f"&chm_model_{i}" for i in table)
        sources[1].write_text(
            f'#include "chm_model.h"\n{externs}const chm_model_desc *const models[] = {{{pointers}}};\n'
        )
        triple, flags = PROGRAMS[name]
        compiled = tuple(f for f in self.isa.compile_flags if f != "-fvisibility=hidden")
        program = replace(self.isa, triple=triple, link_flags=flags, compile_flags=compiled, suffix="")
        self.path = directory / "replay"
        link([o.object_path for o in objects], sources, program, self.path, (), [NATIVE_DIRECTORY], ("-O1",))

    def run(self, kernel_set: int = 0, processor: str = "") -> list[list[dict[str, np.ndarray]]]:
        """Logits and states after each call of each module."""
        parts = []
        for i, r in enumerate(self.recorded):
            parts.append(struct.pack("<4i", i, kernel_set, r.loops, len(r.calls)))
            parts += [np.ascontiguousarray(r.module.constants[s].data).tobytes() for s in used_sections(r.module)]
            parts += [np.array(_numbers(tokens), "<i4").tobytes() for tokens in r.calls]
        output = memoryview(self._execute(b"".join(parts), processor))
        found, place = [], 0
        for r, plan in zip(self.recorded, self.plans, strict=True):
            results = []
            for call in r.calls:
                size = 4 * int(r.module.entry("decode").results[0].type.shape[-1])
                size *= len(call.tokens) if isinstance(call, Tree) else 1
                one = {"logits": np.frombuffer(output[place : place + size], np.float32)}
                place += size
                for name, state in r.module.states.items():
                    start = place + plan.state_offsets[name]
                    data = output[start : start + state.type.bytes() * state.iterations]
                    shape = (state.iterations, *(int(d) for d in state.type.shape))
                    one[name] = np.frombuffer(data, state.type.numpy).reshape(shape)
                place += plan.state_bytes
                results.append(one)
            found.append(results)
        assert place == len(output)
        return found

    def _execute(self, data: bytes, processor: str) -> bytes:
        if self.isa.name.startswith("wasm"):
            return self._execute_wasi(data)
        command = [str(self.path)]
        if self.isa.name.startswith("aarch64"):
            emulator = find_emulator("aarch64")
            assert emulator is not None
            command.insert(0, emulator)
        environment = {**os.environ, **({"QEMU_CPU": processor} if processor else {})}
        return subprocess.run(command, input=data, capture_output=True, check=True, env=environment).stdout

    def _execute_wasi(self, data: bytes) -> bytes:
        import wasmtime

        files = [self.path.with_suffix(f".{end}") for end in ("in", "out")]
        files[0].write_bytes(data)
        engine = wasmtime.Engine()
        linker = wasmtime.Linker(engine)
        linker.define_wasi()
        store = wasmtime.Store(engine)
        wasi = wasmtime.WasiConfig()
        wasi.stdin_file, wasi.stdout_file = map(str, files)
        store.set_wasi(wasi)
        instance = linker.instantiate(store, wasmtime.Module.from_file(engine, str(self.path)))
        with contextlib.suppress(wasmtime.ExitTrap):  # how a module ends; one that fails leaves too little output
            instance.exports(store)["_start"](store)
        return files[1].read_bytes()
