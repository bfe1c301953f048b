"""Whether bundles of small random hybrids and mixtures of experts compute what llama.cpp computes with the same files.

    PYTHONPATH=src:tests/support python benchmarks/peers/agreement_hybrids.py ENVIRONMENT WORK

The models are those of transformers with random weights, written into the folder WORK as llama.cpp's converter does, in
float32; so both compute the same but for the order of sums. ENVIRONMENT has llama-cpp-python; here transformers and
gguf are needed, too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import torch
from agreement_random import CONTEXT, VOCABULARY, compare
from hybrid_files import write_hybrid
from published_models import EXPERTS, HYBRID, SHARED, Case

from chimerac.compiler.build.build import build
from chimerac.runtime.reference.tokenizer import byte_tokenizer, write_tokenizer
from chimerac.targets.registry import host_target

#: llama.cpp has heads of one width for keys and values.
SIZES = HYBRID | {
    "vocab_size": VOCABULARY,
    "num_hidden_layers": 4,
    "linear_key_head_dim": 32,
    "linear_value_head_dim": 32,
}
CASES = {
    "qwen3moe": Case("Qwen3Moe", EXPERTS | {"vocab_size": VOCABULARY, "head_dim": 32, "norm_topk_prob": True}),
    "qwen3next": Case("Qwen3Next", SIZES | SHARED),
    "qwen35": Case("Qwen3_5", SIZES, "Qwen3_5Text"),
    "qwen35moe": Case("Qwen3_5Moe", SIZES | SHARED, "Qwen3_5MoeText"),
}


def keys(writer: gguf.GGUFWriter) -> None:
    """A model of ids, without texts."""
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(VOCABULARY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", type=Path)
    parser.add_argument("work", type=Path)
    arguments = parser.parse_args()
    table = arguments.work / "ids.tokenizer"
    write_tokenizer(table, byte_tokenizer(VOCABULARY))
    for architecture, case in CASES.items():
        torch.manual_seed(0)
        file = write_hybrid(case.make(), arguments.work / f"{architecture}.gguf", architecture, keys=keys)
        options = {"tokenizer": table, "context": CONTEXT, "weights_format": "f32"}
        report = build(file, targets=[host_target()], out=arguments.work, **options)
        print(f"{architecture}: {compare(report.bundles[0].path, file, arguments.environment)}", flush=True)


if __name__ == "__main__":
    main()
