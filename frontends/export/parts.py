"""Which part of a model an op belongs to: a rule over the paths of modules, the same for every model."""

from __future__ import annotations

import re

from chimerac.compiler.ir.module import HEAD

EMBEDDING = "embedding"  #: the part of look-ups in tables of tokens


class ModelParts:
    """Names the parts of one model's ops, asked for in the order of the ops.

    * Of a path through a numbered module, what lies directly in it: ``layers.3.mixer`` of ``layers.3.mixer.q_proj``. A
      norm in front of a module is named after it, and belongs to it: ``layers.3.mixer_norm`` is in ``layers.3.mixer``.
    * Of another path its first name: ``loop`` of ``loop.norm``.
    * Of no path, which is what the model itself computes, ``head``.
    * Look-ups outside of numbered modules are ``embedding``. The rest of what such a module computes is ``head``: the
      logits, which have the table for their weight.
    """

    def __init__(self) -> None:
        self._tables: set[str] = set()  #: modules in whose tables something was looked up

    def of(self, path: str, *, look_up: bool) -> str:
        """The part of an op of the module at ``path``; ``look_up``: it reads a row of a table."""
        names = re.sub(r"[^\w.]", "_", path).split(".") if path else [HEAD]  # a module may have any name
        number = next((i for i, name in enumerate(names) if name.isdecimal()), None)
        if number is not None:
            *outer, last = names[: number + 2]
            return ".".join((*outer, last.removesuffix("_norm")))
        if look_up:
            self._tables.add(names[0])
            return EMBEDDING
        return HEAD if names[0] in self._tables else names[0]
