"""Bundles for ONNX Runtime: a model file with its weights, and what every bundle has."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.context import context_of
from chimerac.compiler.ir.costs import decode_costs
from chimerac.compiler.ir.module import Module
from chimerac.compiler.packaging.activity import activity_of
from chimerac.compiler.packaging.data_files import check_names, data_names, write_card, write_data, write_report
from chimerac.compiler.packaging.facts import generation_of
from chimerac.compiler.packaging.package import Job, Naming, Package, Tested, test_fields
from chimerac.compiler.packaging.report import ReportInput, common_facts, file_rows, remark_rows
from chimerac.compiler.packaging.weights import model_sha256
from chimerac.passes.base import Pass
from chimerac.runtime.bundle_format import (
    MANIFEST_NAME,
    Manifest,
    Memory,
    file_entry,
    write_manifest,
)
from chimerac.runtime.sessions.onnx_model import ONNX_FUSED
from chimerac.targets.code.memory_planning import plan_memory
from chimerac.targets.registry import Target
from chimerac.version import __version__

if TYPE_CHECKING:
    from chimerac.targets.onnx.assembly import OnnxModel

#: The weights, which the model file names.
WEIGHTS: Final = "model.onnx.data"


@dataclass(frozen=True)
class OnnxPackage:
    """A folder with an ONNX model."""

    def packing(self, target: Target, form: str | None) -> Sequence[Pass]:
        """ONNX Runtime lays weights out itself."""
        return []

    def check_names(self, naming: Naming, target: Target) -> None:
        """As of ``Package``."""
        check_names(data_names(naming.name, naming.file_names, WEIGHTS), (target.library,), naming.place)

    def write(self, job: Job) -> list[str]:
        """As of ``Package``."""
        from chimerac.targets.onnx.model import emit

        module, target, folder, model = job.build.module, job.build.target, job.folder, job.model
        tested, begun = job.self_test(module), time.perf_counter()
        made = emit(module, model.entries, fused=target.isa == ONNX_FUSED)
        names = data_names(model.name, model.file_names, WEIGHTS)
        made.write(folder / target.library, WEIGHTS)
        roles = {target.library: "code", WEIGHTS: "weights", **write_data(folder, model, names)}
        roles |= write_card(folder, model, job.build)
        roles |= write_report(folder, _report(job, made, roles, tested))
        write_manifest(
            folder,
            Manifest(
                name=model.name,
                target=target.isa,
                config_sha256=model.digest,
                weights_sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
                chimerac=__version__,
                files=tuple(file_entry(folder / file, role) for file, role in roles.items()),
                memory=Memory((folder / WEIGHTS).stat().st_size, plan_memory(module).state_bytes, 0),
                **test_fields(tested),
                model_sha256=model_sha256(module),
                provenance={**model.provenance, **activity_of(module, tested, model.entries)},
                generation=generation_of(model, module),
                refusal=model.refusal,
                chat=model.chat,
                context=context_of(module),
                entries=model.entries,
            ),
        )
        files = [*roles, MANIFEST_NAME]
        job.steps.of_target(target.name, "bundle", f"{len(files)} files", time.perf_counter() - begun)
        return files

    def check_weights(self, bundle: Path, manifest: Manifest, module: Module, origin: str) -> None:
        """As of ``Package``."""
        import onnx

        from chimerac.targets.onnx.model import emit

        code, weights = manifest.file("code"), manifest.file("weights")
        assert code is not None  # parse_manifest demands code and weights
        assert weights is not None
        stored = onnx.load(str(bundle / code.name), load_external_data=False).graph.initializer
        places = {t.name: {e.key: e.value for e in t.external_data} for t in stored if t.external_data}
        data = np.memmap(bundle / weights.name, np.uint8, "r")
        made = emit(module, manifest.entries, fused=manifest.target == ONNX_FUSED)
        for name, array in made.weights.items():
            if name in places:
                start, size = int(places[name]["offset"]), int(places[name]["length"])
                if data[start : start + size].tobytes() != array.tobytes():
                    hint = "give the --weights or --seed of the build"
                    raise UserError("CHM330", f"the bundle has other weights than {origin}: {name} differs", hint=hint)


def _report(job: Job, made: OnnxModel, roles: Mapping[str, str], tested: Tested) -> ReportInput:
    module, target = job.build.module, job.build.target
    emitted = f"{made.count():,} nodes, operators of version {made.proto.opset_import[0].version}"
    *facts, self_test = common_facts(job.model, target, module, tested)
    return ReportInput(
        title=f"{job.model.name}.{target.name}",
        facts=(*facts, ("ONNX", emitted), self_test),
        module=module,
        plan=plan_memory(module),
        passes=job.build.passes,
        costs=decode_costs(module),
        files=file_rows(job.folder, roles),
        sections=[(name, f"{a.dtype}{list(a.shape)}", a.nbytes) for name, a in made.weights.items()],
        kernels=(),
        findings=remark_rows(job.model),
        unit="token" if module.has_tokens else "call",
    )


PACKAGE: Final[Package] = OnnxPackage()
