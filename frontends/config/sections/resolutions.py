"""``resolutions``: answers to questions the Chimera 5.1 document leaves open.

Each key names what chimerac does, or means to do in a part that has no compiler yet, where the document is silent or
says two things. Writing a key takes the answer into the config, and the consistency check no longer reports the
question; that a part is not compiled yet it goes on to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chimerac.frontends.config.fields import key


def _answer(doc: str, *choices: str, **details: Any) -> Any:
    return key(doc, default=None, choices=choices, own=True, **details)


@dataclass(frozen=True, kw_only=True)
class Resolutions:
    """Open questions and their answers; an absent key is a question left open."""

    ragged_groups: str | None = _answer(
        "Rows that are not whole groups of one scale: the last group is shorter.", "shorter_last_group"
    )
    knot_definition: str | None = _answer("What a span-knot layer computes: docs/model.md.", "discrete_relaxation")
    loop_state: str | None = _answer(
        "Recurrent state in the loop: one per layer and iteration; Titans writes in the first.", "per_iteration"
    )
    loop_control: str | None = _answer(
        "Who sets the loop count: the mode is the cap, the valve picks, the exit only shortens.", "cap_pick_shorten"
    )
    loop_depth: str | None = _answer(
        "What a token's loop count may depend on when spans are checked.", "committed_tokens_only"
    )
    norm_placement: str | None = _answer(
        "Norms: one per input tensor, shared by the linears that read it.", "one_per_input"
    )
    token_roles: str | None = _answer("Order of `token_ids`.", "eos_pad")
    vocabulary_holes: str | None = _answer("Ids that no text produces.", "masked")
    long_spans: str | None = _answer("Spans longer than the tree is deep.", "chained")
    unaudited_tokens: str | None = _answer(
        "Tokens that the model doesn't check: never by default, and results say so.", "labelled_approximate"
    )
    draft_head: str | None = _answer("Source of neural candidates; with none its share goes to the cache.", "none")
    memory_reads: str | None = _answer("When span-knot layers read the memory.", "every_16_tokens")
    grammar_stack: str | None = _answer("What a frame of the grammar stack is.", "one_per_open_construct")
    relations: str | None = _answer("How the memory stores relations and its hot entries.", "id_triples_and_index")
    language_obligations: str | None = _answer("Obligations that need a language's word classes.", "english_soft")
    memory_growth: str | None = _answer("Where new memory goes when the pool is fixed.", "session_overlay")
    ttt_delta_format: str | None = _answer("How test-time training stores its change.", "int8", "float32")
    ttt_projection: str | None = _answer("Projections of test-time training without weights.", "compiled_out")
    ttt_streams: str | None = _answer("Streams that test-time training changes.", "first_only")
    wall_clock: str | None = _answer(
        "Limits written as times: counted in operations, so that time never changes the text.", "counted"
    )
    wasm_files: str | None = _answer("Mapping of files where the target has none.", "range_reads")
    telemetry: str | None = _answer("Where metrics go.", "local_callback")
    penalty_exempt: str | None = _answer(
        "Tokens that the repetition penalty leaves alone.", "structural", status="not yet"
    )
    state_file: str | None = _answer("Form of the evolution state file.", "snapshot_and_journal")
