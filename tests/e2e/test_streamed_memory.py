"""A build of a model that is never in memory whole: the most memory does not grow with the number of layers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: All of a build that the weights pass through, without the compilers; prints the most memory, in KiB.
CHILD = """
import resource, sys
from pathlib import Path
from chimerac.compiler.build import writing
from chimerac.compiler.build.importing import import_model
from chimerac.compiler.build.lowering import lower
from chimerac.compiler.ir import interpreter
from chimerac.compiler.packaging.activity import activity_of
from chimerac.compiler.packaging.code import with_written_weights, write_weights
from chimerac.compiler.packaging.weights import model_sha256
from chimerac.frontends.weights import sources
from chimerac.targets.registry import find_target

sources.MOST_IN_MEMORY = interpreter.LARGE = 0  # as of a model of billions of weights
config, file = map(Path, sys.argv[1:])
model = import_model(config)
module, _ = lower(model.module, find_target("x86_64-avx512"))
contents = write_weights(file, module, model.digest)
stored = with_written_weights(file, module)
model_sha256(stored, contents)
tested = writing.make_self_test(model, stored, lambda *told: None)
assert "open, in 10 tokens" in activity_of(module, tested, model.entries)["active weights"]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
#: Of a layer as float32, as int8 codes, and packed: in MiB.
NEURONS, CHANNELS, LAYER = 24576, 512, (96, 24, 6)


def most_memory(folder: Path, layers: int) -> int:
    """MiB of a build."""
    config = folder / f"{layers}.chimera"
    sizes = f"hidden_size: {CHANNELS}, intermediate_size: {NEURONS}, num_layers: {layers}, max_position: 64"
    config.write_text(f'model_type: "nonu", name: "deep", weights: "ternary", {sizes}')
    command = [sys.executable, "-c", CHILD, str(config), str(folder / f"{layers}.weights")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    return int(found.stdout) // 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_the_most_memory_does_not_grow_with_the_layers(tmp_path: Path) -> None:
    few, many = most_memory(tmp_path, 2), most_memory(tmp_path, 26)
    assert many - few < 24 * LAYER[2], f"{few} and {many} MiB: 24 layers more take less than they do packed"
