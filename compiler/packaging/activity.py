"""What a bundle says of its active weights: counted while the interpreter made the self-test vector."""

from __future__ import annotations

from collections.abc import Mapping

from chimerac.compiler.ir.activity import PRODUCTS
from chimerac.compiler.ir.costs import decode_costs
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.packaging.package import Tested
from chimerac.runtime.bundle_format import ACTIVE, Entry, SelfTest


def activity_of(module: Module, tested: Tested, entries: tuple[Entry, ...]) -> Mapping[str, str]:
    """A line for the manifest's ``provenance``; nothing of a module that has no gated neurons."""
    if not any(op.name in PRODUCTS for op in walk(module.usual.ops)):
        return {}
    vector, found = tested.vector, tested.activity
    if isinstance(vector, SelfTest):
        count, unit = len(vector.prompt) + len(vector.tokens), "token"
    elif entries[0].varies:
        count, unit = sum(call.n for call in vector.calls), "row"
    else:
        count, unit = len(vector.calls), "call"
    whole = sum(cost.multiply_adds for cost in decode_costs(module))
    active = whole - (found.weights - found.read) / count
    share = found.opened / max(1, found.neurons)
    text = f"{active:,.0f} of {whole:,} a {unit}: {share:.2%} of the gated neurons are open, in {count} {unit}s"
    return {ACTIVE: text}
