"""The code of a bundle: generated driver + kernels + C runtime, linked into one library or wasm module."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chimerac.runtime.bundle_format import (
    NATIVE_DIRECTORY,
    NO_LEDGER,
    NO_VALVE,
    POSIX_SOURCES,
    RUNNER_SOURCES,
    SHARED_MEMORY_FLAGS,
    WASM_C_FLAGS,
    WASM_SOURCES,
    Generation,
    Refusal,
    Shares,
    exported_functions,
)
from chimerac.runtime.bundle_format.constants import RULES
from chimerac.targets.code.definitions import defining
from chimerac.targets.code.link import RunZig, link
from chimerac.targets.isa import ISAS, Isa, load_isa
from chimerac.targets.registry import Target


@dataclass(frozen=True)
class CodeFile:
    """A file of code of a target's bundles; ``threads`` and ``kernels`` as of ``WebModule``."""

    name: str
    target: Target
    isa: Isa
    threads: bool = False
    kernels: str = ""

    @property
    def is_runner(self) -> bool:
        """Whether it is the program that runs the bundle."""
        return self.name == self.target.runner


def code_files(target: Target) -> list[CodeFile]:
    """The library, the runner and the other modules of a target's bundles; none where no code is compiled."""
    if target.isa not in ISAS:
        return []
    names = [target.library, *([target.runner] if target.runner else [])]
    return [
        *(CodeFile(name, target, load_isa(target.isa)) for name in names),
        *(CodeFile(m.file, target, load_isa(m.isa), m.threads, m.kernels) for m in target.modules),
    ]


def link_library(
    driver: str,
    objects: Sequence[Path],
    target: Target,
    isa: Isa,
    work: Path,
    output: Path,
    *,
    threads: bool = False,
    tensors: bool = False,
    rules: Sequence[str] = RULES,
    run: RunZig | None = None,
) -> None:
    """Compile ``driver`` (the text of model.c) and link everything into ``output``: the library, or the runner.

    Args:
        driver: for the runner with ``runner_files`` behind it.
        objects: the kernels' object files.
        work: folder for intermediate files; several outputs of one build may share it.
        threads: of a wasm module: whether several threads share its memory; native libraries always have threads.
        tensors: of a wasm module: whether it is called with tensors, not with tokens.
        rules: of a wasm module: those of its tokenizer; code for others is left out.
        run: what runs zig, as of ``link``.

    Raises:
        UserError: CHM302, the C compiler or linker failed.
    """
    if output.name == target.runner:
        _link_program(driver, objects, isa, work, output, run)
        return
    web = isa.triple.startswith("wasm32")  # no operating system: other sources of the C runtime
    linked = work / f"{output.name}.linked" / target.library
    linked.parent.mkdir(parents=True, exist_ok=True)
    model = linked.with_name("model.c")
    model.write_text(driver, encoding="ascii")
    built = (f"CHM_BUILT_RULES={sum(1 << RULES.index(rule) for rule in rules)}u",) if web else ()
    names = WASM_SOURCES if web else POSIX_SOURCES
    sources = defining([NATIVE_DIRECTORY / name for name in names], (*isa.definitions, *built))
    special = c_kernel_sources(isa)
    # the linker leaves files of its own beside its output, and what zig keeps of C sources depends on the output's name
    link(
        objects,
        [model, *sources, *special],
        _with_shared_memory(isa) if threads else isa,
        linked,
        exported_functions(wasm=web, shared=threads, tensors=tensors),
        list(dict.fromkeys([NATIVE_DIRECTORY, *(path.parent for path in special)])),
        WASM_C_FLAGS if web else (),
        run,
    )
    shutil.move(linked, output)


def c_kernel_sources(isa: Isa) -> tuple[Path, ...]:
    """Those of variants whose kernels are C functions."""
    kernels = [variant.c_kernels for variant in isa.variants if variant.c_kernels]
    return tuple(dict.fromkeys(NATIVE_DIRECTORY.parent / name for one in kernels for name in one.sources))


