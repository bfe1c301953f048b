"""A bundle is made in a folder of its own, tested there, and only then takes its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from chimerac.compiler.build.known import note
from chimerac.compiler.build.places import replace_folder
from chimerac.compiler.build.self_test import call_test, check_calls, self_test
from chimerac.compiler.build.timings import Progress, TimingLog
from chimerac.compiler.build.workspace import ASIDE_NAME, workspace
from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.ir.context import context_of
from chimerac.compiler.ir.custom import CUSTOM
from chimerac.compiler.ir.interpreter import is_large
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.model import Model
from chimerac.compiler.packaging.budget import check_budget
from chimerac.compiler.packaging.options import PackagingOptions
from chimerac.compiler.packaging.package import Build, Job, Tested
from chimerac.compiler.packaging.registry import package_of
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.loading import load
from chimerac.targets.registry import Target

#: Prompt of the self-test, and how many tokens it generates.
SELF_TEST_PROMPT = b"The quick brown fox jumps over"
SELF_TEST_TOKENS = 16
#: The same for models of which the interpreter computes a token in seconds: tokens of the prompt, and generated.
LARGE_SELF_TEST = (8, 2)


def make_self_test(model: Model, module: Module, tell: Progress) -> Tested:
    """The self-test vector of a lowered module, computed by the interpreter.

    Raises UserError CHM218 for a module that depends on how its tokens are cut into calls.
    """
    begun = time.perf_counter()
    tokenizer = model.tokenizer
    if model.entries:
        (entry,) = model.entries
        called = call_test(module, entry)
        tell("self-test vector", f"{len(called.vector.calls)} calls in the interpreter", time.perf_counter() - begun)
        return called
    prompt, count = tokenizer.encode(SELF_TEST_PROMPT) if tokenizer else [], SELF_TEST_TOKENS
    if not prompt:  # its tokens are no text, or no letters
        vocabulary = int(module.usual.results[0].type.shape[-1])
        prompt = [i * (i + 1) // 2 % vocabulary for i in range(SELF_TEST_TOKENS)]
    if is_large(module):
        prompt, count = prompt[: LARGE_SELF_TEST[0]], LARGE_SELF_TEST[1]
    if context := context_of(module):
        prompt, count = prompt[: (context + 1) // 2], min(count, context // 2)
    if not is_large(module):
        check_calls(module, prompt)
    found = self_test(module, prompt=prompt, count=count, tokenizer=tokenizer)
    what = f"{len(prompt)} + {len(found.vector.tokens)} tokens in the interpreter"
    tell("self-test vector", what, time.perf_counter() - begun)
    return found


def write_bundle(
    model: Model,
    build: Build,
    path: Path,
    self_test: Callable[[Module], Tested],
    log: TimingLog,
    *,
    check: bool,
    options: PackagingOptions,
) -> int:
    """Make a bundle in a temporary folder beside ``path`` and rename it there when it is whole and tested.

    Args:
        self_test: the self-test vector of a lowered module.
        check: run the bundle's self-test where this machine can.

    Returns:
        bytes of its files, without those that are others compressed.

    Raises:
        UserError: CHM302 from the C compiler; CHM321, a file cannot be written; CHM325, the bundle is too large;
            CHM4xx, the self-test failed.
    """
    target = build.target
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with workspace(path) as temporary:
            work, folder = temporary / "work", temporary / "bundle"
            work.mkdir()
            folder.mkdir()
            names = package_of(target).write(Job(model, (build,), folder, work, self_test, log, options))
            if options.max_bytes is not None:
                check_budget(path.name, folder, options.max_bytes)
            if check:
                _check(folder, target, log, _own_ops(build.module))
            size = sum((folder / name).stat().st_size for name in names)
            replace_folder(folder, path, temporary / ASIDE_NAME)
            note(path, "built")
        return size
    except BundleError as error:
        raise as_user_error(error) from None
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise UserError("CHM321", f"cannot write {path}: {error.strerror or error}{where}") from None


def _own_ops(module: Module) -> list[str]:
    used = {op.name for graph in module.graphs.values() for op in walk(graph.ops)}
    return [op.torch for name, op in CUSTOM.items() if name in used]


def _check(folder: Path, target: Target, log: TimingLog, own: Sequence[str]) -> None:
    """Run the bundle's self-test, if this machine can run it; ``own`` are the ops of other packages in it."""
    begun = time.perf_counter()
    try:
        with load(folder) as session:
            session.self_test()
            compared = session.self_test_compares
    except BundleError as error:
        if error.code == "CHM450" and own:
            hint = f"the ONNX form or kernel of {', '.join(own)} computes something else than its meaning"
            raise BundleError(error.code, error.message, hint=hint) from None
        if error.code not in ("CHM413", "CHM440"):
            raise
        what = f"self-test not run: {error.message}"
    else:
        what = f"self-test passed: {compared}"
    log.of_target(target.name, "self-test", what, time.perf_counter() - begun)
