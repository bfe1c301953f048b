"""Plain text: prose without markup, each paragraph once."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from chimerac.compiler.errors import UserError
from chimerac.frontends.training.recipes.home.text import (
    Source,
    clean,
    documents,
    fetch,
    hold_out,
    paragraphs_of_html,
    short_sentences,
)

PAGE = """<html><body><h1>Title</h1><p>The first paragraph has a <b>bold</b> word &amp; ends like a sentence should.</p>
<pre>code = not(prose)</pre><ul><li>A list item that is long enough to be taken for a whole sentence of prose.
<li>short</ul><p>x = f(y) + g(z) * [1, 2, 3] / {4: 5} - 6 % 7 ** 8 // 9 == 10 and so on and on.</p></body></html>"""


def test_prose_of_a_page() -> None:
    found = [text for text in map(clean, paragraphs_of_html(PAGE)) if text]
    assert found == [
        "The first paragraph has a bold word & ends like a sentence should.",
        "A list item that is long enough to be taken for a whole sentence of prose.",
    ]


def test_cleaning() -> None:
    long = "It’s a “quoted” sentence — with a dash — that is\n   long enough to stay in the text."
    assert clean(long) == 'It\'s a "quoted" sentence - with a dash - that is long enough to stay in the text.'
    assert clean("Too short.") is None
    assert clean("A heading that is long enough but that is not a sentence, by its last sign") is None
    assert clean("Ein Satz mit Umlauten wie ä, der lang genug ist, aber nicht englisch sein kann.") is None


def test_documents_of_packages(tmp_path: Path) -> None:
    paragraph = "This paragraph is number {} of a file, and it is long enough to be there in the end."
    html = "".join(f"<p>{paragraph.format(word)}</p>" for word in ("one", "two", "three", "one"))
    (tmp_path / "b.html").write_text(html)
    (tmp_path / "a.dict.dz").write_bytes(
        gzip.compress(
            b"entry\n\n    A first paragraph, see {other}, that goes over\n    two lines and ends.\n\n"
            b"    A second one that is there so that the text has the length that documents need at least.\n\n"
            b"    A third one, too, because two hundred characters are a lot to write.\n"
        )
    )
    source = Source("p", "1", "MIT", ("*.html", "*.dz"))
    found = documents([(source, tmp_path)])
    assert found[0].startswith("A first paragraph, see other, that goes over two lines and ends.\nA second")
    assert found[1].split("\n") == [paragraph.format(word) for word in ("one", "two", "three")]
    assert documents([(source, tmp_path), (source, tmp_path)]) == found


def test_hold_out_is_a_part(prose: list[str]) -> None:
    train, held = hold_out(prose * 20, 0)
    assert len(held) == 3
    assert sorted([*train, *held]) == sorted(prose * 20)
    assert hold_out(prose, 0) == hold_out(prose, 0)


def test_short_sentences(prose: list[str]) -> None:
    found = list(short_sentences(prose))
    assert "The table keeps a record of each change." in found
    assert all(20 <= len(sentence) <= 90 for sentence in found)


def test_a_package_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("no-such-package", "1", "MIT", ("*.html",))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as caught:
        fetch(source, tmp_path / "cache")
    assert caught.value.code == "CHM270"
    assert "no-such-package 1" in caught.value.message
    (tmp_path / "apt-get").write_text("#!/bin/sh\necho no such version >&2\nexit 100\n")
    (tmp_path / "apt-get").chmod(0o755)
    with pytest.raises(UserError, match="no such version"):
        fetch(source, tmp_path / "cache")


def test_a_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "apt-get").write_text("#!/bin/sh\necho deb > package_1_all.deb\n")
    (tools / "dpkg-deb").write_text('#!/bin/sh\nmkdir "$3"\necho text > "$3/file"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    source = Source("package", "1", "MIT", ("*",))
    first = fetch(source, tmp_path / "cache")
    assert (first.folder / "file").read_text() == "text\n"
    assert len(first.sha256) == 64
    (tools / "apt-get").unlink()
    assert fetch(source, tmp_path / "cache") == first
