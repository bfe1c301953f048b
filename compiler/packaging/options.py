"""What a build can ask of packages: size, page, npm package, loader."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

from chimerac.compiler.errors import UserError, as_user_error, did_you_mean
from chimerac.compiler.texts import MOST_TEXT, read_text
from chimerac.compiler.units import parse_size

if TYPE_CHECKING:
    from chimerac.runtime.bundle_format.sfpack import Bank

Page = Literal["none", "plain", "demo"]
PAGES: Final[tuple[Page, ...]] = get_args(Page)
_NAME = r"(?:@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*"
_NUMBER = r"(?:0|[1-9]\d*)"
_PACKAGE = re.compile(rf"({_NAME})(?:@({_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-[0-9A-Za-z.-]+)?))?", re.ASCII)
MOST_NAME: Final = 214  #: characters of the name of an npm package
MOST_EXAMPLES, MOST_EXAMPLE = 64, 500  #: prompts, and characters of each


@dataclass(frozen=True)
class NpmName:
    """Name and version of an npm package; the version is empty where nobody gave one."""

    name: str
    version: str = ""


@dataclass(frozen=True)
class PackagingOptions:
    """What a build can ask of packages; ``page``, ``npm``, ``runtime`` and ``examples`` are of web bundles.

    Attributes:
        page: ``demo``, a page that shows what the model does; ``plain``, one for texts and conversations; or ``none``.
        npm: the npm package that the bundle is, ``NAME`` or ``NAME@VERSION``; None for ``chimera-`` and the model.
        runtime: the npm package that the loader is taken from, one for several models; such a bundle has neither loader
            nor page. None puts the loader into the bundle.
        examples: prompts that the page proposes, in place of those that come with the model.
        max_bytes: the most that what one device needs may take; None for any.
        spans: file with a bank of spans that bundles get, to guess from (docs/sfpack.md).

    Raises:
        UserError: CHM314 for a page that there is not, for names and versions that are none of npm's, and for a page
            without a loader; CHM400 to CHM406 and CHM434 for spans that cannot be read.
    """

    page: Page | None = None
    npm: str | None = None
    runtime: str | None = None
    examples: tuple[str, ...] = ()
    max_bytes: int | None = None
    spans: Path | None = None

    def __post_init__(self) -> None:
        if self.spans is not None:
            checked_spans(self.spans)
        if self.page is not None and self.page not in PAGES:
            hint = did_you_mean(self.page, PAGES) or ", ".join(PAGES)
            raise UserError("CHM314", f"there is no page {self.page!r}", hint=hint)
        for given in (self.npm, self.runtime):
            if given is not None:
                npm_name(given)
        if self.runtime is not None and self.page not in (None, "none"):
            message = f"the loader is that of {self.runtime}, and a page needs one in the bundle"
            raise UserError("CHM314", message, hint="--page none, or no --runtime")

    @property
    def chosen_page(self) -> Page:
        """The page that a bundle gets."""
        return self.page or ("none" if self.runtime else "demo")


#: What packages do where nothing is asked of them.
USUAL: Final = PackagingOptions()


def npm_name(given: str) -> NpmName:
    """The parts of ``NAME`` or ``NAME@VERSION``; raises UserError CHM314 for other texts."""
    found = _PACKAGE.fullmatch(given) if isinstance(given, str) else None
    if found is None or len(found[1]) > MOST_NAME:
        hint = "lower case, such as home-model, @me/home or @me/home@1.2.0"
        raise UserError("CHM314", f"{given!r} is not the name of an npm package, with or without a version", hint=hint)
    return NpmName(found[1], found[2] or "")


def npm_name_of(model: str) -> str:
    """The name of a model's npm package where none was asked for."""
    return "chimera-" + (re.sub(r"[^a-z0-9._-]+", "-", model.lower()).strip("-._") or "model")


def packaging_options(
    *,
    page: Page | None,
    npm: str | None,
    runtime: str | None,
    examples: str | Path | None,
    max_size: str | None,
    spans: str | Path | None = None,
) -> PackagingOptions:
    """Options as texts; ``examples`` is a file of prompts, one a line, and ``max_size`` a number with its unit.

    Raises:
        UserError: CHM314 as ``PackagingOptions``, and for a size that is none and a file that cannot be read.
    """
    most = None if max_size is None else parse_size(max_size)
    if max_size is not None and most is None:
        raise UserError(
            "CHM314", f"{max_size!r} is no size", hint="a number of bytes, or one with a unit: 400kB, 1.5MiB"
        )
    prompts = () if examples is None else _prompts(Path(examples))
    return PackagingOptions(page, npm, runtime, prompts, most, None if spans is None else Path(spans))


def checked_spans(path: Path) -> Bank:
    """The bank of spans in a file; raises UserError CHM400 to CHM406, CHM434."""
    # these need numpy, which help does without
    from chimerac.runtime.bundle_format.sfpack import read_bank
    from chimerac.runtime.errors import BundleError

    try:
        return read_bank(path)
    except BundleError as error:
        raise as_user_error(error) from None


def _prompts(file: Path) -> tuple[str, ...]:
    lines = read_text(file, "the examples", "CHM314", MOST_TEXT).splitlines()
    found = tuple(line.strip() for line in lines if line.strip())
    if any(unicodedata.category(sign) == "Cc" for line in found for sign in line if sign != "\t"):
        raise UserError("CHM314", f"{file} has control characters, which no prompt has")
    if len(found) > MOST_EXAMPLES or any(len(line) > MOST_EXAMPLE for line in found):
        raise UserError(
            "CHM314", f"{file} has more than {MOST_EXAMPLES} examples, or one of over {MOST_EXAMPLE} characters"
        )
    return found
