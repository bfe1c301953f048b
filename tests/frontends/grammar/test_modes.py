"""The modes of code and prose: what they make is closed, as other parsers judge; what is open isn't whole."""

from __future__ import annotations

import io
import random
import re
import tokenize

import pytest
from grammar_tools import accepts, byte_engine, random_text
from markdown_it import MarkdownIt

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import PROSE
from chimerac.frontends.grammar import MODES, mode_grammar
from chimerac.runtime.reference.grammar_engine import GrammarEngine

PAIRS = {")": "(", "]": "[", "}": "{"}
SIGNS = {
    "python": b"'\"'\"()[]{}#\n\\f r{",
    "javascript": b"'\"`${}()[]/*/\n\\a",
    "sql": b"'\"()-/*\n a",
    "shell": b"'\"$(){}<EOFND\n\\#a T",
    "math_latex": b"$\\{}()[]beginlftrhdac%\n| ",
    "markdown": b"`~\n a<",
    "dialogue": b"<|\na",
    "plain_text": b"\na ",
    "json": b'{}[]",:0a1',
}


@pytest.fixture(scope="module")
def engines() -> dict[str, GrammarEngine]:
    return {name: byte_engine(mode_grammar(name)) for name in MODES}


def balanced(signs: str) -> bool:
    stack: list[str] = []
    for sign in signs:
        if sign in "([{":
            stack.append(sign)
        elif sign in ")]}" and (not stack or stack.pop() != PAIRS[sign]):
            return False
    return not stack


def python_is_closed(text: str) -> bool:
    """Whether Python's tokenizer finds every string closed and every bracket paired."""
    brackets = []
    try:
        # in parentheses, where indentation means nothing
        for token in tokenize.generate_tokens(io.StringIO(f"(\n{text}\n)").readline):
            if token.type == tokenize.OP and token.string in "()[]{}":
                brackets.append(token.string)
            if token.type == tokenize.ERRORTOKEN and token.string[:1] in "'\"\\":
                return False
    except tokenize.TokenError:
        return False
    return balanced("".join(brackets))


def without(pattern: str, text: str) -> str:
    """A text after a scanner has removed what the pattern matches, from left to right."""
    return re.sub(pattern, " ", text, flags=re.DOTALL)


def sql_is_closed(text: str) -> bool:
    rest = without(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*\n|/\*.*?\*/", text)
    return not re.search(r"['\"]|--|/\*", rest) and balanced(re.sub(r"[^()]", "", rest))


def javascript_is_closed(text: str) -> bool:
    """A scanner with a stack, for template literals in template literals."""
    stack: list[str] = []
    position = 0
    while position < len(text):
        if stack and stack[-1] == "`":
            found = re.compile(r"\\.|`|\$\{|[^\\]", re.DOTALL).match(text, position)
            if found is None:
                return False
            if found[0] == "`":
                stack.pop()
            elif found[0] == "${":
                stack.append("{")
        else:
            found = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|//[^\n]*\n|/\*.*?\*/|.", re.DOTALL).match(
                text, position
            )
            assert found is not None
            sign = found[0]
            if sign in ("'", '"'):
                return False
            if sign in "([{`":
                stack.append(sign)
            elif sign in PAIRS and (not stack or stack.pop() != PAIRS[sign]):
                return False
        position = found.end()
    return not stack


def markdown_is_closed(text: str) -> bool:
    lines = text.split("\n")
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "fence":
            assert token.map is not None
            last = lines[token.map[1] - 1].strip() if token.map[1] <= len(lines) else ""
            if not (last and set(last) == {token.markup[0]} and len(last) >= len(token.markup)):
                return False
            if token.map[1] - token.map[0] < 2:
                return False
    return True


CHECKS = {
    "python": python_is_closed,
    "sql": sql_is_closed,
    "javascript": javascript_is_closed,
    "markdown": markdown_is_closed,
}


@pytest.mark.parametrize("mode", CHECKS)
def test_random_texts_are_closed(mode: str, engines: dict[str, GrammarEngine]) -> None:
    generator = random.Random(mode)
    for _ in range(100):
        text = random_text(engines[mode], generator, generator.randrange(90), SIGNS[mode]).decode("utf-8")
        assert CHECKS[mode](text), text


