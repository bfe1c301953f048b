"""What a config's ``generation``, ``modes`` and ``looping`` say of how tokens are chosen: a bundle's defaults."""

from __future__ import annotations

from dataclasses import asdict

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.model import ModelConfig
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.runtime.bundle_format import OBLIGATIONS, Generation, Ledger, Shares, Valve
from chimerac.runtime.bundle_format.generation import METRICS, MOST_BITS, MOST_OUTSTANDING

MODES = ("fast", "balanced", "reasoning")
#: Names of a config → those of ``Shares``; criteria that are the same for all candidates have none.
_SOURCES = {"semantic_lsh": "near", "grammar_allowed": "grammar", "cache_hits": "text", "neural_novel": "head"}
_CRITERIA = {"semantic": "nearness", "boundary": "boundary", "grammar": "", "memory": "", "debt": ""}
_UNITS = 4 * 256  #: of a bias at full pressure and weight 1: four nats, each of 256


def generation_defaults(config: ModelConfig, shape: ChimeraShape) -> Generation | None:
    """The defaults of a bundle's generations; None where the config leaves all of them to the runtime."""
    written, loop = config.generation, shape.loop
    temperature = top_p = penalty = None
    if written is not None:
        temperature = written.temperature if written.do_sample else 0.0
        top_p = written.top_p if temperature else None
        penalty = written.repetition_penalty if written.repetition_penalty != 1 else None
    modes, threshold = {}, None
    if loop is not None:
        threshold = loop.exit_threshold or None
        chosen = {name: getattr(config.modes, name) for name in MODES}
        modes = {name: loops_in_range(mode.loops, shape) for name, mode in chosen.items() if mode is not None}
    found = Generation(
        temperature=temperature,
        top_p=top_p,
        repetition_penalty=penalty,
        max_tokens=None if written is None else written.max_new_tokens,
        exit_threshold=threshold,
        modes=modes,
        valve=valve_of(config, shape),
        ledger=ledger_of(config),
        shares=shares_of(config),
    )
    return None if found == Generation() else found


def valve_of(config: ModelConfig, shape: ChimeraShape) -> Valve | None:
    """The valve of a config that enables one. A level that it does not write takes all iterations.

    One threshold is that of the high level, and half of it that of the medium one. Raises UserError CHM120 for two
    that are not in order.
    """
    written, loop = config.entropy_valve, shape.loop
    if not written.enabled or loop is None:
        return None
    medium, high = written.thresholds_bits or (written.threshold_bits / 2, written.threshold_bits)
    if not medium <= high <= MOST_BITS:
        message = f"the valve's thresholds, {medium:g} and {high:g} bits, are not in order, or above {MOST_BITS:g}"
        place = config.place("entropy_valve.thresholds_bits")
        raise UserError("CHM120", message, span=place, hint="write the one of the medium level first")
    levels = (written.levels.low, written.levels.medium, written.levels.high)
    low, middle, most = (loop.maximum if level is None else level.loops for level in levels)
    return Valve((medium, high), (low, middle, most), tuple(name for name in METRICS if name in written.metrics))


def ledger_of(config: ModelConfig) -> Ledger | None:
    """The ledger of a config that enables one, with those of its obligations that can be told; None without any."""
    written = config.debt_ledger
    known = tuple(name for name in OBLIGATIONS if name in written.obligations)
    if not written.enabled or not known:
        return None
    weight = round(written.pressure_weight * _UNITS)
    return Ledger(known, min(written.max_outstanding, MOST_OUTSTANDING), weight)


def shares_of(config: ModelConfig) -> Shares | None:
    """What a config with spans says of the sources of guesses; None where it says nothing.

    Raises UserError CHM120 for a source or a criterion that there is not.
    """
    written = config.span_inference
    if not written.enabled or not (written.candidate_sources or written.scoring_weights_fast):
        return None
    found = asdict(Shares())
    for names, numbers, known, unit in (
        ("candidate_source_keys", written.candidate_sources, _SOURCES, 1),
        ("scoring_keys", written.scoring_weights_fast, _CRITERIA, 65536),
    ):
        for name, number in zip(getattr(written, names), numbers, strict=False):
            if name not in known:
                place = config.place(f"span_inference.{names}")
                hint = f"there are {', '.join(known)}"
                raise UserError("CHM120", f"spans have no {name!r}", span=place, hint=hint)
            if known[name]:
                found[known[name]] = round(unit * number)
    return Shares(**found)


def loops_in_range(loops: int, shape: ChimeraShape) -> int:
    """The number of iterations of the model that is nearest to ``loops``."""
    return min(max(loops, shape.loop.minimum), shape.loop.maximum) if shape.loop else 1
