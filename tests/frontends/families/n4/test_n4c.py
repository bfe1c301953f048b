"""``N4C`` against its description written anew (tests/support/n4_oracle.py), and its oddities one by one."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import n4_oracle
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from project import ROOT
from torch import nn

from chimerac.compiler.errors import UserError
from chimerac.frontends.config.fields import fields_of
from chimerac.frontends.families.n4.counting import counts, recurrence, running_means
from chimerac.frontends.families.n4.family import FAMILY
from chimerac.frontends.families.n4.keys import N4Keys, TrainingKeys
from chimerac.models.n4 import N4C, N4Config

SIZES: dict[str, Any] = {"vocab_size": 60, "hidden_size": 24, "inter_size": 20, "heads": 3, "layers": 2}


def made(seed: int = 1, **options: Any) -> N4C:
    """A small model whose norms are no ones."""
    torch.manual_seed(seed)
    model = N4C(**{**SIZES, **options}).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
    return model


def drawn(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(4).integers(0, SIZES["vocab_size"], shape))


@pytest.mark.parametrize("bias", [False, True])
def test_logits_are_those_of_the_description(bias: bool) -> None:
    model, ids = made(bias=bias), drawn(2, 13)
    with torch.no_grad():
        found = model(ids)
    for row, tokens in zip(found, ids.tolist(), strict=True):
        wanted = n4_oracle.logits_of(model.state_dict(), 3, tokens)
        np.testing.assert_allclose(row.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-5)


def test_one_token() -> None:
    model = made()
    with torch.no_grad():
        found = model(torch.tensor([[7]]))[0]
    np.testing.assert_allclose(found.numpy(), n4_oracle.logits_of(model.state_dict(), 3, [7]).numpy(), atol=1e-5)


def test_the_loss_compares_each_token_with_the_label_behind_it() -> None:
    model, ids = made(), drawn(2, 9)
    labels = ids.clone()
    labels[0, 4] = -100  # PyTorch's own, and the only one that is left out
    logits, loss = model(input=ids, labels=labels)
    torch.testing.assert_close(logits, model(ids))
    parts = [
        -torch.log_softmax(logits[b, t], -1)[labels[b, t + 1]] for b in range(2) for t in range(8) if (b, t) != (0, 3)
    ]
    torch.testing.assert_close(loss, torch.stack(parts).mean())
    loss.backward()
    given = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    left = {name for name, _ in model.named_parameters()} - given
    assert left == {f"n4b.n4d.{layer}.n4.norm.weight" for layer in range(2)}  # the norm that nothing uses


def test_running_means_of_a_constant_are_half_of_it_in_the_end() -> None:
    """1, 3/4, ... (1 + 1/j) / 2: the divisor is j^2, not the sum of the factors."""
    means = running_means(torch.ones(1, 1, 600, 1), "exact").flatten()
    wanted = (1 + 1 / torch.arange(1.0, 601)) / 2
    torch.testing.assert_close(means, wanted)
    assert means[[0, 1, 9, 599]].tolist() == pytest.approx([1.0, 0.75, 0.55, 0.5 + 1 / 1200])


def test_scores_are_divided_by_the_width_of_the_model() -> None:
    assert N4Config(**SIZES).scale == 24**-0.5
    assert N4Config(**SIZES).head_width == 8


def test_bfloat16_counts_in_steps() -> None:
    """What cumsum(ones) is in that type, and its square."""
    factors, divisors = counts(0, 1000, "bf16")
    ones = torch.ones(1000, dtype=torch.bfloat16).cumsum(0)
    assert factors[255:260].tolist() == [256, 256, 258, 260, 260]
    assert torch.equal(factors, ones.float())
    assert torch.equal(divisors, (ones**2).float())
    assert torch.equal(counts(0, 256, "exact")[0], factors[:256])


def test_the_counter_changes_logits_from_the_17th_token_on() -> None:
    """17^2 is the first square that bfloat16 has not."""
    exact, bf16, ids = made(), made(counter="bf16"), drawn(1, 20)
    with torch.no_grad():
        one, other = exact(ids)[0], bf16(ids)[0]
    assert torch.equal(one[:16], other[:16])
    assert not torch.equal(one[16], other[16])
    wanted = n4_oracle.logits_of(
        bf16.state_dict(), 3, ids[0].tolist(), lambda i: float(torch.tensor(float(i)).bfloat16())
    )
    np.testing.assert_allclose(other.numpy(), wanted.numpy(), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("counter", ["exact", "bf16"])
def test_the_recurrence_gives_the_same_means_and_stays_bounded(counter: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(2000, 4)
    keep_add, mean, found = recurrence(2000, counter), np.zeros(4, np.float32), []
    for (keep, add), row in zip(keep_add, x.numpy(), strict=True):
        mean = keep * mean + add * row
        found.append(mean)
    factors, divisors = (part.double() for part in counts(0, 2000, counter))
    wanted = (factors[:, None] * x.double()).cumsum(0) / divisors[:, None]
    np.testing.assert_allclose(np.stack(found), wanted.numpy(), atol=2e-6)
    assert np.abs(found).max() <= x.abs().max()


@pytest.mark.parametrize("split", [1, 5, 12])
def test_a_text_in_two_parts_gives_the_same(split: int) -> None:
    model, ids = made(), drawn(1, 13)
    with torch.no_grad():
        _, past = model.n4b.extend(ids[:, :split], None)
        hidden, _ = model.n4b.extend(ids[:, split:], past)
        torch.testing.assert_close(model.logits(hidden), model(ids)[:, split:], rtol=1e-5, atol=1e-5)


def test_equal_seeds_draw_the_weights_of_plain_layers() -> None:
    """In the order of the official code: table, then products and the network of each layer, then the head."""
    torch.manual_seed(5)
    found = N4C(**SIZES).state_dict()
    torch.manual_seed(5)
    wanted: dict[str, nn.Module] = {"n4b.embedding": nn.Embedding(60, 24)}
    for layer in range(2):
        own = {"n4.qkvh_linear": nn.Linear(24, 75, bias=False), "n4.out_linear": nn.Linear(24, 24, bias=False)}
        own |= {"mlp.up_proj": nn.Linear(24, 60, bias=False), "mlp.down_proj": nn.Linear(20, 24, bias=False)}
        for name in ("mlp.up_proj", "mlp.down_proj"):
            nn.init.kaiming_normal_(own[name].weight, a=0.5**0.5)
        wanted |= {f"n4b.n4d.{layer}.{name}": module for name, module in own.items()}
    wanted["lm_head"] = nn.Linear(24, 60, bias=False)
    for name, module in wanted.items():
        assert torch.equal(found[f"{name}.weight"], module.get_parameter("weight")), name


def test_the_documents_sizes() -> None:
    """177,874,176 parameters; its 127M are those without table and head. The table of tensors is the state dict."""
    table = FAMILY.tensors(N4Config(32768, 768, 1536, 6, 18))
    count = sum(math.prod(spec.shape) for spec in table.specs.values())
    assert count == 177_874_176
    assert count - 2 * 32768 * 768 == 127_542_528
    specs = FAMILY.tensors(N4Config(**SIZES, bias=True)).specs
    state = made(bias=True).state_dict()
    assert [(n, spec.shape) for n, spec in specs.items()] == [(n, tuple(t.shape)) for n, t in state.items()]


def test_the_order_of_the_official_code_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert N4C(60, 24, 20, 3, 2).config == N4Config(**SIZES)
        assert N4C(60, 24, inter_size=20, heads=3, layers=2).config == N4Config(**SIZES)
        assert N4C(20, 24, 60, 3, 2).config.vocab_size == 20  # 20 channels for 3 heads: not the README's order


def test_the_order_of_the_readme_is_taken_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="hidden_size=24, inter_size=40, vocab_size=60") as caught:
        model = N4C(24, 40, 60, 3, 2)
    assert caught[0].filename == __file__
    assert model.config == N4Config(**{**SIZES, "inter_size": 40})


@pytest.mark.parametrize(
    ("places", "names", "text"),
    [
        ((60, 24, 20, 3), {}, "layers missing"),
        ((60, 24, 20, 3, 2), {"heads": 3}, "heads given by place and by name"),
        ((60, 24, 20, 3, 2, 1), {}, "takes 5 sizes, not 6"),
    ],
)
def test_sizes_that_are_missing_or_given_twice_are_refused(
    places: tuple[int, ...], names: dict[str, Any], text: str
) -> None:
    with pytest.raises(UserError, match=text) as error:
        N4C(*places, **names)
    assert error.value.code == "CHM225"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"heads": 5}, "24 channels cannot be shared by 5 heads"),
        ({"heads": 0}, "24 channels cannot be shared by 0 heads"),
        ({"layers": 0}, "layers must be 1 or more"),
        ({"counter": "fp16"}, "neither 'exact' nor 'bf16'"),
        ({"bias": True, "ternary": True}, "ternary products have no bias"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text) as error:
        N4C(**{**SIZES, **changes})
    assert error.value.code == "CHM220"


@pytest.mark.parametrize("names", [(), ("input_ids", "input")])
def test_a_call_has_one_input(names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="called with input_ids, or input") as error:
        made()(**dict.fromkeys(names, drawn(1, 3)))
    assert error.value.code == "CHM225"
    with pytest.raises(UserError, match=r"input_ids is \[3\]"):
        made()(drawn(3))


def test_an_official_state_dict_is_read_and_what_is_unused_is_said() -> None:
    state = made(bias=True).state_dict()
    with pytest.warns(UserWarning, match=r"n4\.norm\.weight of 2 layers, 16 values, .* nothing uses it"):
        model = N4C.of_state_dict(state, context=99)
    assert model.config == N4Config(**SIZES, bias=True, context=99)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    with pytest.raises(UserError, match=r"no matrix n4b\.embedding\.weight") as error:
        N4C.of_state_dict({"embedding.weight": torch.zeros(3, 4)})
    assert error.value.code == "CHM241"


@pytest.mark.filterwarnings("ignore:n4.norm:UserWarning")
@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("n4b.n4d.1.pre_n4_norm.weight", "CHM241", r"Missing key.*n4b\.n4d\.1\.pre_n4_norm"),
        ("n4b.n4d.0.n4.qkvh_linear.weight", "CHM241", "no matrix n4b"),
        ("n4b.n4d.x.weight", "CHM241", r"Unexpected key.*n4b\.n4d\.x"),
    ],
)
def test_a_state_dict_of_something_else_is_refused(name: str, code: str, text: str) -> None:
    state = dict(made().state_dict())
    if name in state:
        del state[name]
    else:
        state[name] = torch.zeros(3)
    with pytest.raises(UserError, match=f"(?s){text}") as error:
        N4C.of_state_dict(state)
    assert error.value.code == code


def test_under_autocast_the_means_stay_float32() -> None:
    """A model cast to bfloat16, which the official code refuses, computes too."""
    model, ids = made(), drawn(1, 300)
    with torch.no_grad():
        wanted = model(ids)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(ids)
        assert found.dtype == torch.float32
        cast = made(dtype=torch.bfloat16)(ids)
    for logits in (found, cast):
        assert (logits - wanted).abs().mean() < 0.1 * wanted.abs().mean()


def test_ternary_products_are_those_of_the_rounded_matrices() -> None:
    """Each matrix is a scale times -1, 0 and 1; activations are codes of 8 bits, which changes little."""
    model, ids = made(ternary=True, hidden_size=128, heads=4), drawn(1, 11)
    plain = N4C(**{**SIZES, "hidden_size": 128, "heads": 4}).eval()
    state = dict(model.state_dict())
    for name, tensor in state.items():
        if name.endswith(("_linear.weight", "_proj.weight")):
            scale = tensor.abs().mean(1, keepdim=True) if tensor.shape[1] <= 128 else None
            assert scale is not None
            state[name] = (tensor / scale).round().clamp(-1, 1) * scale
    with pytest.warns(UserWarning, match="nothing uses it"):
        plain.load_state_dict(state)
    with torch.no_grad():
        wanted, found = plain(ids), model(ids)
    error = F.mse_loss(found, wanted).sqrt() / wanted.std()
    assert 1e-4 < float(error) < 0.05


def test_every_key_of_a_config_is_documented() -> None:
    page = (ROOT / "docs" / "n4.md").read_text()
    rows = "".join(line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `"))
    names = {item.name for section in (N4Keys, TrainingKeys) for item in fields_of(section)} - {"model_type"}
    assert names == set(re.findall(r"`(\w+)`", rows)) & names
