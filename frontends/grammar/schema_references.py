"""What references in a JSON Schema name: places, anchors, and schemas that have a URI of their own in the document.

JSON Schema Core 2020-12, sections 8.2 and 9.2. Nothing outside the document is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import unquote, urldefrag, urljoin

from chimerac.frontends.grammar.budget import Budget, shown
from chimerac.frontends.grammar.json_source import InvalidSchema, UnsupportedKeyword
from chimerac.frontends.grammar.schema_parts import Part

#: Keywords whose value is a schema or a list of them.
_SCHEMAS: Final = (
    "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "items", "prefixItems", "additionalItems", "contains",
    "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties", "contentSchema",
)  # fmt: skip
#: Keywords whose value has a schema for each of some names.
_NAMED: Final = ("$defs", "definitions", "properties", "patternProperties", "dependentSchemas", "dependencies")


class References:
    """The schemas of a document by their names.

    Args:
        root: the whole document.
        old: whether whatever stands beside a reference means nothing.
    """

    def __init__(self, root: Part, budget: Budget, *, old: bool) -> None:
        self._root, self._budget, self._old = root, budget, old
        self._resources: dict[str, Part] = {}  #: by their URI
        self._bases: dict[str, str] = {}  #: URI of each of them, by its place
        self._anchors: dict[tuple[str, str], Part] = {}  #: by URI and name

    def target(self, reference: Any, pointer: str) -> Part:
        """The part that a ``$ref`` at a place names.

        Raises InvalidSchema for what names nothing, UnsupportedKeyword for other documents.
        """
        if not isinstance(reference, str):
            raise InvalidSchema(pointer, "$ref is not a string")
        if not self._bases:
            self._find()
        uri, fragment = urldefrag(reference)
        base = self._base(pointer)
        found = self._resources.get(_joined(base, uri))
        if found is None:
            hint = (
                "references into the same document, such as #/$defs/name, are supported; copy the other one into $defs"
            )
            raise UnsupportedKeyword(pointer, f"the reference {shown(reference)} is not supported", hint)
        if fragment.startswith("/"):
            return _pointed(found, fragment, reference, pointer)
        if not fragment:
            return found
        anchor = self._anchors.get((_joined(base, uri), unquote(fragment)))
        if anchor is None:
            raise InvalidSchema(pointer, f"{shown(reference)} names nothing in the schema")
        return anchor

    def _base(self, pointer: str) -> str:
        """The URI of the schema around a place that has one."""
        while pointer not in self._bases:
            pointer = pointer.rpartition("/")[0]
        return self._bases[pointer]

    def _find(self) -> None:
        """Find the schemas that have names."""
        schema = self._root.schema if isinstance(self._root.schema, dict) else {}
        own = schema.get("$id", schema.get("id", ""))
        self._name(self._root, own if isinstance(own, str) and not own.startswith("#") else "", "")
        waiting = [(self._root, self._bases[""])]
        for part, base in waiting:
            self._budget.spend()
            schema = part.schema
            own = None if self._old and "$ref" in schema else schema.get("$id")
            if isinstance(own, str) and own.startswith("#"):  # as anchors were written in drafts 6 and 7
                self._anchor(part, base, own[1:])
            elif isinstance(own, str) and part.pointer:
                base = self._name(part, own, base)
            for name in (schema.get("$anchor"), schema.get("$dynamicAnchor")):
                if isinstance(name, str):
                    self._anchor(part, base, name)
            waiting += [(inner, base) for inner in _inner(part) if isinstance(inner.schema, dict)]

    def _name(self, part: Part, own: str, base: str) -> str:
        """Note the URI of a schema, and return it."""
        uri = _joined(base, urldefrag(own).url)
        if uri in self._resources:
            raise InvalidSchema(part.pointer, f"the $id {shown(uri)} occurs twice")
        self._resources[uri] = part
        self._bases[part.pointer] = uri
        return uri

    def _anchor(self, part: Part, base: str, name: str) -> None:
        if (base, name) in self._anchors and self._anchors[base, name] != part:
            raise InvalidSchema(part.pointer, f"the anchor {shown(name)} occurs twice")
        self._anchors[base, name] = part


def _joined(base: str, uri: str) -> str:
    return urljoin(base, uri) if uri else base


def _inner(part: Part) -> Iterator[Part]:
    """The schemas that lie directly in one."""
    for key, inner in part.schema.items():
        if key in _NAMED:
            yield from (part.at(key, name) for name in (inner if isinstance(inner, dict) else ()))
        elif key in _SCHEMAS and isinstance(inner, list):
            yield from (part.at(key, index) for index in range(len(inner)))
        elif key in _SCHEMAS:
            yield part.at(key)


def _pointed(found: Part, fragment: str, reference: str, pointer: str) -> Part:
    for key in fragment[1:].split("/"):
        name = unquote(key).replace("~1", "/").replace("~0", "~")
        inner = found.schema
        if isinstance(inner, dict) and name in inner:
            found = found.at(name)
        elif isinstance(inner, list) and re.fullmatch(r"[0-9]{1,6}", name) and int(name) < len(inner):
            found = found.at(int(name))
        else:
            raise InvalidSchema(pointer, f"{shown(reference)} names nothing in the schema")
    return found
