"""All comparisons with peers, in pieces of at most about a minute and a half, and the page of the results.

    PYTHONPATH=src python benchmarks/peers/run_all.py --llama native=ENVIRONMENT --llama avx2=ENVIRONMENT \\
        --onnx ENVIRONMENT --packages NODE_MODULES --work FOLDER [--only PIECE…] [--before COMMAND] [--rebuild]

What is measured, bundles and models for peers, is made in FOLDER when it is missing: half an hour at most, 8 GB. PIECE
is one of those that ``--only`` without a name lists; ``prepare`` is all that is not measuring. ``--before`` is put
before each measuring command, for example ``nice -n -5``. The peers' workers say how ENVIRONMENT and NODE_MODULES are
made.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from turns import HERE

ROOT = HERE.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SHAPES = ((6912, 2560), (2560, 6912), (200073, 2560))
MODELS: Mapping[str, tuple[str, ...]] = {
    "mid": (str(HERE / "mid.chimera"),),
    "full": (str(ROOT / "examples" / "chimera51.txt"), "--set", "quantization.embedding_format=ternary"),
}
BASE_3 = "x86_64-avx512"  #: the target whose bundles have 1.6 bits a weight
NATIVE = ("x86_64-avx2", BASE_3)
TARGETS = {"mid": (*NATIVE, "wasm"), "full": NATIVE}
FORMATS = {"mid": ("tq2_0", "tq1_0"), "full": ("tq2_0",)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", action="append", required=True, metavar="NAME=ENVIRONMENT")
    parser.add_argument("--onnx", required=True, metavar="ENVIRONMENT")
    parser.add_argument("--packages", required=True, metavar="NODE_MODULES")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--ours", action="append", metavar="SET:FORM", help="of matrix-vector products")
    parser.add_argument("--only", nargs="*", metavar="PIECE")
    parser.add_argument("--before", default="", metavar="COMMAND")
    parser.add_argument("--rebuild", action="store_true", help="bundles that are there, for new kernels")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


class Runner:
    """Runs the pieces with what was given."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.llama = dict(item.split("=", 1) for item in given.llama)
        self.llama_options = [part for item in given.llama for part in ("--llama", item)]
        self.fresh: set[str] = set()

    def python(self, script: str, *options: object, environment: str | None = None, before: str = "") -> None:
        """Run one of the scripts here, by this Python or an environment's."""
        python = sys.executable if environment is None else str(Path(environment, "bin", "python"))
        self.run([*shlex.split(before), python, str(HERE / script), *map(str, options)])

    @staticmethod
    def run(command: Sequence[str]) -> None:
        print("$", shlex.join(command), flush=True)
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})

    def measure(self, name: str, script: str, *options: object) -> None:
        self.python(script, *options, "--out", self.given.results / f"{name}.json", before=self.given.before)

    def bundle(self, model: str, target: str) -> Path:
        """The folder of a bundle of one of MODELS; if one of its targets is missing, all are built."""
        folder = self.given.work / model
        found = self._bundles(model)
        if set(found) != set(TARGETS[model]) or (self.given.rebuild and model not in self.fresh):
            shutil.rmtree(folder, ignore_errors=True)
            config, *options = MODELS[model]
            chimerac = str(Path(sys.executable).with_name("chimerac"))
            common = ("-o", str(folder), "--no-verify", "--quiet")
            for one in TARGETS[model]:
                trits = ("--trits", "t5") if one == BASE_3 else ()
                self.run([chimerac, "build", config, *options, "--target", one, *trits, *common])
            found = self._bundles(model)
        self.fresh.add(model)
        return found[target]

    def _bundles(self, model: str) -> dict[str, Path]:
        """Target → folder of the bundles that are there."""
        return {
            target: path.parent
            for target in TARGETS[model]
            for path in (self.given.work / model).glob(f"*.{target}/manifest.json")
        }

    def file(self, model: str, format_name: str) -> Path:
        """The peers' model of that size; written if it is missing."""
        path = self.given.work / f"{model}-{format_name}.gguf"
        if not path.exists():
            environment = next(iter(self.llama.values()))
            self.python("llama_file.py", model, format_name, path, environment=environment)
        return path

    def prepare(self) -> None:
        """Build and write all that is missing."""
        for name, formats in FORMATS.items():
            for format_name in formats:
                self.file(name, format_name)
            self.bundle(name, NATIVE[0])

    def matvec(self, rows: int, columns: int) -> None:
        ours = [part for case in self.given.ours or () for part in ("--ours", case)]
        options = ("--rows", rows, "--columns", columns, "--onnx", self.given.onnx, *self.llama_options, *ours)
        self.measure(f"matvec-{rows}x{columns}", "matvec.py", *options)

    def model(self, name: str, what: str, threads: int) -> None:
        files = [part for form in FORMATS[name] for part in ("--gguf", f"{form}={self.file(name, form)}")]
        bundles = [self.bundle(name, target) for target in NATIVE]
        options = ("--bundle", *bundles, "--config", MODELS[name][0], *self.llama_options, *files)
        self.measure(
            f"model-{name}-{what}-{threads}",
            "model.py",
            *options,
            "--what",
            what,
            "--threads",
            threads,
            "--seconds",
            40,
        )

    def browser(self) -> None:
        options = ("--web", self.bundle("mid", "wasm"), "--native", self.bundle("mid", NATIVE[0]))
        more = ("--packages", self.given.packages, "--chromium", self.given.chromium)
        llama = self.llama.get("avx2") or next(iter(self.llama.values()))
        gguf = f"tq2_0={self.file('mid', 'tq2_0')}"
        self.measure(
            "browser", "browser.py", *options, "--config", MODELS["mid"][0], *more, "--gguf", gguf, "--llama", llama
        )

    def page(self) -> None:
        self.python("page.py", *sorted(self.given.results.glob("*.json")))

    def pieces(self) -> dict[str, Callable[[], None]]:
        """Name → what does it, in order."""
        found: dict[str, Callable[[], None]] = {"prepare": self.prepare}
        for rows, columns in SHAPES:
            found[f"matvec-{rows}x{columns}"] = partial(self.matvec, rows, columns)
        for name in MODELS:
            for what in ("decode", "prefill"):
                for threads in (1, 2):
                    found[f"model-{name}-{what}-{threads}"] = partial(self.model, name, what, threads)
        return found | {"browser": self.browser, "page": self.page}


def main() -> None:
    given = arguments()
    given.work.mkdir(parents=True, exist_ok=True)
    pieces = Runner(given).pieces()
    if given.only == []:
        print(*pieces, sep="\n")
        return
    unknown = set(given.only or ()) - set(pieces)
    if unknown:
        raise SystemExit(f"no piece {', '.join(sorted(unknown))}")
    for name, piece in pieces.items():
        if not given.only or name in given.only:
            piece()


if __name__ == "__main__":
    main()
