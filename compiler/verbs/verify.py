"""``chimerac verify``: is this bundle whole, does it compute what it should, and does it agree with PyTorch?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.verbs.bundles import open_bundle
from chimerac.runtime.bundle_format import MANIFEST_NAME, Manifest, read_manifest, verify_files
from chimerac.runtime.bundle_format.copies import verify_copies
from chimerac.runtime.errors import BundleError

if TYPE_CHECKING:
    from chimerac.compiler.model import Model
    from chimerac.compiler.verbs.agreement import Agreement

#: Text that the comparison with PyTorch runs.
TEXT = b"It was a bright cold day in April, and the clocks were striking thirteen."


@dataclass(frozen=True)
class Verified:
    """What holds of a bundle; what does not is an error.

    Attributes:
        files: that have the size and SHA-256 of the manifest.
        self_test: what the self-test found again; None where the bundle has none.
        kernels: that this machine chose.
        agreement: with PyTorch, where it was asked for.
    """

    files: int
    self_test: str | None
    kernels: str
    agreement: Agreement | None = None

    def lines(self) -> Iterator[str]:
        """A line for each thing that holds."""
        yield _files(self.files)
        yield _self_test(self.self_test)
        yield _kernels(self.kernels)
        if self.agreement is not None:
            yield from self.agreement.lines()


def verify(
    bundle: str | Path,
    *,
    config: str | Path | None = None,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    weights: str | Path | None = None,
    seed: int | None = None,
    tell: Callable[[str], None] | None = None,
) -> Verified:
    """Check a bundle: its files, its self-test, and with ``config`` its agreement with PyTorch.

    Args:
        bundle: folder.
        config: compare with the PyTorch model of this config, published model folder or GGUF file.
        scale, overrides, weights, seed: of the PyTorch model, as of ``build``.
        tell: is told each line of the result as it comes.

    Raises:
        UserError: CHM4xx, files or self-test differ; CHM330, the bundle was built from another config or weights;
            CHM331, the compiled model and PyTorch disagree; CHM332, PyTorch would need too much memory.
    """
    tell = tell or (lambda line: None)
    try:
        manifest = read_manifest(bundle)
        verify_files(bundle, manifest)
        with open_bundle(bundle) as session:
            verify_copies(bundle, (MANIFEST_NAME, *(file.name for file in manifest.files)))
            tell(_files(len(manifest.files)))
            tested = session.self_test_compares if session.self_test() else None
            tell(_self_test(tested))
            tell(_kernels(session.kernels))
            found = Verified(len(manifest.files), tested, session.kernels)
            if config is not None and manifest.entries:
                hint = "its self-test has passed; `verify` without --config checks no more"
                raise UserError("CHM330", "the bundle holds no language model, and was built from no config", hint=hint)
            prompt = session.encode(TEXT) if config is not None else []
    except BundleError as error:
        raise as_user_error(error) from None
    if config is None:
        return found
    agreement = _compare(Path(bundle), manifest, config, scale, overrides, weights, seed, prompt)
    for line in agreement.lines():
        tell(line)
    return replace(found, agreement=agreement)


def _files(count: int) -> str:
    return f"files: {count} files have the size and SHA-256 of the manifest"


def _self_test(compared: str | None) -> str:
    return f"self-test: {compared or 'none in the bundle'}"


def _kernels(names: str) -> str:
    return f"kernels: {names}"


def _model(
    manifest: Manifest,
    config: str | Path,
    scale: str | None,
    overrides: Sequence[str],
    weights: str | Path | None,
    seed: int | None,
) -> Model:
    """The model that a bundle must be of; raises UserError CHM330 if it was built from another description."""
    from chimerac.compiler.build.importing import import_described, read_description
    from chimerac.compiler.build.published import import_of_bundle
    from chimerac.frontends.sources.recognised import is_published

    hint = "give the --scale and --set options of the build"
    if is_published(Path(config)):
        model = import_of_bundle(config, manifest)
        if model.digest == manifest.config_sha256:
            return model
        hint = "give the folder or file of the build"
    else:
        described = read_description(config, scale=scale, overrides=overrides, seed=seed)
        if described.description.digest == manifest.config_sha256:
            return import_described(described, weights=weights)
    raise UserError("CHM330", f"the bundle was built from another config than {config}", hint=hint)


def _compare(
    bundle: Path,
    manifest: Manifest,
    config: str | Path,
    scale: str | None,
    overrides: Sequence[str],
    weights: str | Path | None,
    seed: int | None,
    prompt: Sequence[int],
) -> Agreement:
    """How closely the bundle's model and PyTorch agree; raises UserError unless closely enough."""
    from chimerac.compiler.build.lowering import lower
    from chimerac.compiler.ir.caches import CACHE_TYPES, with_caches
    from chimerac.compiler.packaging.registry import package_of
    from chimerac.compiler.verbs.agreement import compare, compare_caches
    from chimerac.targets.registry import TARGETS

    model = _model(manifest, config, scale, overrides, weights, seed)
    target = next(target for target in TARGETS.values() if target.isa == manifest.target)
    cache = manifest.provenance.get("cache", CACHE_TYPES[0])
    lowered, _ = lower(with_caches(model.module, cache), target)
    package_of(target).check_weights(bundle, manifest, lowered, model.weights)
    if model.reference is None:
        message = "the model is too large to be compared with PyTorch, which would need all of it in memory"
        raise UserError("CHM332", message, hint="compare a smaller scale of the same config")
    tokens = prompt[: manifest.context or None]
    found = compare(model.reference, model.module, tokens)
    if not found.holds:
        raise UserError(
            "CHM331",
            f"PyTorch and the compiled model disagree: logits by {found.aligned:.1e} of their range,"
            f" layer inputs by {found.inputs:.1e}",
            hint="if the weights are the bundle's, this is a bug of chimerac",
        )
    return replace(found, cache=compare_caches(model.module, cache, tokens))
