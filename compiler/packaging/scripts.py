"""Scripts of the web as they are shipped: joined, without the comments and the indentation that only readers need."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from chimerac.compiler.packaging.joined import COMMENT, head_of, joined
from chimerac.compiler.packaging.squeezed import squeezed
from chimerac.runtime.bundle_format import (
    DEMO_FILES,
    PAGE_DIRECTORY,
    PAGE_FILES,
    WEB_DIRECTORY,
    WEB_FILES,
    WEB_SHARED,
)

_SCRIPT: Final = ".mjs"


def place_of(name: str) -> Path:
    """A file of the loader or the page."""
    found = WEB_DIRECTORY / name
    return found if found.exists() else PAGE_DIRECTORY / name


def write_web_files(folder: Path, names: Iterable[str]) -> None:
    """Write some of ``WEB_FILES``, ``PAGE_FILES`` and ``DEMO_FILES``: scripts joined, other files as they are."""
    every = [name for name in (*WEB_FILES, *PAGE_FILES, *DEMO_FILES) if name.endswith(_SCRIPT) and name != WEB_SHARED]
    scripts = joined(every, WEB_SHARED, lambda name: without_comments(place_of(name).read_text("utf-8")))
    for name in names:
        if name in scripts:
            head = head_of(scripts[name])
            (folder / name).write_text(head + squeezed(scripts[name][len(head) :]), "utf-8")
        else:
            shutil.copyfile(place_of(name), folder / name)


def without_comments(text: str) -> str:
    """A script without indentation and without comments that have lines of their own, but for those it begins with.

    Lines stay lines, so that nothing changes what semicolons end; texts of several lines in back quotes stay as they
    are. For scripts of ours: no other text may hold a back quote without another one in its line.
    """
    kept: list[str] = []
    head, in_comment, in_text = True, False, False
    for line in text.splitlines():
        bare = line.strip()
        if in_text:
            kept.append(line)
        elif in_comment or bare.startswith("/*"):
            in_comment = "*/" not in bare
            continue
        elif bare and (head or not bare.startswith(COMMENT)):
            head = head and bare.startswith(COMMENT)
            kept.append(bare)
        else:
            continue
        if line.count("`") % 2 and (in_text or not bare.startswith(COMMENT)):
            in_text = not in_text
    return "\n".join(kept) + "\n"
