"""A session of a wasm bundle: Node runs the bundle, this speaks JSON lines with ``web/cli.mjs``."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chimerac.runtime.bundle_format import WEB_DIRECTORY, Manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.sessions.child_process import ChildSession
from chimerac.runtime.sessions.interface import FinishReason, Piece, Prompt

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


def _text(text: str | bytes) -> str:
    try:
        return text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError:
        raise BundleError("CHM420", "the text is not UTF-8; give a wasm session its tokens instead") from None


class WasmSession(ChildSession[str]):
    """Opened by ``load``."""

    def __init__(self, manifest: Manifest, folder: Path, *, threads: int = 1, variant: str | None = None) -> None:
        """Start Node and load the bundle; raises BundleError CHM440 and what loading raises.

        Args:
            variant: file name of the module to use, in place of the best one that runs here.
        """
        self.manifest = manifest
        self._tokens: list[int] = []
        self._finish_reason: FinishReason | None = None
        self._next_id = 0
        self._generating = False
        self._process = subprocess.Popen(
            [
                *(*find_node(), str(WEB_DIRECTORY / "cli.mjs"), str(folder), "--json-lines"),
                *("--threads", str(threads)),
                *(() if variant is None else ("--variant", variant)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        try:
            self._receive()
            info = self._request("info")
        except BundleError:
            self.close()
            raise
        self.vocab_size, self.max_loops = info["vocab_size"], info["max_loops"]
        self.variant = str(info["variant"])  #: file name of the module
        self._threads = int(info["threads"])

    def _receive(self) -> dict[str, Any]:
        process = self._running()
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            answer = json.loads(line)
        except ValueError:
            raise BundleError("CHM440", f"Node.js ended with status {process.wait()}") from None
        if "error" in answer:
            raise BundleError(answer["error"]["code"], answer["error"]["message"])
        return dict(answer)

    def _send(self, operation: str, **details: object) -> int:
        process = self._running()
        assert process.stdin is not None
        self._next_id += 1
        try:
            process.stdin.write(json.dumps({"id": self._next_id, "op": operation, **details}) + "\n")
            process.stdin.flush()
        except OSError:
            raise BundleError("CHM440", f"Node.js ended with status {process.wait()}") from None
        return self._next_id

    def _request(self, operation: str, **details: object) -> dict[str, Any]:
        if self._generating:
            raise BundleError("CHM421", "a generation is running; end it first")
        self._send(operation, **details)
        return dict(self._receive()["done"])

    def _generate(self, prompt: Prompt, options: GenerateOptions) -> Iterator[Piece]:
        self._tokens, self._finish_reason = [], None
        text = _text(prompt) if isinstance(prompt, (str, bytes)) else [int(token) for token in prompt]
        grammar = options.grammar
        if isinstance(grammar, bytes):
            given: object = {"pack": base64.b64encode(grammar).decode()}
        else:
            given = grammar
        sent = asdict(options) | {"seed": str(options.seed), "grammar": given}
        number = self._send("generate", prompt=text, options=sent)
        ended, self._generating = False, True
        try:
            while True:
                try:
                    answer = self._receive()
                except BundleError:
                    ended = True
                    raise
                if "done" in answer:
                    ended = True
                    self._finish_reason = answer["done"]["finish_reason"]
                    return
                piece = Piece(**answer["piece"])
                if piece.token >= 0:
                    self._tokens.append(piece.token)
                yield piece
        finally:
            self._generating = False
            if not ended and self._process is not None:
                self._abandon(number)

    def _abandon(self, number: int) -> None:
        """End a generation that the caller left early, and read what it still sends."""
        self._send("abort", target=number)
        with contextlib.suppress(BundleError):  # the answer to an aborted request is an error
            while "done" not in self._receive():
                pass

    def encode(self, text: str | bytes, *, specials: bool = False) -> list[int]:
        answer = self._request("encode", text=_text(text), specials=specials)
        return [int(token) for token in answer["tokens"]]

    def prefill(self, tokens: Sequence[int]) -> None:
        self._request("prefill", tokens=[int(token) for token in tokens])

    def reset(self) -> None:
        self._request("reset")

    def logits(self) -> NDArray[np.float32] | None:
        data = self._request("logits")["logits"]
        return None if data is None else np.frombuffer(base64.b64decode(data), np.float32).copy()

    @property
    def threads(self) -> int:
        return self._threads

    @property
    def position(self) -> int:
        return int(self._request("state")["position"])

    def state_hash(self) -> str:
        return str(self._request("state")["state_hash"])

    def logits_hash(self) -> str:
        return str(self._request("state")["logits_hash"])

    def snapshot(self) -> bytes:
        return base64.b64decode(self._request("snapshot")["snapshot"])

    def restore(self, snapshot: bytes) -> None:
        self._request("restore", snapshot=base64.b64encode(snapshot).decode())
