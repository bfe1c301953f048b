"""The functions of chimera.h through ctypes, with errors as exceptions."""

from __future__ import annotations

import ctypes as ct
from pathlib import Path
from typing import Any, Final

from chimerac.runtime.bundle_format import ABI_MAJOR
from chimerac.runtime.errors import BundleError

FINISHED: Final = 1

_I32, _U32, _SIZE, _F32, _PTR, _STR = ct.c_int32, ct.c_uint32, ct.c_size_t, ct.c_float, ct.c_void_p, ct.c_char_p
_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_abi_version": (_U32, ()),
    "chm_model_name": (_STR, ()),
    "chm_model_target": (_STR, ()),
    "chm_model_config_sha256": (_STR, ()),
    "chm_model_weights_sha256": (_STR, ()),
    "chm_vocab_size": (_I32, ()),
    "chm_max_loops": (_I32, ()),
    "chm_default_loops": (_I32, ()),
    "chm_session_bytes": (_SIZE, ()),
    "chm_cpu_select": (_I32, (_STR,)),
    "chm_cpu_selected": (_STR, ()),
    "chm_cpu_kernels": (_STR, (_I32,)),
    "chm_status_text": (_STR, (_I32,)),
    "chm_last_error": (_STR, ()),
    "chm_bundle_open": (_I32, (_PTR, _SIZE, _PTR, _SIZE, _U32, _PTR, _PTR)),
    "chm_bundle_open_files": (_I32, (_STR, _STR, _U32, _PTR, _PTR)),
    "chm_bundle_close": (_I32, (_PTR,)),
    "chm_bundle_set_threads": (_I32, (_PTR, _I32)),
    "chm_bundle_threads": (_I32, (_PTR,)),
    "chm_tokenizer_encode": (_I32, (_PTR, _STR, _SIZE, _PTR, _SIZE, _PTR)),
    "chm_tokenizer_encode_with_specials": (_I32, (_PTR, _STR, _SIZE, _PTR, _SIZE, _PTR)),
    "chm_tokenizer_token": (_PTR, (_PTR, _I32, _PTR)),
    "chm_tokenizer_special": (_I32, (_PTR, _STR)),
    "chm_session_open": (_I32, (_PTR, _PTR, _PTR)),
    "chm_session_close": (None, (_PTR,)),
    "chm_session_reset": (_I32, (_PTR,)),
    "chm_session_set_loops": (_I32, (_PTR, _I32)),
    "chm_session_set_exit_threshold": (_I32, (_PTR, _F32)),
    "chm_session_set_sampling": (_I32, (_PTR, _F32, _F32, _I32, _F32, _U32, _U32, _U32)),
    "chm_session_set_stop_tokens": (_I32, (_PTR, _PTR, _SIZE)),
    "chm_session_prefill": (_I32, (_PTR, _PTR, _SIZE)),
    "chm_session_decode": (_I32, (_PTR, _I32)),
    "chm_session_prompt": (_I32, (_PTR, _STR, _SIZE)),
    "chm_session_begin_generation": (_I32, (_PTR, _I32)),
    "chm_session_generate": (_I32, (_PTR, _PTR)),
    "chm_session_text": (_PTR, (_PTR, _PTR)),
    "chm_session_logits": (_PTR, (_PTR,)),
    "chm_session_position": (_I32, (_PTR,)),
    "chm_session_iterations": (_I32, (_PTR,)),
    "chm_session_state_hash": (_I32, (_PTR, _PTR)),
    "chm_session_logits_hash": (_I32, (_PTR, _PTR)),
    "chm_session_snapshot_bytes": (_SIZE, (_PTR,)),
    "chm_session_snapshot": (_I32, (_PTR, _PTR, _SIZE)),
    "chm_session_restore": (_I32, (_PTR, _STR, _SIZE)),
}
#: Functions that bundles of an older chimerac do not have.
_GRAMMAR_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_pack_open": (_I32, (_PTR, _PTR, _PTR, _SIZE, _U32, _PTR, _PTR)),
    "chm_pack_close": (_I32, (_PTR,)),
    "chm_pack_count": (_I32, (_PTR,)),
    "chm_pack_name": (_STR, (_PTR, _I32)),
    "chm_pack_default": (_I32, (_PTR,)),
    "chm_grammar_open": (_I32, (_PTR, _STR, _PTR, _PTR)),
    "chm_grammar_close": (None, (_PTR,)),
    "chm_grammar_set_whitespace": (_I32, (_PTR, _I32)),
    "chm_grammar_start": (_I32, (_PTR,)),
    "chm_grammar_accept": (_I32, (_PTR, _I32)),
    "chm_grammar_mask_words": (_SIZE, (_PTR,)),
    "chm_grammar_mask": (_I32, (_PTR, _I32, _PTR, _SIZE)),
    "chm_grammar_complete": (_I32, (_PTR,)),
    "chm_grammar_closing": (_I32, (_PTR,)),
    "chm_grammar_forced": (_I32, (_PTR, _PTR, _SIZE, _PTR)),
    "chm_grammar_state_bytes": (_SIZE, ()),
    "chm_grammar_save": (_I32, (_PTR, _PTR, _SIZE)),
    "chm_grammar_restore": (_I32, (_PTR, _STR, _SIZE)),
    "chm_session_set_grammar": (_I32, (_PTR, _PTR)),
    "chm_session_complete": (_I32, (_PTR,)),
}
#: The same, for slots of grammars.
_SLOT_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_grammar_set_words": (_I32, (_PTR, _I32, _STR, _SIZE)),
    "chm_grammar_slots": (_I32, (_PTR,)),
}
#: The same, for what a prompt is told of heard names.
_HINT_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_session_hint": (_I32, (_PTR, _PTR, _SIZE, _PTR)),
}
#: The same, for functions that measure.
_MEASURING_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_profile_steps": (_I32, ()),
    "chm_profile_part": (_STR, (_I32,)),
    "chm_profile_op": (_STR, (_I32,)),
    "chm_profile_weight_bytes": (ct.c_uint64, (_I32,)),
    "chm_session_profile": (_I32, (_PTR, _PTR, _SIZE)),
    "chm_measure_reading": (_I32, (_PTR, _SIZE, _I32, _I32, _PTR)),
}


