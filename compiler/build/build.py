"""One build from config to bundles: the steps in order.

config → shape → PyTorch module (+ weights) → IR → passes → kernels and driver → library → bundle, once per target.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chimerac.compiler.build import pipeline
from chimerac.compiler.build.self_test import self_test
from chimerac.compiler.build.timings import Progress, TimingLog, Timings
from chimerac.compiler.build.workspace import workspace
from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.ir.interpreter import is_large
from chimerac.compiler.ir.module import Module
from chimerac.compiler.ir.verify import verify
from chimerac.compiler.packaging.native import (
    BundleInput,
    data_file_names,
    make_tokenizer,
    model_name,
    with_written_weights,
    write_bundle,
    write_weights,
)
from chimerac.compiler.packaging.onnx import OnnxBundleInput, write_onnx_bundle
from chimerac.frontends import config as config_language
from chimerac.frontends.config import ModelConfig
from chimerac.frontends.families.chimera.from_config import shape as shape_of
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.tokenizers import load_tokenizer, tokenizer_of
from chimerac.passes.base import PassRecord
from chimerac.passes.loop_unrolling import check_loops
from chimerac.passes.ternary_costs import TernaryCosts
from chimerac.passes.ternary_packing import TernaryPacking
from chimerac.runtime.bundle_format import MANIFEST_NAME, SelfTest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.reference.tokenizer import Tokenizer
from chimerac.runtime.sessions.loading import load
from chimerac.targets.code import driver
from chimerac.targets.code.codegen import KernelObject
from chimerac.targets.code.kernel_queue import KernelBatch, KernelQueue, usable_cores
from chimerac.targets.code.library import CodeFile, code_files, link_library
from chimerac.targets.code.link import ZigRuns
from chimerac.targets.code.memory_planning import plan_memory
from chimerac.targets.code.runtime_ahead import RuntimeAhead
from chimerac.targets.code.variants import kernels_of
from chimerac.targets.isa import Isa, load_isa
from chimerac.targets.registry import Target, find_target

if TYPE_CHECKING:
    from chimerac.frontends.families.chimera.model import ChimeraModel

#: Prompt of the self-test, and how many tokens it generates.
SELF_TEST_PROMPT = b"The quick brown fox jumps over"
SELF_TEST_TOKENS = 16
#: The same for models of which the interpreter computes a token in seconds: tokens of the prompt, and generated.
LARGE_SELF_TEST = (8, 2)


@dataclass(frozen=True)
class BuiltBundle:
    """A finished bundle."""

    target: str
    path: Path
    bytes: int
    seconds: float


@dataclass(frozen=True)
class BuildReport:
    """What a build made. ``weights`` says where the weights came from, ``timings`` where the time went."""

    name: str
    weights: str
    bundles: tuple[BuiltBundle, ...]
    seconds: float
    timings: Timings


@dataclass(frozen=True)
class Source:
    """A model before any target: its config, its IR, where its weights come from, and the PyTorch module."""

    config: ModelConfig
    module: Module
    weights: str
    model: ChimeraModel | None  #: None when it is too large to be in memory whole
    tokenizer: Tokenizer | None = None  #: None for one token per byte
    notes: str = ""  #: what the model card says of the weights

    def table(self, module: Module) -> Tokenizer:
        """The tokenizer of a bundle."""
        return self.tokenizer or make_tokenizer(self.config, module)


def build(
    config: str | Path = "home",
    *,
    targets: Sequence[str] = ("x86_64-avx2",),
    out: str | Path = "dist",
    scale: str | None = None,
    overrides: Sequence[str] = (),
    weights: str | Path | None = None,
    tokenizer: str | Path | None = None,
    seed: int | None = None,
    loops: int | None = None,
    without: Sequence[str] = (),
    trits: str | None = None,
    check: bool = True,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build bundles of a model for some targets.

    Args:
        config: path of a config, or the name of a built-in one.
        targets: names or aliases of targets; see ``chimerac targets``.
        out: folder that gets one bundle folder per target, ``<name>.<target>``; an older bundle there is replaced.
        scale: preset that shrinks the config: nano, tiny, small or full.
        overrides: ``a.b.c=value`` settings of config values.
        weights: safetensors file; without it those that come with a built-in config, where the config is taken as it is
            and no seed is given; otherwise random ones, from the seed.
        tokenizer: tokenizer container, or the ranks of o200k_base in tiktoken's format; without it the one of the
            built-in config, else o200k_base with agent tokens for a vocabulary of 200,073, else one token per byte.
        seed: of random weights; the config's when None.
        loops: unroll looped layers this many times; None lets the run time choose.
        without: optional passes to leave out.
        trits: form of all packed weights, t2 or t5 (compiler/ir/layouts.py); None takes the fastest for the target.
        check: run the bundle's self-test at the end where this machine can.
        jobs: compilers that may run at a time; None takes one per core. The bundles do not depend on it.
        progress: told about every step.

    Returns:
        what was built.

    Raises:
        UserError: CHM1xx config, CHM2xx model or weights, CHM3xx targets and tools, CHM4xx the finished bundle.
        InternalError: a bug of chimerac, naming the pass.
    """
    if jobs is not None and jobs < 1:
        raise UserError("CHM312", f"{jobs} jobs: at least one has to do the work")
    log = TimingLog(progress, jobs or usable_cores())
    chosen = list(dict.fromkeys(find_target(name) for name in targets))
    if not chosen:
        raise UserError("CHM300", "no target is given", hint="--target x86_64-avx2 or --target wasm")
    # what can be known to fail is refused before the minutes that a large model takes
    pipeline.passes(without=without)
    settings, shape = read_config(config, scale=scale, overrides=overrides, seed=seed, tell=log.tell)
    if loops is not None:
        check_loops(loops, shape.loop.maximum if shape.loop else 1)
    name = model_name(settings)
    places = {target: Path(out) / f"{name}.{target.name}" for target in chosen}
    for target, path in places.items():
        data_file_names(settings, target)
        _check_place(path)
    pure = scale is None and not overrides
    own = config_language.shipped_file(config, ".tokenizer") if pure else None
    table = _tokenizer(tokenizer or own, settings)
    shipped = None if weights else _shipped_weights(config, pure and seed is None)
    notes = config_language.shipped_file(config, ".md") if shipped else None
    with RuntimeAhead(chosen, log.jobs - 1) as runtime, KernelQueue(log.jobs) as queue:
        source = replace(
            import_shape(settings, shape, weights=weights or shipped, tell=log.tell),
            tokenizer=table,
            notes=notes.read_text("utf-8") if notes else "",
        )
        # the kernels of all targets wait in one queue
        lowering = partial(_lower, source.module, queue=queue, log=log, loops=loops, without=without, trits=trits)
        works = [lowering(t, p) for t, p in places.items()]
        runtime.finish()
        expected: SelfTest | None = None
        bundles = []
        while works:  # each lowered module is let go when its bundle is written
            work = works.pop(0)
            begun = time.perf_counter()
            expected = _write(source, work, expected, check, log)
            size = sum(f.stat().st_size for f in work.path.iterdir())
            bundles.append(BuiltBundle(work.target.name, work.path, size, work.seconds + _since(begun)))
    timings = log.timings()
    return BuildReport(name, source.weights, tuple(bundles), timings.seconds, timings)


