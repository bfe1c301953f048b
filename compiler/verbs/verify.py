"""``chimerac verify``: is this bundle whole, does it compute what it should, and does it agree with PyTorch?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.verbs.run import open_bundle
from chimerac.runtime.bundle_format import Manifest, read_manifest, verify_files
from chimerac.runtime.errors import BundleError

#: Text that the comparison with PyTorch runs.
TEXT = b"It was a bright cold day in April, and the clocks were striking thirteen."


def verify(
    bundle: str | Path,
    *,
    config: str | Path | None = None,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    weights: str | Path | None = None,
    seed: int | None = None,
) -> Iterator[str]:
    """Check a bundle; one line for each thing that holds.

    Args:
        bundle: folder.
        config: compare with the PyTorch model of this config; the other arguments are those of ``build``.

    Raises:
        UserError: CHM4xx, files or self-test differ; CHM330, the bundle was built from another config or weights;
            CHM331, the compiled model and PyTorch disagree.
    """
    try:
        verify_files(bundle, read_manifest(bundle))
    except BundleError as error:
        raise as_user_error(error) from None
    with open_bundle(str(bundle)) as session:
        manifest = session.manifest
        yield f"files: {len(manifest.files)} files have the size and SHA-256 of the manifest"
        try:
            tested = session.self_test()
        except BundleError as error:
            raise as_user_error(error) from None
        yield f"self-test: {session.self_test_compares}" if tested else "self-test: none in the bundle"
        yield f"kernels: {session.kernels}"
        if config is None:
            return
        prompt = session.encode(TEXT)
    yield from _compare(Path(bundle), manifest, config, scale, overrides, weights, seed, prompt)


def _compare(
    bundle: Path,
    manifest: Manifest,
    config: str | Path,
    scale: str | None,
    overrides: Sequence[str],
    weights: str | Path | None,
    seed: int | None,
    prompt: Sequence[int],
) -> Iterator[str]:
    from chimerac.compiler.build.importing import import_described, read_description
    from chimerac.compiler.build.lowering import lower
    from chimerac.compiler.packaging.registry import package_of
    from chimerac.compiler.verbs.agreement import compare
    from chimerac.targets.registry import TARGETS

    described = read_description(config, scale=scale, overrides=overrides, seed=seed)
    if described.description.digest != manifest.config_sha256:
        hint = "give the --scale and --set options of the build"
        raise UserError("CHM330", f"the bundle was built from another config than {config}", hint=hint)
    model = import_described(described, weights=weights)
    target = next(target for target in TARGETS.values() if target.isa == manifest.target)
    lowered, _ = lower(model.module, target)
    package_of(target).check_weights(bundle, manifest, lowered, model.weights)
    if model.reference is None:
        message = "the model is too large to be compared with PyTorch, which would need all of it in memory"
        raise UserError("CHM332", message, hint="compare a smaller scale of the same config")
    found = compare(model.reference, model.module, prompt)
    if not found.holds:
        raise UserError(
            "CHM331",
            f"PyTorch and the compiled model disagree: logits by {found.aligned:.1e} of their range,"
            f" layer inputs by {found.inputs:.1e}",
            hint="if the weights are the bundle's, this is a bug of chimerac",
        )
    yield (
        f"PyTorch: logits agree within {found.aligned:.1e} of their range over {found.tokens} tokens, every layer's"
        f" input within {found.inputs:.1e}, same likeliest tokens"
    )
    yield (
        f"PyTorch without alignment: logits within {found.free:.1e}, likeliest token the same at"
        f" {found.free_choice:.0%} of the positions"
    )
