"""Models built for macOS and iOS, and what the interpreter computes for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from small_configs import SMALL_CONFIGS

from chimerac.compiler.build.build import build
from chimerac.compiler.build.importing import import_model
from chimerac.compiler.build.lowering import lower
from chimerac.compiler.build.self_test import self_test
from chimerac.runtime.bundle_format import SelfTest, read_manifest
from chimerac.targets.registry import find_target

CONFIGS = {
    **SMALL_CONFIGS,
    "wide": """extends: "chimera51", name: "wide", scale: {
      preset: "nano", hidden_size: 192, num_heads: 4, head_dim: 48, intermediate_size: 600, moe_intermediate_size: 130,
      n_routed_experts: 6, vocab_size: 300
    }""",
}
PROMPT = list(b"It was a bright cold day")
COUNT = 6
DEFAULT = 0  #: loops


@dataclass(frozen=True)
class Built:
    """Bundles of a model by target, and what the interpreter computes by number of loops."""

    paths: dict[str, Path]
    expected: dict[int, SelfTest]


def build_apple(name: str, folder: Path, loops: Sequence[int] = ()) -> Built:
    """A model of CONFIGS for both systems; expected is the bundles' self-test, and PROMPT with those loops."""
    return build_apple_text(CONFIGS[name], folder, loops)


def build_apple_text(text: str, folder: Path, loops: Sequence[int] = ()) -> Built:
    """The same of a config that is none of CONFIGS."""
    config = folder / "model.chimera"
    config.write_text(text)
    report = build(config, targets=["macos-arm64", "ios-arm64"], out=folder)
    paths = {bundle.target: bundle.path for bundle in report.bundles}
    of_bundle = read_manifest(paths["apple-amx"]).self_test
    assert of_bundle is not None
    expected = {DEFAULT: of_bundle}
    if loops:
        source = import_model(config)
        assert source.tokenizer is not None
        module, _ = lower(source.module, find_target("apple-amx"))
        for count in loops:
            expected[count] = self_test(
                module, prompt=PROMPT, count=COUNT, tokenizer=source.tokenizer, loops=count
            ).vector
    return Built(paths, expected)