@dataclass(frozen=True)
class _Work:
    """A bundle to write: its lowered module, what the passes did, and its kernels, which are being compiled."""

    target: Target
    path: Path
    module: Module
    records: Sequence[PassRecord]
    kernels: Mapping[str, KernelBatch]  #: of each instruction set, by name
    seconds: float


def _lower(
    module: Module,
    target: Target,
    path: Path,
    queue: KernelQueue,
    log: TimingLog,
    *,
    loops: int | None,
    without: Sequence[str],
    trits: str | None,
) -> _Work:
    """Lower a module and have its kernels compiled."""
    begun = time.perf_counter()
    lowered, records = lower(module, target, loops=loops, without=without, trits=trits)
    log.of_target(target.name, "passes", f"{len(records)} passes, {records[-1].ops} ops", _since(begun))
    log.passes(target.name, records)
    kernels = {}
    for isa in {file.isa.name: file.isa for file in code_files(target)}.values():
        kernels[isa.name] = queue.submit(kernels_of(driver.kernel_specs(lowered), isa))
    return _Work(target, path, lowered, records, kernels, _since(begun))


def build_imported(source: Source, target: Target, path: Path, *, check: bool = True, jobs: int = 1) -> Module:
    """The bundle at ``path`` of a model that is imported already; returns its lowered module.

    Raises:
        UserError: as ``build``.
    """
    log = TimingLog(None, jobs)
    with KernelQueue(jobs) as queue:
        work = _lower(source.module, target, path, queue, log, loops=None, without=(), trits=None)
        _write(source, work, None, check, log)
    return work.module


