"""Worker: the most likely next token after each token of a text, by llama.cpp; see worker.py.

usage: ENVIRONMENT/bin/python agreement_llama.py FILE.gguf
"""

from __future__ import annotations

import ctypes as ct
import sys
from importlib.metadata import version
from typing import Any

import llama_cpp as lib
import numpy as np
from worker import serve

_SILENT = lib.llama_log_callback(lambda level, text, user: None)


def main(path: str) -> None:
    lib.llama_backend_init()
    lib.llama_log_set(_SILENT, ct.c_void_p(0))
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    vocabulary = lib.llama_model_get_vocab(model)
    size = lib.llama_vocab_n_tokens(vocabulary)
    parameters = lib.llama_context_default_params()
    parameters.n_ctx = 512
    # what is compared are weights and activations, so keys and values are as exact as ours
    parameters.type_k = parameters.type_v = lib.GGML_TYPE_F32
    parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = lib.llama_init_from_model(model, parameters)

    def logits_after(tokens: list[int]) -> np.ndarray:
        values = (ct.c_int32 * len(tokens))(*tokens)
        if lib.llama_decode(context, lib.llama_batch_get_one(values, len(tokens))):
            raise RuntimeError("llama_decode failed")
        return np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (size,)).copy()

    def tokens_of(text: bytes) -> list[int]:
        room = (ct.c_int32 * (len(text) + 8))()
        found = lib.llama_tokenize(vocabulary, text, len(text), room, len(room), False, False)
        return list(room[:found])

    def run(request: dict[str, Any]) -> dict[str, Any]:
        """``count`` more tokens by the largest logit, with the lead of each over the second, after ``prompt`` or the
        tokens of ``text``; with ``logits`` also those."""
        prompt = request["prompt"] if "prompt" in request else tokens_of(request["text"].encode())
        tokens: list[int] = []
        leads, rows = [], []
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        logits = logits_after(prompt)
        for _ in range(request["count"]):
            second, first = np.sort(logits)[-2:]
            tokens.append(int(logits.argmax()))
            leads.append(float(first - second))
            if request.get("logits"):
                rows.append([float(value) for value in logits])
            logits = logits_after(tokens[-1:])
        return {"prompt": prompt, "tokens": tokens, "leads": leads, "logits": rows}

    serve({"versions": {"llama-cpp-python": version("llama-cpp-python")}}, run)


if __name__ == "__main__":
    main(*sys.argv[1:])
