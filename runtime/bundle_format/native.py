"""What a link step needs of the C runtime: source files, flags, exports, and the header made from the constants."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from chimerac.runtime.bundle_format import constants as c

_RUNTIME = Path(__file__).resolve().parent.parent
NATIVE_DIRECTORY: Final = _RUNTIME / "native"  #: C sources and headers of the runtime; the include path of model.c
WEB_DIRECTORY: Final = _RUNTIME / "web"
PAGE_DIRECTORY: Final = WEB_DIRECTORY / "page"
APPLE_DIRECTORY: Final = _RUNTIME / "apple"  #: C sources for Apple's processors, and files of bundles for its systems

_CORE = (
    "chm_bank.c",
    "chm_bank_find.c",
    "chm_bundle.c",
    "chm_call.c",
    "chm_certificate.c",
    "chm_container.c",
    "chm_cpu.c",
    "chm_crc32.c",
    "chm_decode.c",
    "chm_drafts.c",
    "chm_encoder.c",
    "chm_error.c",
    "chm_gain.c",
    "chm_grammar.c",
    "chm_grammar_mask.c",
    "chm_grammar_pack.c",
    "chm_grammar_soft.c",
    "chm_grammar_vocabulary.c",
    "chm_grammar_walk.c",
    "chm_grammar_words.c",
    "chm_heard.c",
    "chm_knot.c",
    "chm_ledger.c",
    "chm_memory.c",
    "chm_merges.c",
    "chm_normal.c",
    "chm_pretokenizer.c",
    "chm_sampler.c",
    "chm_session.c",
    "chm_sha256.c",
    "chm_spans.c",
    "chm_state.c",
    "chm_threads.c",
    "chm_tidy.c",
    "chm_tokenizer.c",
    "chm_utf8.c",
    "chm_valve.c",
)
#: Linux, Android, Apple: needs libc, threads and a clock
POSIX_SOURCES: Final = (
    *_CORE,
    "chm_host_posix.c",
    "chm_measure.c",
    "chm_names.c",
    "chm_names_json.c",
    "chm_pace.c",
    "chm_profile.c",
    "chm_threads_posix.c",
)
#: The program ``chimera-run``, on top of ``POSIX_SOURCES``.
RUNNER_SOURCES: Final = ("chm_run.c", "chm_run_bundle.c", "chm_run_serve.c")
#: wasm32-freestanding: needs nothing
WASM_SOURCES: Final = (*_CORE, "chm_host_wasm.c", "chm_threads_wasm.c", "chm_freestanding.c")

#: How every C file of a bundle is compiled, model.c included; the numeric contract needs the floating-point flags.
C_FLAGS: Final = (
    "-std=c11",
    "-O2",
    "-ffp-contract=off",
    "-fno-fast-math",
    "-fno-math-errno",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-ffunction-sections",
    "-fdata-sections",
)
#: Compile flags on top of C_FLAGS for wasm32-freestanding.
WASM_C_FLAGS: Final = ("-nostdlib", "-ffreestanding")

#: Pages of a shared memory: what a module starts with (data and its own stack), and what 32-bit addresses allow.
SHARED_MEMORY_PAGES: Final = (64, 65535)
#: Linker flags of a module that several threads run: they share an imported memory; each has its own stack pointer.
SHARED_MEMORY_FLAGS: Final = (
    "-Wl,--import-memory",
    "-Wl,--shared-memory",
    f"-Wl,--initial-memory={SHARED_MEMORY_PAGES[0] * 65536}",
    f"-Wl,--max-memory={SHARED_MEMORY_PAGES[1] * 65536}",
    "-Wl,--export=__stack_pointer",
)

#: The script of a web bundle with the modules that several of its scripts import.
WEB_SHARED: Final = "chimera-shared.mjs"
#: The loader: files that a web bundle carries next to its data. All but ``WEB_SHARED`` are in ``runtime/web``; the
#: scripts are shipped with the modules that they import.
WEB_FILES: Final = (
    "chimera.mjs",
    "chimera.d.mts",
    WEB_SHARED,
    "compiler.d.mts",
    "compiler.mjs",
    "host.mjs",
    "static.d.mts",
    "static.mjs",
    "worker.d.mts",
    "worker.mjs",
)

#: Files of ``runtime/web/page``: those of every page, and what the page ``demo`` has beside them.
PAGE_FILES: Final = ("index.html", "page.mjs", "page.css")
DEMO_FILES: Final = (
    "demo.mjs",
    "demo.css",
    "service-worker.mjs",
    "app.webmanifest",
    "icon.svg",
)


def exported_functions(*, wasm: bool, shared: bool = False, tensors: bool = False) -> tuple[str, ...]:
    """Names of the functions of chimera.h, in the order of the header.

    Args:
        wasm: memory functions in place of files.
        shared: of a module whose memory is shared by threads.
        tensors: of a module that is called with tensors; native libraries always have these functions.
    """
    header = (NATIVE_DIRECTORY / "chimera.h").read_text(encoding="utf-8")
    present = {"CHM_API", "CHM_WASM_API" if wasm else "CHM_POSIX_API", *(["CHM_SHARED_API"] if shared else [])}
    present |= {"CHM_TENSOR_API"} if tensors or not wasm else set()
    found = re.findall(r"^(CHM_(?:\w+_)?API)\b[^;(]*?\b(chm_\w+)\(", header, re.MULTILINE)
    return tuple(name for marker, name in found if marker in present)


def wasm_link_flags(*, shared: bool = False) -> tuple[str, ...]:
    """Linker flags of a wasm module that exports the functions of chimera.h and its memory and imports nothing.

    With ``shared`` the memory is imported and shared by threads; such a module has to be compiled with atomics.
    """
    exports = (f"-Wl,--export={name}" for name in exported_functions(wasm=True, shared=shared))
    return (
        *("-Wl,--no-entry", "-Wl,--gc-sections", "-Wl,--strip-all", *exports),
        *(SHARED_MEMORY_FLAGS if shared else ()),
    )


#: The constants that C has too, with CHM_ before their names, in the order of the header.
_NUMBERS = (
    "ABI_MAJOR", "ABI_MINOR", "DATA_ALIGNMENT", "SECTION_ALIGNMENT", "MAX_HEADER_BYTES", "MAX_SECTIONS",
    "MAX_NAME_BYTES", "MAX_DIMENSIONS", "MAX_VOCABULARY", "MAX_SPECIALS", "MAX_MERGES", "MAX_STOP_TOKENS",
    "MAX_TEXT_BYTES", "HISTORY_TOKENS", "MAX_THREADS", "MAX_PENDING", "MAX_TENSORS", "GRAMMAR_PLACE_BYTES",
    "MAX_SPANS", "MAX_SPAN_TOKENS", "SPAN_SCAN",
)  # fmt: skip
_STRINGS = (
    "ABI", "PAD_PREFIX", "KIND_WEIGHTS", "KIND_TOKENIZER", "KIND_GRAMMARS", "KIND_STATE", "KIND_SPANS", "KEY_KIND",
    "KEY_ABI", "KEY_CONFIG", "KEY_CONTENTS", "KEY_SECTIONS", "KEY_TOKENIZER", "KEY_MODEL", "SECTION_TOKEN_LENGTHS",
    "SECTION_TOKEN_BYTES", "SECTION_SPECIALS", "SECTION_PATTERN", "SECTION_RULES", "SECTION_MERGES", "SECTION_SPLITS",
    "SECTION_BYTES", "SECTION_LOGITS", "SECTION_VALVE", "SECTION_LEDGER", "ROUTER_STATE", "STATE_PREFIX",
    "EXTRA_PREFIX", "ROLE_BEGIN", "ROLE_END", "ROLE_CONTROL", "ROLE_PAD", "ROLE_RESERVED", "ROLE_ANSWER", "ROLE_HEARD",
)  # fmt: skip


def _names(title: str, texts: tuple[str, ...]) -> list[str]:
    rows = (f'  X({text.upper().replace("-", "_")}, "{text}")' for text in texts)
    return [f"#define CHM_{title}(X) \\", " \\\n".join(rows)]


def c_header() -> str:
    """The text of ``native/chm_format.h``."""

    def define(name: str, suffix: str = "u") -> str:
        value = getattr(c, name)
        return f'#define CHM_{name} "{value}"' if isinstance(value, str) else f"#define CHM_{name} {value}{suffix}"

    lines = [
        "/* Numbers and names of the bundle format. Generated from runtime/bundle_format; do not edit. */",
        "#ifndef CHM_FORMAT_H",
        "#define CHM_FORMAT_H",
        "",
        *map(define, _NUMBERS),
        define("MAX_INTEGER", "ull"),
        "",
        *map(define, _STRINGS),
        "",
        "/* X(name, text): what a tokenizer may cut text by, and what it may do with text before and after */",
        *_names("PATTERNS", c.PATTERNS),
        *_names("RULES", c.RULES),
        "",
        "/* X(name, bytes of one element) */",
        "#define CHM_DTYPES(X) \\",
        " \\\n".join(f"  X({name}, {size}u)" for name, size in c.DTYPES.items()),
        "",
        "/* X(name, field, dtype, elements): sections of a sequence that every model has */",
        "#define CHM_STATE_SECTIONS(X) \\",
        " \\\n".join(
            f'  X("{name}", {name.rpartition(".")[2]}, {dtype}, {count}u)'
            for name, (dtype, count) in c.STATE_SECTIONS.items()
        ),
        "",
        "/* Results of the functions of chimera.h. */",
        "typedef enum chm_status {",
        "  CHM_OK = 0,",
        "  CHM_FINISHED = 1, /* not an error: the generation has ended */",
        *(f"  CHM_ERROR_{s.name} = {s.number}, /* {s.meaning} */" for s in c.STATUSES),
        "} chm_status;",
        "",
        "/* X(name, meaning) */",
        "#define CHM_STATUSES(X) \\",
        " \\\n".join(f'  X(CHM_ERROR_{s.name}, "{s.meaning}")' for s in c.STATUSES),
        "",
        "#endif",
        "",
    ]
    return "\n".join(lines)
