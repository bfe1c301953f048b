"""What ``chimerac inspect`` shows: the contents of a bundle, or the IR of a config."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.runtime.bundle_format import read_container, read_manifest, verify_files
from chimerac.runtime.errors import BundleError


def describe_bundle(folder: str | Path) -> str:
    """Files, memory and weight sections of a bundle as aligned text, after comparing its files with the manifest.

    Raises:
        UserError: CHM4xx, not a bundle or a damaged one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        hint = "give the folder that `chimerac build` wrote; for the IR of a config add --ir imported or --ir lowered"
        raise UserError("CHM410", f"{folder} is not a bundle", hint=hint)
    try:
        manifest = read_manifest(folder)
        verify_files(folder, manifest)
        weights = manifest.file("weights")
        container = read_container(folder / weights.name) if weights else None
    except BundleError as error:
        raise as_user_error(error) from None
    lines = [
        f"{manifest.name} for {manifest.target}, made by chimerac {manifest.chimerac}",
        *(f"{key}: {value}" for key, value in manifest.provenance.items()),
        f"config {manifest.config_sha256[:16]}…, contents of the weights {manifest.weights_sha256[:16]}…",
        *_kernels(manifest.target),
        "",
        *_columns([(f.name, f.role, f"{f.bytes:,}") for f in manifest.files], ("file", "role", "bytes")),
        "",
        f"memory of a session: {manifest.memory.state_bytes:,} bytes of recurrent state,"
        f" {manifest.memory.arena_bytes:,} bytes of arena",
        "",
    ]
    if container is not None:
        rows = [(s.name, f"{s.dtype}{list(s.shape)}", f"{s.bytes:,}") for s in container.sections.values()]
        lines += _columns(rows, ("section", "type", "bytes"))
    return "\n".join(lines)


def _kernels(target: str) -> list[str]:
    """A line about the kernels of a compiled bundle."""
    from chimerac.targets.code.variants import kernel_sets
    from chimerac.targets.isa import ISAS, load_isa

    if target not in ISAS:
        return []
    names = [one.name for one in kernel_sets(load_isa(target))]
    choice = " (the best that the processor runs; CHIMERA_CPU names another)" if len(names) > 1 else ""
    return [f"kernels: {', '.join(names)}{choice}"]


def print_ir(
    config: str | Path,
    stage: str = "imported",
    *,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    target: str = "x86_64-avx2",
    loops: int | None = None,
) -> str:
    """The text form of a config's module.

    Args:
        config, scale, overrides, loops: as of ``build``.
        stage: "imported", "lowered", or the name of a pass: as it is after that pass.
        target: whose passes run.

    Raises:
        UserError: CHM1xx config; CHM300 an unknown target; CHM313 no such pass.
    """
    from chimerac.compiler.build import pipeline
    from chimerac.compiler.build.importing import import_model
    from chimerac.compiler.build.lowering import passes_for
    from chimerac.compiler.ir.text import print_module
    from chimerac.targets.registry import find_target

    steps = passes_for(find_target(target), loops=loops)
    if stage not in ("imported", "lowered"):
        pipeline.require_pass(steps, stage)  # before the config is read and the model imported
    module = import_model(config, scale=scale, overrides=overrides).module
    if stage == "lowered":
        module, _ = pipeline.run(module, steps)
    elif stage != "imported":
        module = pipeline.run_until(module, steps, stage)
    return print_module(module)


def _columns(rows: Sequence[tuple[str, str, str]], head: tuple[str, str, str]) -> list[str]:
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(3)]
    return [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in (head, *rows)]