#: The same, for encoding in parts.
_PART_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_tokenizer_encode_part": (_I32, (_PTR, _STR, _SIZE, _PTR, _SIZE, _PTR, _SIZE, _PTR)),
}


#: The same, for tokenizers that change a text before they cut it.
_RULE_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_tokenizer_room": (_SIZE, (_PTR, _SIZE)),
    "chm_tokenizer_encode_more": (_I32, (_PTR, _STR, _SIZE, _PTR, _SIZE, _PTR)),
}


#: The same, for parts of a prompt whose logits nobody needs.
_PROMPT_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_session_prefill_part": (_I32, (_PTR, _PTR, _SIZE)),
}


#: The same, for modules that are no language models.
_CALL_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_entry_name": (_STR, (_I32,)),
    "chm_entry_most": (_I32, (_I32,)),
    "chm_entry_input": (_PTR, (_I32, _I32)),
    "chm_entry_result": (_PTR, (_I32, _I32)),
    "chm_session_call": (_I32, (_PTR, _STR, _PTR, _SIZE, _PTR, _SIZE, _I32)),
}


#: The same, for what a sequence has room for.
_CONTEXT_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_context": (_I32, ()),
    "chm_session_room": (_I32, (_PTR,)),
}


#: The same, for bundles that may guess tokens.
_SPAN_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_speculates": (_I32, ()),
    "chm_session_set_speculation": (_I32, (_PTR, _I32)),
    "chm_session_counters": (_I32, (_PTR, _PTR, _SIZE)),
    "chm_session_set_drafter": (_I32, (_PTR, _PTR, _PTR)),
}


#: The same, for how likely an answer was.
_SCORE_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_session_set_scoring": (_I32, (_PTR, _I32)),
    "chm_session_score": (_F32, (_PTR,)),
}


#: The same, for the entropy valve.
_VALVE_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_session_set_valve": (_I32, (_PTR, _F32, _F32, _I32, _I32, _I32, _U32)),
    "chm_session_level": (_I32, (_PTR,)),
    "chm_session_entropy": (_F32, (_PTR,)),
}


#: The same, for the ledger of open obligations and what it came with.
_LEDGER_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_session_set_ledger": (_I32, (_PTR, _U32, _U32, _U32)),
    "chm_session_ledger": (_I32, (_PTR, _PTR, _SIZE)),
    "chm_session_levels": (_I32, (_PTR, _PTR, _SIZE)),
}


#: The same, for banks of spans.
_BANK_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_bank_open": (_I32, (_PTR, _PTR, _SIZE, _U32, _PTR, _PTR)),
    "chm_bank_open_file": (_I32, (_PTR, _STR, _U32, _PTR, _PTR)),
    "chm_bank_close": (_I32, (_PTR,)),
    "chm_bank_count": (_I32, (_PTR,)),
    "chm_session_set_bank": (_I32, (_PTR, _PTR)),
}


#: The same, for certificates of spans, and what came of guesses that were not taken.
_CERTIFICATE_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_bank_certificate": (_I32, (_PTR, _I32, _PTR, _SIZE)),
    "chm_session_rollbacks": (_I32, (_PTR, _PTR, _SIZE)),
    "chm_session_rejected": (_I32, (_PTR, _PTR, _SIZE)),
}


#: The same, for draft heads.
_HEAD_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {"chm_has_draft_head": (_I32, ())}