def _with_shared_memory(isa: Isa) -> Isa:
    """For the C sources and the linker; kernels are the same."""
    cpu, *others = isa.compile_flags
    bulk = "" if "+bulk_memory" in cpu else "+bulk_memory"
    flags = (f"{cpu}+atomics{bulk}", *others)
    return replace(isa, compile_flags=flags, link_flags=(*isa.link_flags, *SHARED_MEMORY_FLAGS))


def runner_files(
    weights: str, tokenizer: str, grammars: str, generation: Generation | None = None, refusal: Refusal | None = None
) -> str:
    """C text that tells the runner the names of the data files beside it, and what it takes where nobody says more.

    ``tokenizer`` and ``grammars`` may be "".
    """
    files = {"weights": weights, "tokenizer": tokenizer, "grammars": grammars}
    quoted = {key: f'"{name}"' if name else "0" for key, name in files.items()}
    names = "".join(f"const char *const chm_run_{key} = {name};\n" for key, name in quoted.items())
    return names + _runner_defaults(generation or Generation()) + _runner_refusal(refusal)


#: What ``chimera-run`` takes where neither its caller nor the bundle says anything.
_RUN_DEFAULTS = {"temperature": 0.0, "top_p": 1.0, "repetition_penalty": 1.0, "exit_threshold": 0.0, "max_tokens": 64}


def _runner_defaults(generation: Generation) -> str:
    values = _RUN_DEFAULTS | generation.options()
    lines = [
        f"const {'int32_t' if name == 'max_tokens' else 'float'} chm_run_{name} = {_number(value)};"
        for name, value in values.items()
    ]
    medium, high, *loops, metrics = generation.valve.numbers if generation.valve else NO_VALVE
    lines.append(f"const float chm_run_valve_bits[2] = {{{_number(medium)}, {_number(high)}}};")
    lines.append(f"const int32_t chm_run_valve_loops[3] = {{{', '.join(map(str, loops))}}};")
    lines.append(f"const uint32_t chm_run_valve_metrics = {metrics};")
    ledger = generation.ledger.numbers if generation.ledger else NO_LEDGER
    lines.append(f"const uint32_t chm_run_ledger[3] = {{{', '.join(map(str, ledger))}}};")
    shares = (generation.shares or Shares()).numbers
    lines.append(f"const uint32_t chm_run_shares[{len(shares)}] = {{{', '.join(map(str, shares))}}};")
    own = {name: ", ".join(map(str, found.numbers)) for name, found in generation.mode_shares.items()}
    lists = {name: f"(const uint32_t[]){{{own[name]}}}" if name in own else "0" for name in generation.modes}
    modes = "".join(f'{{"{name}", {loops}, {lists[name]}}}, ' for name, loops in generation.modes.items())
    kind = "struct { const char *name; int32_t loops; const uint32_t *shares; }"
    lines.append(f"const {kind} chm_run_modes[] = {{{modes}{{0, 0, 0}}}};")
    return "\n".join(lines) + "\n"


def _runner_refusal(refusal: Refusal | None) -> str:
    given = refusal or Refusal(0.0, 1.0, "")
    text = "".join(f"\\{byte:03o}" for byte in given.answer.encode())  # octal escapes end by themselves
    quoted = f'"{text}"' if refusal else "0"
    return (
        f"const char *const chm_run_refusal = {quoted};\n"
        f"const float chm_run_refusal_threshold = {_number(given.threshold)};\n"
        f"const float chm_run_refusal_temperature = {_number(given.temperature)};\n"
    )


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value!r}f"


def _link_program(driver: str, objects: Sequence[Path], isa: Isa, work: Path, output: Path, run: RunZig | None) -> None:
    """A program that needs no other file than the data, so that it runs on every Linux of the processor."""
    model = work / f"{output.name}.c"
    model.write_text(driver, encoding="ascii")
    sources = [NATIVE_DIRECTORY / name for name in (*POSIX_SOURCES, *RUNNER_SOURCES)]
    static = replace(isa, triple=isa.program_triple, link_flags=("-static", "-Wl,--gc-sections"))
    linked = work / output.name
    link(objects, [model, *sources], static, linked, (), [NATIVE_DIRECTORY], run=run)
    linked.chmod(0o755)
    shutil.move(linked, output)
