"""What the parts of a tokenizer.json do to a text, as a pattern and rules of our own; anything else is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chimerac.frontends.tokenizers.json_files import field, invalid, unsupported
from chimerac.runtime.bundle_format import constants as c

UNDERLINE: Final = "\u2581"

GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
NUMBERS_OF_THREE: Final = r"\p{N}{1,3}"
_WORDS: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?{letters}+|{numbers}| ?[^\s\p{L}{marks}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SUFFIX, _BEFORE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"[^\r\n\p{L}\p{N}]?"


def _words(letters: str, numbers: str, marks: str = "") -> str:
    return _WORDS.replace("{letters}", letters).replace("{numbers}", numbers).replace("{marks}", marks)


#: Regular expressions of pre-tokenizers that we have by hand.
PATTERN_OF: Final = {
    GPT2: c.PATTERN_GPT2,
    _words(r"\p{L}", NUMBERS_OF_THREE): c.PATTERN_LLAMA3,
    _words(r"\p{L}", r"\p{N}"): c.PATTERN_QWEN2,
    _words(r"[\p{L}\p{M}]", r"\p{N}", r"\p{M}"): c.PATTERN_QWEN35,
    f"{_BEFORE}{_UPPER}*{_LOWER}+{_SUFFIX}|{_BEFORE}{_UPPER}+{_LOWER}*{_SUFFIX}"
    rf"|{NUMBERS_OF_THREE}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": c.PATTERN_O200K,
}
REGEX_OF: Final = {pattern: regex for regex, pattern in PATTERN_OF.items()}


@dataclass(frozen=True)
class Shape:
    """How a tokenizer treats text: one of PATTERNS, some of RULES, and whether its tokens are spelt in bytes."""

    pattern: str
    rules: tuple[str, ...]
    byte_level: bool


def parts_of(where: str, value: dict[str, Any], name: str, inner: str) -> list[dict[str, Any]]:
    """The components of a key: none of null, those of a sequence, else the one; raises UserError CHM260."""
    found = field(where, value, name, dict)
    if found is None:
        return []
    return list(_flat(where, name, inner, found))


def _flat(where: str, name: str, inner: str, part: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise invalid(where, f"{name} is no component with a type")
    if part["type"] != "Sequence":
        yield part
        return
    for each in field(where, part, inner, list, []):
        yield from _flat(where, name, inner, each)


def shape_of(where: str, value: dict[str, Any]) -> Shape:
    """What normalizer, pre-tokenizer and decoder do.

    Raises:
        UserError: CHM261, a component or a form of it that is not supported, by its name; CHM260, what is none.
    """
    pattern, before, byte_level = _pre_tokenizer(where, parts_of(where, value, "pre_tokenizer", "pretokenizers"))
    rules, replaces = _normalizer(where, parts_of(where, value, "normalizer", "normalizers"))
    if replaces and byte_level:
        raise unsupported(where, "a normalizer that replaces spaces, before a pre-tokenizer ByteLevel")
    both = (*rules, *(rule for rule in before if rule not in rules))
    if sum(rule.startswith(c.RULE_PREFIX) for rule in both) > 1:
        raise unsupported(where, "two components that put a space before the text")
    _decoder(where, parts_of(where, value, "decoder", "decoders"), byte_level)
    return Shape(pattern, both, byte_level)


def _normalizer(where: str, parts: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], bool]:
    """(rules, whether spaces are replaced)."""
    rules: list[str] = []
    for part in parts:
        if part["type"] == "NFC":
            rules.append(c.RULE_NFC)
        elif part["type"] == "Prepend" and part.get("prepend") == UNDERLINE:
            rules.append(c.RULE_PREFIX)
        elif part["type"] == "Replace" and part.get("pattern") == {"String": " "} and part.get("content") == UNDERLINE:
            rules.append(c.RULE_UNDERLINE)
        else:
            raise unsupported(where, f"the normalizer {_shown(part)}")
    if len(set(rules)) != len(rules) or (c.RULE_PREFIX in rules and c.RULE_UNDERLINE not in rules):
        raise unsupported(where, "this sequence of normalizers")
    if c.RULE_NFC in rules and rules[0] != c.RULE_NFC:
        raise unsupported(where, "the normalizer NFC after another")
    return tuple(rules), c.RULE_UNDERLINE in rules


def _pre_tokenizer(where: str, parts: list[dict[str, Any]]) -> tuple[str, tuple[str, ...], bool]:
    """(pattern, rules, whether tokens are spelt in bytes)."""
    kinds = tuple(str(part["type"]) for part in parts)
    known: dict[tuple[str, ...], Callable[..., tuple[str, tuple[str, ...], bool]]] = {
        (): lambda: (c.PATTERN_NONE, (), False),
        ("Metaspace",): lambda one: _metaspace(where, one),
        ("ByteLevel",): lambda one: _byte_level(where, one),
        ("Split",): lambda one: _split_of_spaces(where, one),
        ("Split", "ByteLevel"): lambda split, one: _split(where, split, one),
        ("Digits", "ByteLevel"): lambda digits, one: _digits(where, digits, one),
    }
    if kinds not in known:
        raise unsupported(where, f"the pre-tokenizer {' + '.join(map(_shown, parts))}")
    return known[kinds](*parts)


def _byte_level(where: str, part: dict[str, Any]) -> tuple[str, tuple[str, ...], bool]:
    rules = (c.RULE_PREFIX_MISSING,) if field(where, part, "add_prefix_space", bool, True) else ()
    return c.PATTERN_GPT2 if field(where, part, "use_regex", bool, True) else c.PATTERN_NONE, rules, True


def _metaspace(where: str, part: dict[str, Any]) -> tuple[str, tuple[str, ...], bool]:
    if part.get("replacement") != UNDERLINE:
        raise unsupported(where, f"a Metaspace of {part.get('replacement')!r}")
    scheme = field(where, part, "prepend_scheme", str, "always")
    prefixes = {"always": (c.RULE_PREFIX_MISSING,), "first": (c.RULE_PREFIX_FIRST,), "never": ()}
    if scheme not in prefixes:
        raise unsupported(where, f"the prepend_scheme {scheme!r}")
    cuts = field(where, part, "split", bool, True)
    return c.PATTERN_SPACES if cuts else c.PATTERN_NONE, (c.RULE_UNDERLINE, *prefixes[scheme]), False


def _split_of_spaces(where: str, part: dict[str, Any]) -> tuple[str, tuple[str, ...], bool]:
    """Of Gemma: it cuts at spaces, of which the normalizer has left none."""
    if part.get("pattern") != {"String": " "}:
        raise unsupported(where, f"the pre-tokenizer {_shown(part)} without ByteLevel")
    return c.PATTERN_NONE, (c.RULE_UNDERLINE,), False


def _split(where: str, split: dict[str, Any], part: dict[str, Any]) -> tuple[str, tuple[str, ...], bool]:
    pattern = split.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    kept = (split.get("behavior"), bool(split.get("invert"))) in (("Isolated", False), ("Removed", True))
    if field(where, part, "add_prefix_space", bool, True):
        raise unsupported(where, "a ByteLevel with add_prefix_space after a Split")
    cuts = field(where, part, "use_regex", bool, True)
    if regex == NUMBERS_OF_THREE and split.get("behavior") == "Isolated" and not split.get("invert") and cuts:
        return c.PATTERN_GPT2_DIGITS3, (), True
    if not isinstance(regex, str) or regex not in PATTERN_OF or not kept or cuts:
        raise unsupported(where, f"the pre-tokenizer {_shown(split)}")
    return PATTERN_OF[regex], (), True


def _digits(where: str, digits: dict[str, Any], part: dict[str, Any]) -> tuple[str, tuple[str, ...], bool]:
    if not digits.get("individual_digits") or not field(where, part, "use_regex", bool, True):
        raise unsupported(where, f"the pre-tokenizer {_shown(digits)} + {_shown(part)}")
    if field(where, part, "add_prefix_space", bool, True):
        raise unsupported(where, "a ByteLevel with add_prefix_space after Digits")
    return c.PATTERN_GPT2_DIGITS, (), True


def _decoder(where: str, parts: list[dict[str, Any]], byte_level: bool) -> None:
    known = {"ByteLevel"} if byte_level else {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}
    for part in parts:
        if part["type"] not in known:
            raise unsupported(where, f"the decoder {_shown(part)}")


def _shown(part: dict[str, Any]) -> str:
    """A component by its type and the pattern or text that it has."""
    what = next((part[key] for key in ("pattern", "prepend", "content") if key in part), None)
    text = str(part["type"]) if what is None else f"{part['type']} {what}"
    return text if len(text) <= 200 else text[:200] + "…"