#: The same, for shares of the sources of guesses.
_SHARE_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_session_set_shares": (_I32, (_PTR, _PTR, _SIZE)),
}


#: The same, for the memory of span knots.
_MEMORY_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_reads_memory": (_I32, ()),
    "chm_session_set_memory": (_I32, (_PTR, _PTR, _SIZE, _SIZE)),
}


#: The same, for what passes cost.
_COST_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "chm_session_costs": (_I32, (_PTR, _PTR, _SIZE)),
}


class Tensor(ct.Structure):
    """``chm_tensor``: the name, the address and the bytes of an array of the caller."""

    _fields_ = (("name", _STR), ("data", _PTR), ("bytes", _SIZE))


class NativeLibrary:
    """A loaded libchimera; ``call`` for functions that return a status, ``get`` for the others."""

    def __init__(self, path: str | Path) -> None:
        """Load a shared library, which runs its code: verify the file before. Raises BundleError CHM414, CHM405."""
        try:
            self._library = ct.CDLL(str(Path(path).resolve()))
            self.has_grammars = hasattr(self._library, "chm_pack_open")
            self.measures = hasattr(self._library, "chm_session_profile")
            self.encodes_parts = hasattr(self._library, "chm_tokenizer_encode_part")
            self.has_context = hasattr(self._library, "chm_session_room")
            self.has_rules = hasattr(self._library, "chm_tokenizer_room")
            signatures = _SIGNATURES | (_GRAMMAR_SIGNATURES if self.has_grammars else {})
            self.has_slots = hasattr(self._library, "chm_grammar_slots")
            signatures |= _SLOT_SIGNATURES if self.has_slots else {}
            signatures |= _MEASURING_SIGNATURES if self.measures else {}
            signatures |= _PART_SIGNATURES if self.encodes_parts else {}
            signatures |= _CONTEXT_SIGNATURES if self.has_context else {}
            signatures |= _RULE_SIGNATURES if self.has_rules else {}
            self.prefills_parts = hasattr(self._library, "chm_session_prefill_part")
            signatures |= _PROMPT_SIGNATURES if self.prefills_parts else {}
            signatures |= _SPAN_SIGNATURES if hasattr(self._library, "chm_speculates") else {}
            self.has_hints = hasattr(self._library, "chm_session_hint")
            signatures |= _HINT_SIGNATURES if self.has_hints else {}
            self.scores = hasattr(self._library, "chm_session_score")
            signatures |= _SCORE_SIGNATURES if self.scores else {}
            self.has_valve = hasattr(self._library, "chm_session_set_valve")
            signatures |= _VALVE_SIGNATURES if self.has_valve else {}
            self.has_ledger = hasattr(self._library, "chm_session_set_ledger")
            signatures |= _LEDGER_SIGNATURES if self.has_ledger else {}
            self.has_banks = hasattr(self._library, "chm_bank_open")
            signatures |= _BANK_SIGNATURES if self.has_banks else {}
            self.has_certificates = hasattr(self._library, "chm_bank_certificate")
            signatures |= _CERTIFICATE_SIGNATURES if self.has_certificates else {}
            self.has_shares = hasattr(self._library, "chm_session_set_shares")
            signatures |= _SHARE_SIGNATURES if self.has_shares else {}
            self.has_costs = hasattr(self._library, "chm_session_costs")
            signatures |= _COST_SIGNATURES if self.has_costs else {}
            self.has_heads = hasattr(self._library, "chm_has_draft_head")
            signatures |= _HEAD_SIGNATURES if self.has_heads else {}
            self.has_memory = hasattr(self._library, "chm_reads_memory")
            signatures |= _MEMORY_SIGNATURES if self.has_memory else {}
            signatures |= _CALL_SIGNATURES if hasattr(self._library, "chm_session_call") else {}
            for name, (result, arguments) in signatures.items():
                function = getattr(self._library, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise BundleError("CHM414", f"the library cannot be loaded: {error}", path=path) from None
        self.speculates = hasattr(self._library, "chm_speculates") and bool(self.get("chm_speculates"))
        version = self.get("chm_abi_version")
        if version >> 16 != ABI_MAJOR:
            message = f"the library has interface version {version >> 16}; this runtime uses {ABI_MAJOR}"
            raise BundleError("CHM405", message, path=path, hint="build the bundle again")

    def get(self, name: str, *values: Any) -> Any:
        """Call a function that cannot fail."""
        return getattr(self._library, name)(*values)

    def call(self, name: str, *values: Any) -> bool:
        """Call a function that returns a status; True for FINISHED. Raises BundleError with the status' code."""
        status = self.get(name, *values)
        if status in (0, FINISHED):
            return bool(status)
        message = self.get("chm_last_error").decode("utf-8", "replace")
        raise BundleError(f"CHM{status}", message)
