"""Renders a chat template as its makers do, in a process of its own: a template is a program, and may not end.

python rendering.py < {"template": …, "conversations": […], "names": {…}}
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SECONDS: Final = 20  #: for all conversations together
MEMORY: Final = 1 << 30  #: bytes of the process
MAX_OUTPUT: Final = 1 << 22

Conversation = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Rendered:
    """A text, or what the template, or the renderer, said against the conversation."""

    text: str = ""
    error: str = ""


def render(template: str, conversations: Sequence[Conversation], names: Mapping[str, str]) -> list[Rendered]:
    """Each conversation with the beginning of the model's answer after it; ``names``: bos_token and others."""
    request = json.dumps({"template": template, "conversations": conversations, "names": names})
    command = [sys.executable, "-I", __file__]  # by its path: it needs nothing else of chimerac
    try:
        done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=SECONDS, check=False)
        rows = json.loads(done.stdout) if not done.returncode else None
    except subprocess.TimeoutExpired:
        return [Rendered(error=f"it takes more than {SECONDS} seconds")] * len(conversations)
    if rows is None:
        return [Rendered(error="it takes too much memory, or breaks the renderer")] * len(conversations)
    return [Rendered(**row) for row in rows]


def environment() -> Any:
    """Jinja as ``transformers`` sets it up: sandboxed, with ``raise_exception`` and loop controls."""
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = refuse
    return made


def main() -> None:
    """Answer standard input on standard output."""
    try:
        import resource
    except ImportError:  # Windows has none
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    request = json.load(sys.stdin)
    rows: list[dict[str, str]] = []
    for conversation in request["conversations"]:
        try:
            template = environment().from_string(request["template"])
            text = template.render(messages=conversation, add_generation_prompt=True, **request["names"])
            rows.append({"text": text} if len(text) <= MAX_OUTPUT else {"error": "its text is too long"})
        except Exception as error:  # whatever a template raises is its answer
            rows.append({"error": f"{type(error).__name__}: {error}"[:500] or "an error"})
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
