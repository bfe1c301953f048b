"""Puts the files of a bundle together: weights, tokenizer, code, thin runtime, report, model card, manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.costs import decode_costs, decode_steps
from chimerac.compiler.ir.module import Constant, Module, walk
from chimerac.compiler.packaging.ahead import made_ahead
from chimerac.compiler.packaging.grammar_files import grammar_file_name, write_grammars
from chimerac.compiler.packaging.model_card import render_model_card
from chimerac.compiler.packaging.report import ReportInput, render_report
from chimerac.frontends.config import ModelConfig
from chimerac.frontends.families.chimera.consistency import check
from chimerac.passes.base import PassRecord
from chimerac.runtime.bundle_format import (
    APPLE_DIRECTORY,
    KEY_CONFIG,
    KIND_WEIGHTS,
    MANIFEST_NAME,
    NATIVE_DIRECTORY,
    WEB_DIRECTORY,
    WEB_FILES,
    Manifest,
    Memory,
    Section,
    SelfTest,
    array_section,
    file_entry,
    read_container,
    write_container,
    write_manifest,
)
from chimerac.runtime.bundle_format.constants import ROLE_END, ROLE_PAD
from chimerac.runtime.reference.tokenizer import Special, Tokenizer, byte_tokenizer, write_tokenizer
from chimerac.targets.code import driver
from chimerac.targets.code.codegen import KernelObject
from chimerac.targets.code.library import runner_files
from chimerac.targets.code.places import MemoryPlan
from chimerac.targets.code.variants import kernel_sets
from chimerac.targets.isa import Isa, load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.registry import Target
from chimerac.version import __version__

#: Files for people.
DOCUMENTS = ("MODEL_CARD.md", "report.html")
#: The weights of an ONNX bundle, which the model file names.
ONNX_DATA = "model.onnx.data"


@dataclass(frozen=True)
class BundleInput:
    """What goes into one bundle; ``weights`` says where the weights come from, ``contents_sha256`` what they are."""

    config: ModelConfig
    weights: str
    tokenizer: Tokenizer
    target: Target
    isa: Isa
    module: Module
    plan: MemoryPlan
    passes: Sequence[PassRecord]
    contents_sha256: str
    self_test: SelfTest
    kernels: Sequence[KernelObject]
    notes: str = ""  #: what the model card says of the weights


def write_weights(folder: Path, config: ModelConfig, target: Target, module: Module) -> str:
    """Write the weights file of a bundle; the digest that ties the code to the weights."""
    sections = [_section(name, module.constants[name]) for name in driver.used_sections(module)]
    with made_ahead(sections) as ready:
        path = folder / data_file_names(config, target)[0]
        return write_container(path, KIND_WEIGHTS, ready, {KEY_CONFIG: config.digest})


def with_written_weights(folder: Path, config: ModelConfig, target: Target, module: Module) -> Module:
    """The module, its computed constants read from the weights file, which stays mapped as long as they are there."""
    computed = [name for name in driver.used_sections(module) if module.constants[name].computed]
    if not computed:
        return module
    stored = read_container(folder / data_file_names(config, target)[0], verify=False)
    mapped = {name: replace(module.constants[name], source=stored.array(name)) for name in computed}
    return replace(module, constants={**module.constants, **mapped})


def _section(name: str, constant: Constant) -> Section:
    if constant.computed:
        like = array_section(name, np.empty(0, constant.type.numpy))
        section = replace(like, shape=tuple(int(d) for d in constant.type.shape), data=constant.parts)
    else:
        section = array_section(name, constant.data)
    return replace(section, dtype="BF16") if constant.type.dtype == "bf16" else section


def write_bundle(folder: Path, bundle: BundleInput, link: Callable[[Mapping[str, str]], None]) -> list[str]:
    """Write every other file of the bundle into ``folder``, where ``write_weights`` was; the manifest comes last.

    Args:
        link: makes the library, the runner and other modules in the folder; told the drivers' texts by file name.

    Returns:
        the names of the files.
    """
    module, plan, config = bundle.module, bundle.plan, bundle.config
    name = model_name(config)
    roles: dict[str, str] = {}

    sections = driver.used_sections(module)
    weights_file, tokenizer_file = data_file_names(config, bundle.target)
    roles[weights_file] = "weights"

    write_tokenizer(folder / tokenizer_file, bundle.tokenizer, config_sha256=config.digest)
    roles[tokenizer_file] = "tokenizer"
    roles |= write_grammars(folder, config, bundle.tokenizer)

    modules = {bundle.target.library: bundle.isa, **{m.file: load_isa(m.isa) for m in bundle.target.modules}}
    drivers: dict[str, str] = {}
    for file, isa in modules.items():
        identity = driver.Identity(isa.name, config.digest, bundle.contents_sha256, kernel_sets(isa))
        drivers[file] = driver.write_driver(module, plan, identity)
        roles[file] = "code" if file == bundle.target.library else "variant"
    if bundle.target.runner:
        names = runner_files(weights_file, tokenizer_file, grammar_file_name(config))
        drivers[bundle.target.runner] = drivers[bundle.target.library] + names
        roles[bundle.target.runner] = "runtime"
    link(drivers)
    roles |= _runtime_files(folder, bundle.target)

    findings = [(f.id, f"{f.says}: {f.found}; {f.resolution}") for f in check(config).findings]
    card, page = DOCUMENTS
    (folder / card).write_text(render_model_card(config, bundle.weights, module, bundle.target, bundle.notes), "utf-8")
    roles[card] = "document"
    report = render_report(_report(folder, bundle, roles, sections, findings))
    (folder / page).write_text(report, "utf-8")
    roles[page] = "document"

    write_manifest(
        folder,
        Manifest(
            name=name,
            target=bundle.isa.name,
            config_sha256=config.digest,
            weights_sha256=bundle.contents_sha256,
            chimerac=__version__,
            files=tuple(file_entry(folder / file, role) for file, role in roles.items()),
            memory=Memory(
                (folder / weights_file).stat().st_size,
                plan.state_bytes,
                plan.arena_bytes,
                sum(decode_steps(module).values()),
            ),
            cpu=bundle.target.cpu,
            self_test=bundle.self_test,
            provenance={"weights": bundle.weights, "scale": config.origin.scale},
        ),
    )
    return [*roles, MANIFEST_NAME]


def model_name(config: ModelConfig) -> str:
    """The name of the model and of its bundles."""
    return config.name or "model"


def data_file_names(config: ModelConfig, target: Target) -> tuple[str, str]:
    """Names of the weights file and the tokenizer file.

    Raises:
        UserError: CHM322, the config gives one of them the name of another file of the bundle.
    """
    name = model_name(config)
    names = {
        "weights": ONNX_DATA if target.package == "onnx" else config.files.weights or f"{name}.b158",
        "tokenizer": config.files.tokenizer or f"{name}.tokenizer",
        **({"grammar": grammars} if (grammars := grammar_file_name(config)) else {}),
    }
    code = (target.library, target.runner, *(m.file for m in target.modules))
    taken = {n.lower() for n in (*_runtime_sources(target), *code, *DOCUMENTS, MANIFEST_NAME)}
    for key, file in names.items():
        if file.lower() in taken:  # letter case does not tell files apart everywhere
            message = f"files.{key} is {file!r}, the name of another file of the bundle"
            raise UserError("CHM322", message, span=config.place(f"files.{key}"))
        taken.add(file.lower())
    return names["weights"], names["tokenizer"]


def make_tokenizer(config: ModelConfig, module: Module) -> Tokenizer:
    """One token per byte, and the config's end-of-text and padding where they are not bytes."""
    vocabulary = int(module.graphs["decode"].results[0].type.shape[-1])
    names = (("<|endoftext|>", ROLE_END), ("<|pad|>", ROLE_PAD))
    specials = [
        Special(name, token, role)
        for token, (name, role) in zip(config.token_ids, names, strict=False)
        if 256 <= token < vocabulary
    ]
    return byte_tokenizer(vocabulary, specials)


