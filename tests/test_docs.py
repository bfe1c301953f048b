"""The documentation against the program: error codes, commands, options and links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from chimerac.compiler.cli.main import main
from chimerac.runtime.bundle_format import STATUSES
from chimerac.targets.registry import TARGETS

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SOURCES = ("compiler", "frontends", "passes", "runtime", "targets")


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))]


def documented() -> dict[str, list[str]]:
    """Code → the other cells of its row in docs/errors.md."""
    rows = [
        cells(row) for row in (ROOT / "docs" / "errors.md").read_text("utf-8").splitlines() if row.startswith("| CHM")
    ]
    assert len({row[0] for row in rows}) == len(rows), "a code has two rows"
    return {code: rest for code, *rest in rows}


def raised() -> set[str]:
    """Every code that a string of the sources names, and the statuses of the C runtime."""
    codes = {status.code for status in STATUSES}
    for package in SOURCES:
        for suffix in ("py", "mjs"):
            for path in (ROOT / package).rglob(f"*.{suffix}"):
                codes |= set(re.findall(r"[\"'](CHM\d{3})[\"']", path.read_text("utf-8")))
    return codes


def test_every_error_code_is_documented_and_every_documented_code_exists() -> None:
    assert set(documented()) == raised()
    assert list(documented()) == sorted(documented())


def test_every_code_has_meaning_cause_and_advice() -> None:
    for code, rest in documented().items():
        assert len(rest) == 3, code
        assert all(len(cell) > 5 for cell in rest), code


def test_meanings_of_the_runtime_are_those_of_the_library() -> None:
    for status in STATUSES:
        assert documented()[status.code][0] == status.meaning


def commands() -> list[tuple[str, str]]:
    """(page, command line) of every ``chimerac …`` in a code block or between backticks."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        blocks += [
            re.sub(r"^ {4}", "", b, flags=re.MULTILINE) for b in re.findall(r"(?:^ {4}.*\n)+", text, re.MULTILINE)
        ]
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"`(chimerac [^`\n]+)`", text)
        for line in lines:
            start = re.match(r"\s*(?:\$ )?(?:[\w./]*/)?(chimerac .*)", line)
            if start:
                found.append((page.name, start[1].split("  #")[0].strip()))
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(("page", "command"), commands())
def test_documented_commands_exist(page: str, command: str) -> None:
    words = shlex.split(command)[1:]
    if words[0] == "--traceback":
        words = words[1:]
    if words[0] == "VERB":
        return
    assert words[0] in main.commands, f"no such verb: {command}"
    verb = main.commands[words[0]]
    # "…" stands for the value of an option, or says that there may be more
    arguments = [word.rstrip("…") or "…" for word in words[1:]]
    if arguments[-1:] == ["…"] and not "".join(arguments[-2:-1]).startswith("-"):
        arguments.pop()
    try:
        parent = click.Context(main, **main.context_settings)  # without it click forgets -h, and remembers that
        context = verb.make_context(words[0], arguments, parent=parent)
    except click.MissingParameter:
        return  # prose such as `chimerac verify` names the verb only
    except click.UsageError as error:
        raise AssertionError(f"{page}: {command}: {error.format_message()}") from None
    for name in context.params.get("targets") or ():
        assert name == "TARGET" or any(name in (t.name, *t.aliases) for t in TARGETS.values())


def test_options_named_beside_a_command_are_its_own() -> None:
    """In a table row that starts with a command, such as README's."""
    found = 0
    for page in PAGES:
        for row in re.findall(r"^\| `chimerac .*", page.read_text("utf-8"), re.MULTILINE):
            verbs = [main.commands[name] for name in re.findall(r"`chimerac (\w+)", row)]
            known = {option for verb in verbs for parameter in verb.params for option in parameter.opts}
            for option in re.findall(r"`(--[\w-]+)", row):
                assert option in known, f"{page.name}: {row}"
                found += 1
    assert found > 3


def test_commands_are_found() -> None:
    found = [command for page, command in commands() if page == "README.md"]
    assert any(command.startswith("chimerac build my.chimera --weights") for command in found)
    assert any(command == 'chimerac run BUNDLE "prompt"' for command in found)
    assert len(commands()) > 10


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ +(.*)", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"


def test_every_page_of_the_documentation_is_reachable() -> None:
    linked = {ROOT / "README.md"}
    waiting = list(linked)
    while waiting:
        page = waiting.pop()
        for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text("utf-8")):
            path = (page.parent / target).resolve()
            if path not in linked and path.exists():
                linked.add(path)
                waiting.append(path)
    lost = {page for page in PAGES if page not in linked and page.parent != ROOT and page.parent.name != "decisions"}
    assert not lost


def test_files_named_in_the_documentation_exist() -> None:
    """Paths such as `frontends/export/handlers.py`, also with ``::name``."""
    for page in PAGES:
        for path in re.findall(r"`((?:[a-z_]+/)+[\w.]+\.\w+)(?:::\w+)?`", page.read_text("utf-8")):
            if path.split("/")[0] in (*SOURCES, "docs", "tests", "scripts", "benchmarks", "examples"):
                assert (ROOT / path).exists(), f"{page.name}: {path}"
