"""Where the time of a native session goes: sums for each step, which the C runtime writes."""

from __future__ import annotations

import ctypes as ct
from dataclasses import dataclass

from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.native_library import NativeLibrary


@dataclass(frozen=True)
class Step:
    """All kernels of one op in one part of the model.

    Attributes:
        part: ``embedding``, ``layers.3.mixer``, ``layers.3.ffn``, …, ``head``.
        op: name of the op, for example ``ternary_matmul``.
        weight_bytes: read for a decoded token, with the default number of loop iterations.
        nanoseconds: that were measured.
    """

    part: str
    op: str
    weight_bytes: int
    nanoseconds: int


class Profile:
    """The steps of a library's model, in order of execution, and their times; see ``NativeSession.profile``."""

    def __init__(self, library: NativeLibrary) -> None:
        """No time was measured yet. Raises BundleError CHM421 for a library of an older chimerac."""
        if not library.measures:
            raise BundleError("CHM421", "the bundle's library cannot measure itself", hint="build the bundle again")
        self._library = library
        self.times = (ct.c_int64 * library.get("chm_profile_steps"))()  #: what the runtime writes to

    def steps(self) -> list[Step]:
        """Every step with its time up to now."""
        get = self._library.get
        return [
            Step(
                get("chm_profile_part", i).decode(),
                get("chm_profile_op", i).decode(),
                get("chm_profile_weight_bytes", i),
                nanoseconds,
            )
            for i, nanoseconds in enumerate(self.times)
        ]

    def clear(self) -> None:
        """Forget what was measured."""
        ct.memset(self.times, 0, ct.sizeof(self.times))
