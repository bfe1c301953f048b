"""The self-test vector of a bundle: what the interpreter computes for a fixed prompt, greedily.

Hashes are those of ``chm_session_logits_hash`` and ``chm_session_state_hash`` in the C runtime.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.runtime.bundle_format import SelfTest
from chimerac.runtime.bundle_format.constants import ROLE_CONTROL, ROLE_END
from chimerac.runtime.bundle_format.hashing import START, hash_words
from chimerac.runtime.reference.tokenizer import Tokenizer
from chimerac.targets.code.places import align

GENERATED_ROLES = (ROLE_END, ROLE_CONTROL)


def self_test(
    module: Module, *, prompt: Sequence[int], count: int, tokenizer: Tokenizer, loops: int | None = None
) -> SelfTest:
    """Run ``prompt``, then generate greedily as the C runtime does.

    Ids that are neither text nor an ending or control token are never chosen; the first ending token is the
    last. Every chosen token is run.
    """
    session = Session(module, loops=loops)
    logits = session.forward(prompt)
    roles = {special.id: special.role for special in tokenizer.specials}
    allowed = np.array([bool(t) or roles.get(i) in GENERATED_ROLES for i, t in enumerate(tokenizer.tokens)])
    tokens: list[int] = []
    while len(tokens) < count:
        tokens.append(int(np.argmax(np.where(allowed, logits, -np.inf))))
        logits = session.forward(tokens[-1:])
        if roles.get(tokens[-1]) == ROLE_END:
            break
    return SelfTest(tuple(prompt), tuple(tokens), f"{hash_words(logits.tobytes()):016x}", f"{state_hash(session):016x}")


def state_hash(session: Session) -> int:
    """Hash of the state region: the states in module order, each padded with zeros to the alignment."""
    value = START
    for copies in session.states.values():
        data = np.ascontiguousarray(copies).tobytes()
        value = hash_words(data.ljust(align(len(data)), b"\0"), value)
    return value
