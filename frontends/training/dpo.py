"""Direct preference optimisation (arXiv 2305.18290): a better and a worse answer, against a frozen reference."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def preference_loss(policy: Tensor, reference: Tensor, beta: float) -> Tensor:
    """The summed loss -log sigmoid(beta ((w - w_ref) - (l - l_ref))) of the pairs.

    Args:
        policy, reference: [2n], each row's summed log-probability of its targets; rows 2i are better than rows 2i+1.
    """
    gain = (policy - reference).view(-1, 2)
    return -F.logsigmoid(beta * (gain[:, 0] - gain[:, 1])).sum()


def row_sums(log_probabilities: Tensor, positions: Tensor, rows: int, length: int) -> Tensor:
    """Sums over each row's targets: [M] at flat places ``positions`` b * length + t -> [rows]."""
    start = torch.zeros(rows, dtype=log_probabilities.dtype, device=log_probabilities.device)
    return start.index_add(0, positions // length, log_probabilities)
