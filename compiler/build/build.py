"""One build from a description or a module to bundles: the steps in order.

config → description → PyTorch module (+ weights) → IR → passes → kernels and driver → library → bundle, the last steps
once per target.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chimerac.compiler.build import pipeline
from chimerac.compiler.build.importing import (
    DEFAULT_BLOCK,
    MODULE_SOURCE,
    import_described,
    model_of_module,
    model_of_tensors,
    module_of_source,
    read_description,
)
from chimerac.compiler.build.lowering import LoweringOptions, start_build
from chimerac.compiler.build.places import check_place
from chimerac.compiler.build.published import import_published, open_published
from chimerac.compiler.build.timings import Progress, TimingLog, Timings
from chimerac.compiler.build.writing import make_self_test, write_bundle
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.caches import CACHE_TYPES
from chimerac.compiler.ir.module import Module
from chimerac.compiler.model import GrammarRequest, Model
from chimerac.compiler.packaging.options import USUAL, PackagingOptions
from chimerac.compiler.packaging.package import Naming, Tested
from chimerac.compiler.packaging.registry import package_of
from chimerac.frontends.config.locate import builtin_names
from chimerac.frontends.matrices.rules import Given
from chimerac.frontends.sources.recognised import is_published
from chimerac.frontends.tokenizers import Characters, checked_chat
from chimerac.passes.loop_unrolling import check_loops
from chimerac.runtime.bundle_format import Chat, Generation
from chimerac.runtime.reference.tokenizer import Tokenizer
from chimerac.targets.code.kernel_queue import KernelQueue, usable_cores
from chimerac.targets.code.runtime_ahead import RuntimeAhead
from chimerac.targets.limits import check_quantization
from chimerac.targets.registry import Target, find_target, host_target

if TYPE_CHECKING:
    from torch import nn


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
    absent: tuple[str, ...] = ()  #: what the description enables and no compiler makes yet
    has_tokens: bool = True  #: whether it is a language model


def build(
    config: str | Path = "home",
    *,
    targets: Sequence[str] | None = None,
    out: str | Path = "dist",
    scale: str | None = None,
    overrides: Sequence[str] = (),
    weights: str | Path | None = None,
    tokenizer: str | Path | None = None,
    seed: int | None = None,
    loops: int | None = None,
    without: Sequence[str] = (),
    trits: str | None = None,
    speculate: bool = False,
    dump_passes: str | Path | None = None,
    check: bool = True,
    jobs: int | None = None,
    progress: Progress | None = None,
    example: Sequence[Any] | Mapping[str, Any] | None = None,
    block: int | None = None,
    context: int | None = None,
    cache: str | None = None,
    weights_format: Given | None = None,
    activations: str | None = None,
    packaging: PackagingOptions = USUAL,
) -> BuildReport:
    """Build bundles of a model for some targets.

    Args:
        config: path of a config, the name of a built-in one, or ``file.py:Class``, a PyTorch module as ``compile``
            takes it, of a file that is run and a class that needs no arguments; scale, overrides and weights are of
            configs only. Or a published model: a folder of the Hugging Face hub, or a GGUF file.
        targets: names or aliases of targets, see ``chimerac targets``; None builds for this machine.
        out: folder that gets one bundle folder per target, ``<name>.<target>``; an older bundle there is replaced.
        scale: preset that shrinks the config: nano, tiny, small or full.
        overrides: ``a.b.c=value`` settings of config values.
        weights: safetensors file; without it those that come with a built-in config, where the config is taken as it is
            and no seed is given; otherwise random ones, from the seed.
        tokenizer: tokenizer container, the ranks of o200k_base in tiktoken's format, or a list of characters in JSON,
            in the order of their ids; without it the one of the
            built-in config, else o200k_base with agent tokens for a vocabulary of 200,073, else one token per byte.
        seed: of random weights; the config's when None.
        loops: unroll looped layers this many times; None lets the run time choose.
        without: optional passes to leave out.
        speculate: let several guessed tokens be run in one pass, with the same text (docs/spans.md); it takes another
            kernel of the head, and memory.
        trits: form of all packed weights, t2 or t5 (compiler/ir/layouts.py); None takes the fastest for the target.
        dump_passes: folder that gets, in a folder for each target, the text form of the IR after every pass.
        check: run the bundle's self-test at the end where this machine can.
        jobs: compilers that may run at a time; None takes one per core. The bundles do not depend on it.
        progress: told about every step.
        example, block: of ``file.py:Class`` only, as of ``compile``.
        context: most tokens of a text, of a published model; None for what it was made for, 4096 at most. Of
            ``file.py:Class`` as of ``compile``.
        cache: how attention of these holds keys and values, as of ``compile``.
        weights_format: as of ``compile``; of a published model it says what becomes of matrices that are not ternary,
            int8 by default, and patterns fit their names in the module and in files.
        activations: what has a scale, of the 8-bit activations of a published model's ternary layers: ``blocks`` of 64
            channels, or ``row``, all channels of a token; None for what the model was made for.
        packaging: the page and the npm package of web bundles, the bank of spans, and the most bytes of any bundle.

    Returns:
        what was built.

    Raises:
        UserError: CHM1xx config, CHM2xx model or weights, CHM3xx targets and tools, CHM4xx the finished bundle.
        InternalError: a bug of chimerac, naming the pass.
    """
    options = LoweringOptions(loops, without, trits, dump_passes, speculate)
    if str(config) not in builtin_names() and is_published(Path(config)):
        given = {
            "scale": scale,
            "--set": overrides,
            "weights": weights,
            "seed": seed,
            "example": example,
            "block": block,
        }
        if said := [name for name, value in given.items() if value is not None and value != ()]:
            hint = "its files say what it is"
            raise UserError("CHM219", f"{config} is a published model, and takes no {', '.join(said)}", hint=hint)
        run, held = _Run(targets, out, options, check, jobs, progress, packaging), cache or CACHE_TYPES[0]
        opened = open_published(
            config, context=context, weights_format=weights_format, activations=activations, tell=run.log.tell
        )
        run.claim(opened, 1, 1)
        return run.finish(lambda: import_published(opened, tokenizer=tokenizer, cache=held, tell=run.log.tell))
    if isinstance(config, str) and MODULE_SOURCE.fullmatch(config):
        if scale is not None or overrides or weights is not None or activations is not None:
            hint = "its class makes the module as it is, with its weights"
            message = f"{config} is a module, and takes no scale, settings, weights or activations"
            raise UserError("CHM219", message, hint=hint)
        return compile(
            module_of_source(config, seed),
            targets=targets,
            out=out,
            tokenizer=tokenizer,
            loops=loops,
            without=without,
            trits=trits,
            speculate=speculate,
            dump_passes=dump_passes,
            check=check,
            jobs=jobs,
            progress=progress,
            example=example,
            block=DEFAULT_BLOCK if block is None else block,
            context=context,
            cache=cache,
            weights_format=weights_format,
            packaging=packaging,
        )
    chosen = {
        "example": example,
        "block": block,
        "context": context,
        "cache": cache,
        "format of weights": weights_format,
        "activations": activations,
    }
    if names := [name for name, value in chosen.items() if value is not None]:
        message = f"{config} is a config, and takes no {' or '.join(names)}"
        raise UserError("CHM219", message, hint="its family knows them")
    run = _Run(targets, out, options, check, jobs, progress, packaging)
    # what can be known to fail is refused before the minutes that a large model takes
    described = read_description(config, scale=scale, overrides=overrides, seed=seed, tell=run.log.tell)
    run.claim(described.description, described.description.fewest_loops, described.description.loops)
    for target in run.targets:
        for block, group in described.description.quantization:
            check_quantization(block, group, target)
    return run.finish(lambda: import_described(described, weights=weights, tokenizer=tokenizer, tell=run.log.tell))


def compile(
    module: nn.Module | str,
    *,
    targets: Sequence[str] | None = None,
    out: str | Path = "dist",
    name: str | None = None,
    tokenizer: str | Path | Tokenizer | Characters | None = None,
    grammars: GrammarRequest | None = None,
    generation: Generation | None = None,
    chat: Chat | None = None,
    block: int = DEFAULT_BLOCK,
    context: int | None = None,
    cache: str | None = None,
    example: Sequence[Any] | Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    weights_format: Given | None = None,
    loops: int | None = None,
    without: Sequence[str] = (),
    trits: str | None = None,
    speculate: bool = False,
    dump_passes: str | Path | None = None,
    check: bool = True,
    jobs: int | None = None,
    progress: Progress | None = None,
    packaging: PackagingOptions = USUAL,
) -> BuildReport:
    """Build bundles of a PyTorch module with its weights: of a language model, or of tensors to tensors.

    Args:
        module: of a language model ``forward(tokens i32[T], position i32[]) -> logits f32[T, V]`` with its recurrent
            state in buffers that forward overwrites: the export form of docs/modules.md, or a module whose method
            ``export_form(context)`` returns one. Of any other module a forward of tensors, for which there is an
            example. Or ``file.py:Class``, as of ``explain``.
        example: the arguments of a call of a module that is no language model, by place or by name: tensors, whose
            types and shapes are those of every call, or texts, ``"1,16:f32"``, ``"T,16:f32"`` where an axis varies.
            None asks the module's methods ``example()`` and ``dynamic_shapes()``; one without is a language model.
        dynamic_shapes: which axis varies, as ``torch.export.export`` takes it, where no text says it.
        weights_format: of matrices, float32 when None: f32, f16, bf16, int8, ternary, or auto, which is ternary for
            those that are that already and float32 for others; or a mapping from patterns of names of parameters to
            formats, ``{"*": "int8", "head.*": "f32"}``, or texts, ``["int8", "head.*=f32"]``. The last that fits
            decides.
        name: of the model and its bundles; the class's, in lower case, when None.
        tokenizer: of as many tokens as V, or its file, or characters: a list in the order of their ids, or the id of
            each. When None one token per byte, and none at all where V is under 256: such a bundle takes and gives ids.
            This and the next three are of language models only.
        grammars: what the bundle's grammar file holds; none when None.
        generation: what a generation takes where its caller says nothing; greedy when None.
        chat: how conversations are put into tokens; none when None, and prompts are raw.
        block: most tokens of a call, which never crosses a position that is a multiple of it; or most elements of the
            axis that varies.
        context: most tokens of a text, prompt and answer together, of a language model with attention to all of it that
            does not say how many there can be. By default the length of its table of positions.
        cache: how attention holds keys and values: "f32" (None), "f16", half as large and a little less exact, or
            "int8", a quarter as large and less exact than that, or "int4", an eighth as large and much less exact.

    The other arguments and the result are those of ``build``.

    Raises:
        UserError: CHM113 the name, CHM21x, CHM223 and CHM224 for the example and what cannot be imported, CHM236 the
            formats of weights, CHM242 weights that have no such format, CHM312 the block, CHM244 the tokenizer, CHM263
            the chat, CHM3xx targets and tools, CHM4xx the finished bundle.
        InternalError: a bug of chimerac, naming the pass.
    """
    options = LoweringOptions(loops, without, trits, dump_passes, speculate)
    run = _Run(targets, out, options, check, jobs, progress, packaging)
    if isinstance(module, str):
        module = module_of_source(module)
    if block < 1:
        raise UserError("CHM312", f"a block of {block}: a call has at least one element")
    from chimerac.frontends.export.examples import example_of

    found = example_of(module, example, dynamic_shapes, block)
    if context is not None and context < 2:
        raise UserError("CHM224", f"a context of {context} tokens: a text and its answer have two at least")
    if found is None:
        model = model_of_module(
            module,
            name=name,
            tokenizer=tokenizer,
            grammars=grammars,
            block=block,
            context=context,
            cache=cache or CACHE_TYPES[0],
            weights_format=weights_format,
            tell=run.log.tell,
        )
        model = replace(model, generation=generation, chat=checked_chat(chat, model.tokenizer))
    else:
        if any(given is not None for given in (tokenizer, grammars, generation, chat, context, cache)):
            what = "takes no tokenizer, grammars, generation, chat, context or cache"
            message = f"{type(module).__name__} is no language model, and {what}"
            raise UserError("CHM219", message, hint="a language model needs no example")
        model = model_of_tensors(
            module, found, name=name, block=block, weights_format=weights_format, tell=run.log.tell
        )
    run.claim(model, model.module.fewest_loops, model.module.loops[1])
    return run.finish(lambda: model)


def build_model(model: Model, target: Target, path: Path, *, check: bool = True, jobs: int = 1) -> Module:
    """The bundle at ``path`` of a model that is imported already; returns its lowered module.

    Raises:
        UserError: as ``build``.
    """
    log = TimingLog(None, jobs)
    with KernelQueue(jobs) as queue:
        made, _ = start_build(model.module, target, queue, log, LoweringOptions())
        write_bundle(model, made, path, _SelfTests(model, log), log, check=check, options=USUAL)
    return made.module


class _SelfTests:
    """The self-test vector, computed once for all targets: it is the same for each."""

    def __init__(self, model: Model, log: TimingLog) -> None:
        self.model, self.log = model, log
        self.found: Tested | None = None

    def __call__(self, module: Module) -> Tested:
        if self.found is None:
            self.found = make_self_test(self.model, module, self.log.tell)
        return self.found


class _Run:
    """The bundles of one call.

    Raises:
        UserError: CHM300 for targets, CHM311 for passes that must not be left out, CHM312 for jobs.
    """

    def __init__(
        self,
        targets: Sequence[str] | None,
        out: str | Path,
        options: LoweringOptions,
        check: bool,
        jobs: int | None,
        progress: Progress | None,
        packaging: PackagingOptions,
    ) -> None:
        if jobs is not None and jobs < 1:
            raise UserError("CHM312", f"{jobs} jobs: at least one has to do the work")
        self.log = TimingLog(progress, jobs or usable_cores())
        names = (host_target(),) if targets is None else targets
        self.targets = list(dict.fromkeys(find_target(name) for name in names))
        if not self.targets:
            raise UserError("CHM300", "no target is given", hint="--target x86_64-avx2 or --target wasm")
        pipeline.passes(without=options.without)
        if packaging.spans is not None and not options.speculate:
            raise UserError("CHM314", "a bank of spans is for bundles that guess tokens", hint="give --speculate, too")
        self.out, self.options, self.check, self.packaging = Path(out), options, check, packaging
        self.places: dict[Target, Path] = {}

    def claim(self, naming: Naming, fewest: int, most: int) -> None:
        """Refuse what can be known to fail once the model has a name and a range of iterations."""
        if self.options.loops is not None:
            check_loops(self.options.loops, fewest, most)
        for target in self.targets:
            package_of(target).check_names(naming, target)
            self.places[target] = self.out / f"{naming.name}.{target.name}"
            check_place(self.places[target])

    def finish(self, import_model: Callable[[], Model]) -> BuildReport:
        """Import the model, lower it for every target, and write the bundles."""
        log, bundles = self.log, []
        with RuntimeAhead(self.targets, log.jobs - 1) as runtime, KernelQueue(log.jobs) as queue:
            model = import_model()
            # the kernels of all targets wait in one queue
            started = [start_build(model.module, target, queue, log, self.options) for target in self.targets]
            runtime.finish()
            tests = _SelfTests(model, log)
            while started:  # each lowered module is let go when its bundle is written
                (made, seconds), begun = started.pop(0), time.perf_counter()
                path = self.places[made.target]
                size = write_bundle(model, made, path, tests, log, check=self.check, options=self.packaging)
                bundles.append(BuiltBundle(made.target.name, path, size, seconds + time.perf_counter() - begun))
        timings = log.timings()
        return BuildReport(
            model.name,
            model.weights,
            tuple(bundles),
            timings.seconds,
            timings,
            model.absent,
            model.module.has_tokens,
        )
