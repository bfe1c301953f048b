"""The config language: a text to a typed model description, whatever the model.

``load`` and ``loads`` read; ``json_schema`` serves editors. docs/config.md describes the language. What a config
means for a model is said by the model's family (frontends/families/).
"""

from __future__ import annotations

from chimerac.frontends.config.fields import canonical_json
from chimerac.frontends.config.loader import load, loads
from chimerac.frontends.config.locate import builtin_names, shipped_file
from chimerac.frontends.config.model import ModelConfig
from chimerac.frontends.config.schema_export import json_schema

__all__ = [
    "ModelConfig",
    "builtin_names",
    "canonical_json",
    "json_schema",
    "load",
    "loads",
    "shipped_file",
]
