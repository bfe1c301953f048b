"""The formats of a module's matrices, and what its bundles say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chimerac.compiler.ir.module import Module
from chimerac.compiler.model import Remark
from chimerac.frontends.matrices.imported import formed
from chimerac.frontends.matrices.rounding import notes, summary
from chimerac.frontends.matrices.rules import Given, Rules, rules_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Formatted:
    """An imported module whose matrices have their formats.

    Attributes:
        remarks: for the report.
        provenance: for the manifest.
        notes: for the card, in Markdown.
    """

    module: Module
    remarks: tuple[Remark, ...]
    provenance: Mapping[str, str]
    notes: str


def formatted(module: nn.Module, imported: Module, weights_format: Given | None) -> Formatted:
    """The IR of a module with its matrices as is asked; None leaves them float32. Raises UserError CHM236, CHM242."""
    rules = Rules() if weights_format is None else rules_of(weights_format)
    provenance = {"weights_format": str(rules)}
    if weights_format is None:
        return Formatted(imported, (), provenance, "")
    found = formed(imported, rules, _aliases(module, imported))
    told = tuple(summary(found.matrices))
    remarks = tuple(Remark("weights", line) for line in told)
    return Formatted(found.module, remarks, provenance, notes(told, found.matrices))


def _aliases(module: nn.Module, imported: Module) -> dict[str, Sequence[str]]:
    """All names of each parameter and buffer, by the one that its constant has."""
    names: dict[int, list[str]] = {}
    for held in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
        for name, tensor in held:
            names.setdefault(id(tensor), []).append(name)
    return {next((name for name in same if name in imported.constants), same[0]): same for same in names.values()}
