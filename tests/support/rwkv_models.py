"""Small random RWKV-7 models: as folders of flash-linear-attention, as GGUF files, and what they compute in float64."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

VOCABULARY, HIDDEN, INNER, WIDTH = 300, 128, 96, 64
RANKS = {"w": 8, "a": 12, "v": 20, "g": 24}
LAYERS = 2
_NAMES = {"w": "decay_low_rank_dim", "a": "a_low_rank_dim", "v": "v_low_rank_dim", "g": "gate_low_rank_dim"}
CONFIG: Mapping[str, Any] = {
    "architectures": ["RWKV7ForCausalLM"],
    "model_type": "rwkv7",
    "attn": None,
    "attn_mode": "chunk",
    "fuse_norm": True,
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "hidden_ratio": 4.0,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "head_dim": WIDTH,
    "num_heads": HIDDEN // WIDTH,
    "value_dim": [HIDDEN] * LAYERS,
    "norm_eps": 64e-5 / WIDTH,  # of heads it is 64e-5 then, as in llama.cpp
    "hidden_act": "sqrelu",
    "norm_first": True,
    "norm_bias": True,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
} | {_NAMES[letter]: rank for letter, rank in RANKS.items()}


@dataclass(frozen=True)
class Rwkv:
    """Tensors by the names of flash-linear-attention, float32."""

    tensors: Mapping[str, Tensor]

    def logits(self, tokens: list[int]) -> np.ndarray:
        """Of a whole text, token after token as the paper has it (arXiv 2503.14456, section 3 and appendix): [T, V]."""
        t = {name: tensor.double() for name, tensor in self.tensors.items()}
        previous = {name: torch.zeros(HIDDEN, dtype=torch.float64) for name in _shifts()}
        states = torch.zeros(LAYERS, HIDDEN // WIDTH, WIDTH, WIDTH, dtype=torch.float64)
        rows = []
        for token in tokens:
            x = _norm(t, "model.layers.0.pre_norm", t["model.embeddings.weight"][token])
            first = None
            for layer in range(LAYERS):
                path = f"model.layers.{layer}."
                normed = _norm(t, f"{path}attn_norm", x)
                y, states[layer], first = _time_mix(
                    t, f"{path}attn.", normed, previous[f"{path}attn."], states[layer], first
                )
                previous[f"{path}attn."] = normed
                x = x + y
                normed = _norm(t, f"{path}ffn_norm", x)
                inner = torch.lerp(normed, previous[f"{path}ffn."], t[f"{path}ffn.x_k"])
                previous[f"{path}ffn."] = normed
                x = x + t[f"{path}ffn.value.weight"] @ torch.relu(t[f"{path}ffn.key.weight"] @ inner) ** 2
            rows.append(t["lm_head.weight"] @ _norm(t, "model.norm", x))
        return torch.stack(rows).numpy()

    def greedy(self, prompt: list[int], count: int, among: int = VOCABULARY) -> list[int]:
        """The likeliest of the first ``among`` tokens after a prompt, one after another."""
        tokens = list(prompt)
        for _ in range(count):
            tokens.append(int(self.logits(tokens)[-1, :among].argmax()))
        return tokens[len(prompt) :]


def _shifts() -> list[str]:
    return [f"model.layers.{layer}.{part}." for layer in range(LAYERS) for part in ("attn", "ffn")]


def _norm(t: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, (HIDDEN,), t[f"{name}.weight"], t[f"{name}.bias"], CONFIG["norm_eps"])


def _low_rank(t: Mapping[str, Tensor], path: str, x: Tensor, act: Any = lambda y: y) -> Tensor:
    y: Tensor = t[f"{path}.lora.2.weight"] @ act(t[f"{path}.lora.0.weight"] @ x)
    return y + t[f"{path}.lora.2.bias"] if f"{path}.lora.2.bias" in t else y


def _time_mix(
    t: Mapping[str, Tensor], path: str, x: Tensor, before: Tensor, state: Tensor, first: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """States [H, value, key], written with rows of values as in the paper."""
    mixed = {letter: torch.lerp(x, before, t[f"{path}x_{letter}"].flatten()) for letter in "rwkvag"}
    r, k, v = (t[f"{path}{name}_proj.weight"] @ mixed[name] for name in "rkv")
    decay = torch.exp(-np.exp(-0.5) * torch.sigmoid(_low_rank(t, f"{path}w_lora", mixed["w"], torch.tanh)))
    if first is None:
        first = v
    else:
        v = torch.lerp(v, first, torch.sigmoid(_low_rank(t, f"{path}v_lora", mixed["v"])))
    rate = torch.sigmoid(_low_rank(t, f"{path}a_lora", mixed["a"]))
    gate = _low_rank(t, f"{path}g_lora", mixed["g"], torch.sigmoid)
    removal = F.normalize((k * t[f"{path}k_k"]).view(-1, WIDTH), dim=-1)
    k = torch.lerp(k, k * rate, t[f"{path}k_a"])
    r, decay, k, v, rate = (part.view(-1, WIDTH) for part in (r, decay, k, v, rate))
    transition = torch.diag_embed(decay) - removal[:, :, None] * (removal * rate)[:, None]
    state = state @ transition + v[:, :, None] * k[:, None]
    y = (state @ r[:, :, None]).flatten()
    y = F.group_norm(y[None], HIDDEN // WIDTH, t[f"{path}g_norm.weight"], t[f"{path}g_norm.bias"], 64e-5)[0]
    bonus = (r * k * t[f"{path}r_k"]).sum(-1, keepdim=True) * v
    return t[f"{path}o_proj.weight"] @ ((y + bonus.flatten()) * gate), state, first


def make(seed: int = 0) -> Rwkv:
    """A model whose every number matters: decays from fast to slow, mixtures from none to all of the token before."""
    source = torch.Generator().manual_seed(seed)

    def draw(*shape: int, scale: float = 1.0, around: float = 0.0) -> Tensor:
        return torch.randn(*shape, generator=source) * scale + around

    def norm(name: str, tensors: dict[str, Tensor], size: int = HIDDEN) -> None:
        tensors |= {f"{name}.weight": draw(size, scale=0.1, around=1.0), f"{name}.bias": draw(size, scale=0.1)}

    tensors = {
        "model.embeddings.weight": draw(VOCABULARY, HIDDEN),
        "lm_head.weight": draw(VOCABULARY, HIDDEN, scale=0.3),
    }
    norm("model.layers.0.pre_norm", tensors)
    norm("model.norm", tensors)
    for layer in range(LAYERS):
        path = f"model.layers.{layer}."
        for name in ("attn_norm", "ffn_norm", "attn.g_norm"):
            norm(f"{path}{name}", tensors)
        for letter in "rwkvag":
            tensors[f"{path}attn.x_{letter}"] = torch.rand(1, 1, HIDDEN, generator=source)
        for name in "rkvo":
            tensors[f"{path}attn.{name}_proj.weight"] = draw(HIDDEN, HIDDEN, scale=HIDDEN**-0.5)
        for letter, rank in RANKS.items():
            if letter == "v" and layer == 0:
                continue
            lora = f"{path}attn.{letter}_lora.lora."
            tensors[f"{lora}0.weight"] = draw(rank, HIDDEN, scale=0.1)
            tensors[f"{lora}2.weight"] = draw(HIDDEN, rank, scale=0.3)
            if letter != "g":
                tensors[f"{lora}2.bias"] = draw(HIDDEN, scale=2.0 if letter == "w" else 0.5)
        for name in ("k_k", "k_a"):
            tensors[f"{path}attn.{name}"] = draw(HIDDEN, scale=0.2, around=0.8)
        tensors[f"{path}attn.r_k"] = draw(HIDDEN // WIDTH, WIDTH, scale=0.3)
        tensors[f"{path}ffn.x_k"] = torch.rand(HIDDEN, generator=source)
        tensors[f"{path}ffn.key.weight"] = draw(INNER, HIDDEN, scale=HIDDEN**-0.5)
        tensors[f"{path}ffn.value.weight"] = draw(HIDDEN, INNER, scale=INNER**-0.5)
    return Rwkv(tensors)


def save(model: Rwkv, folder: Path, *, early: bool = False, **settings: Any) -> Path:
    """A folder; ``early``: as they were at first, mixtures in one tensor, the first layer with what it never uses."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **settings}))
    tensors = dict(model.tensors)
    if early:
        for layer in range(LAYERS):
            path = f"model.layers.{layer}.attn."
            tensors[f"{path}x_x"] = torch.cat([tensors.pop(f"{path}x_{letter}")[0] for letter in "rwkvag"])
        for part in ("0.weight", "2.weight", "2.bias"):
            tensors[f"model.layers.0.attn.v_lora.lora.{part}"] = tensors[
                f"model.layers.1.attn.v_lora.lora.{part}"
            ].clone()
    save_file(tensors, folder / "model.safetensors")
    return folder


