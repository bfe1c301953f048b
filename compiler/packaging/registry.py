"""The packages by the name that targets give. None of them is loaded before it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from chimerac.compiler.packaging.package import Package
from chimerac.targets.registry import Target


def _native() -> Package:
    from chimerac.compiler.packaging.native import PACKAGE

    return PACKAGE


def _apple() -> Package:
    from chimerac.compiler.packaging.apple import PACKAGE

    return PACKAGE


def _web() -> Package:
    from chimerac.compiler.packaging.web import PACKAGE

    return PACKAGE


def _onnx() -> Package:
    from chimerac.compiler.packaging.onnx import PACKAGE

    return PACKAGE


#: By the name that targets give.
PACKAGES: dict[str, Callable[[], Package]] = {"native": _native, "apple": _apple, "web": _web, "onnx": _onnx}


def package_of(target: Target) -> Package:
    """The package of a target's bundles."""
    return PACKAGES[target.package]()
