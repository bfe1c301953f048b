"""A detector of speech with the weights of the package silero-vad: its network for 16 kHz as a PyTorch module."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK, BEFORE = 512, 64  #: samples of a call, and those of the call before that it sees as well
#: Names of the weights in the package's TorchScript model, which are of the version of its ONNX model; those of its
#: safetensors file are of another one.
THEIRS = {
    "stft_conv": "stft.forward_basis_buffer",
    **{f"conv{i + 1}": f"encoder.{i}.reparam_conv.{{}}" for i in range(4)},
    "lstm_cell": "decoder.rnn.{}",
    "final_conv": "decoder.decoder.2.{}",
}


def data() -> Path:
    """The folder of the package's weights."""
    spec = find_spec("silero_vad")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "data"


class Speech(nn.Module):
    """[1, 512] samples at 16 kHz -> how likely somebody speaks: [1, 1]; what came before is in buffers."""

    h: Tensor
    c: Tensor
    before: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        widths, strides = (129, 128, 64, 64, 128), (1, 2, 2, 1)
        for i, stride in enumerate(strides):
            setattr(self, f"conv{i + 1}", nn.Conv1d(widths[i], widths[i + 1], 3, stride=stride, padding=1))
        self.lstm_cell, self.final_conv = nn.LSTMCell(128, 128), nn.Conv1d(128, 1, 1)
        given = torch.jit.load(data() / "silero_vad.jit", map_location="cpu").state_dict()
        for name, part in self.named_children():
            part.load_state_dict({key: given["_model." + THEIRS[name].format(key)] for key in part.state_dict()})
        for name, width in (("h", 128), ("c", 128), ("before", BEFORE)):
            self.register_buffer(name, torch.zeros(1, width))

    def forward(self, samples: Tensor) -> Tensor:
        x = torch.cat([self.before, samples], 1)
        self.before.copy_(samples[:, -BEFORE:])
        x = self.stft_conv(F.pad(x, (0, 64), "reflect")[:, None])
        x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
        for i in range(4):
            x = F.relu(getattr(self, f"conv{i + 1}")(x))
        h, c = self.lstm_cell(x[:, :, 0], (self.h, self.c))
        self.h.copy_(h)
        self.c.copy_(c)
        return torch.sigmoid(self.final_conv(F.relu(h)[:, :, None]))[:, :, 0]
