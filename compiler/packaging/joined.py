"""Scripts of the web joined: few files to ask for, made of many modules to read.

Each file that a browser asks for costs a round trip, and a cold start is mostly that. So a script that others know
by name is shipped with the modules that only it imports, and one more script has those that several import. No module
is in two files: each exists once in a page. A module becomes a function that is called once and gives its exports, so
that its names stay its own; a script that is known by name ends with its own text, which exports what it did.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from chimerac.compiler.errors import InternalError

COMMENT: Final = "//"

_FROM: Final = r'"\./([a-z0-9-]+\.mjs)";\n'
_IMPORT: Final = re.compile(rf"^import (?:{{([^}}]*)}} from )?{_FROM}", re.MULTILINE)
_PASSED_ON: Final = re.compile(rf"^export (?:{{([^}}]*)}}|\*) from {_FROM}", re.MULTILINE)
_LISTED: Final = re.compile(r"^export {([^}]*)};\n", re.MULTILINE)
_DECLARED: Final = re.compile(r"^export ((?:async function|function|class|const)\*? )(\w+|\[[^\]]*\])", re.MULTILINE)
_LEFT: Final = re.compile(r"^(?:import|export)\b[^(.].*", re.MULTILINE)


@dataclass(frozen=True)
class _Script:
    """A module as it is written, but for comments."""

    name: str
    text: str

    @property
    def imports(self) -> list[str]:
        """The modules that it needs first, in their order."""
        found = [*_IMPORT.finditer(self.text), *_PASSED_ON.finditer(self.text)]
        return list(dict.fromkeys(match[2] for match in found))

    @property
    def exports(self) -> list[str]:
        """Names that it gives to others, without those it passes on."""
        declared = [name for match in _DECLARED.finditer(self.text) for name in re.findall(r"\w+", match[2])]
        return declared + [name for match in _LISTED.finditer(self.text) for name in re.findall(r"\w+", match[1])]


def joined(names: Iterable[str], common: str, read: Callable[[str], str]) -> dict[str, str]:
    """The scripts of these names with what they import, and the one for several of them, of the name ``common``.

    Args:
        read: a module's text by its name, with no other comments than those it begins with.

    Raises:
        InternalError: a module is written in a way that is not known here, or modules import each other in a circle.
    """
    entries = list(names)
    scripts = dict[str, _Script]()

    def reach(name: str, found: list[str], path: tuple[str, ...]) -> None:
        """Append what a script needs and no entry is, each after what it needs itself."""
        if name in path:
            raise InternalError(f"scripts import each other: {' → '.join((*path, name))}")
        if name not in scripts:
            scripts[name] = _Script(name, read(name))
        for other in scripts[name].imports:
            if other not in entries and other not in found:
                reach(other, found, (*path, name))
                found.append(other)

    needed = dict[str, list[str]]()
    for name in entries:
        reach(name, needed.setdefault(name, []), ())
    counts = {one: sum(one in found for found in needed.values()) for found in needed.values() for one in found}
    parts = {name: [one for one in found if counts[one] == 1] for name, found in needed.items()}
    shared = list(dict.fromkeys(one for found in needed.values() for one in found if counts[one] > 1))
    used = {name: _used(scripts, [*own, name], shared) for name, own in parts.items()}
    made = {name: _entry(scripts, name, own, used[name], common) for name, own in parts.items()}
    if shared:
        if outside := [one for script in shared for one in scripts[script].imports if one in entries]:
            raise InternalError(f"{common} imports {outside[0]}")
        listed = ", ".join(_variable(one) for one in shared if any(one in some for some in used.values()))
        head = "// Modules of the loader that several of its scripts import.\n"
        made[common] = head + "".join(_closed(scripts[one]) for one in shared) + f"export {{ {listed} }};\n"
    return made


def _used(scripts: Mapping[str, _Script], names: list[str], some: list[str]) -> list[str]:
    """Which of some modules the named ones import."""
    found = {other for name in names for other in scripts[name].imports}
    return [name for name in some if name in found]


def _entry(scripts: Mapping[str, _Script], name: str, own: list[str], used: list[str], common: str) -> str:
    """A script that is known by name, after the modules that only it needs."""
    text = scripts[name].text
    head = head_of(text)
    begin = f'import {{ {", ".join(map(_variable, used))} }} from "./{common}";\n' if used else ""
    inner = {*own, *used}
    others = {one for module in own for one in scripts[module].imports} - inner
    begin += "".join(f'import * as {_variable(one)} from "./{one}";\n' for one in sorted(others))

    def taken(match: re.Match[str]) -> str:
        return _taken(match[1], match[2]) if match[2] in inner else match[0]

    had = {name for match in _IMPORT.finditer(text) for name in re.findall(r"\w+", match[1] or "")}

    def passed_on(match: re.Match[str]) -> str:
        if match[2] not in inner:
            return match[0]
        names = re.findall(r"\w+", match[1])
        new = ", ".join(name for name in names if name not in had)
        return f"{_taken(new, match[2])}export {{ {', '.join(names)} }};\n"

    body = _PASSED_ON.sub(passed_on, _IMPORT.sub(taken, text[len(head) :]))
    return head + begin + "".join(_closed(scripts[one]) for one in own) + body


def head_of(text: str) -> str:
    """The comments that a script begins with."""
    lines = text.splitlines(keepends=True)
    count = next((place for place, line in enumerate(lines) if not line.startswith(COMMENT)), len(lines))
    return "".join(lines[:count])


def _closed(script: _Script) -> str:
    """A module as a constant with its exports."""
    text = script.text[len(head_of(script.text)) :]
    text = _IMPORT.sub(lambda match: _taken(match[1], match[2]), text)
    text = _DECLARED.sub(r"\1\2", _LISTED.sub("", text))
    if left := _LEFT.search(text):
        raise InternalError(f"{script.name} cannot be joined: {left[0]}")
    return f"const {_variable(script.name)} = (() => {{\n{text}return {{ {', '.join(script.exports)} }};\n}})();\n"


def _taken(names: str | None, module: str) -> str:
    """The names of an import as constants, from a module's exports."""
    if not names:
        return ""
    pairs = [re.sub(r"(\w+) as (\w+)", r"\1: \2", name.strip()) for name in names.split(",") if name.strip()]
    return f"const {{ {', '.join(pairs)} }} = {_variable(module)};\n"


def _variable(module: str) -> str:
    return "$" + re.sub(r"-(\w)", lambda match: match[1].upper(), module.removesuffix(".mjs"))
