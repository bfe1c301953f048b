"""Shared by the tests of what the Chimera family makes of configs."""

from __future__ import annotations

from config_fixtures import document, document_json, document_text, document_values

__all__ = ["document", "document_json", "document_text", "document_values"]
