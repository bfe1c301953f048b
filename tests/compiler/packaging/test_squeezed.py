"""Scripts keep their tokens when their spaces go. tests/bundlers has esbuild compare all that is shipped."""

from __future__ import annotations

import re

import pytest

from chimerac.compiler.errors import InternalError
from chimerac.compiler.packaging.squeezed import squeezed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("const a = 1;\n\nlet b = a + +a - -a;\n", "const a=1;let b=a+ +a- -a;"),
        ("a ++ + b; a + ++ b;", "a++ +b;a+ ++b;"),
        ("return a / b / c; // the rest\n", "return a/b/c;"),
        ('return /[/"] \\/ /.test(text) ? "a  b" : \'//\';', 'return/[/"] \\/ /.test(text)?"a  b":\'//\';'),
        ("const r = (a) / b, s = [x] / 2;", "const r=(a)/b,s=[x]/2;"),
        ("`a  ${ b + `c  ${ {d: 1}.d }  //` }  \\`${x}`;", "`a  ${ b + `c  ${ {d: 1}.d }  //` }  \\`${x}`;"),
        ("class A {\n  #b = 1;\n  static c() {}\n}\nasync (d) => {\n};\n", "class A{#b=1;static c(){}}async(d)=>{};"),
        ("let a\nlet b\n", "let a\nlet b"),
        ("a = b\n  .c()\n  ?? d;", "a=b.c()??d;"),
        ("1 .toFixed(); x /* y */ in z; a = b / /c/.d;", "1 .toFixed();x in z;a=b/ /c/.d;"),
    ],
)
def test_what_is_left(text: str, expected: str) -> None:
    assert squeezed(text) == expected + "\n"
    assert squeezed(squeezed(text)) == expected + "\n"


@pytest.mark.parametrize(
    ("text", "message"), [("a = 'b\n';", "a text has no end: 'b"), ("`a ${b} ", "a template has no end")]
)
def test_what_has_no_end(text: str, message: str) -> None:
    with pytest.raises(InternalError, match=re.escape(message)):
        squeezed(text)
