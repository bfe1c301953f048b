"""What a bundle says of its active weights: measured, in the interpreter, on the first tokens of its self-test."""

from __future__ import annotations

from collections.abc import Mapping

from chimerac.compiler.ir.activity import PRODUCTS
from chimerac.compiler.ir.costs import decode_costs
from chimerac.compiler.ir.interpreter import Session, is_large
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.packaging.package import Tested
from chimerac.runtime.bundle_format import ACTIVE, Entry, SelfTest
from chimerac.runtime.bundle_format.entries import drawn

TOKENS, LARGE_TOKENS = 16, 2  #: that are run, and of a model of which one takes seconds


def activity_of(module: Module, tested: Tested, entries: tuple[Entry, ...]) -> Mapping[str, str]:
    """A line for the manifest's ``provenance``; nothing of a module that has no gated neurons."""
    if not any(op.name in PRODUCTS for op in walk(module.usual.ops)):
        return {}
    session = Session(module)
    if isinstance(tested, SelfTest):
        tokens = tested.prompt[: LARGE_TOKENS if is_large(module) else TOKENS]
        session.forward(tokens)
        count, unit = len(tokens), "token"
    else:
        (entry,) = entries
        types = [value.type.bind(entry.most) for value in module.graphs[entry.name].inputs]
        given = zip(drawn(entry, 0, entry.most), types, strict=True)
        session.run(entry.name, [x.reshape([int(d) for d in t.shape]) for x, t in given])
        count, unit = entry.most if entry.varies else 1, "row" if entry.varies else "call"
    found = session.activity
    whole = sum(cost.multiply_adds for cost in decode_costs(module))
    active = whole - (found.weights - found.read) / count
    share = found.opened / max(1, found.neurons)
    text = f"{active:,.0f} of {whole:,} a {unit}: {share:.2%} of the gated neurons are open, in {count} {unit}s"
    return {ACTIVE: text}