_GGUF = {
    "attn_norm.": "attn_norm.",
    "ffn_norm.": "attn_norm_2.",
    "attn.g_norm.": "time_mix_ln.",
    "attn.r_proj.": "time_mix_receptance.",
    "attn.k_proj.": "time_mix_key.",
    "attn.v_proj.": "time_mix_value.",
    "attn.o_proj.": "time_mix_output.",
    "attn.k_k": "time_mix_k_k.weight",
    "attn.k_a": "time_mix_k_a.weight",
    "attn.r_k": "time_mix_r_k.weight",
    "ffn.x_k": "channel_mix_lerp_k.weight",
    "ffn.key.": "channel_mix_key.",
    "ffn.value.": "channel_mix_value.",
} | {
    f"attn.{letter}_lora.lora.{theirs}": f"time_mix_{letter}{its}.weight"
    for letter in RANKS
    for theirs, its in (("0.weight", 1), ("2.weight", 2), ("2.bias", 0))
}
_GGUF_WHOLE = {
    "model.embeddings.weight": "token_embd.weight",
    "lm_head.weight": "output.weight",
    "model.layers.0.pre_norm.weight": "token_embd_norm.weight",
    "model.layers.0.pre_norm.bias": "token_embd_norm.bias",
    "model.norm.weight": "output_norm.weight",
    "model.norm.bias": "output_norm.bias",
}