def import_model(
    config: str | Path,
    *,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    weights: str | Path | None = None,
    seed: int | None = None,
    tell: Progress = lambda step, what, seconds: None,
) -> Source:
    """The IR of a configured model with its weights; parameters as of ``build``."""
    settings, shape = read_config(config, scale=scale, overrides=overrides, seed=seed, tell=tell)
    weights = weights or _shipped_weights(config, scale is None and not overrides and seed is None)
    return import_shape(settings, shape, weights=weights, tell=tell)


def _shipped_weights(config: str | Path, as_it_is: bool) -> Path | None:
    """The weights that come with a built-in config, when it is taken as it is."""
    return config_language.shipped_file(config, ".safetensors") if as_it_is else None


def _tokenizer(path: str | Path | None, settings: ModelConfig) -> Tokenizer | None:
    """The tokenizer of a file, which must have the model's vocabulary, else the one that the vocabulary stands for."""
    try:
        return load_tokenizer(path, settings.vocab_size) if path is not None else tokenizer_of(settings)
    except BundleError as error:
        raise as_user_error(error) from None


def read_config(
    config: str | Path,
    *,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    tell: Progress = lambda step, what, seconds: None,
) -> tuple[ModelConfig, ChimeraShape]:
    """A config and the shape of its model; parameters as of ``build``."""
    begun = time.perf_counter()
    settings = config_language.load(config, scale=scale, overrides=overrides)
    shape = shape_of(settings)
    if seed is not None:
        if not 0 <= seed < 1 << 64:
            raise UserError("CHM312", f"the seed {seed} is not a number from 0 to 2**64 - 1")
        shape = replace(shape, seed=seed)
    tell("config", f"{model_name(settings)}: {shape.layers} layers, {shape.hidden} channels", _since(begun))
    return settings, shape


def import_shape(
    settings: ModelConfig,
    shape: ChimeraShape,
    *,
    weights: str | Path | None = None,
    tell: Progress = lambda step, what, seconds: None,
) -> Source:
    """The IR of a model of this shape, with weights of a file or random ones."""
    begun = time.perf_counter()
    import torch

    from chimerac.frontends.export.importer import import_module
    from chimerac.frontends.families.chimera.model import ChimeraModel
    from chimerac.frontends.families.chimera.stateful import Stateful
    from chimerac.frontends.weights.sources import (
        CheckpointWeights,
        RandomWeights,
        WeightSource,
        fill_small,
        large_names,
        unfilled_model,
    )

    origin: WeightSource = RandomWeights(shape, shape.seed) if weights is None else CheckpointWeights(shape, weights)
    large = large_names(shape)
    model = (unfilled_model if large else ChimeraModel)(shape).eval()
    if large:
        fill_small(model, origin, large)
    else:
        origin.fill(model)
    count = sum(p.numel() for p in model.parameters())
    tell("model", f"{count:,} parameters ({origin.origin})" + (", read as needed" if large else ""), _since(begun))

    begun = time.perf_counter()
    with torch.no_grad():
        stateful = Stateful(model).eval()
        parts = {name: partial(origin.parts, name) for name in large}
        module = import_module(stateful, name=model_name(settings), block=stateful.block, computed=parts)
    verify(module)
    tell("export", f"{len(module.graphs['main'].ops)} ops", _since(begun))
    return Source(settings, module, origin.origin, None if large else model)


