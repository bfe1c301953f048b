"""``looping``: layers that run several times per token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chimerac.frontends.config.fields import key
from chimerac.frontends.config.sections.common import fraction, one_of, papers, switch

_LAYERS: dict[str, Any] = {"default": None, "minimum": 0, "maximum": 4095}


@dataclass(frozen=True, kw_only=True)
class Looping:
    """A looped block with a stable injection of its input (Parcae, arXiv 2604.12946)."""

    enabled: bool = switch("Run the layers of `loop` several times.", status="compiled")
    method: str = one_of("How the loop's input is injected.", "parcae_zoh_stable", status="checked")
    prelude: tuple[int, int] | None = key(
        "First and last layer before the loop; a quarter of all when absent.", **_LAYERS, status="compiled"
    )
    loop: tuple[int, int] | None = key(
        "First and last layer of the loop; those between when absent.", **_LAYERS, status="compiled"
    )
    coda: tuple[int, int] | None = key(
        "First and last layer after the loop; a quarter of all when absent.", **_LAYERS, status="compiled"
    )
    loop_range: tuple[int, int] = key(
        "Least and greatest number of iterations.", default=(1, 6), minimum=1, maximum=64, status="compiled"
    )
    loop_default: int = key(
        "Iterations when nothing else is asked for.", default=2, minimum=1, maximum=64, status="compiled"
    )
    stability_A: str = one_of(
        "Form of the injection's decay: the exponential of a negative diagonal.", "diag_negative_exp", status="checked"
    )
    spectral_radius_bound: float | None = key(
        "Bound on the injection's spectral radius; the looped layers themselves have none.",
        default=None,
        above=0,
        status="checked",
    )
    depth_selection: str = one_of(
        "How training draws the number of iterations.", "stochastic_per_sequence", "fixed", status="training"
    )
    adaptive_exit_threshold: float = fraction(
        "The bundle's default of when to stop looping: an iteration, not before the least number, changes the hidden "
        "vector by less than this part of its length; 0 never stops. Above 0 prompts run token by token.",
        default=0.0,
        status="compiled",
    )
    backward_truncation: str = one_of("Iterations that training differentiates.", "half", "none", status="training")
    zoh_input: str = one_of(
        "Gain of the injected input: `euler` is the step dt, `exact` is (1 - exp(-dt a)) / a.",
        "euler",
        "exact",
        own=True,
        status="compiled",
    )
    papers: tuple[str, ...] = papers()
