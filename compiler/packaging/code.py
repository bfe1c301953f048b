"""Bundles of compiled code: weights, libraries or modules, the thin runtime, and what every bundle has."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.context import context_of
from chimerac.compiler.ir.costs import decode_costs, decode_steps
from chimerac.compiler.ir.interpreter import is_large
from chimerac.compiler.ir.module import Constant, Module, walk
from chimerac.compiler.ir.ops import OPS
from chimerac.compiler.packaging.activity import activity_of
from chimerac.compiler.packaging.ahead import made_ahead
from chimerac.compiler.packaging.compressed import compressed_roles
from chimerac.compiler.packaging.data_files import (
    REPORT,
    check_names,
    data_names,
    write_card,
    write_data,
    write_report,
    write_spans,
)
from chimerac.compiler.packaging.facts import generation_of
from chimerac.compiler.packaging.package import Build, Job, Naming, Tested, test_fields
from chimerac.compiler.packaging.report import ReportInput, common_facts, file_rows, remark_rows
from chimerac.compiler.packaging.weights import model_sha256, weight_sections
from chimerac.passes.base import Pass
from chimerac.passes.ternary_costs import TernaryCosts
from chimerac.passes.ternary_packing import TernaryPacking
from chimerac.runtime.bundle_format import (
    KEY_CONFIG,
    KIND_WEIGHTS,
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    Memory,
    chunked,
    file_entry,
    read_container,
    write_container,
    write_manifest,
)
from chimerac.targets.code import driver
from chimerac.targets.code.codegen import KernelObject
from chimerac.targets.code.descriptor import Identity
from chimerac.targets.code.library import CodeFile, code_files, link_library, runner_files
from chimerac.targets.code.link import ZigRuns
from chimerac.targets.code.memory_planning import plan_memory
from chimerac.targets.code.variants import kernel_sets
from chimerac.targets.isa import load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.registry import Target
from chimerac.version import __version__


@dataclass(frozen=True)
class CodePackage:
    """A folder with code for one target.

    Attributes:
        runtime: name in the bundle → the file of the runtime that it is a copy of.
    """

    runtime: Mapping[str, Path]

    def packing(self, target: Target, form: str | None) -> Sequence[Pass]:
        """Trits in panels of the instruction set's height."""
        isa = load_isa(target.isa)
        costs = TernaryCosts(isa.form_costs, isa.memory_cost, isa.form_multiples)
        return [TernaryPacking(isa.panel_rows, costs, form)]

    def check_names(self, naming: Naming, target: Target) -> None:
        """As of ``Package``."""
        code = (target.library, *((target.runner,) if target.runner else ()), *(m.file for m in target.modules))
        check_names(data_names(naming.name, naming.file_names), (*self.runtime, *code), naming.place)

    def write(self, job: Job) -> list[str]:
        """As of ``Package``."""
        return _Writer(job, self).write()

    def write_runtime(self, job: Job, roles: Mapping[str, str]) -> dict[str, str]:
        """Write what is not of this model's code and data, whose roles are given; the roles by name."""
        for name, source in self.runtime.items():
            shutil.copyfile(source, job.folder / name)
        return dict.fromkeys(self.runtime, "runtime")

    def compress(self, folder: Path, names: Sequence[str], jobs: int) -> dict[str, int]:
        """Write what is sent in place of files; bytes that are sent by name."""
        return {}

    def check_weights(self, bundle: Path, manifest: Manifest, module: Module, origin: str) -> None:
        """As of ``Package``."""
        entry = manifest.file("weights")
        assert entry is not None  # parse_manifest demands weights
        stored = read_container(bundle / entry.name).sections
        for name in (name for name in stored if name in module.constants):
            if stored[name].sha256 != hashlib.sha256(module.constants[name].data.tobytes()).hexdigest():
                hint = "give the --weights or --seed of the build"
                raise UserError("CHM330", f"the bundle has other weights than {origin}: {name} differs", hint=hint)


