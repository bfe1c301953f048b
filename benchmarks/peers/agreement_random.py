"""Whether bundles of small random GGUF files compute what llama.cpp computes with the same files.

    PYTHONPATH=src python benchmarks/peers/agreement_random.py ENVIRONMENT WORK [--only ARCHITECTURE-FORMAT…]

For each architecture and format llama_file.py writes a file into the folder WORK and a bundle is built of it, with
float32 weights where they are not ternary. llama.cpp continues random prompts by the largest logit; the bundle is given
the same tokens and asked for its logits at each. With float weights both compute the same but for the order of sums,
and llama.cpp rounds what it multiplies with F16 and Q8_0. Ternary weights are multiplied with rounded activations by
both, each in its own blocks. ENVIRONMENT has llama-cpp-python and gguf.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import numpy as np
from turns import HERE, Worker

from chimerac.compiler.build.build import build
from chimerac.runtime import load
from chimerac.targets.registry import host_target

ARCHITECTURES = ("llama", "qwen2", "qwen3", "bitnet")
FORMATS = ("f32", "f16", "q8_0", "tq1_0", "tq2_0", "q2_0")
PROMPTS, LENGTH, COUNT, CONTEXT, VOCABULARY = 8, 12, 32, 64, 1024


def prompts() -> list[list[int]]:
    """Random tokens, specials left out."""
    source = np.random.default_rng(1)
    return [[int(token) for token in source.integers(3, VOCABULARY, LENGTH)] for _ in range(PROMPTS)]


def compare(bundle: Path, file: Path, environment: Path) -> str:
    """How the two agree, in words."""
    same, worst = 0, 0.0
    leads: list[float] = []
    command = [environment / "bin" / "python", HERE / "agreement_llama.py", file]
    with Worker(command) as worker, load(bundle, threads=1) as session:
        for prompt in prompts():
            answer = worker.ask({"prompt": prompt, "count": COUNT, "logits": True})
            session.reset()
            session.prefill(prompt)
            for token, lead, row in zip(answer["tokens"], answer["leads"], answer["logits"], strict=True):
                mine, theirs = session.logits(), np.array(row)
                assert mine is not None
                spread = float(np.ptp(theirs))
                worst = max(worst, float(np.abs(mine - theirs).max()) / spread)
                if int(mine.argmax()) == token:
                    same += 1
                else:
                    leads.append(lead / spread)
                session.prefill([token])
    told = f"{same} of {PROMPTS * COUNT} tokens, logits within {worst:.1e} of their range"
    return told + (f"; llama.cpp's lead where they differ {max(leads):.1e} at most" if leads else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", nargs="+", metavar="ARCHITECTURE-FORMAT")
    given = parser.parse_args()
    names = [f"{architecture}-{kind}" for architecture in ARCHITECTURES for kind in FORMATS]
    given.work.mkdir(parents=True, exist_ok=True)
    for name in given.only or names:
        architecture, kind = name.split("-")
        file = given.work.resolve() / f"{name}.gguf"
        python = given.environment / "bin" / "python"
        subprocess.run([python, HERE / "llama_file.py", f"tiny-{architecture}", kind, file], check=True)
        target = host_target()
        report = build(file, targets=[target], out=given.work, context=CONTEXT, weights_format="f32")
        print(f"{name:14} {compare(report.bundles[0].path, file, given.environment)}", flush=True)


if __name__ == "__main__":
    main()
