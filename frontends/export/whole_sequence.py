"""Token modules that see a whole text at once: ``forward(tokens) -> logits``, as most people write a GPT.

Such a module has no ``position`` and changes no buffer: its logits are a function of all tokens from the first on. A
compiled model gets the text in calls of some tokens. So what runs along the tokens becomes its form with state while
it is imported: ``torch.arange(T)`` the positions of the tokens, an LSTM without an initial state one that goes on from
call to call, causal attention a cache of keys and values. What mixes the tokens in another way is refused.
"""

from __future__ import annotations

import inspect

from torch import nn

#: Name of the second argument of a module that is called step by step.
POSITION = "position"


def takes_whole_sequences(module: nn.Module) -> bool:
    """Whether forward can be called with tokens alone, and has no argument called ``position``."""
    signature = inspect.signature(module.forward)
    if POSITION in signature.parameters:
        return False
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True
