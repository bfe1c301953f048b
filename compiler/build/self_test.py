"""The self-test vector of a bundle: what the interpreter computes for a fixed prompt, greedily, or for fixed tensors.

Hashes are those of ``chm_session_logits_hash`` and ``chm_session_state_hash`` in the C runtime.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.costs import decode_costs
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module
from chimerac.compiler.packaging.package import Found
from chimerac.runtime.bundle_format import CallRecord, CallTest, Entry, SelfTest
from chimerac.runtime.bundle_format.constants import ROLE_CONTROL, ROLE_END
from chimerac.runtime.bundle_format.entries import comparable, drawn, samples_of
from chimerac.runtime.bundle_format.hashing import START, hash_words
from chimerac.runtime.reference.tokenizer import Tokenizer
from chimerac.targets.code.places import align

#: Tokens that are run in one call and in a call each.
COMPARED_TOKENS = 4
#: Multiply-adds of a call from which on a test has fewer: seconds in the interpreter.
DEAR = 1 << 27
#: States that one message names.
MOST_LISTED = 5
GENERATED_ROLES = (ROLE_END, ROLE_CONTROL)


def self_test(
    module: Module, *, prompt: Sequence[int], count: int, tokenizer: Tokenizer | None, loops: int | None = None
) -> Found[SelfTest]:
    """Run ``prompt``, then generate greedily as the C runtime does.

    Ids that are neither text nor an ending or control token are never chosen; the first ending token is the
    last. Every chosen token is run.
    """
    session = Session(module, loops=loops)
    logits = session.forward(prompt)
    roles = {special.id: special.role for special in tokenizer.specials} if tokenizer else {}
    allowed = np.ones(len(logits), bool)
    if tokenizer:
        allowed[:] = [bool(t) or roles.get(i) in GENERATED_ROLES for i, t in enumerate(tokenizer.tokens)]
    tokens: list[int] = []
    while len(tokens) < count:
        tokens.append(int(np.argmax(np.where(allowed, logits, -np.inf))))
        logits = session.forward(tokens[-1:])
        if roles.get(tokens[-1]) == ROLE_END:
            break
    hashes = f"{hash_words(logits.tobytes()):016x}", f"{state_hash(session):016x}"
    return Found(SelfTest(tuple(prompt), tuple(tokens), *hashes), session.activity)


def call_test(module: Module, entry: Entry) -> Found[CallTest]:
    """Call an entry some times, one after the other, with drawn numbers: what every runtime of the module must compute.

    An axis that varies has its greatest extent, 1, and half of it. A module that takes the interpreter long is called
    less often.
    """
    session = Session(module)
    dear = sum(cost.multiply_adds for cost in decode_costs(module)) * entry.most > DEAR
    extents: Sequence[int] = (entry.most, 1, (entry.most + 1) // 2)
    if dear:
        extents = extents[: 2 if module.states else 1]
    records = []
    for number, n in enumerate(extents):
        types = [value.type.bind(n) for value in module.graphs[entry.name].inputs]
        inputs = [x.reshape([int(d) for d in t.shape]) for x, t in zip(drawn(entry, number, n), types, strict=True)]
        results = session.run(entry.name, inputs)
        hashes = tuple(f"{hash_words(comparable(result)):016x}" for result in results)
        records.append(CallRecord(n, hashes, tuple(_samples(result) for result in results)))
    numbers = all(np.isfinite(held).all() for held in session.states.values())
    state = f"{state_hash(session):016x}" if numbers else ""
    return Found(CallTest(entry.name, tuple(records), state), session.activity)


def _samples(result: np.ndarray) -> tuple[float | None, ...]:
    return tuple(value if np.isfinite(value) else None for value in samples_of(result).tolist())


def check_calls(module: Module, prompt: Sequence[int]) -> None:
    """Tokens in one call and in a call each must be the same: a session cuts its text as it likes.

    A module whose states change once in a call, not once for each token, is found out here.

    Args:
        prompt: tokens; the first few are run.

    Raises:
        UserError: CHM218 with the state or states that differ.
    """
    tokens = list(prompt[:COMPARED_TOKENS])
    together, apart = Session(module), Session(module)
    logits = together.forward(tokens), [apart.forward([token]) for token in tokens][-1]
    differ = [name for name, held in together.states.items() if held.tobytes() != apart.states[name].tobytes()]
    if differ:
        what = f"{listed(differ)} {'differs' if len(differ) == 1 else 'differ'}"
    elif logits[0].tobytes() != logits[1].tobytes():
        what = "the logits differ"
    else:
        return
    message = f"{what} between one call of {len(tokens)} tokens and {len(tokens)} calls of one"
    raise UserError("CHM218", message, hint="forward must do for each of its T tokens what it does for one")


def listed(names: Sequence[str]) -> str:
    """Some names in a row, the first ones of many."""
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def state_hash(session: Session) -> int:
    """Hash of the state region: the states in module order, each padded with zeros to the alignment."""
    value = START
    for copies in session.states.values():
        data = np.ascontiguousarray(copies).tobytes()
        value = hash_words(data.ljust(align(len(data)), b"\0"), value)
    return value
