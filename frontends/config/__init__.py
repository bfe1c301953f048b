"""The config language: a text to a typed model description, and everything that can be said of it without a model.

``load`` and ``loads`` read; ``shape`` gives what a model is built from; ``check`` and ``audit`` say what is
inconsistent and what the model weighs; ``json_schema`` serves editors. docs/config.md describes the language.
"""

from __future__ import annotations

from chimerac.frontends.config.consistency import CheckReport, check
from chimerac.frontends.config.loader import load, loads
from chimerac.frontends.config.locate import builtin_names, shipped_file
from chimerac.frontends.config.model import ModelConfig, canonical_json
from chimerac.frontends.config.rules import Finding
from chimerac.frontends.config.schema_export import json_schema
from chimerac.frontends.config.shapes import shape
from chimerac.frontends.config.sizes import Audit, Claim, audit
from chimerac.frontends.config.tables import render_audit, render_check

__all__ = [
    "Audit",
    "CheckReport",
    "Claim",
    "Finding",
    "ModelConfig",
    "audit",
    "builtin_names",
    "canonical_json",
    "check",
    "json_schema",
    "load",
    "loads",
    "render_audit",
    "render_check",
    "shape",
    "shipped_file",
]
