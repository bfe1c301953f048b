/* Numbers and names of the bundle format. Generated from runtime/bundle_format; do not edit. */
#ifndef CHM_FORMAT_H
#define CHM_FORMAT_H

#define CHM_ABI_MAJOR 1u
#define CHM_ABI_MINOR 0u
#define CHM_DATA_ALIGNMENT 4096u
#define CHM_SECTION_ALIGNMENT 64u
#define CHM_MAX_HEADER_BYTES 16777216u
#define CHM_MAX_SECTIONS 65536u
#define CHM_MAX_NAME_BYTES 128u
#define CHM_MAX_DIMENSIONS 8u
#define CHM_MAX_VOCABULARY 262144u
#define CHM_MAX_SPECIALS 4096u
#define CHM_MAX_MERGES 4194304u
#define CHM_MAX_STOP_TOKENS 16u
#define CHM_MAX_TEXT_BYTES 1024u
#define CHM_HISTORY_TOKENS 256u
#define CHM_MAX_THREADS 64u
#define CHM_MAX_PENDING 16u
#define CHM_MAX_TENSORS 256u
#define CHM_GRAMMAR_PLACE_BYTES 1032u
#define CHM_MAX_SPANS 524288u
#define CHM_MAX_SPAN_TOKENS 64u
#define CHM_SPAN_SCAN 8192u
#define CHM_MAX_INTEGER 9007199254740992ull

#define CHM_ABI "1.0"
#define CHM_PAD_PREFIX "__pad."
#define CHM_KIND_WEIGHTS "b158"
#define CHM_KIND_TOKENIZER "tokenizer"
#define CHM_KIND_GRAMMARS "fstpack"
#define CHM_KIND_STATE "state"
#define CHM_KIND_SPANS "sfpack"
#define CHM_KEY_KIND "chimera.kind"
#define CHM_KEY_ABI "chimera.abi"
#define CHM_KEY_CONFIG "chimera.config_sha256"
#define CHM_KEY_CONTENTS "chimera.contents_sha256"
#define CHM_KEY_SECTIONS "chimera.sections"
#define CHM_KEY_TOKENIZER "chimera.tokenizer_sha256"
#define CHM_KEY_MODEL "chimera.model_sha256"
#define CHM_SECTION_TOKEN_LENGTHS "len"
#define CHM_SECTION_TOKEN_BYTES "bytes"
#define CHM_SECTION_SPECIALS "special"
#define CHM_SECTION_PATTERN "pattern"
#define CHM_SECTION_RULES "rules"
#define CHM_SECTION_MERGES "merge"
#define CHM_SECTION_SPLITS "split"
#define CHM_SECTION_BYTES "byte"
#define CHM_SECTION_LOGITS "logits"
#define CHM_SECTION_VALVE "valve"
#define CHM_SECTION_LEDGER "ledger"
#define CHM_ROUTER_STATE "router.last"
#define CHM_STATE_PREFIX "state."
#define CHM_EXTRA_PREFIX "extra."
#define CHM_ROLE_BEGIN "begin"
#define CHM_ROLE_END "end"
#define CHM_ROLE_CONTROL "control"
#define CHM_ROLE_PAD "pad"
#define CHM_ROLE_RESERVED "reserved"
#define CHM_ROLE_ANSWER "answer"
#define CHM_ROLE_HEARD "heard"

/* X(name, text): what a tokenizer may cut text by, and what it may do with text before and after */
#define CHM_PATTERNS(X) \
  X(NONE, "none") \
  X(O200K, "o200k") \
  X(GPT2, "gpt2") \
  X(GPT2_DIGITS, "gpt2-digits") \
  X(GPT2_DIGITS3, "gpt2-digits3") \
  X(LLAMA3, "llama3") \
  X(QWEN2, "qwen2") \
  X(QWEN35, "qwen35") \
  X(SPACES, "spaces") \
  X(CHARACTERS, "characters")
#define CHM_RULES(X) \
  X(NFC, "nfc") \
  X(TIDY, "tidy") \
  X(UNDERLINE, "underline") \
  X(PREFIX, "prefix") \
  X(PREFIX_MISSING, "prefix-missing") \
  X(PREFIX_FIRST, "prefix-first") \
  X(WHOLE, "whole") \
  X(DROP, "drop") \
  X(LONGEST, "longest")

/* X(name, bytes of one element) */
#define CHM_DTYPES(X) \
  X(U8, 1u) \
  X(I8, 1u) \
  X(U16, 2u) \
  X(I16, 2u) \
  X(F16, 2u) \
  X(BF16, 2u) \
  X(U32, 4u) \
  X(I32, 4u) \
  X(F32, 4u)

/* X(name, field, dtype, elements): sections of a sequence that every model has */
#define CHM_STATE_SECTIONS(X) \
  X("sequence", sequence, I32, 8u) \
  X("sequence.history", history, I32, 256u) \
  X("sequence.pending", pending, I32, 16u) \
  X("sequence.text", text, U8, 4u) \
  X("grammar", grammar, U32, 4u) \
  X("grammar.place", place, U8, 1032u)

