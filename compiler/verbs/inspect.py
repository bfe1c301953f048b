"""``chimerac inspect``: the contents of a bundle, or the IR of a config."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.verbs.columns import columns
from chimerac.runtime.bundle_format import Manifest, SectionView, read_container, read_manifest, verify_files
from chimerac.runtime.errors import BundleError


@dataclass(frozen=True)
class BundleDescription:
    """What is in a bundle.

    Attributes:
        kernels: sets of kernels in its code, the best last; none where another program brings them.
        sections: of the weights file, in its order; none where it is no container of chimerac's.
    """

    manifest: Manifest
    kernels: tuple[str, ...]
    sections: tuple[SectionView, ...]

    def render(self) -> str:
        """The same as aligned text."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        manifest = self.manifest
        yield f"{manifest.name} for {manifest.target}, made by chimerac {manifest.chimerac}"
        yield from (f"{key}: {value}" for key, value in manifest.provenance.items())
        yield f"config {manifest.config_sha256[:16]}…, contents of the weights {manifest.weights_sha256[:16]}…"
        for entry in manifest.entries:
            yield f"{entry.name} takes {'; '.join(map(str, entry.inputs)) or 'nothing'}"
            yield f"{' ' * len(entry.name)} returns {'; '.join(map(str, entry.results)) or 'nothing'}"
            if entry.varies:
                yield f"T is from 1 to {entry.most}"
        if self.kernels:
            choice = " (the best that the processor runs; CHIMERA_CPU names another)" if self.kernels[1:] else ""
            yield f"kernels: {', '.join(self.kernels)}{choice}"
        yield ""
        yield from columns([(f.name, f.role, f"{f.bytes:,}") for f in manifest.files], ("file", "role", "bytes"))
        yield ""
        memory = manifest.memory
        arena = f", {memory.arena_bytes:,} bytes of arena" if memory.arena_bytes else ""
        yield f"memory of a session: {memory.state_bytes:,} bytes of recurrent state{arena}"
        if self.sections:
            yield ""
            rows = [(s.name, f"{s.dtype}{list(s.shape)}", f"{s.bytes:,}") for s in self.sections]
            yield from columns(rows, ("section", "type", "bytes"))


def inspect(bundle: str | Path) -> BundleDescription:
    """Files, memory and weight sections of a bundle, after comparing its files with the manifest.

    Args:
        bundle: folder.

    Raises:
        UserError: CHM4xx, not a bundle or a damaged one.
    """
    folder = Path(bundle)
    if not os.path.isdir(folder):  # which is asked of whatever path
        hint = "give the folder that `chimerac build` wrote; for the IR of a config add --ir imported or --ir lowered"
        raise UserError("CHM410", f"{folder} is not a bundle", hint=hint)
    try:
        manifest = read_manifest(folder)
        verify_files(folder, manifest)
        return BundleDescription(manifest, _kernels(manifest.target), _sections(folder, manifest))
    except BundleError as error:
        raise as_user_error(error) from None


def _kernels(target: str) -> tuple[str, ...]:
    from chimerac.targets.code.variants import kernel_sets
    from chimerac.targets.isa import ISAS, load_isa

    return tuple(one.name for one in kernel_sets(load_isa(target))) if target in ISAS else ()


def _sections(folder: Path, manifest: Manifest) -> tuple[SectionView, ...]:
    weights = manifest.file("weights")
    if weights is None or manifest.target.startswith("onnx"):  # whose weights file is raw: the model file divides it
        return ()
    return tuple(read_container(folder / weights.name).sections.values())


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
