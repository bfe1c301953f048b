"""What a config's ``generation``, ``modes`` and ``looping`` say of how tokens are chosen: a bundle's defaults."""

from __future__ import annotations

from dataclasses import asdict

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.model import ModelConfig
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.runtime.bundle_format import OBLIGATIONS, Generation, Ledger, Shares, Valve
from chimerac.runtime.bundle_format.generation import METRICS, MOST_BITS, MOST_OUTSTANDING, MOST_SHARE

REASONING = "reasoning"
MODES = ("fast", "balanced", REASONING)
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
    threshold = None if loop is None else loop.exit_threshold or None
    chosen = {name: getattr(config.modes, name) for name in MODES}
    reasoning = reasoning_shares_of(config) if chosen[REASONING] is not None else None
    modes = {
        name: loops_in_range(mode.loops, shape)
        for name, mode in chosen.items()
        if mode is not None and (loop is not None or (name == REASONING and reasoning is not None))
    }
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
        mode_shares={} if reasoning is None else {REASONING: reasoning},
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
    return _shares(config, written.candidate_sources, written.scoring_weights_fast)


def reasoning_shares_of(config: ModelConfig) -> Shares | None:
    """The same of the reasoning mode; None where the config says nothing that makes them others.

    Its candidates are split as those of the fast mode where it does not say how, and no source gives more than
    ``MOST_SHARE``; its weights are those of the fast mode where it has none.
    """
    written = config.span_inference
    sources = written.candidate_sources_reason
    if sources is None and written.candidates_reason is not None:
        sources = _in_proportion(written.candidates_reason, written.candidate_sources)
    weights = written.scoring_weights_reason
    if not written.enabled or (sources is None and weights is None):
        return None
    limited = tuple(min(number, MOST_SHARE) for number in (written.candidate_sources if sources is None else sources))
    found = _shares(config, limited, written.scoring_weights_fast if weights is None else weights)
    return None if found == (shares_of(config) or Shares()) else found


def _in_proportion(total: int, parts: tuple[int, ...]) -> tuple[int, ...] | None:
    """``total`` split as ``parts`` are, the largest remainders rounded up; None where there is nothing to go by."""
    whole = sum(parts)
    if not whole:
        return None
    order = sorted(range(len(parts)), key=lambda i: (-(total * parts[i] % whole), i))
    missing = total - sum(total * part // whole for part in parts)
    return tuple(total * part // whole + (i in order[:missing]) for i, part in enumerate(parts))


def _shares(config: ModelConfig, sources: tuple[int, ...], weights: tuple[float, ...]) -> Shares:
    written = config.span_inference
    found = asdict(Shares())
    for names, numbers, known, unit in (
        ("candidate_source_keys", sources, _SOURCES, 1),
        ("scoring_keys", weights, _CRITERIA, 65536),
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
