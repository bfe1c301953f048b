"""Modules that bring their own export form: one is trained and called on whole sequences, another compiled.

A module may have a method ``export_form(context)`` that returns it: a module by the contract of docs/modules.md, with
its state in buffers, which shares the weights. Where there is one, it is compiled in place of the module.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from chimerac.compiler.errors import UserError


@dataclass(frozen=True)
class Form:
    """What is imported of a module.

    Attributes:
        context: most tokens of a text, for modules that do not know it themselves; None where the form does.
    """

    module: nn.Module
    context: int | None


def form_of(module: nn.Module, context: int | None) -> Form:
    """The module's own export form, in eval mode, else the module as it is.

    Args:
        context: most tokens of a text that the caller asks for; None leaves it to the module.

    Raises:
        UserError: CHM219, ``export_form`` returns something else than a module; or what it raises itself.
    """
    method = getattr(module, "export_form", None)
    if not callable(method):
        return Form(module, context)
    made = method(context)
    if not isinstance(made, nn.Module):
        message = f"export_form of {type(module).__name__} returns {type(made).__name__}, not a module"
        raise UserError("CHM219", message, hint="docs/modules.md says what an export form is")
    return Form(made.eval(), None)