class _Writer:
    """Writes one bundle."""

    def __init__(self, job: Job, package: CodePackage) -> None:
        self.job, self.package = job, package
        self.model, self.build, self.folder = job.model, job.build, job.folder
        self.target, self.module = job.build.target, job.build.module
        self.names = data_names(self.model.name, self.model.file_names)
        self.plan = plan_memory(self.module)

    def write(self) -> list[str]:
        """All files; their names."""
        job, begun = self.job, time.perf_counter()
        contents = write_weights(self.folder / self.names["weights"], self.module, self.model.digest)
        size = (self.folder / self.names["weights"]).stat().st_size
        job.steps.of_target(self.target.name, "weights", f"weights: {size:,} bytes", time.perf_counter() - begun)
        stored = with_written_weights(self.folder / self.names["weights"], self.module)
        tested, shared = job.self_test(stored), model_sha256(stored, contents)
        kernels = finish_kernels(self.build, job.work, job)
        begun = time.perf_counter()
        roles = {self.names["weights"]: "weights", **write_data(self.folder, self.model, self.names)}
        roles |= write_spans(self.folder, self.model, self.names, job.options.spans)
        roles |= self._code(contents, shared, kernels)
        roles |= write_card(self.folder, self.model, self.build)
        roles |= self.package.write_runtime(job, {**roles, REPORT: "document"})
        sent = self.package.compress(self.folder, compressed_roles(roles), job.steps.jobs)
        report = self._report(roles, tested, kernels[self.target.isa], sent)
        roles |= write_report(self.folder, report)
        write_manifest(self.folder, self._manifest(roles, contents, shared, tested))
        self.package.compress(self.folder, [MANIFEST_NAME], 1)
        files = [*roles, MANIFEST_NAME]
        job.steps.of_target(self.target.name, "bundle", f"{len(files)} files", time.perf_counter() - begun)
        return files

    def _code(self, contents: str, shared: str, kernels: Mapping[str, Sequence[KernelObject]]) -> dict[str, str]:
        """Link the library, the runner and the other modules; their names and roles."""
        target, drivers, roles = self.target, {}, {}
        for file in (file for file in code_files(target) if not file.is_runner):
            sets = kernel_sets(file.isa, file.kernels)
            identity = Identity(file.isa.name, self.model.digest, contents, shared, sets, self.model.entries)
            drivers[file.name] = driver.write_driver(self.module, self.plan, identity)
            roles[file.name] = "code" if file.name == target.library else "variant"
        if target.runner:
            grammar = self.names["grammar"] if self.model.grammars else ""
            defaults = generation_of(self.model, self.module)
            tokenizer = self.names["tokenizer"] if self.model.tokenizer else ""
            names = runner_files(self.names["weights"], tokenizer, grammar, defaults, self.model.refusal)
            drivers[target.runner] = drivers[target.library] + names
            roles[target.runner] = "runtime"
        link_all(drivers, kernels, self.job)
        return roles

    def _entry(self, name: str, role: str) -> FileEntry:
        """Weights of a web bundle have chunks, by which they are downloaded."""
        entry = file_entry(self.folder / name, role)
        in_chunks = role == "weights" and self.target.isa.startswith("wasm32")
        return chunked(entry, self.folder / name) if in_chunks else entry

    def _manifest(self, roles: Mapping[str, str], contents: str, shared: str, tested: Tested) -> Manifest:
        plan = self.plan
        return Manifest(
            name=self.model.name,
            target=self.target.isa,
            config_sha256=self.model.digest,
            weights_sha256=contents,
            chimerac=__version__,
            files=tuple(self._entry(file, role) for file, role in roles.items()),
            memory=Memory(
                (self.folder / self.names["weights"]).stat().st_size,
                plan.state_bytes,
                plan.arena_bytes,
                sum(decode_steps(self.module).values()),
            ),
            cpu=self.target.cpu,
            **test_fields(tested),
            model_sha256=shared,
            provenance={**self.model.provenance, **activity_of(self.module, tested, self.model.entries)},
            generation=generation_of(self.model, self.module),
            refusal=self.model.refusal,
            chat=self.model.chat,
            context=context_of(self.module),
            entries=self.model.entries,
        )

    def _report(
        self, roles: Mapping[str, str], tested: Tested, kernels: Sequence[KernelObject], sent: Mapping[str, int]
    ) -> ReportInput:
        module, calls = self.module, _calls(self.module)
        sections = [(name, module.constants[name].type) for name in driver.used_sections(module)]
        return ReportInput(
            title=f"{self.model.name}.{self.target.name}",
            facts=common_facts(self.model, self.target, module, tested),
            module=module,
            plan=self.plan,
            passes=self.build.passes,
            costs=decode_costs(module),
            files=file_rows(self.folder, roles),
            sections=[(name, str(type_), type_.bytes()) for name, type_ in sections],
            kernels=[
                (
                    k.symbol,
                    ", ".join(map(str, k.spec.operands)),
                    calls.get(k.spec.symbol, 0),
                    k.object_path.stat().st_size,
                )
                for k in kernels
            ],
            findings=remark_rows(self.model),
            unit="token" if module.has_tokens else "call",
            sent=sent,
        )


