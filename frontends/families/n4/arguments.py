"""The sizes that ``N4C`` is called with: by name, in the order of the official code, or in that of its README."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from chimerac.compiler.errors import UserError

#: Of the official code.
ORDER = ("vocab_size", "hidden_size", "inter_size", "heads", "layers")
#: Of the official README, which calls the same constructor.
README_ORDER = ("hidden_size", "inter_size", "vocab_size", "heads", "layers")


def sizes_of(given: Sequence[int], named: Mapping[str, int | None], depth: int = 3) -> dict[str, int]:
    """The five sizes by name.

    Args:
        given: by place. named: by name; None are not given.
        depth: frames from here to the caller, who is warned.

    Raises:
        UserError: CHM225, sizes that are missing, given twice, or too many.
    """
    if len(given) > len(ORDER):
        raise UserError("CHM225", f"N4C takes {len(ORDER)} sizes, not {len(given)}", hint=f"they are {_listed(ORDER)}")
    order = README_ORDER if _reads_as_readme(given) else ORDER
    places = dict(zip(order, given, strict=False))
    names = {name: value for name, value in named.items() if value is not None}
    twice, missing = places.keys() & names.keys(), set(ORDER) - places.keys() - names.keys()
    if twice or missing:
        said = [f"{_listed(sorted(twice))} given by place and by name"] * bool(twice)
        said += [f"{_listed([name for name in ORDER if name in missing])} missing"] * bool(missing)
        raise UserError("CHM225", f"N4C: {'; '.join(said)}", hint="give all sizes by name")
    if order is README_ORDER:
        vocabulary, hidden, inner = (places[name] for name in ORDER[:3])
        warnings.warn(
            f"N4C({', '.join(map(str, given))}) was read in the order of the README: hidden_size={hidden}, "
            f"inter_size={inner}, vocab_size={vocabulary}. The official code takes vocab_size, hidden_size, "
            "inter_size: give sizes by name",
            stacklevel=depth,
        )
    return {**places, **names}


def _reads_as_readme(given: Sequence[int]) -> bool:
    """Whether sizes rise as in the README's call, the vocabulary last, and can be meant so: heads share the first.

    The official order begins with the vocabulary, which is seldom smaller than both widths.
    """
    if len(given) < 3:
        return False
    rising = given[0] <= given[1] < given[2]
    return rising and (len(given) < 4 or (given[3] > 0 and given[0] % given[3] == 0))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