@pytest.mark.parametrize("mode", MODES)
def test_random_texts_are_valid_utf8_without_control_characters(mode: str, engines: dict[str, GrammarEngine]) -> None:
    generator = random.Random(mode)
    for _ in range(40):
        text = random_text(engines[mode], generator, 50).decode("utf-8")
        if mode != "python":  # its strings may hold any character but NUL and carriage return
            assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text)


ACCEPTED = {
    "python": [
        'print("a")',
        "def f(x):\n    return f'{x}' + r'\\d'  # '\n",
        "'''a'b''c\n'''",
        "x = [1, {'a': (2,)}]",
        "''''a'''",
        "f''",
        'rb"\\""',
        "if a != b: pass",
        "''\"\"",
        "f'{{}}'",
        "bf",
        "'a' 'b'",
    ],
    "javascript": [
        "const a = `x${b + `y${1}`}z`;",
        "f('it\\'s') // '\n",
        "/* ' */ [1, 2]",
        "a/b",
        "f(x)/2",
        "`$`",
        "`$$${a}`",
        "'' + \"\"",
    ],
    "sql": ["SELECT 'it''s', \"a\"\"b\" FROM t -- don't\n", "(1 - -2)", "a / b", "/* ' */ x", "''", "a - b", "/***/"],
    "shell": [
        "echo \"$(ls '(')\" $HOME ${x} # '\n",
        "cat <<EOF\nit's\nEOF\necho",
        "a && b | c > d",
        "f() { ls; }",
        'echo \\\' "a\\"b"',
        "a#b",
    ],
    "math_latex": [
        "$x^2$ and $$\\frac{1}{2}$$",
        "\\begin{align}a &= b\\\\ \\left( x \\right)\\end{align}",
        "50\\% {a}",
        "% { $\n",
        "\\[ \\rightarrow \\]",
        "\\begin{itemize}\\item $x$\\end{itemize}",
        "$\\left\\{ a \\right|$",
    ],
    "markdown": [
        "# a\n\n```py\nx = `1`\n```\nb",
        "a `b` c",
        "~~~\n~~\n~~~",
        "- a\n- b",
        "````\n```\n````\n",
        "~~gone~~",
        "",
        "a < b",
    ],
    "dialogue": ["Hi!\n\nHello < there", "a\nb", "<<a"],
    "plain_text": ["a", "é\n\tß", "<|x|>"],
}
REFUSED = {
    "python": [
        "'a",
        "(",
        "(]",
        '"""a""',
        "f'{'",
        "f'}'",
        "'\n'",
        "#a",
        "{'a': (}",
        "''''",
        "\\",
        "f'{a'",
        "'a\\'",
        "\"a'",
    ],
    "javascript": ["`${`", "'a\n'", "(]", "/* a", "// a", "a/", "/b/", "`${a`", "}", "'\\'", "`a"],
    "sql": ["'a", "'a''", '"a', "(", ")", "-- a", "/* a", "a /* b *", '""'],
    "shell": ["'a", '"$(ls"', "$(", "${", "cat <<EOF\nEO\n", "cat <<X\nX\n", "(", "`ls`", '"a', "\\", "# a", "{"],
    "math_latex": [
        "$x",
        "$$",
        "$$x$",
        "{",
        "\\begin{align}",
        "\\begin{align}\\end{gather}",
        "\\left(",
        "\\end{align}",
        "\\begin{other}\\end{other}",
        "\\right)",
        "}",
        "$}$",
        "\\",
    ],
    "markdown": ["```\na", "```\na\n````", "~~~\n```", "a ```", "<div>", "  ```\n", "````\n```\n", "- ```\n```"],
    "dialogue": ["<|im_end|>", "a\n\n\nb", "a <| b"],
    "plain_text": ["", "\x00", "a\r"],
}


@pytest.mark.parametrize(("mode", "text"), [(mode, text) for mode, texts in ACCEPTED.items() for text in texts])
def test_texts_that_are_closed(mode: str, text: str, engines: dict[str, GrammarEngine]) -> None:
    assert accepts(engines[mode], text)


@pytest.mark.parametrize(("mode", "text"), [(mode, text) for mode, texts in REFUSED.items() for text in texts])
def test_texts_that_are_not(mode: str, text: str, engines: dict[str, GrammarEngine]) -> None:
    assert not accepts(engines[mode], text)


def test_prose_has_soft_weights() -> None:
    assert {name for name in MODES if mode_grammar(name).flags & PROSE} == {"plain_text", "dialogue", "markdown"}


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(UserError) as caught:
        mode_grammar("prolog")
    assert caught.value.code == "CHM285"
