"""Speed of each kernel of float arithmetic of a config in Chromium's WebAssembly against native AVX2, one thread each.

    python benchmarks/float_kernels.py NODE_MODULES CHROMIUM [--config home] [--tokens 1] [--rounds 15]
                                       [--only OP…]

NODE_MODULES has playwright-core (tests/browser). A kernel's calls take turns, some milliseconds at a time: native, in
the page, native, … Each line: the op, the shapes, microseconds of a call and the ratio, by the least of all turns (what
else the machine does only adds), and the median of the ratios of turns in pairs.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from chimerac.compiler.build.importing import import_described, read_description
from chimerac.compiler.build.lowering import lower
from chimerac.compiler.ir.types import TensorType
from chimerac.targets.code.driver import kernel_specs
from chimerac.targets.code.kernel_queue import compile_kernels
from chimerac.targets.code.link import link
from chimerac.targets.isa import load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.registry import find_target

MILLISECONDS = 2.0  #: of a turn
NATIVE, WEB = "x86_64-avx2", "wasm32-simd128"

#: Reads {module} once, then a call and how often a line; writes the seconds of each line's calls together.
PAGE = """
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
const [packages, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(packages + "/x.js")("playwright-core");
const args = ["--no-sandbox", "--disable-gpu", "--js-flags=--no-liftoff --no-wasm-lazy-compilation"];
const browser = await chromium.launch({ executablePath, headless: true, args });
const page = await browser.newPage();
for await (const line of createInterface({ input: process.stdin })) {
  const seconds = await page.evaluate(async ({ module, run, operands, numbers, calls }) => {
    if (module) {
      const bytes = Uint8Array.from(atob(module), (c) => c.charCodeAt(0));
      globalThis.exports = (await WebAssembly.instantiate(bytes, {})).instance.exports;
      return 0;
    }
    const { memory, __heap_base } = exports;
    let place = __heap_base.value;
    const put = (bytes) => {
      const start = (place + 63) & ~63;
      place = start + bytes.length + 64;
      const short = place - memory.buffer.byteLength;
      if (short > 0) memory.grow(Math.ceil(short / 65536));
      new Uint8Array(memory.buffer).set(bytes, start);
      return start;
    };
    const pointers = operands.map((text) => put(Uint8Array.from(atob(text), (c) => c.charCodeAt(0))));
    const [all, values] = [pointers, numbers].map((some) => put(new Uint8Array(Int32Array.from(some).buffer)));
    const begun = performance.now();
    exports[run](all, values, calls);
    return (performance.now() - begun) / 1000;
  }, JSON.parse(line));
  console.log(seconds);
}
await browser.close();
"""


def operand(kind: TensorType, tokens: int, random: np.random.Generator) -> np.ndarray:
    """What a tensor holds: numbers about one, small integers."""
    shape = tuple(tokens if extent == "T" else int(extent) for extent in kind.shape)
    if kind.dtype == "f32":
        return random.uniform(0.05, 0.95, shape).astype(np.float32)
    size = kind.bytes(tokens)
    return np.zeros(size, np.uint8)


class Pair:
    """A kernel with its operands, in both worlds."""

    def __init__(self, spec: KernelSpec, tokens: int) -> None:
        random = np.random.default_rng(0)
        self.spec = spec
        self.operands = [operand(kind, tokens, random) for kind in spec.operands if kind.shape or kind.dtype != "i32"]
        self.operands += [np.zeros(spec.results[i].bytes(tokens), np.uint8) for i in spec.separate_results]
        positions = [0] * sum(kind == "int32_t" for kind in spec.c_parameters[: len(spec.operands)])
        units = [] if spec.sharing is None else [0, spec.sharing.units]
        self.numbers = np.array([*positions, *([tokens] if spec.dynamic else []), *units], np.int32)

    def native(self, library: ctypes.CDLL, calls: int) -> float:
        """Seconds of some calls."""
        held = [array.copy() for array in self.operands]
        pointers = (ctypes.c_void_p * len(held))(*(array.ctypes.data for array in held))
        run = library[f"run_{self.spec.symbol}"]
        run.restype = None
        begun = time.perf_counter()
        run(pointers, ctypes.c_void_p(self.numbers.ctypes.data), ctypes.c_int32(calls))
        return time.perf_counter() - begun

    def message(self, calls: int) -> str:
        """The same for the page."""
        operands = [base64.b64encode(array.tobytes()).decode() for array in self.operands]
        numbers = self.numbers.tolist()
        return json.dumps({"run": f"run_{self.spec.symbol}", "operands": operands, "numbers": numbers, "calls": calls})


def runner(spec: KernelSpec, symbol: str) -> str:
    """C that calls a kernel many times, so that no other language's calls are measured."""
    parameters = spec.c_parameters
    places = {"int32_t": 0, "p": 0}
    values = []
    for kind in parameters:
        key = "int32_t" if kind == "int32_t" else "p"
        values.append(f"{'numbers' if key == 'int32_t' else 'pointers'}[{places[key]}]")
        places[key] += 1
    return (
        f"void {symbol}({', '.join(parameters)});\n"
        f'__attribute__((visibility("default"))) void run_{spec.symbol}'
        "(void *const *pointers, const int32_t *numbers, int32_t calls) {\n"
        f"  while (calls-- > 0) {symbol}({', '.join(values)});\n}}\n"
    )


class Page:
    """Chromium, which takes a line and answers with seconds."""

    def __init__(self, packages: str, chromium: str, script: Path) -> None:
        script.write_text(PAGE, encoding="utf-8")
        command = ["node", str(script), str(Path(packages).resolve()), chromium]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line: str) -> float:
        """Seconds of what the line asks for."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self) -> None:
        """Close the browser."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(pair: Pair, library: ctypes.CDLL, page: Page, rounds: int) -> None:
    """Print a kernel's line."""
    once = min(pair.native(library, 50) for _ in range(9)) / 50
    calls = max(1, int(MILLISECONDS / 1000 / max(once, 1e-9)))
    page.ask(pair.message(calls))  # compiles it
    times = [(pair.native(library, calls) / calls, page.ask(pair.message(calls)) / calls) for _ in range(rounds)]
    native, web = (min(column) * 1e6 for column in zip(*times, strict=True))
    paired = statistics.median(b / a for a, b in times)
    shapes = " ".join("x".join(map(str, kind.shape)) or "i" for kind in pair.spec.operands[:3])
    print(f"{pair.spec.op:22} {shapes:36} {native:8.2f} {web:8.2f}  {web / native:5.2f} {paired:7.2f}", flush=True)


