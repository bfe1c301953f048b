"""chimerac: an ahead-of-time compiler for ternary and recurrent language models.

Every verb of the command line is a function here. They are imported on first use, so that ``import chimerac`` and
running a bundle load neither torch nor tvm.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chimerac.version import __version__

if TYPE_CHECKING:
    from chimerac.compiler.bench.bench import bench
    from chimerac.compiler.build.build import BuildReport, build, compile
    from chimerac.compiler.errors import ChimeracError, InternalError, UserError
    from chimerac.compiler.packaging.grammar_packs import compile_grammar
    from chimerac.compiler.verbs.doctor import examine as doctor
    from chimerac.compiler.verbs.inspect import describe_bundle as inspect
    from chimerac.compiler.verbs.verify import verify
    from chimerac.frontends.config import load as load_config
    from chimerac.frontends.families.chimera.consistency import check
    from chimerac.runtime.sessions.interface import Session
    from chimerac.runtime.sessions.loading import load

_LAZY = {
    "BuildReport": "compiler.build.build",
    "ChimeracError": "compiler.errors",
    "InternalError": "compiler.errors",
    "Session": "runtime.sessions.interface",
    "UserError": "compiler.errors",
    "bench": "compiler.bench.bench",
    "build": "compiler.build.build",
    "check": "frontends.families.chimera.consistency",
    "compile": "compiler.build.build",
    "compile_grammar": "compiler.packaging.grammar_packs",
    "doctor": "compiler.verbs.doctor:examine",
    "inspect": "compiler.verbs.inspect:describe_bundle",
    "load": "runtime.sessions.loading",
    "load_config": "frontends.config:load",
    "verify": "compiler.verbs.verify",
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
    "compile",
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
