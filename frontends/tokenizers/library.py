"""The tokenizer of a GGUF file in the library ``tokenizers``, to compare ours with."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from chimerac.frontends.tokenizers.components import NUMBERS_OF_THREE, REGEX_OF, UNDERLINE
from chimerac.frontends.tokenizers.vocabulary import Parts
from chimerac.runtime.bundle_format import constants as c


def library_of(parts: Parts) -> Tokenizer:
    """A tokenizer of the library with these tokens and merges."""
    vocabulary = {token: id for id, token in parts.tokens.items()} | {one.name: one.id for one in parts.named}
    if c.RULE_LONGEST in parts.shape.rules:
        return _longest_of(parts, vocabulary)
    merges = list(_all_pairs(parts) if parts.merges is None else parts.merges)
    model = models.BPE(vocabulary, merges, byte_fallback=parts.byte_tokens, ignore_merges=parts.whole)
    library = Tokenizer(model)
    rules = parts.shape.rules
    normal: list[normalizers.Normalizer] = [normalizers.NFC()] if c.RULE_NFC in rules else []
    normal += [normalizers.Prepend(UNDERLINE)] if c.RULE_PREFIX in rules else []
    normal += [normalizers.Replace(" ", UNDERLINE)] if c.RULE_UNDERLINE in rules else []
    if normal:
        library.normalizer = normalizers.Sequence(normal)
    if parts.shape.byte_level:
        library.pre_tokenizer = _pre_tokenizer(parts)
        library.decoder = decoders.ByteLevel()
    else:
        library.decoder = decoders.Sequence(
            [decoders.Replace(UNDERLINE, " "), decoders.ByteFallback(), decoders.Fuse()]
        )
    library.add_special_tokens([AddedToken(one.name, normalized=False) for one in parts.named])
    return library


def _longest_of(parts: Parts, vocabulary: dict[str, int]) -> Tokenizer:
    """A text as one word of WordPiece, whose pieces within a word are written as the first ones are."""
    unknown = next(iter(vocabulary), "")  # of a vocabulary that has every byte nothing is unknown
    model = models.WordPiece(
        vocabulary, unk_token=unknown, continuing_subword_prefix="", max_input_chars_per_word=1 << 30
    )
    library = Tokenizer(model)
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens([AddedToken(one.name, normalized=False) for one in parts.named])
    return library


def _pre_tokenizer(parts: Parts) -> pre_tokenizers.PreTokenizer:
    pattern, prefix = parts.shape.pattern, c.RULE_PREFIX_MISSING in parts.shape.rules
    cut: dict[str, pre_tokenizers.PreTokenizer] = {
        c.PATTERN_GPT2_DIGITS: pre_tokenizers.Digits(individual_digits=True),
        c.PATTERN_GPT2_DIGITS3: pre_tokenizers.Split(Regex(NUMBERS_OF_THREE), "isolated"),
    }
    if pattern == c.PATTERN_GPT2:
        return pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    if pattern in cut:
        return pre_tokenizers.Sequence([cut[pattern], pre_tokenizers.ByteLevel(add_prefix_space=False)])
    split = pre_tokenizers.Split(Regex(REGEX_OF[pattern]), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _all_pairs(parts: Parts) -> Iterator[tuple[str, str]]:
    """All two tokens that together are one, the first token first."""
    tokens = set(parts.tokens.values())
    for id in parts.order:
        token = parts.tokens[id]
        for at in range(1, len(token)):
            if token[:at] in tokens and token[at:] in tokens:
                yield token[:at], token[at:]
