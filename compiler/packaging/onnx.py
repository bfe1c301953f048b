"""Puts an ONNX bundle together: model, weights, tokenizer, report, model card, manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.costs import decode_costs
from chimerac.compiler.ir.module import Module
from chimerac.compiler.packaging.grammar_files import write_grammars
from chimerac.compiler.packaging.model_card import render_model_card
from chimerac.compiler.packaging.native import DOCUMENTS, data_file_names, model_name
from chimerac.compiler.packaging.report import ReportInput, render_report
from chimerac.frontends.config import ModelConfig
from chimerac.frontends.families.chimera.consistency import check
from chimerac.passes.base import PassRecord
from chimerac.runtime.bundle_format import MANIFEST_NAME, Manifest, Memory, SelfTest, file_entry, write_manifest
from chimerac.runtime.reference.tokenizer import Tokenizer, write_tokenizer
from chimerac.runtime.sessions.onnx import ONNX_FUSED
from chimerac.targets.code.memory_planning import plan_memory
from chimerac.targets.registry import Target
from chimerac.version import __version__

if TYPE_CHECKING:
    from chimerac.targets.onnx.model import OnnxModel


@dataclass(frozen=True)
class OnnxBundleInput:
    """Everything that goes into one bundle; ``weights`` says where the weights come from."""

    config: ModelConfig
    weights: str
    tokenizer: Tokenizer
    target: Target
    module: Module
    passes: Sequence[PassRecord]
    self_test: SelfTest
    notes: str = ""  #: what the model card says of the weights


def write_onnx_bundle(folder: Path, bundle: OnnxBundleInput) -> list[str]:
    """Write every file of the bundle into ``folder``, which exists and is empty; the manifest comes last.

    Returns:
        the names of the files.

    Raises:
        UserError: CHM301, an op has no ONNX form.
    """
    from chimerac.targets.onnx.model import emit

    config, module = bundle.config, bundle.module
    weights_file, tokenizer_file = data_file_names(config, bundle.target)
    model = emit(module, fused=bundle.target.isa == ONNX_FUSED)
    model.write(folder / bundle.target.library, weights_file)
    roles = {bundle.target.library: "code", weights_file: "weights", tokenizer_file: "tokenizer"}
    write_tokenizer(folder / tokenizer_file, bundle.tokenizer, config_sha256=config.digest)
    roles |= write_grammars(folder, config, bundle.tokenizer)
    card, page = DOCUMENTS
    (folder / card).write_text(render_model_card(config, bundle.weights, module, bundle.target, bundle.notes), "utf-8")
    roles[card] = "document"
    plan = plan_memory(module)
    (folder / page).write_text(render_report(_report(folder, bundle, model, roles)), "utf-8")
    roles[page] = "document"
    write_manifest(
        folder,
        Manifest(
            name=model_name(config),
            target=bundle.target.isa,
            config_sha256=config.digest,
            weights_sha256=hashlib.sha256((folder / weights_file).read_bytes()).hexdigest(),
            chimerac=__version__,
            files=tuple(file_entry(folder / file, role) for file, role in roles.items()),
            memory=Memory((folder / weights_file).stat().st_size, plan.state_bytes, 0),
            self_test=bundle.self_test,
            provenance={"weights": bundle.weights, "scale": config.origin.scale},
        ),
    )
    return [*roles, MANIFEST_NAME]


def _report(folder: Path, bundle: OnnxBundleInput, model: OnnxModel, roles: dict[str, str]) -> ReportInput:
    module, config, tested = bundle.module, bundle.config, bundle.self_test
    return ReportInput(
        title=f"{model_name(config)}.{bundle.target.name}",
        facts=(
            ("made by", f"chimerac {__version__}"),
            ("target", f"{bundle.target.name}: {bundle.target.doc}"),
            ("weights", bundle.weights),
            ("scale", config.origin.scale),
            ("config SHA-256", config.digest),
            ("tokens per call", f"1 to {module.block}"),
            ("loop iterations", f"{module.loops[0]} by default, {module.loops[1]} at most"),
            ("ONNX", f"{model.count():,} nodes, operators of version {model.proto.opset_import[0].version}"),
            ("self-test", f"{len(tested.prompt)} + {len(tested.tokens)} tokens, logits {tested.logits_hash}"),
        ),
        module=module,
        plan=plan_memory(module),
        passes=bundle.passes,
        costs=decode_costs(module),
        files=[(n, role, (folder / n).stat().st_size) for n, role in roles.items()],
        sections=[(name, f"{a.dtype}{list(a.shape)}", a.nbytes) for name, a in model.weights.items()],
        kernels=(),
        findings=[(f.id, f"{f.says}: {f.found}; {f.resolution}") for f in check(config).findings],
    )


def check_onnx_weights(folder: Path, manifest: Manifest, module: Module, origin: str) -> None:
    """Raise UserError CHM330 unless the weights in the bundle are those of the lowered module.

    A build with other passes or unrolled loops may have arrays that this module has not; they are not compared.
    """
    import onnx

    from chimerac.targets.onnx.model import emit

    code, weights = manifest.file("code"), manifest.file("weights")
    assert code is not None  # parse_manifest demands code and weights
    assert weights is not None
    stored = onnx.load(str(folder / code.name), load_external_data=False).graph.initializer
    places = {t.name: {e.key: e.value for e in t.external_data} for t in stored if t.external_data}
    data = np.memmap(folder / weights.name, np.uint8, "r")
    for name, array in emit(module, fused=manifest.target == ONNX_FUSED).weights.items():
        if name in places:
            start, size = int(places[name]["offset"]), int(places[name]["length"])
            if data[start : start + size].tobytes() != array.tobytes():
                hint = "give the --weights or --seed of the build"
                raise UserError("CHM330", f"the bundle has other weights than {origin}: {name} differs", hint=hint)