/* Results of the functions of chimera.h. */
typedef enum chm_status {
  CHM_OK = 0,
  CHM_FINISHED = 1, /* not an error: the generation has ended */
  CHM_ERROR_IO = 400, /* a file cannot be read or written */
  CHM_ERROR_NOT_A_CONTAINER = 401, /* the file is not a chimera container, or it is cut short */
  CHM_ERROR_HEADER = 402, /* the container's header is not valid */
  CHM_ERROR_LIMIT = 403, /* a limit of the format is exceeded */
  CHM_ERROR_LAYOUT = 404, /* the container's sections overlap, leave holes or have wrong sizes */
  CHM_ERROR_VERSION = 405, /* the file is of another kind or version than this runtime reads */
  CHM_ERROR_CHECKSUM = 406, /* the file is damaged: a checksum does not match */
  CHM_ERROR_MISMATCH = 407, /* the weights do not belong to this code */
  CHM_ERROR_MANIFEST = 410, /* the manifest is missing or not valid */
  CHM_ERROR_SCHEMA = 411, /* the manifest is of a version that this runtime does not read */
  CHM_ERROR_FILE = 412, /* a file of the bundle is missing or differs from the manifest */
  CHM_ERROR_TARGET = 413, /* the bundle is for another kind of machine */
  CHM_ERROR_LIBRARY = 414, /* the bundle's library cannot be loaded */
  CHM_ERROR_ARGUMENT = 420, /* an argument is out of range */
  CHM_ERROR_STATE = 421, /* the call does not fit the state of the session */
  CHM_ERROR_MEMORY = 422, /* out of memory */
  CHM_ERROR_NO_TOKEN = 423, /* no token can be chosen: every logit is excluded or not a number */
  CHM_ERROR_CONTEXT = 424, /* the text would be longer than the model's context */
  CHM_ERROR_TOKENIZER = 430, /* the tokenizer is not valid */
  CHM_ERROR_GRAMMAR = 431, /* the grammar is not valid, or for another tokenizer */
  CHM_ERROR_GRAMMAR_TOKEN = 432, /* the grammar does not allow the token */
  CHM_ERROR_SPANS = 434, /* the bank of spans is not valid, or for another tokenizer */
  CHM_ERROR_NODE = 440, /* Node.js, which runs wasm bundles, is missing or has failed */
  CHM_ERROR_SELF_TEST = 450, /* the bundle does not compute what it computed when it was built */
} chm_status;

/* X(name, meaning) */
#define CHM_STATUSES(X) \
  X(CHM_ERROR_IO, "a file cannot be read or written") \
  X(CHM_ERROR_NOT_A_CONTAINER, "the file is not a chimera container, or it is cut short") \
  X(CHM_ERROR_HEADER, "the container's header is not valid") \
  X(CHM_ERROR_LIMIT, "a limit of the format is exceeded") \
  X(CHM_ERROR_LAYOUT, "the container's sections overlap, leave holes or have wrong sizes") \
  X(CHM_ERROR_VERSION, "the file is of another kind or version than this runtime reads") \
  X(CHM_ERROR_CHECKSUM, "the file is damaged: a checksum does not match") \
  X(CHM_ERROR_MISMATCH, "the weights do not belong to this code") \
  X(CHM_ERROR_MANIFEST, "the manifest is missing or not valid") \
  X(CHM_ERROR_SCHEMA, "the manifest is of a version that this runtime does not read") \
  X(CHM_ERROR_FILE, "a file of the bundle is missing or differs from the manifest") \
  X(CHM_ERROR_TARGET, "the bundle is for another kind of machine") \
  X(CHM_ERROR_LIBRARY, "the bundle's library cannot be loaded") \
  X(CHM_ERROR_ARGUMENT, "an argument is out of range") \
  X(CHM_ERROR_STATE, "the call does not fit the state of the session") \
  X(CHM_ERROR_MEMORY, "out of memory") \
  X(CHM_ERROR_NO_TOKEN, "no token can be chosen: every logit is excluded or not a number") \
  X(CHM_ERROR_CONTEXT, "the text would be longer than the model's context") \
  X(CHM_ERROR_TOKENIZER, "the tokenizer is not valid") \
  X(CHM_ERROR_GRAMMAR, "the grammar is not valid, or for another tokenizer") \
  X(CHM_ERROR_GRAMMAR_TOKEN, "the grammar does not allow the token") \
  X(CHM_ERROR_SPANS, "the bank of spans is not valid, or for another tokenizer") \
  X(CHM_ERROR_NODE, "Node.js, which runs wasm bundles, is missing or has failed") \
  X(CHM_ERROR_SELF_TEST, "the bundle does not compute what it computed when it was built")

#endif
