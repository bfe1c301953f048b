"""Grammars in Lark's notation, read by Lark itself, as rules over bytes.

A grammar means the texts that Lark's Earley parser accepts with ``lexer="dynamic_complete"``: every way to cut the text
into terminals counts. Priorities choose between derivations, not between texts, so they change nothing here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chimerac.compiler.errors import Span, UserError
from chimerac.compiler.ir import grammar as ir
from chimerac.compiler.ir.grammar import DEFAULT_SPACE_CAP, MAX_RULES, Expression, Grammar, deep_recursion
from chimerac.compiler.texts import MOST_GRAMMAR, read_text
from chimerac.frontends.grammar import characters as ch
from chimerac.frontends.grammar import regex
from chimerac.frontends.grammar.budget import printable
from chimerac.frontends.grammar.lark_size import check_size
from chimerac.frontends.grammar.lark_terminals import ignored, terminal
from chimerac.frontends.grammar.regex_tree import Chars, Join, Look, Regex, special
from chimerac.runtime.bundle_format.fstpack import FLAG_SLOTS, SLOT_KINDS

#: Patterns of Lark's own library that use look-behind or the shortest match, in a form without.
_KNOWN: Final = {
    '".*?(?<!\\\\)(\\\\\\\\)*?"': '"(?:[^"\\\\\\n]|\\\\[^\\n])*"',
    "/\\*(.|\n)*?\\*/": "/\\*(?:[^*]|\\*+[^*/])*\\*+/",
}


def read_lark(path: str | Path, name: str | None = None) -> Grammar:
    """The grammar of a file in Lark's notation; raises UserError CHM280 to CHM285."""
    path = Path(path)
    text = read_text(path, "the grammar", "CHM285", MOST_GRAMMAR)
    return lark_grammar(text, name or _plain(path.stem), file=str(path))


def _plain(stem: str) -> str:
    return re.sub(r"[^a-z0-9_.-]", "_", stem.lower())[:63] or "grammar"


def lark_grammar(
    text: str, name: str = "grammar", *, file: str = "<grammar>", space_cap: int = DEFAULT_SPACE_CAP, flags: int = 0
) -> Grammar:
    """The grammar of a text in Lark's notation; its first rule is ``start``.

    A rule whose name ends in ``_frame`` gets a stack frame of its own wherever it stands.

    Raises UserError CHM280 where Lark refuses the text or a terminal is not regular, CHM282 for a limit, CHM420 for
    what isn't a text.
    """
    if not isinstance(text, str):
        raise UserError("CHM420", f"a grammar in Lark's notation is a str, not {type(text).__name__}")
    text = text.removeprefix("\ufeff")
    check_size(text, file)
    with deep_recursion():
        lark = _load(text, file)
        terminals = {t.name: terminal(t.name, _tree(t, file, text)) for t in lark.terminals}
        used = {s.name for rule in lark.rules for s in rule.expansion if s.is_term}
        declared = sorted(used - terminals.keys())
        for word in declared:
            if word.lower() not in SLOT_KINDS:
                message = f"{file}: the terminal {word} is declared, but nothing says what it is"
                hint = f"these need no rule: {', '.join(SLOT_KINDS).upper()}"
                raise UserError("CHM280", message, hint=hint)
            flags |= FLAG_SLOTS[word.lower()]
        slots = {word: ir.slot(word.lower()) for word in declared}
        skipped = ignored(terminals, [str(name) for name in lark.ignore_tokens], used)
        rules = _rules(lark.rules, {**skipped.terminals, **slots}, skipped.between)
    if len(rules) > MAX_RULES:
        raise UserError("CHM282", f"{file}: {len(rules):,} rules are over the limit of {MAX_RULES:,}")
    shared = frozenset(rule for rule in rules if rule.endswith("_frame"))
    rules["%start"] = ir.sequence(skipped.between, ir.Call("start"), skipped.end)
    return Grammar(name, rules, start="%start", shared=shared, source=text, space_cap=space_cap, flags=flags)