def _calls(module: Module) -> dict[str, int]:
    """Symbol of a kernel → calls for a token, or for a call of tensors."""
    calls: dict[str, int] = {}
    for op in walk(module.usual.ops):
        if OPS[op.name].has_kernel:
            symbol = KernelSpec.of(op).symbol
            calls[symbol] = calls.get(symbol, 0) + 1
    return calls


def write_weights(path: Path, module: Module, digest: str) -> str:
    """Write the weights file; the digest that ties the code to the weights."""
    with made_ahead(weight_sections(module)) as ready:
        return write_container(path, KIND_WEIGHTS, ready, {KEY_CONFIG: digest})


def with_written_weights(path: Path, module: Module) -> Module:
    """The module, its computed constants read from the weights file, which stays mapped as long as they are there;
    those of a large module are mapped at each use, so that no more than a few of them fill the memory."""
    computed = {
        name: module.constants[name] for name in driver.used_sections(module) if module.constants[name].computed
    }
    if not computed:
        return module
    stored, large = read_container(path, verify=False), is_large(module)

    def mapped(name: str, constant: Constant) -> Constant:
        if not large:
            return replace(constant, source=stored.array(name))
        view = stored.sections[name]
        return replace(constant, source=partial(_mapped, path, constant.type.numpy, view.offset, view.shape))

    return replace(module, constants={**module.constants, **{n: mapped(n, c) for n, c in computed.items()}})


def _mapped(path: Path, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> tuple[np.ndarray]:
    return (np.memmap(path, dtype, "r", offset, shape).view(np.ndarray),)


def finish_kernels(build: Build, folder: Path, job: Job) -> dict[str, list[KernelObject]]:
    """Wait for the kernels of a build; objects of each instruction set, in folders of their own."""
    made = {}
    for name, batch in build.kernels.items():
        begun = time.perf_counter()
        kernels = made[name] = batch.finish(folder / name)
        job.steps.kernels(build.target.name, kernels)
        fresh, seconds = sum(k.seconds > 0 for k in kernels), time.perf_counter() - begun
        if name == build.target.isa:
            what = f"{len(kernels)} kernels: {fresh} compiled, {len(kernels) - fresh} from the cache"
            job.steps.of_target(build.target.name, "kernels", what, seconds)
        elif fresh:
            what = f"{len(kernels)} kernels for {name}: {fresh} compiled"
            job.steps.of_target(build.target.name, f"kernels for {name}", what, seconds)
    return made


def link_all(drivers: Mapping[str, str], kernels: Mapping[str, Sequence[KernelObject]], job: Job) -> None:
    """Make all files of code of a bundle, each in a thread that runs a compiler; ``drivers`` by the file's name."""
    target, tensors = job.build.target, not job.build.module.has_tokens
    rules = job.model.tokenizer.rules if job.model.tokenizer else ()

    def make(file: CodeFile) -> None:
        begun = time.perf_counter()
        objects = [k.object_path for k in kernels[file.isa.name]]
        output = job.folder / file.name
        link_library(
            drivers[file.name],
            objects,
            target,
            file.isa,
            job.work,
            output,
            threads=file.threads,
            tensors=tensors,
            rules=rules,
            run=run,
        )
        job.steps.link(target.name, file.name, time.perf_counter() - begun)

    with ThreadPoolExecutor(job.steps.jobs, thread_name_prefix="link") as pool, ZigRuns() as run:
        for _ in pool.map(make, code_files(target)):
            pass
