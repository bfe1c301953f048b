"""Scripts of the web as they are shipped: without the comments and the indentation that only readers need."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

_COMMENT: Final = "//"


def copy_script(source: Path, to: Path) -> None:
    """Copy a file of the loader or the page, a script without its comments; other files as they are."""
    if source.suffix == ".mjs":
        to.write_text(without_comments(source.read_text("utf-8")), "utf-8")
    else:
        shutil.copyfile(source, to)


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
        elif bare and (head or not bare.startswith(_COMMENT)):
            head = head and bare.startswith(_COMMENT)
            kept.append(bare)
        else:
            continue
        if line.count("`") % 2 and (in_text or not bare.startswith(_COMMENT)):
            in_text = not in_text
    return "\n".join(kept) + "\n"
