"""The export form: what remains in the graph, any number of tokens, states as buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from chimerac.compiler.errors import UserError
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.families.chimera.session import EagerSession
from chimerac.frontends.families.chimera.shape import ChimeraShape
from chimerac.frontends.families.chimera.stateful import Stateful
from chimerac.frontends.layers.knot import KnotTargets
from chimerac.frontends.layers.span_knot import SpanKnot

Make = Callable[[ChimeraShape], ChimeraModel]

CORE = {
    f"aten.{name}"
    for name in (
        "add.Tensor", "mul.Tensor", "sub.Tensor", "div.Tensor", "neg.default", "exp.default", "sigmoid.default",
        "silu.default", "softplus.default", "tanh.default", "clamp_min.default", "reshape.default", "view.default",
        "linear.default", "copy_.default", "zeros_like.default", "embedding.default",
    )
}  # fmt: skip


def exported(module: Stateful) -> ExportedProgram:
    example = (torch.zeros(3, dtype=torch.int32), torch.tensor(0, dtype=torch.int32))
    length = Dim("T", min=1, max=module.block)
    return torch.export.export(module, example, dynamic_shapes={"tokens": {0: length}, "position": None})


@pytest.fixture(scope="module")
def programs(
    nano: ChimeraShape, odd: ChimeraShape, make_model: Make
) -> Callable[[str], tuple[ChimeraModel, Stateful, ExportedProgram]]:
    """Those of a shape; made when they are asked for."""
    shapes = {"nano": nano, "odd": odd, "plain": replace(odd, loop=None, efla=False, embedding_format="float32")}

    @cache
    def made(name: str) -> tuple[ChimeraModel, Stateful, ExportedProgram]:
        model = make_model(shapes[name])
        module = Stateful(model)
        return model, module, exported(module)

    return made


@pytest.fixture(params=["nano", *(pytest.param(name, marks=pytest.mark.slow) for name in ("odd", "plain"))])
def program(
    request: pytest.FixtureRequest, programs: Callable[[str], tuple[ChimeraModel, Stateful, ExportedProgram]]
) -> tuple[ChimeraModel, Stateful, ExportedProgram]:
    return programs(request.param)


def calls(program: ExportedProgram) -> Iterator[str]:
    for node in program.graph.nodes:
        if node.op == "call_function" and "getitem" not in str(node.target):
            yield str(node.target)


def test_only_custom_and_core_operations_remain(program: tuple[ChimeraModel, Stateful, ExportedProgram]) -> None:
    used = set(calls(program[2]))
    assert {name for name in used if not name.startswith("chimera.")} <= CORE
    functional = set(calls(program[2].run_decompositions({})))
    assert {name for name in functional if not name.startswith("chimera.")} <= CORE - {"aten.copy_.default"}
    kinds = {"chimera.ternary_linear.default", "chimera.rms_norm.default", "chimera.gated_delta.default",
             "chimera.mlstm.default", "chimera.window_attention.default", "chimera.titans_update.default",
             "chimera.moe.default"}  # fmt: skip
    assert kinds <= used


@pytest.mark.usefixtures("exact_activations")
def test_exported_program_equals_eager_for_any_length(
    program: tuple[ChimeraModel, Stateful, ExportedProgram],
) -> None:
    model, _, graph = program
    compiled, eager = graph.module(), Stateful(model)
    session = EagerSession(model, 1 if model.shape.loop else None)
    position = 0
    for count in (1, 3, 12, 16, 16, 1):
        tokens = torch.randint(0, model.shape.vocabulary, (count,), dtype=torch.int32)
        where = torch.tensor(position, dtype=torch.int32)
        logits = compiled(tokens, where)
        assert logits.shape == (count, model.shape.vocabulary)
        torch.testing.assert_close(logits, eager(tokens, where))
        torch.testing.assert_close(logits, session.run(tokens), rtol=1e-4, atol=1e-4)
        position += count


def test_the_length_stays_free(program: tuple[ChimeraModel, Stateful, ExportedProgram]) -> None:
    graph = program[2]
    (bounds,) = graph.range_constraints.values()
    assert (bounds.lower, bounds.upper) == (1, 16)
    assert graph.graph_signature.user_inputs == ("tokens", "position")


def test_only_states_are_mutated_and_weights_keep_their_names(
    program: tuple[ChimeraModel, Stateful, ExportedProgram],
) -> None:
    model, module, graph = program
    signature = graph.run_decompositions({}).graph_signature
    assert sorted(signature.buffers_to_mutate.values()) == sorted(module.state_names)
    assert set(signature.parameters) == {name for name, _ in model.named_parameters()}
    constants = set(signature.buffers) - set(module.state_names)
    assert {name.rpartition(".")[2] for name in constants} <= {"one", "router_bias", "summing"}
    assert all(b.dtype == torch.float32 for n, b in module.named_buffers() if n in module.state_names)


def test_state_names_hold_one_iteration(
    programs: Callable[[str], tuple[ChimeraModel, Stateful, ExportedProgram]],
) -> None:
    _, module, _ = programs("nano")
    titans = {f"layers.3.mixer.{name}" for name in ("ring_k", "ring_v", "anchor", "memory", "momentum")}
    assert titans <= set(module.state_names)
    assert len(module.state_names) == len(set(module.state_names)) == 5 * 4 + 2 * 3 + 5


def test_the_looped_region_stands_once(
    programs: Callable[[str], tuple[ChimeraModel, Stateful, ExportedProgram]],
) -> None:
    _, _, graph = programs("nano")
    nodes = list(graph.graph.nodes)
    (begin,) = [n for n in nodes if str(n.target) == "chimera.loop_begin.default"]
    (end,) = [n for n in nodes if str(n.target) == "chimera.loop_end.default"]
    assert begin.args[1:] == (3, 2, 0.01)
    region = nodes[nodes.index(begin) : nodes.index(end)]
    inside = [str(n.target) for n in region]
    assert inside.count("chimera.gated_delta.default") == 2
    assert inside.count("chimera.mlstm.default") == 1
    assert inside.count("chimera.window_attention.default") == 1
    # the slow writer gets the loop's write flag, not a constant
    (attention,) = [n for n in region if str(n.target) == "chimera.window_attention.default"]
    assert attention.args[9].args == (begin, 1)


def test_weights_are_shared_and_the_model_is_untouched(nano: ChimeraShape, make_model: Make) -> None:
    model = make_model(nano)
    names = [name for name, _ in model.named_buffers()]
    module = Stateful(model)
    assert [name for name, _ in model.named_buffers()] == names
    assert all(p.requires_grad for p in model.parameters())
    assert not any(p.requires_grad for p in module.parameters())
    mine = dict(module.named_parameters())
    for name, parameter in model.named_parameters():
        assert mine[name].data_ptr() == parameter.data_ptr()


def test_a_session_of_calls_is_independent_of_another(nano: ChimeraShape, make_model: Make) -> None:
    model = make_model(nano)
    first, second = Stateful(model), Stateful(model)
    tokens, start = torch.arange(4, dtype=torch.int32), torch.tensor(0, dtype=torch.int32)
    logits: Tensor = first(tokens, start)
    assert torch.equal(second(tokens, start), logits)


def test_attached_memory_is_refused(nano: ChimeraShape, make_model: Make) -> None:
    model = make_model(nano)
    mixer = model.layers[7].mixer
    assert isinstance(mixer, SpanKnot)
    mixer.targets = KnotTargets()
    with pytest.raises(UserError, match="memory attached") as error:
        Stateful(model)
    assert error.value.code == "CHM222"
