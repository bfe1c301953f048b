"""``N4C``: the causal language model of N4, with the calls, the names and the numbers of its official code."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.n4.arguments import sizes_of
from chimerac.frontends.families.n4.body import N4B, head_of, logits_of
from chimerac.frontends.families.n4.layers import Past
from chimerac.frontends.families.n4.sampling import Sampling
from chimerac.frontends.families.n4.shape import Counter, N4Config
from chimerac.frontends.families.n4.steps import N4Steps

UNUSED = ".n4.norm.weight"  #: end of the names of parameters that nothing uses


class N4C(nn.Module):
    """The causal language model.

    Sizes by name, or by place as in the official code: ``N4C(vocab_size, hidden_size, inter_size, heads, layers)``.
    The official README has another order, ``N4C(hidden_size, inter_size, vocab_size, heads, layers)``: sizes that rise
    like its example's are read so, with a warning. docs/n4.md has the formulas, and what in them is odd.

    Args:
        sizes: by place.
        vocab_size, hidden_size, inter_size, heads, layers: by name.
        bias: whether products have one.
        device, dtype: of the parameters.
        counter: "exact", or "bf16" for tokens counted as bfloat16 holds the numbers.
        context: most tokens of a text once the model is compiled.
        ternary: trained with ternary matrices and int8 activations and tables (docs/training.md), and compiled so.

    Raises:
        UserError: CHM220, sizes that do not go together. CHM225, sizes that are missing or given twice.
    """

    def __init__(
        self,
        *sizes: int,
        vocab_size: int | None = None,
        hidden_size: int | None = None,
        inter_size: int | None = None,
        heads: int | None = None,
        layers: int | None = None,
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        counter: Counter = "exact",
        context: int = 512,
        ternary: bool = False,
    ) -> None:
        super().__init__()
        named = {
            "vocab_size": vocab_size,
            "hidden_size": hidden_size,
            "inter_size": inter_size,
            "heads": heads,
            "layers": layers,
        }
        known = sizes_of(sizes, named)
        self.config = N4Config(**known, bias=bias, counter=counter, context=context, ternary=ternary)
        with torch.device(device) if device is not None else torch.device(torch.get_default_device()):
            self.n4b = N4B(self.config)
            self.lm_head = head_of(self.config)
        if dtype is not None:
            self.to(dtype)

    @classmethod
    def of(cls, config: N4Config) -> N4C:
        """The model of a config, with random weights of PyTorch's generator."""
        values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        seed = values.pop("seed")
        made = cls(**values)
        made.config = dataclasses.replace(config, seed=seed)
        return made

    @classmethod
    def of_state_dict(cls, state: Mapping[str, Tensor], **options: Any) -> N4C:
        """The model whose official state dict this is: sizes, heads and biases are read off it.

        Args:
            options: ``counter``, ``context``, ``ternary``, ``device`` and ``dtype`` as of the constructor.

        Raises:
            UserError: CHM220, CHM241, the tensors are not those of an N4 model.
        """
        first = "n4b.n4d.0."
        needed = ("n4b.embedding.weight", f"{first}n4.qkvh_linear.weight", f"{first}mlp.down_proj.weight")
        if missing := [name for name in needed if name not in state or state[name].ndim != 2]:
            raise UserError("CHM241", f"this is no state dict of an N4 model: there is no matrix {missing[0]}")
        vocab_size, hidden_size = state[needed[0]].shape
        made = cls(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            inter_size=state[needed[2]].shape[1],
            heads=state[needed[1]].shape[0] - 3 * hidden_size,
            layers=len({name.split(".")[2] for name in state if name.startswith("n4b.n4d.")}),
            bias="lm_head.bias" in state,
            **options,
        )
        try:
            made.load_state_dict(state)
        except RuntimeError as error:  # PyTorch's list of names and sizes
            raise UserError("CHM241", f"this is no state dict of an N4 model: {error}") from None
        return made

    def forward(
        self, input_ids: Tensor | None = None, labels: Tensor | None = None, *, input: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits float32 [B, T, V]; with labels also the mean cross entropy of each token but the first.

        Args:
            input_ids: integers [B, T]; ``input``, the README's name, is the same.
            labels: integers [B, T]; the logits of a token are compared with the label behind it. -100 counts for none.

        Raises:
            UserError: CHM225, neither of the two names or both are given, or what is given is not [B, T].
        """
        if (input_ids is None) == (input is None):
            raise UserError("CHM225", "N4C is called with input_ids, or input, which is another name of it")
        ids = input_ids if input_ids is not None else input
        assert ids is not None
        if ids.ndim != 2:
            raise UserError("CHM225", f"input_ids is {list(ids.shape)}; it must be [B, T]")
        logits = self.logits(self.n4b.extend(ids, None)[0])
        if labels is None:
            return logits
        return logits, F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten().to(logits.device))

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden: [..., D] -> float32 [..., V]."""
        return logits_of(self.lm_head, hidden)

    def generate_n4c(
        self,
        input_ids: Tensor,
        max_new_tokens: int = 512,
        temperature: float = 0.7,
        top_k: int = 10,
        top_p: float = 2.0,
        eos_token_id: int = 2,
        *,
        generator: torch.Generator | None = None,
    ) -> Iterator[int]:
        """Tokens that continue a text, each as soon as it is drawn.

        Args:
            input_ids: integers [B, T]; the first row is continued.
            temperature, top_k, top_p: see ``Sampling``.
            eos_token_id: ends the text; it is not yielded.
            generator: of the draws; PyTorch's own when None.

        Raises:
            UserError: CHM225, a number out of range, or no token to continue.
        """
        sampling = Sampling(temperature, top_k, top_p)
        if input_ids.ndim != 2 or not input_ids.shape[1]:
            raise UserError("CHM225", f"input_ids is {list(input_ids.shape)}; it must be [B, T] with a token at least")
        return self._generated(input_ids[:1], max_new_tokens, sampling, eos_token_id, generator)

    def _generated(
        self, ids: Tensor, tokens: int, sampling: Sampling, end: int, generator: torch.Generator | None
    ) -> Iterator[int]:
        past: list[Past] | None = None
        for _ in range(tokens):
            with torch.no_grad():
                hidden, past = self.n4b.extend(ids, past)
                token = sampling.draw(self.logits(hidden[0, -1]), generator)
            if token == end:
                return
            ids = torch.full((1, 1), token, dtype=ids.dtype, device=ids.device)
            yield token

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of ``nn.Module``; warns of the parameters that nothing uses."""
        found = super().load_state_dict(state_dict, strict, assign)
        if unused := [tensor for name, tensor in state_dict.items() if name.endswith(UNUSED)]:
            values = sum(tensor.numel() for tensor in unused)
            warnings.warn(f"{unused_note(len(unused), values)} (docs/n4.md)", stacklevel=2)
        return found

    def export_form(self, context: int | None = None) -> nn.Module:
        """The step form with caches of ``context`` tokens, the config's when None, which ``chimerac.compile`` takes."""
        config = self.config if context is None else dataclasses.replace(self.config, context=context)
        return N4Steps(self.n4b, self.lm_head, config)


def unused_note(tensors: int, values: int) -> str:
    """What is said of the parameters that official checkpoints have and no formula uses."""
    return f"n4.norm.weight of {tensors} layers, {values:,} values, is kept in checkpoints, but nothing uses it"