def write(model: Rwkv, path: Path, tokens: list[str] | None = None, **other: Any) -> Path:
    """A GGUF file as llama.cpp's converter makes it.

    Args:
        tokens: of a world tokenizer, as they are spelt in the file, the first one special.
        other: numbers of its metadata that are otherwise; None for absent ones. ``__`` stands for a dot.
    """
    numbers: dict[str, int | None] = {
        "context_length": 1 << 20,
        "embedding_length": HIDDEN,
        "block_count": LAYERS,
        "wkv.head_size": WIDTH,
        "attention.decay_lora_rank": RANKS["w"],
        "attention.iclr_lora_rank": RANKS["a"],
        "attention.value_residual_mix_lora_rank": RANKS["v"],
        "attention.gate_lora_rank": RANKS["g"],
        "feed_forward_length": INNER,
        "attention.head_count": 0,
    }
    writer = gguf.GGUFWriter(path, "rwkv7")
    for key, number in (numbers | {key.replace("__", "."): number for key, number in other.items()}).items():
        if number is not None:
            writer.add_uint32(f"rwkv7.{key}", number)
    writer.add_layer_norm_eps(CONFIG["norm_eps"])
    if tokens is not None:
        writer.add_tokenizer_model("rwkv")
        writer.add_token_list(tokens)
        writer.add_token_types([gguf.TokenType.CONTROL] + [gguf.TokenType.NORMAL] * (len(tokens) - 1))
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(0)
    tensors = {name: tensor.numpy() for name, tensor in model.tensors.items()}
    for layer in range(LAYERS):
        mixtures = [tensors.pop(f"model.layers.{layer}.attn.x_{letter}") for letter in "rwkvag"]
        writer.add_tensor(f"blk.{layer}.time_mix_lerp_fused.weight", np.stack(mixtures))
    for name, array in tensors.items():
        its = _GGUF_WHOLE.get(name) or _gguf_name(name)
        writer.add_tensor(its, array.flatten() if its.endswith("r_k.weight") else array)
        if its.startswith("blk.0.time_mix_a"):  # in place of what the first layer has not
            writer.add_tensor(its.replace("time_mix_a", "time_mix_v"), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    _, _, layer, rest = name.split(".", 3)
    start = max((key for key in _GGUF if rest.startswith(key)), key=len)
    return f"blk.{layer}.{_GGUF[start]}{rest.removeprefix(start)}"
