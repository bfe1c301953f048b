"""``tokenizer.json``, the file of the library ``tokenizers``, as a Tokenizer: byte pair encoding, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chimerac.frontends.tokenizers.components import Shape, parts_of, shape_of
from chimerac.frontends.tokenizers.json_files import a_list, field, invalid, unsupported
from chimerac.frontends.tokenizers.vocabulary import Named, Parts, Roles, check_named
from chimerac.runtime.bundle_format.constants import MAX_MERGES, MAX_SPECIALS, MAX_VOCABULARY
from chimerac.runtime.reference.tokenizer import STRIP_LEFT, STRIP_RIGHT, Tokenizer


@dataclass(frozen=True)
class TokenRoles:
    """What other files of the folder say of tokens: ids that end a generation, and names."""

    ends: frozenset[int] = frozenset()
    end_name: str | None = None
    pad_name: str | None = None


def tokenizer_of_json(where: str, value: Mapping[str, Any], vocabulary: int, roles: TokenRoles) -> Tokenizer:
    """The tokenizer of a file's object; ``where`` names it in messages.

    Raises:
        UserError: CHM244, more tokens than the vocabulary; CHM260, what cannot be; CHM261, a component that is not
            supported, by its name.
    """
    document = dict(value)
    model = field(where, document, "model", dict)
    if model is None:
        raise invalid(where, "it has no model")
    byte_fallback = _check_model(where, model)
    shape = shape_of(where, document)
    if not shape.byte_level and not byte_fallback:
        raise unsupported(where, "byte pair encoding of characters without byte_fallback")
    for key in ("truncation", "padding"):
        if document.get(key) is not None:
            raise unsupported(where, key)
    tokens = _vocabulary(where, model)
    named = _added(where, document, shape)
    names = {one.id: one.name for one in named}
    for id, name in names.items():
        if tokens.get(id, name) != name:
            raise invalid(where, f"the token {id} is {tokens[id]!r} in the vocabulary and {name!r} where it is added")
    ids = {one.name: one.id for one in named}
    begin = _post_processor(where, document, ids)
    ends = roles.ends | ({ids[roles.end_name]} if roles.end_name in ids else set())
    return Parts(
        where,
        vocabulary,
        shape,
        {id: token for id, token in tokens.items() if id not in names},
        named,
        Roles(ends, ids.get(roles.pad_name or ""), begin),
        merges=_merges(where, model),
        whole=field(where, model, "ignore_merges", bool, False),
        byte_tokens=byte_fallback and not shape.byte_level,
    ).build()


def _check_model(where: str, model: dict[str, Any]) -> bool:
    """Whether characters that are no token become bytes; raises UserError CHM261 for any other model than ours."""
    kind = model.get("type", "BPE" if "merges" in model else None)
    if kind != "BPE":
        raise unsupported(where, f"a tokenizer model {kind}", "chimerac has byte pair encoding (BPE)")
    if model.get("dropout"):
        raise unsupported(where, "dropout, which is for training")
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise unsupported(where, f"{key} {model[key]!r}")
    found: bool = field(where, model, "byte_fallback", bool, False)
    return found


def _vocabulary(where: str, model: dict[str, Any]) -> dict[int, str]:
    vocabulary: dict[str, Any] = field(where, model, "vocab", dict)
    if not vocabulary:
        raise invalid(where, "the model has no vocab")
    if len(vocabulary) > MAX_VOCABULARY:
        raise unsupported(where, f"{len(vocabulary)} tokens; the most is {MAX_VOCABULARY}")
    tokens: dict[int, str] = {}
    for token, id in vocabulary.items():
        if type(id) is not int or not 0 <= id < MAX_VOCABULARY or not token:
            raise invalid(where, f"the token {token[:80]!r} has the id {id!r}")
        if id in tokens:
            raise invalid(where, f"the tokens {tokens[id]!r} and {token!r} have the same id")
        tokens[id] = token
    return tokens


def _merges(where: str, model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    merges = a_list(where, model, "merges")
    if len(merges) > MAX_MERGES:
        raise unsupported(where, f"{len(merges)} merges; the most is {MAX_MERGES}")
    for number, merge in enumerate(merges):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) and part for part in pair):
            raise invalid(where, f"merge {number} is not two tokens")
        yield pair[0], pair[1]


def _added(where: str, document: dict[str, Any], shape: Shape) -> list[Named]:
    """The added tokens; their flags are right, or refused."""
    rows = field(where, document, "added_tokens", list, [])
    if len(rows) > MAX_SPECIALS:
        raise unsupported(where, f"{len(rows)} added tokens; the most is {MAX_SPECIALS}")
    early: list[Named] = []
    late: list[Named] = []
    ids: set[int] = set()
    for row in rows:
        if not isinstance(row, dict) or type(row.get("id")) is not int or not isinstance(row.get("content"), str):
            raise invalid(where, "an added token has no id or content")
        name, id = row["content"], row["id"]
        if not name or not 0 <= id < MAX_VOCABULARY or id in ids:
            raise invalid(where, f"the added token {name!r} has the id {id}")
        ids.add(id)
        if row.get("single_word"):
            raise unsupported(where, f"the added token {name!r} with single_word")
        if name.isspace():
            raise unsupported(where, f"the added token {name!r}, which is white space")
        if row.get("normalized") and shape.rules:
            raise unsupported(where, f"the added token {name!r} with normalized, and a normalizer")
        strip = STRIP_LEFT * bool(row.get("lstrip")) + STRIP_RIGHT * bool(row.get("rstrip"))
        (late if row.get("normalized") else early).append(Named(name, id, strip))
    check_named(where, early, late)
    return [*early, *late]


def _post_processor(where: str, document: dict[str, Any], ids: Mapping[str, int]) -> int | None:
    """The token that is put before a text."""
    begin = None
    for part in parts_of(where, document, "post_processor", "processors"):
        if part["type"] == "ByteLevel":
            continue
        if part["type"] != "TemplateProcessing" or begin is not None:
            raise unsupported(where, f"the post-processor {part['type']}")
        kinds = [(kind, row.get("id")) for item in a_list(where, part, "single") for kind, row in _item(where, item)]
        if kinds and kinds[0][0] == "SpecialToken":
            name = str(kinds.pop(0)[1])
            if name not in ids:
                raise invalid(where, f"the post-processor puts {name!r} before a text, which is no added token")
            begin = ids[name]
        if [kind for kind, _ in kinds] != ["Sequence"]:
            raise unsupported(where, "a post-processor TemplateProcessing of more than one token before a text")
    return begin


def _item(where: str, item: Any) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(item, dict) or len(item) != 1 or not all(isinstance(row, dict) for row in item.values()):
        raise invalid(where, "the post-processor has an item that is none")
    return list(item.items())