def main() -> None:
    """Measure every float kernel."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages")
    parser.add_argument("chromium")
    parser.add_argument("--config", default="home")
    parser.add_argument("--tokens", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="*", default=[])
    given = parser.parse_args()
    imported = import_described(read_description(given.config)).module
    modules = [lower(imported, find_target(name))[0] for name in ("x86_64-avx2", "wasm")]
    native, web = (dict.fromkeys(kernel_specs(module)) for module in modules)
    specs = [s for s in native if s in web and not s.integer_product and (not given.only or s.op in given.only)]
    with tempfile.TemporaryDirectory() as folder:
        for name in (NATIVE, WEB):
            isa = load_isa(name)
            objects = compile_kernels(specs, isa, Path(folder) / name)
            source = Path(folder) / f"{name}.c"
            runners = (runner(spec, one.symbol) for spec, one in zip(specs, objects, strict=True))
            source.write_text("#include <stdint.h>\n" + "".join(runners), encoding="ascii")
            exports = [*(f"run_{spec.symbol}" for spec in specs), *(["__heap_base"] if name == WEB else [])]
            link([one.object_path for one in objects], [source], isa, Path(folder) / f"all{isa.suffix}", exports)
        page = Page(given.packages, given.chromium, Path(folder) / "page.mjs")
        try:
            module = (Path(folder) / "all.wasm").read_bytes()
            page.ask(json.dumps({"module": base64.b64encode(module).decode()}))
            library = ctypes.CDLL(str(Path(folder) / "all.so"))
            print(f"{'op':22} {'operands':36} {'native':>8} {'page':>8}  ratio  paired", flush=True)
            for spec in specs:
                measure(Pair(spec, given.tokens), library, page, given.rounds)
        finally:
            page.end()


if __name__ == "__main__":
    main()
