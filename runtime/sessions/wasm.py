"""A session of a wasm bundle: Node runs the bundle, this speaks JSON lines with ``web/cli.mjs``."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import WEB_DIRECTORY, Entry, Manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.names import Names
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.sessions.checks import Progress
from chimerac.runtime.sessions.child_process import Child
from chimerac.runtime.sessions.diagnostics import Diagnostics
from chimerac.runtime.sessions.interface import CheckedPrompt, Piece, Session
from chimerac.runtime.sessions.memory import Vectors
from chimerac.runtime.sessions.speculation import Speculation

_MIN_NODE = 20


def find_node() -> list[str]:
    """The Node to use, CHIMERAC_NODE or ``node`` on the PATH, with its options; raises BundleError CHM440."""
    node = os.environ.get("CHIMERAC_NODE") or shutil.which("node")
    hint = f"install Node.js {_MIN_NODE} or newer, or set CHIMERAC_NODE to its path; a native target needs none"
    if not node:
        raise BundleError("CHM440", "a wasm bundle runs in Node.js, which is not installed", hint=hint)
    try:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
        major = int(version.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise BundleError("CHM440", f"Node.js does not start: {error}", path=node, hint=hint) from None
    if major < _MIN_NODE:
        raise BundleError("CHM440", f"Node.js {version.strip()} is too old", path=node, hint=hint)
    # V8 had relaxed SIMD before it was standard; newer ones have it without the option, which they refuse
    return [node, *(["--experimental-wasm-relaxed-simd"] if major == _MIN_NODE else [])]


class WasmSession(Session):
    """Opened by ``load``."""

    def __init__(self, manifest: Manifest, folder: Path, *, threads: int = 1, variant: str | None = None) -> None:
        """Start Node and load the bundle; raises BundleError CHM440 and what loading raises.

        Args:
            variant: file name of the module to use, in place of the best one that runs here.
        """
        super().__init__(manifest)
        self._home: Any = None  # what set_names was told
        self._last_score: float | None = None  # of a generation that has ended
        self._diagnosed = Diagnostics()
        self._next_id = 0
        self._generating = False
        self._unanswered: int | None = None  # request that was left, whose last answer is to come
        self._child = Child(
            [
                *(*find_node(), str(WEB_DIRECTORY / "cli.mjs"), str(folder), "--json-lines"),
                *("--threads", str(threads)),
                *(() if variant is None else ("--variant", variant)),
            ],
            lambda status: BundleError("CHM440", f"Node.js ended with status {status}"),
        )
        try:
            self._result(self._answer())
            info = self._request("info")
        except BundleError:
            self.close()
            raise
        self.vocab_size, self.max_loops = info["vocab_size"], info["max_loops"]
        self.variant = str(info["variant"])  #: file name of the module
        self._threads = int(info["threads"])

    def _answer(self) -> dict[str, Any]:
        """The next answer; what is left of one that a signal interrupted is skipped."""
        while True:
            try:
                return dict(json.loads(self._child.read()))
            except ValueError:
                continue

    def _result(self, answer: dict[str, Any]) -> dict[str, Any]:
        if "error" in answer:
            raise BundleError(answer["error"]["code"], answer["error"]["message"])
        return answer

    def _exchange(self, operation: str, **details: object) -> Generator[dict[str, Any], None, dict[str, Any]]:
        """Send a request; yields its answers up to the last, which it returns. Who leaves early aborts it."""
        self._forget()
        self._next_id += 1
        number = self._unanswered = self._next_id
        try:
            self._child.write(json.dumps({"id": number, "op": operation, **details}))
            while True:
                answer = self._answer()
                if answer.get("id") != number:
                    continue
                if "done" in answer or "error" in answer:
                    self._unanswered = None
                    return dict(self._result(answer)["done"])
                yield answer
        finally:
            with contextlib.suppress(BundleError):  # Node has ended: whoever asks next is told
                self._forget()

    def _forget(self) -> None:
        """Abort the request that was left, perhaps in the middle of its line, and skip what it still answers."""
        if self._unanswered is None:
            return
        self._next_id += 1
        number = self._next_id
        self._child.write("\n" + json.dumps({"id": number, "op": "abort", "target": self._unanswered}))
        while self._answer().get("id") != number:
            pass
        self._unanswered = None

    def _request(self, operation: str, tell: Progress | None = None, **details: object) -> dict[str, Any]:
        if self._generating:  # Node is ahead of what was read
            raise BundleError("CHM421", "a generation is running; end it first")
        exchange = self._exchange(operation, **details)
        try:
            while True:
                self._told(next(exchange), tell)
        except StopIteration as end:
            return dict(end.value)
        finally:
            exchange.close()

    def _told(self, answer: dict[str, Any], tell: Progress | None) -> None:
        if tell is not None and "progress" in answer:
            tell(answer["progress"]["tokens"], answer["progress"]["total"])
            self._guard.check()

    def _generate(
        self, prompt: CheckedPrompt, options: GenerateOptions, tell: Progress
    ) -> Generator[Piece, None, None]:
        self._tokens, self._finish_reason = [], None
        self._refused, self._last_score = False, None
        self._diagnosed = Diagnostics()
        grammar = options.grammar
        given = {"pack": _base64(grammar)} if isinstance(grammar, bytes) else grammar
        request = None if isinstance(prompt, bytes) and options.request == prompt else options.request
        sent = asdict(options) | {"seed": str(options.seed), "grammar": given, "request": _text(request)}
        if options.speculate is None:
            del sent["speculate"]
        exchange = self._exchange("generate", prompt=_sent(prompt), options=sent)
        self._generating = True
        try:
            while True:
                answer = next(exchange)
                self._told(answer, tell)
                if "piece" in answer:
                    piece = Piece(**answer["piece"])
                    if piece.token >= 0:
                        self._tokens.append(piece.token)
                    yield piece
        except StopIteration as end:
            self._finish_reason = end.value["finish_reason"]
            self._last_score, self._refused = end.value["score"], end.value["refused"]
            speculation = Speculation.read(end.value["speculation"])
            self._diagnosed = Diagnostics.read(end.value["diagnostics"], speculation)
        finally:
            exchange.close()
            self._generating = False

    def speculation(self) -> Speculation:
        """As of ``Session``, of a generation that has ended."""
        return self._diagnosed.speculation

    def _diagnostics(self, speculation: Speculation) -> Diagnostics:
        return self._diagnosed

    def _score(self) -> float | None:
        return self._last_score

    def _tell_names(self, names: Names, home: Any) -> None:
        self._request("names", home=home)
        self._home = home

    def _forget_names(self) -> None:
        if self._home is not None:
            self._request("names", home=None)
        self._home = None
        super()._forget_names()

    @contextlib.contextmanager
    def _without_names(self) -> Iterator[None]:
        home = self._home
        self._forget_names()
        try:
            yield
        finally:
            if home is not None:
                self.set_names(home)

    def _call_entry(self, entry: Entry, inputs: Sequence[NDArray[Any]], n: int) -> Sequence[NDArray[Any]]:
        given = {port.name: _base64(array.tobytes()) for port, array in zip(entry.inputs, inputs, strict=True)}
        made = self._request("call", entry=entry.name, n=n, inputs=given)["results"]
        return [np.frombuffer(base64.b64decode(made[port.name]), port.computed).copy() for port in entry.results]

    def _encode(self, text: bytes, specials: bool, begins: bool) -> list[int]:
        answer = self._request("encode", text={"bytes": _base64(text)}, specials=specials, begins=begins)
        return [int(token) for token in answer["tokens"]]

    def _prefill(self, tokens: NDArray[np.int32], tell: Progress) -> None:
        self._request("prefill", tell, tokens=tokens.tolist())

    def _reset(self) -> None:
        self._request("reset")

    def _logits(self) -> NDArray[np.float32] | None:
        data = self._request("logits")["logits"]
        return None if data is None else np.frombuffer(base64.b64decode(data), np.float32).copy()

    @property
    def threads(self) -> int:
        self._guard.check()
        return self._threads

    @property
    def process_id(self) -> int:
        self._guard.check()
        return self._child.pid

    def _position(self) -> int:
        return int(self._request("state")["position"])

    def _state_hash(self) -> str:
        return str(self._request("state")["state_hash"])

    def _logits_hash(self) -> str:
        return str(self._request("state")["logits_hash"])

    def _snapshot(self) -> bytes:
        return base64.b64decode(self._request("snapshot")["snapshot"])

    def _restore(self, snapshot: bytes) -> None:
        self._request("restore", snapshot=_base64(snapshot))

    def _set_memory(self, vectors: Vectors) -> None:
        self._request("memory", vectors=_base64(vectors.tobytes()), width=vectors.shape[1])

    def _hasten(self) -> None:
        self._child.kill()

    def _close(self) -> None:
        self._child.end()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _text(given: str | bytes | None) -> object:
    return {"bytes": _base64(given)} if isinstance(given, bytes) else given


def _sent(prompt: CheckedPrompt) -> object:
    """A prompt as the protocol has it: the bytes of a text, or its tokens."""
    return {"bytes": _base64(prompt)} if isinstance(prompt, bytes) else prompt.tolist()
