"""chimerac: an ahead-of-time compiler for ternary and recurrent language models.

Every command of the command line is a function here. They are imported on first use, so that ``import chimerac`` and
running a bundle load neither torch nor tvm. A user's mistake is a ``UserError``; docs/errors.md lists the codes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chimerac.version import __version__

if TYPE_CHECKING:
    from chimerac.compiler.bench.bench import bench
    from chimerac.compiler.bench.calls import CallReport, bench_calls
    from chimerac.compiler.bench.report import BenchReport
    from chimerac.compiler.build.build import BuildReport, build, compile
    from chimerac.compiler.errors import ChimeracError, InternalError, UserError
    from chimerac.compiler.ir.custom import CustomOp, register_op
    from chimerac.compiler.model import GrammarRequest
    from chimerac.compiler.packaging.grammar_packs import compile_grammar
    from chimerac.compiler.packaging.options import PackagingOptions
    from chimerac.compiler.verbs.bundles import find_bundle
    from chimerac.compiler.verbs.calibrate import Calibration, calibrate
    from chimerac.compiler.verbs.check import check
    from chimerac.compiler.verbs.doctor import Diagnosis, doctor
    from chimerac.compiler.verbs.explain import Explanation, explain
    from chimerac.compiler.verbs.grammar import GrammarReport, check_grammar
    from chimerac.compiler.verbs.inspect import BundleDescription, inspect, print_ir
    from chimerac.compiler.verbs.run import Answer, Conversation, run
    from chimerac.compiler.verbs.runtime import write_runtime
    from chimerac.compiler.verbs.serve import serve, serve_api, serve_wyoming
    from chimerac.compiler.verbs.spans import MinedSpans, mine_spans
    from chimerac.compiler.verbs.targets import list_targets
    from chimerac.compiler.verbs.train import train
    from chimerac.compiler.verbs.verify import Verified, verify
    from chimerac.frontends.config import json_schema as config_schema
    from chimerac.frontends.config import load as load_config
    from chimerac.frontends.layers.scan import scan
    from chimerac.runtime.errors import BundleError
    from chimerac.runtime.sessions.interface import Session
    from chimerac.runtime.sessions.loading import load

#: Name → where it is defined, the same as above; a test compares them.
_PLACES = {
    "Answer": "compiler.verbs.run:Answer",
    "BenchReport": "compiler.bench.report:BenchReport",
    "BuildReport": "compiler.build.build:BuildReport",
    "BundleDescription": "compiler.verbs.inspect:BundleDescription",
    "BundleError": "runtime.errors:BundleError",
    "CallReport": "compiler.bench.calls:CallReport",
    "Calibration": "compiler.verbs.calibrate:Calibration",
    "ChimeracError": "compiler.errors:ChimeracError",
    "Conversation": "compiler.verbs.run:Conversation",
    "CustomOp": "compiler.ir.custom:CustomOp",
    "Diagnosis": "compiler.verbs.doctor:Diagnosis",
    "Explanation": "compiler.verbs.explain:Explanation",
    "GrammarReport": "compiler.verbs.grammar:GrammarReport",
    "GrammarRequest": "compiler.model:GrammarRequest",
    "InternalError": "compiler.errors:InternalError",
    "MinedSpans": "compiler.verbs.spans:MinedSpans",
    "PackagingOptions": "compiler.packaging.options:PackagingOptions",
    "Session": "runtime.sessions.interface:Session",
    "UserError": "compiler.errors:UserError",
    "Verified": "compiler.verbs.verify:Verified",
    "bench": "compiler.bench.bench:bench",
    "bench_calls": "compiler.bench.calls:bench_calls",
    "build": "compiler.build.build:build",
    "calibrate": "compiler.verbs.calibrate:calibrate",
    "check": "compiler.verbs.check:check",
    "check_grammar": "compiler.verbs.grammar:check_grammar",
    "compile": "compiler.build.build:compile",
    "compile_grammar": "compiler.packaging.grammar_packs:compile_grammar",
    "config_schema": "frontends.config:json_schema",
    "doctor": "compiler.verbs.doctor:doctor",
    "explain": "compiler.verbs.explain:explain",
    "find_bundle": "compiler.verbs.bundles:find_bundle",
    "inspect": "compiler.verbs.inspect:inspect",
    "list_targets": "compiler.verbs.targets:list_targets",
    "load": "runtime.sessions.loading:load",
    "load_config": "frontends.config:load",
    "mine_spans": "compiler.verbs.spans:mine_spans",
    "print_ir": "compiler.verbs.inspect:print_ir",
    "register_op": "compiler.ir.custom:register_op",
    "run": "compiler.verbs.run:run",
    "scan": "frontends.layers.scan:scan",
    "serve": "compiler.verbs.serve:serve",
    "serve_api": "compiler.verbs.serve:serve_api",
    "serve_wyoming": "compiler.verbs.serve:serve_wyoming",
    "train": "compiler.verbs.train:train",
    "verify": "compiler.verbs.verify:verify",
    "write_runtime": "compiler.verbs.runtime:write_runtime",
}

__all__ = [
    "Answer",
    "BenchReport",
    "BuildReport",
    "BundleDescription",
    "BundleError",
    "Calibration",
    "CallReport",
    "ChimeracError",
    "Conversation",
    "CustomOp",
    "Diagnosis",
    "Explanation",
    "GrammarReport",
    "GrammarRequest",
    "InternalError",
    "MinedSpans",
    "PackagingOptions",
    "Session",
    "UserError",
    "Verified",
    "__version__",
    "bench",
    "bench_calls",
    "build",
    "calibrate",
    "check",
    "check_grammar",
    "compile",
    "compile_grammar",
    "config_schema",
    "doctor",
    "explain",
    "find_bundle",
    "inspect",
    "list_targets",
    "load",
    "load_config",
    "mine_spans",
    "print_ir",
    "register_op",
    "run",
    "scan",
    "serve",
    "serve_api",
    "serve_wyoming",
    "train",
    "verify",
    "write_runtime",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'chimerac' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(f"chimerac.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