def lower(
    module: Module,
    target: Target,
    *,
    loops: int | None = None,
    without: Sequence[str] = (),
    trits: str | None = None,
) -> tuple[Module, list[PassRecord]]:
    """The module as the target's kernels take it, and what the passes did; parameters as of ``build``."""
    packing = [] if target.package == "onnx" else [_packing(load_isa(target.isa), trits)]
    return pipeline.run(module, pipeline.passes(loops=loops, packing=packing, without=without))


def _packing(isa: Isa, form: str | None) -> TernaryPacking:
    """The pass that packs trits for an instruction set."""
    return TernaryPacking(isa.panel_rows, TernaryCosts(isa.form_costs, isa.memory_cost, isa.form_multiples), form)


def make_self_test(source: Source, module: Module, tell: Progress) -> SelfTest:
    """The self-test vector of a lowered module, computed by the interpreter."""
    begun = time.perf_counter()
    tokenizer = source.table(module)
    prompt, count = tokenizer.encode(SELF_TEST_PROMPT), SELF_TEST_TOKENS
    if is_large(module):
        prompt, count = prompt[: LARGE_SELF_TEST[0]], LARGE_SELF_TEST[1]
    found = self_test(module, prompt=prompt, count=count, tokenizer=tokenizer)
    tell("self-test vector", f"{len(prompt)} + {len(found.tokens)} tokens in the interpreter", _since(begun))
    return found


def _write(source: Source, work: _Work, expected: SelfTest | None, check: bool, log: TimingLog) -> SelfTest:
    """Make the bundle in a temporary folder beside its place and rename it there when it is whole and tested.

    Args:
        expected: the self-test vector, if it was computed for another target.

    Returns:
        the self-test vector.

    Raises:
        UserError: CHM302 from the C compiler; CHM321, a file cannot be written; CHM4xx, the self-test failed.
    """
    path = work.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write = _write_onnx_beside if work.target.package == "onnx" else _write_beside
        return write(source, work, expected, check, log)
    except BundleError as error:
        raise as_user_error(error) from None
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise UserError("CHM321", f"cannot write {path}: {error.strerror or error}{where}") from None


def _write_beside(source: Source, work: _Work, expected: SelfTest | None, check: bool, log: TimingLog) -> SelfTest:
    target, module = work.target, work.module
    isa = load_isa(target.isa)
    with workspace(work.path) as temporary:
        objects, folder = temporary / "work", temporary / "bundle"
        objects.mkdir()
        folder.mkdir()
        plan = plan_memory(module)
        begun = time.perf_counter()
        contents = write_weights(folder, source.config, target, module)
        size = sum(f.stat().st_size for f in folder.iterdir())
        log.of_target(target.name, "weights", f"weights: {size:,} bytes", _since(begun))
        if expected is None:
            expected = make_self_test(source, with_written_weights(folder, source.config, target, module), log.tell)
        kernels = _finish_kernels(work, objects, log)
        begun = time.perf_counter()
        bundle = BundleInput(
            source.config,
            source.weights,
            source.table(module),
            target,
            isa,
            module,
            plan,
            work.records,
            contents,
            expected,
            kernels[isa.name],
            source.notes,
        )
        files = write_bundle(folder, bundle, partial(_link, target, kernels, objects, folder, log))
        log.of_target(target.name, "bundle", f"{len(files)} files", _since(begun))
        if check:
            _check(folder, target, log)
        _replace_folder(folder, work.path, temporary / "old")
        return expected


