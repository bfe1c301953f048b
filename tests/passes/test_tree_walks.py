"""tree_walks: a tree gives the logits of its tokens run one by one, and the states of the path that is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from ir_text import ir_text
from ir_tools import module_of
from random_models import same_numbers
from token_trees import Tree
from tree_models import calls_of, tree_model

from chimerac.compiler.build import pipeline
from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.interpreter import Session
from chimerac.compiler.ir.module import Module, walk
from chimerac.compiler.ir.text import parse, print_module


def lowered(module: Module, without: tuple[str, ...] = ()) -> Module:
    return pipeline.run(module, pipeline.passes(speculate=True, without=without))[0]


def assert_exact(module: Module, seed: int, loops: int) -> int:
    """Trees against the same tokens in calls of one; the nodes that were compared."""
    tree, plain = Session(module, loops=loops), Session(module, loops=loops)
    nodes = 0
    for call in calls_of(module, seed):
        if not isinstance(call, Tree):
            assert same_numbers(tree.forward(call), plain.forward(call))
            continue
        logits = tree.verify(call.tokens, call.parents)
        tree.commit(call.path)
        for node in call.path:
            assert same_numbers(logits[node], plain.forward([call.tokens[node]]))
        nodes += len(call.path)
        assert all(same_numbers(tree.states[name], plain.states[name]) for name in plain.states)
        assert tree.position == plain.position
    return nodes


def test_trees_of_random_models_are_exact() -> None:
    """With all passes, and with none that may be left out; nodes off the path are in another test's path."""
    kinds: set[str] = set()
    for seed in range(30):
        module = lowered(tree_model(seed), tuple(sorted(pipeline.OPTIONAL)) if seed % 3 == 0 else ())
        kinds |= {op.name for op in walk(module.entry("commit").ops)}
        for loops in {1, module.loops[1]}:
            assert assert_exact(module, seed, loops)
    wanted = {"gated_delta", "gated_linear_attention", "mlstm", "titans_update", "window_attention", "cached_attention"}
    assert wanted | {"causal_conv", "scan", "replay"} <= kinds


@pytest.mark.slow
def test_trees_of_three_hundred_models_are_exact() -> None:
    for seed in range(100, 400):
        module = lowered(tree_model(seed))
        assert_exact(module, seed, 1 + seed % module.loops[1])


def test_every_node_has_the_logits_of_its_own_path() -> None:
    module = lowered(tree_model(3))
    tree, tokens = Session(module), (1, 5, 2, 5, 0, 3, 4)
    parents = (-1, 0, 1, 0, 3, 3, 0)
    tree.forward([6])
    logits = tree.verify(tokens, parents)
    for node in range(len(tokens)):
        path = [node]
        while (above := parents[path[0]]) >= 0:
            path.insert(0, above)
        plain = Session(module)
        plain.forward([6])
        assert same_numbers(logits[node], plain.forward([tokens[i] for i in path]))


def test_the_text_form_keeps_walks() -> None:
    text = print_module(lowered(tree_model(7)))
    assert text.count(" walk(") >= text.count("replay()") > 0
    assert print_module(parse(text)) == text


def test_what_is_no_tree_or_no_path_of_it_is_refused() -> None:
    session = Session(lowered(tree_model(3)))
    for parents in ([0], [-1, 1], [-1, 0, 2], [], [-1] + [0] * 20):
        with pytest.raises(ValueError, match=r"parent|nodes"):
            session.verify([1] * len(parents), parents)
    with pytest.raises(ValueError, match="within 4 positions"):
        session.verify([1] * 5, [-1, 0, 1, 2, 3])
    with pytest.raises(ValueError, match="no path"):
        session.commit([0])
    session.verify([1, 2, 3], [-1, 0, 0])
    for path in ([], [1], [0, 1, 2], [0, 3]):
        with pytest.raises(ValueError, match="no path"):
            session.commit(path)


CONSTANTS = ("constant w: f32[8,8]", "state s: f32[1,8] iterations=1")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            """
            %s: f32[1,8] = state.read() {name='s'}
            %n: i32[] = token_count(%tokens)
            %f: f32[] = to_float(%n)
            %y: f32[T,8] = mul(%x, %f)
            %e: f32[1,8] = last_token(%y)
            state.write(%e) {name='s'}
            """,
            "it counts the tokens",
        ),
        (
            """
            %s: f32[1,8] = state.read() {name='s'}
            %a: f32[T,8] = add(%x, %s)
            %z: f32[T,8] = linear(%a, %w)
            %l: f32[1,8] = last_token(%z)
            %y: f32[T,8] = add(%z, %x)
            %e: f32[1,8] = mul(%l, %s)
            state.write(%e) {name='s'}
            """,
            "several layers share one state",
        ),
        (
            """
            %s: f32[1,8] = state.read() {name='s'}
            %y: f32[T,8] = silu(%x)
            %e: f32[1,8] = tanh(%s)
            state.write(%e) {name='s'}
            """,
            "does not lie token by token",
        ),
    ],
)
def test_what_has_no_form_for_trees_is_refused(body: str, why: str) -> None:
    body = f"%w: f32[8,8] = constant() {{name='w'}}\n%x: f32[T,8] = embedding(%tokens, %table)\n{body}\nreturn %y"
    text = ir_text("table: f32[10,8]", body, *CONSTANTS)
    with pytest.raises(UserError, match=why) as found:
        lowered(module_of(text))
    assert found.value.code == "CHM315"
    pipeline.run(module_of(text), pipeline.passes())


def test_a_module_that_gives_its_last_logits_only_is_refused() -> None:
    text = ir_text(
        "table: f32[10,8]",
        "%x: f32[T,8] = embedding(%tokens, %table)\n%y: f32[1,8] = last_token(%x)\nreturn %y",
    )
    with pytest.raises(UserError, match="its last token only"):
        lowered(module_of(text))


def test_without_speculation_there_are_no_walks() -> None:
    module = pipeline.run(tree_model(3), pipeline.passes())[0]
    assert set(module.graphs) == {"decode", "prefill"}
    assert np.all([op.name not in ("walk", "replay") for g in module.graphs.values() for op in walk(g.ops)])
