#!/usr/bin/env python3
"""Process replay: hashes of what two dozen builds make, to prove that a change of the compiler changed nothing.

    scripts/replay.py record before.json        # on the old revision
    scripts/replay.py record after.json         # on the new one
    scripts/replay.py compare before.json after.json

Builds the default model and the Chimera document at nano scale for every target, a shape whose sizes are multiples of
nothing, unrolled loops, and base 3. Hashed are all files of the bundles and all kernel objects; whoever makes a change
says why what differs does. Kernels are compiled afresh, which takes some minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCUMENT = str(Path(__file__).resolve().parent.parent / "examples" / "chimera51.txt")
ALL = ("x86_64-avx2", "x86_64-avx512", "aarch64-neon", "apple-amx", "ios-arm64", "wasm", "onnx", "onnx-fused")
ODD = (
    *("hidden_size=90", "num_heads=5", "head_dim=18", "intermediate_size=101", "vocab_size=301"),
    *("token_ids=[299,300]", "gated_deltanet.state_size=18", "xlstm.memory_size_per_head=[18,18]"),
)
#: Name → arguments of ``chimerac.build``.
BUILDS: Mapping[str, dict[str, Any]] = {
    "home": {"config": "home", "targets": ALL},
    "nano": {"config": DOCUMENT, "scale": "nano", "targets": ALL},
    "odd": {
        "config": DOCUMENT,
        "scale": "nano",
        "overrides": ODD,
        "targets": ("x86_64-avx2", "aarch64-neon", "wasm", "onnx"),
    },
    "unrolled": {
        "config": "home",
        "scale": "nano",
        "loops": 2,
        "seed": 7,
        "targets": ("x86_64-avx2", "apple-amx", "wasm"),
    },
    "base3": {"config": "home", "trits": "t5", "targets": ("x86_64-avx512",)},
}


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record(output: Path) -> None:
    """Build everything in a folder of its own and write the hashes."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHIMERAC_CACHE"] = str(Path(folder) / "cache")
        import chimerac

        files = {}
        for name, arguments in BUILDS.items():
            for target in arguments["targets"]:
                made = chimerac.build(**{**arguments, "targets": [target]}, out=Path(folder) / name)
                for file in sorted(made.bundles[0].path.iterdir()):
                    files[f"{name}/{target}/{file.name}"] = digest(file)
                print(f"{name:<10} {target:<16} {made.seconds:6.1f} s", flush=True)
        objects = sorted({digest(path) for path in (Path(folder) / "cache" / "kernels").glob("*.o")})
    output.write_text(json.dumps({"files": files, "objects": objects}, indent=1) + "\n")


def compare(before: Path, after: Path) -> int:
    """Print what differs; how many files do."""
    old, new = (json.loads(path.read_text()) for path in (before, after))
    names = sorted(old["files"].keys() | new["files"].keys())
    changed = [name for name in names if old["files"].get(name) != new["files"].get(name)]
    for name in changed:
        print(f"differs  {name}")
    gone = len(set(old["objects"]) - set(new["objects"]))
    fresh = len(set(new["objects"]) - set(old["objects"]))
    print(
        f"{len(names) - len(changed)} of {len(names)} files and {len(set(old['objects'])) - gone} of "
        f"{len(set(old['objects']))} kernel objects are the same; {fresh} objects are new"
    )
    return len(changed)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("record").add_argument("output", type=Path)
    comparison = commands.add_parser("compare")
    comparison.add_argument("before", type=Path)
    comparison.add_argument("after", type=Path)
    given = parser.parse_args()
    if given.command == "record":
        record(given.output)
    else:
        sys.exit(bool(compare(given.before, given.after)))


if __name__ == "__main__":
    main()
