"""Numbers and names of the bundle format; the C header ``chm_format.h`` is made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ABI_MAJOR: Final = 1  #: of the container and of chimera.h; a reader refuses another major version
ABI_MINOR: Final = 0
ABI: Final = f"{ABI_MAJOR}.{ABI_MINOR}"
MANIFEST_SCHEMA: Final = 1
MANIFEST_NAME: Final = "manifest.json"

DATA_ALIGNMENT: Final = 4096  #: the data of a container starts at a multiple of it
SECTION_ALIGNMENT: Final = 64  #: every section starts at a multiple of it, counted from the start of the file
PAD_PREFIX: Final = "__pad."

MAX_HEADER_BYTES: Final = 16 << 20
MAX_SECTIONS: Final = 65_536  #: pads included
MAX_NAME_BYTES: Final = 128
MAX_DIMENSIONS: Final = 8
MAX_JSON_DEPTH: Final = 4
MAX_INTEGER: Final = 1 << 53  #: of any number in a header
MAX_MANIFEST_BYTES: Final = 1 << 20
MAX_MANIFEST_DEPTH: Final = 32
MAX_VOCABULARY: Final = 262_144
MAX_SPECIALS: Final = 4096
MAX_MERGES: Final = 1 << 22  #: of a tokenizer
MAX_STOP_TOKENS: Final = 16
MAX_TEXT_BYTES: Final = 1024  #: of one piece of generated text
MAX_THREADS: Final = 64  #: that share the work of a call
HISTORY_TOKENS: Final = 256  #: window of the repetition penalty
MAX_PENDING: Final = 16  #: tokens that were chosen and not run yet
MAX_TENSORS: Final = 256  #: inputs, and results, of an entry
GRAMMAR_PLACE_BYTES: Final = 1032  #: of a place in a grammar: docs/fstpack.md
MAX_SPANS: Final = 1 << 19  #: of a bank: docs/sfpack.md
MAX_SPAN_TOKENS: Final = 64
SPAN_SCAN: Final = 8192  #: spans of a bank at most that needs no index of keys

#: dtype names of safetensors that chimerac writes, with their size in bytes
DTYPES: Final[dict[str, int]] = {
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
}

KIND_WEIGHTS: Final = "b158"
KIND_TOKENIZER: Final = "tokenizer"
KIND_GRAMMARS: Final = "fstpack"
KIND_STATE: Final = "state"
KIND_SPANS: Final = "sfpack"
KINDS: Final = (KIND_WEIGHTS, "experts", KIND_SPANS, KIND_GRAMMARS, "seedpack", KIND_TOKENIZER, KIND_STATE)

KEY_KIND: Final = "chimera.kind"
KEY_ABI: Final = "chimera.abi"
KEY_CONFIG: Final = "chimera.config_sha256"
KEY_CONTENTS: Final = "chimera.contents_sha256"
KEY_SECTIONS: Final = "chimera.sections"
KEY_TOKENIZER: Final = "chimera.tokenizer_sha256"
KEY_MODEL: Final = "chimera.model_sha256"

SECTION_TOKEN_LENGTHS: Final = "len"  #: U8[n]: bytes of each token, 0 for specials and holes
SECTION_TOKEN_BYTES: Final = "bytes"  #: U8[sum of lengths]: the tokens' bytes in id order
SECTION_SPECIALS: Final = "special"  #: U8[m]: JSON list of {"name", "id", "role"}
SECTION_PATTERN: Final = "pattern"  #: U8[p], may be absent: one of PATTERNS
SECTION_RULES: Final = "rules"  #: U8[r], may be absent: JSON list of RULES
SECTION_MERGES: Final = "merge"  #: U32[k], may be absent: the token that each merge makes, the first merge first
SECTION_SPLITS: Final = "split"  #: U8[k], may be absent: bytes of the left one of the two that a merge joins
SECTION_BYTES: Final = "byte"  #: U32[256], may be absent: tokens of single bytes that no merge joins

#: Sections of a sequence that every model has: name, dtype, number of elements. docs/bundle.md has their meaning.
STATE_SECTIONS: Final[dict[str, tuple[str, int]]] = {
    "sequence": ("I32", 8),
    "sequence.history": ("I32", HISTORY_TOKENS),
    "sequence.pending": ("I32", MAX_PENDING),
    "sequence.text": ("U8", 4),
    "grammar": ("U32", 4),
    "grammar.place": ("U8", GRAMMAR_PLACE_BYTES),
}
#: I32[1], after all others, if it is not 0: how far the level of the valve is below the high one, plus LEVELS times
#: the loop iterations that the router took for the block
SECTION_VALVE: Final = "valve"
LEVELS: Final = 3  #: of the valve
#: F32[1, counts]: the router's scores of the last token that was run, fewest iterations first
ROUTER_STATE: Final = "router.last"
DRAFT_STATE: Final = "draft.last"
#: What runtimes write where a block begins, and layers that read a memory only read: I32[1, n/32], the bits of the
#: memory, and F32[1, 1], how near it is to the sketch, 0 where there is none
KNOT_MEMORY: Final = "knot.memory"
KNOT_HIT: Final = "knot.hit"
#: I32[1, n/4]: a counter of a byte for each bit of the sketch of the text, which only runtimes read and write
KNOT_SKETCH: Final = "knot.sketch"
#: The constant with the tokens that its scores are of, i32 [scores].
DRAFT_IDS: Final = "draft.ids"
SECTION_LEDGER: Final = "ledger"  #: U32[LEDGER_WORDS], the last one: open obligations of a generation that counts them
LEDGER_WORDS: Final = 68
SECTION_LOGITS: Final = "logits"  #: F32[vocabulary]
STATE_PREFIX: Final = "state."  #: before the name of a recurrent state
EXTRA_PREFIX: Final = "extra."  #: of sections that no continuation depends on

PATTERN_NONE: Final = "none"  #: text is not cut before merging
PATTERN_O200K: Final = "o200k"  #: text is cut as by o200k_base
PATTERN_GPT2: Final = "gpt2"
PATTERN_GPT2_DIGITS: Final = "gpt2-digits"  #: each number by itself, the rest as by gpt2
PATTERN_GPT2_DIGITS3: Final = "gpt2-digits3"  #: numbers in threes, the rest as by gpt2
PATTERN_LLAMA3: Final = "llama3"
PATTERN_QWEN2: Final = "qwen2"
PATTERN_QWEN35: Final = "qwen35"
PATTERN_SPACES: Final = "spaces"  #: before each space
PATTERN_CHARACTERS: Final = "characters"  #: each character by itself
PATTERNS: Final = (
    PATTERN_NONE,
    PATTERN_O200K,
    PATTERN_GPT2,
    PATTERN_GPT2_DIGITS,
    PATTERN_GPT2_DIGITS3,
    PATTERN_LLAMA3,
    PATTERN_QWEN2,
    PATTERN_QWEN35,
    PATTERN_SPACES,
    PATTERN_CHARACTERS,
)

RULE_NFC: Final = "nfc"  #: text is brought to Unicode's normalization form C
RULE_TIDY: Final = "tidy"  #: before that: spaces, quotes and dashes in one form, nothing at the ends
RULE_UNDERLINE: Final = "underline"  #: U+2581 in text is a space
RULE_PREFIX: Final = "prefix"  #: a space is put before each text
RULE_PREFIX_MISSING: Final = "prefix-missing"  #: before each text that does not begin with one
RULE_PREFIX_FIRST: Final = "prefix-first"  #: before a text that begins a sequence and does not begin with one
RULE_WHOLE: Final = "whole"  #: a piece that is a token is taken whole; so it is without merges
RULE_DROP: Final = "drop"  #: bytes that are no token are left out of a piece; else each byte is one
RULE_LONGEST: Final = "longest"  #: nothing merges: at each place of a piece the longest token counts
RULES: Final = (
    RULE_NFC,
    RULE_TIDY,
    RULE_UNDERLINE,
    RULE_PREFIX,
    RULE_PREFIX_MISSING,
    RULE_PREFIX_FIRST,
    RULE_WHOLE,
    RULE_DROP,
    RULE_LONGEST,
)

ROLE_BEGIN: Final = "begin"  #: put before a text that starts a session
ROLE_END: Final = "end"  #: ends a generation
ROLE_CONTROL: Final = "control"  #: may be generated, decodes to nothing
ROLE_PAD: Final = "pad"  #: never generated
ROLE_RESERVED: Final = "reserved"  #: never generated
ROLE_ANSWER: Final = "answer"  #: put after a prompt that asks for an answer; never generated
ROLE_HEARD: Final = "heard"  #: put between a request and the names of lists that it says; never generated
ROLES: Final = (ROLE_BEGIN, ROLE_END, ROLE_CONTROL, ROLE_PAD, ROLE_RESERVED, ROLE_ANSWER, ROLE_HEARD)


@dataclass(frozen=True)
class Status:
    """An error of the format or the runtime: C returns ``number``, Python and JavaScript show ``CHM<number>``."""

    number: int
    name: str  #: of the C constant, without ``CHM_ERROR_``
    meaning: str

    @property
    def code(self) -> str:
        return f"CHM{self.number}"


STATUSES: Final = (
    Status(400, "IO", "a file cannot be read or written"),
    Status(401, "NOT_A_CONTAINER", "the file is not a chimera container, or it is cut short"),
    Status(402, "HEADER", "the container's header is not valid"),
    Status(403, "LIMIT", "a limit of the format is exceeded"),
    Status(404, "LAYOUT", "the container's sections overlap, leave holes or have wrong sizes"),
    Status(405, "VERSION", "the file is of another kind or version than this runtime reads"),
    Status(406, "CHECKSUM", "the file is damaged: a checksum does not match"),
    Status(407, "MISMATCH", "the weights do not belong to this code"),
    Status(410, "MANIFEST", "the manifest is missing or not valid"),
    Status(411, "SCHEMA", "the manifest is of a version that this runtime does not read"),
    Status(412, "FILE", "a file of the bundle is missing or differs from the manifest"),
    Status(413, "TARGET", "the bundle is for another kind of machine"),
    Status(414, "LIBRARY", "the bundle's library cannot be loaded"),
    Status(420, "ARGUMENT", "an argument is out of range"),
    Status(421, "STATE", "the call does not fit the state of the session"),
    Status(422, "MEMORY", "out of memory"),
    Status(423, "NO_TOKEN", "no token can be chosen: every logit is excluded or not a number"),
    Status(424, "CONTEXT", "the text would be longer than the model's context"),
    Status(430, "TOKENIZER", "the tokenizer is not valid"),
    Status(431, "GRAMMAR", "the grammar is not valid, or for another tokenizer"),
    Status(432, "GRAMMAR_TOKEN", "the grammar does not allow the token"),
    Status(434, "SPANS", "the bank of spans is not valid, or for another tokenizer"),
    Status(440, "NODE", "Node.js, which runs wasm bundles, is missing or has failed"),
    Status(450, "SELF_TEST", "the bundle does not compute what it computed when it was built"),
)
