"""Worker: decode and prefill speed of llama.cpp on a whole model, through llama-cpp-python's low-level functions.

Peer: as in matvec_llama.py.

    usage: native/bin/python model_llama.py NAME=FILE.gguf…    (see worker.py)
"""

from __future__ import annotations

import ctypes as ct
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llama_cpp as lib
from worker import seconds_per_token, serve

PROMPT = 128
_SILENT = lib.llama_log_callback(lambda level, text, user: None)
CONTEXT = 512


class Model:
    """A model with one context, whose number of threads can change."""

    def __init__(self, path: str) -> None:
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        parameters = lib.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = CONTEXT, PROMPT, PROMPT
        self.context = lib.llama_init_from_model(self.model, parameters)
        if not self.context:
            raise RuntimeError(f"{path} does not load")

    def clear(self) -> None:
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)

    def decode(self, tokens: list[int]) -> None:
        """One call; the logits of the last token are there afterwards."""
        values = (ct.c_int32 * len(tokens))(*tokens)
        if lib.llama_decode(self.context, lib.llama_batch_get_one(values, len(tokens))):
            raise RuntimeError("llama_decode failed")
        lib.llama_get_logits_ith(self.context, -1)

    def measure(self, what: str, threads: int, tokens: int) -> float:
        """Seconds per token, from an empty context."""
        lib.llama_set_n_threads(self.context, threads, threads)
        return seconds_per_token(self.decode, self.clear, what, tokens)


def main(*files: str) -> None:
    lib.llama_backend_init()
    lib.llama_log_set(_SILENT, ct.c_void_p(0))
    models = {name: Model(path) for name, _, path in (item.partition("=") for item in files)}
    sizes = {name: Path(path).stat().st_size for name, _, path in (item.partition("=") for item in files)}

    def run(request: dict[str, Any]) -> float:
        return models[request["case"]].measure(request["what"], request["threads"], request["tokens"])

    cases = {
        name: {"bytes": sizes[name], "weights": lib.llama_model_n_params(one.model)} for name, one in models.items()
    }
    serve({"versions": {"llama-cpp-python": version("llama-cpp-python")}, "cases": cases}, run)


if __name__ == "__main__":
    main(*sys.argv[1:])