def _load(text: str, file: str) -> Any:
    import lark

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of re, about sets in brackets: they are read again below
            return lark.Lark(
                text, parser="earley", lexer="dynamic_complete", maybe_placeholders=False, source_path=file
            )
    except lark.exceptions.UnexpectedInput as error:
        lines = text.splitlines() or [""]
        at = min(error.line, len(lines)) - 1
        span = Span(file, error.line, error.column, 1, lines[at]) if error.line > 0 else None
        raise UserError("CHM280", "this is not Lark's notation", span=span) from None
    except (RecursionError, MemoryError, OverflowError):
        raise UserError("CHM282", f"{file} is nested too deep") from None
    except OSError as error:
        raise UserError("CHM285", f"{file}: {error}") from None
    except (TypeError, KeyError):  # Lark's own slips as it describes a mistake
        raise UserError("CHM280", f"{file}: this is not Lark's notation") from None
    except Exception as error:  # Lark lets through what re raises, or regex where that is installed
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError("CHM280", f"{file}: {printable(message)}", span=_place(message, text, file)) from None


def _place(message: str, text: str, file: str) -> Span | None:
    found = re.search(r"(?:at )?line (\d+),? column (\d+)", message)
    lines = text.splitlines()
    if found is None or not 1 <= int(found[1]) <= len(lines):
        return None
    return Span(file, int(found[1]), int(found[2]), 1, lines[int(found[1]) - 1])


def _tree(terminal: Any, file: str, text: str) -> Regex:
    pattern = terminal.pattern
    flags = "".join(sorted(pattern.flags))
    if pattern.type == "str":
        folded = ch.folded if "i" in flags else lambda chars: chars
        return Join(tuple(Chars(folded(ch.single(c))) for c in pattern.value))
    source = pattern.value
    try:
        for known, better in _KNOWN.items():
            source = source.replace(known, better)
        tree = regex.parse(source, "python", flags)
        wrong = special(tree)
        if wrong is not None:
            what = "look-ahead" if isinstance(wrong, Look) else "an anchor"
            message = f"regular expression: {what} is not supported: Lark looks at the text around a terminal, too"
            raise UserError(
                "CHM280", message, span=wrong.span, hint="say what the terminal is, without what is around it"
            )
        return tree
    except UserError as error:
        span = _definition(terminal.name, text, file)
        column = f" (column {error.span.column} of the expression)" if error.span else ""
        message = f"terminal {terminal.name}: {error.message}{column}"
        raise UserError(error.code, message, span=span, hint=error.hint) from None


def _definition(name: str, text: str, file: str) -> Span | None:
    found = re.search(rf"(?m)^[?!]*{re.escape(name)}\b", text)
    if found is None:
        return None
    line = text.count("\n", 0, found.start()) + 1
    return Span(file, line, 1, len(name), text.splitlines()[line - 1])


def _rules(rules: Any, terminals: Mapping[str, Expression], between: Expression) -> dict[str, Expression]:
    options: dict[str, dict[tuple[Expression, ...], None]] = {}
    for rule in rules:
        parts: list[Expression] = []
        for symbol in rule.expansion:
            if symbol.is_term:
                parts.append(terminals[symbol.name])
                if between != ir.EMPTY:
                    parts.append(between)  # after it: then a rule's end is seen at the next sign
            else:
                parts.append(ir.Call(str(symbol.name)))
        options.setdefault(str(rule.origin.name), {})[tuple(parts)] = None
    return {name: _factored(list(found)) for name, found in options.items()}


def _factored(options: list[tuple[Expression, ...]]) -> Expression:
    """Options with what they begin and end with in common taken out: Lark writes ``[x]`` as two whole options."""
    heads: dict[Expression | None, list[tuple[Expression, ...]]] = {}
    for parts in options:
        heads.setdefault(parts[0] if parts else None, []).append(parts[1:])
    made: list[Expression] = []
    for head, rests in heads.items():
        if head is None:
            made.append(ir.EMPTY)
        elif len(rests) == 1:
            made.append(ir.sequence(head, *rests[0]))
        else:
            common = 0
            while all(len(rest) > common and rest[-1 - common] == rests[0][-1 - common] for rest in rests):
                common += 1
            inner = _factored([rest[: len(rest) - common] for rest in rests])
            made.append(ir.sequence(head, inner, *rests[0][len(rests[0]) - common :]))
    return ir.choice(made)