def _runtime_files(folder: Path, target: Target) -> dict[str, str]:
    for name, source in _runtime_sources(target).items():
        shutil.copyfile(source, folder / name)
    return dict.fromkeys(_runtime_sources(target), "runtime")


def _runtime_sources(target: Target) -> dict[str, Path]:
    """Files of the runtime that a bundle carries, and where they come from."""
    if target.package == "web":
        return {name: WEB_DIRECTORY / name for name in WEB_FILES}
    if target.package == "onnx":
        return {}
    files = {name: NATIVE_DIRECTORY / name for name in ("chimera.h", "chm_format.h")}
    if target.package == "apple":
        files["module.modulemap"] = APPLE_DIRECTORY / "module.modulemap"
    return files


def _report(
    folder: Path,
    bundle: BundleInput,
    roles: dict[str, str],
    sections: Sequence[str],
    findings: Sequence[tuple[str, str]],
) -> ReportInput:
    module = bundle.module
    calls: dict[str, int] = {}
    for op in walk(module.graphs["decode"].ops):
        if op.name not in driver.WITHOUT_KERNEL:
            symbol = KernelSpec.of(op).symbol
            calls[symbol] = calls.get(symbol, 0) + 1
    name = model_name(bundle.config)
    tested = bundle.self_test
    return ReportInput(
        title=f"{name}.{bundle.target.name}",
        facts=(
            ("made by", f"chimerac {__version__}"),
            ("target", f"{bundle.target.name}: {bundle.target.doc}"),
            ("weights", bundle.weights),
            ("scale", bundle.config.origin.scale),
            ("config SHA-256", bundle.config.digest),
            ("tokens per call", f"1 to {module.block}"),
            ("loop iterations", f"{module.loops[0]} by default, {module.loops[1]} at most"),
            ("self-test", f"{len(tested.prompt)} + {len(tested.tokens)} tokens, logits {tested.logits_hash}"),
        ),
        module=module,
        plan=bundle.plan,
        passes=bundle.passes,
        costs=decode_costs(module),
        files=[(n, role, (folder / n).stat().st_size) for n, role in roles.items()],
        sections=[(name, str(module.constants[name].type), module.constants[name].type.bytes()) for name in sections],
        kernels=[
            (k.symbol, ", ".join(map(str, k.spec.operands)), calls.get(k.spec.symbol, 0), k.object_path.stat().st_size)
            for k in bundle.kernels
        ],
        findings=findings,
    )
