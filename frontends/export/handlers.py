"""Which PyTorch ops the importer takes, and what each becomes in the IR: the tables of all files of handlers."""

from __future__ import annotations

from collections.abc import Mapping

from chimerac.frontends.export import (
    arithmetic,
    copies,
    custom,
    fillings,
    indexing,
    movement,
    products,
    reductions,
    scans,
    scatters,
)
from chimerac.frontends.export.handler import Handler

#: PyTorch op, as PyTorch prints it → what it becomes.
HANDLERS: Mapping[str, Handler] = {
    **arithmetic.HANDLERS,
    **copies.HANDLERS,
    **movement.HANDLERS,
    **fillings.HANDLERS,
    **indexing.HANDLERS,
    **reductions.HANDLERS,
    **products.HANDLERS,
    **scans.HANDLERS,
    **scatters.HANDLERS,
    **custom.HANDLERS,
}