def _write_onnx_beside(source: Source, work: _Work, expected: SelfTest | None, check: bool, log: TimingLog) -> SelfTest:
    target, module = work.target, work.module
    with workspace(work.path) as temporary:
        folder = temporary / "bundle"
        folder.mkdir()
        expected = expected or make_self_test(source, module, log.tell)
        begun = time.perf_counter()
        table = source.table(module)
        bundle = OnnxBundleInput(
            source.config, source.weights, table, target, module, work.records, expected, source.notes
        )
        files = write_onnx_bundle(folder, bundle)
        log.of_target(target.name, "bundle", f"{len(files)} files", _since(begun))
        if check:
            _check(folder, target, log)
        _replace_folder(folder, work.path, temporary / "old")
        return expected


def _finish_kernels(work: _Work, folder: Path, log: TimingLog) -> dict[str, list[KernelObject]]:
    """Wait for the kernels of a bundle; objects of each instruction set."""
    made = {}
    for name, batch in work.kernels.items():
        begun = time.perf_counter()
        kernels = made[name] = batch.finish(folder / name)
        log.kernels(work.target.name, kernels)
        fresh = sum(k.seconds > 0 for k in kernels)
        if name == work.target.isa:
            what = f"{len(kernels)} kernels: {fresh} compiled, {len(kernels) - fresh} from the cache"
            log.of_target(work.target.name, "kernels", what, _since(begun))
        elif fresh:
            what = f"{len(kernels)} kernels for {name}: {fresh} compiled"
            log.of_target(work.target.name, f"kernels for {name}", what, _since(begun))
    return made


def _link(
    target: Target,
    kernels: Mapping[str, Sequence[KernelObject]],
    work: Path,
    folder: Path,
    log: TimingLog,
    drivers: Mapping[str, str],
) -> None:
    """Make all files of code of a bundle, each in a thread that runs a compiler."""

    def make(file: CodeFile) -> None:
        begun = time.perf_counter()
        objects = [k.object_path for k in kernels[file.isa.name]]
        output = folder / file.name
        link_library(drivers[file.name], objects, target, file.isa, work, output, threads=file.threads, run=run)
        log.link(target.name, file.name, _since(begun))

    with ThreadPoolExecutor(log.jobs, thread_name_prefix="link") as pool, ZigRuns() as run:
        for _ in pool.map(make, code_files(target)):
            pass


def _check_place(path: Path) -> None:
    """Raise UserError CHM320 when something that is no bundle is in the way, CHM321 where nothing can be written."""
    parent = next(p for p in path.parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        what = "may not be written to" if parent.is_dir() else "is not a folder"
        raise UserError("CHM321", f"cannot write {path}: {parent} {what}", hint="choose another --out")
    try:
        taken = path.exists() or path.is_symlink()
        if taken and not _is_bundle(path) and (not path.is_dir() or any(path.iterdir())):
            raise UserError("CHM320", f"{path} exists and is not a bundle", hint="choose another --out, or remove it")
    except OSError as error:
        raise UserError("CHM321", f"cannot write {path}: {error.strerror or error}") from None


def _is_bundle(path: Path) -> bool:
    """Whether a folder has a manifest of ours, of any version; web pages have files of that name too."""
    try:
        manifest = json.loads((path / MANIFEST_NAME).read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and {"schema", "abi", "files"} <= manifest.keys()


def _replace_folder(new: Path, path: Path, aside: Path) -> None:
    """Put ``new`` at ``path``; what was there is deleted only once the new bundle is in place."""
    _check_place(path)
    if path.exists() or path.is_symlink():
        path.rename(aside)
    try:
        new.rename(path)
    except BaseException:
        if aside.exists() or aside.is_symlink():
            aside.rename(path)
        raise


def _check(folder: Path, target: Target, log: TimingLog) -> None:
    """Run the bundle's self-test, if this machine can run it."""
    begun = time.perf_counter()
    try:
        with load(folder) as session:
            session.self_test()
            compared = session.self_test_compares
    except BundleError as error:
        if error.code in ("CHM413", "CHM440"):
            log.of_target(target.name, "self-test", f"self-test not run: {error.message}", _since(begun))
            return
        raise
    log.of_target(target.name, "self-test", f"self-test passed: {compared}", _since(begun))


def _since(begun: float) -> float:
    return time.perf_counter() - begun
