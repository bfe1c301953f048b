"""chimerac: an ahead-of-time compiler for ternary and recurrent language models.

Every verb of the command line is a function here. They are imported on first use, so that ``import chimerac`` and
running a bundle load neither torch nor tvm.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chimerac.version import __version__

if TYPE_CHECKING:
    from chimerac.compiler.bench import bench
    from chimerac.compiler.build import BuildReport, build
    from chimerac.compiler.doctor import examine as doctor
    from chimerac.compiler.errors import ChimeracError, InternalError, UserError
    from chimerac.compiler.grammar import compile_grammar
    from chimerac.compiler.inspect import describe_bundle as inspect
    from chimerac.compiler.verify import verify
    from chimerac.frontends.config import check
    from chimerac.frontends.config import load as load_config
    from chimerac.runtime.interface import Session
    from chimerac.runtime.session import load

_LAZY = {
    "BuildReport": "compiler.build",
    "ChimeracError": "compiler.errors",
    "InternalError": "compiler.errors",
    "Session": "runtime.interface",
    "UserError": "compiler.errors",
    "bench": "compiler.bench",
    "build": "compiler.build",
    "check": "frontends.config",
    "compile_grammar": "compiler.grammar",
    "doctor": "compiler.doctor:examine",
    "inspect": "compiler.inspect:describe_bundle",
    "load": "runtime.session",
    "load_config": "frontends.config:load",
    "verify": "compiler.verify",
}

__all__ = [
    "BuildReport",
    "ChimeracError",
    "InternalError",
    "Session",
    "UserError",
    "__version__",
    "bench",
    "build",
    "check",
    "compile_grammar",
    "doctor",
    "inspect",
    "load",
    "load_config",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'chimerac' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    return getattr(import_module(f"chimerac.{module}"), attribute or name)
