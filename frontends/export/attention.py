"""Causal attention as people write it, recognised in an exported graph and put into one op with a cache.

What is looked for is ``softmax(scores) @ v`` with scores ``q @ k^T`` times a number and a mask, added or filled in. How
the mask is written does not matter: PyTorch computes it for some texts, and it must be that of causal attention,
perhaps with a window. In a module that sees a whole text k and v are those of its tokens; a module that is called step
by step has them in buffers of a fixed number of rows, into which it puts those of its tokens at their positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from chimerac.compiler.errors import UserError
from chimerac.frontends.export import causal_attention as _op  # noqa: F401  registers it
from chimerac.frontends.export.cache_rows import Written, written
from chimerac.frontends.export.evaluated import Evaluated
from chimerac.frontends.export.functional import Mutations
from chimerac.frontends.export.grouped import plain, swapped, ungrouped
from chimerac.frontends.export.obstacles import Obstacle, ObstaclesError
from chimerac.frontends.export.places import place_of
from chimerac.frontends.export.scores import PRODUCTS, node_of, product_of, scores_of

aten = torch.ops.aten
causal_attention = torch.ops.chimera.causal_attention.default

#: Longest text whose mask is computed; larger windows are not seen.
LONGEST = 4096
MOST_BIASES = 1 << 25  #: numbers of a mask with a slope for each head
SHORT = 64  #: up to so many tokens biases are compared for each, in longer texts for two
#: A score from here on downwards is that of a row that is not seen: whatever the others are, its weight is 0.
HIDDEN = -1e4

#: Ops that a window may be written with.
COMPARISONS = (
    *(overload for op in (aten.lt, aten.le, aten.gt, aten.ge) for overload in (op.Scalar, op.Tensor)),
    *(overload for op in (aten.add, aten.sub, aten.rsub) for overload in (op.Scalar, op.Tensor)),
    *(aten.triu.default, aten.tril.default),
)

FORM = (
    "recognised is softmax(q @ k.transpose(-2, -1) * scale, masked) @ v, and F.scaled_dot_product_attention, where "
    "every token sees itself and those before it, or the last ones of a window; what is added to scores may be a slope "
    "by distance for each head"
)


def recognise(program: ExportedProgram, mutations: Mutations, block: int, context: int | None, whole: bool) -> None:
    """Put ``chimera.causal_attention`` in place of every causal attention along the tokens.

    Args:
        program: its graph is changed.
        mutations: of its buffers; those that are caches leave it.
        block: most tokens of a call.
        context: most tokens of a text, where the module does not say how many there can be.
        whole: whether the module sees a whole text at once.

    Raises:
        UserError: CHM224, attention along the tokens that is of no form that has a cache, or nothing says how long a
            text may be, or something else says so than ``context``.
    """
    limit = table_rows(program, mutations) if whole else None
    used, refused = False, list[tuple[Node, UserError]]()

    def stays(node: Node) -> bool:
        """Whether a node stays though no other uses it: what a buffer becomes is no output of every graph."""
        return node.op in ("placeholder", "output") or node.name in mutations

    if any(_is_softmax(node) for node in program.graph.nodes):
        program.graph.eliminate_dead_code(stays)  # what nobody uses need have no form
    nodes = [node for node in program.graph.nodes if _is_softmax(node)]
    for node in nodes:
        try:
            attention = _Attention(program, mutations, node, whole)
            attention.replace(attention.rows(block, context, limit))
            used |= attention.takes_context
        except UserError as error:
            refused.append((node, error))
    if refused:
        raise ObstaclesError(refused[0][1], [_obstacle(node, error) for node, error in refused])
    if nodes:
        program.graph.eliminate_dead_code(stays)
    if context is not None and not used:
        hint = "leave it out: it is for attention that looks back at all of a text"
        raise UserError("CHM224", f"a context of {context} tokens, and nothing that depends on it", hint=hint)


def _obstacle(node: Node, error: UserError) -> Obstacle:
    stack = node.meta.get("nn_module_stack") or {}
    path = next((str(entry[0]) for entry in reversed(list(stack.values())) if entry[0]), "")
    return Obstacle(error.code, error.message, places=(place_of(node, path),), advice=str(error.hint or ""))


def table_rows(program: ExportedProgram, mutations: Mutations) -> int | None:
    """Rows of the smallest table with a row for each position; None if there is none.

    It is read by ``embedding`` of the places of the tokens, or as a parameter ``[..., :T, width]``.
    """
    evaluated = Evaluated(program, {name for names in mutations.values() for name in names})
    learned = {s.arg.name for s in program.graph_signature.input_specs if s.kind == InputKind.PARAMETER}
    found = []
    for node in program.graph.nodes:
        if node.target is aten.embedding.default and evaluated.is_free(node.args[1]):
            table, ids = node.args[:2]
            if all(torch.equal(evaluated.of(ids, n).flatten().long(), torch.arange(n)) for n in (2, 3)):
                found.append(int(table.meta["val"].shape[0]))
        elif node.target is aten.slice.Tensor and node_of(node.args[0]).name in learned:
            pairs = zip(node_of(node.args[0]).meta["val"].shape, node.meta["val"].shape, strict=True)
            found += [int(whole) for whole, part in pairs if str(part).startswith("s")]
    return min(found, default=None)


def _is_softmax(node: Node) -> bool:
    """Whether a node is a softmax over what each token sees of others: [..., T, S]."""
    if node.target not in (aten.softmax.int, aten._softmax.default):
        return False
    shape = node.meta["val"].shape
    if len(shape) < 2 or node.args[1] not in (-1, len(shape) - 1):
        return False
    tokens = str(shape[-2]).startswith("s")
    return str(shape[-1]).startswith("s") or (tokens and _masks(node))


def _masks(node: Node) -> bool:
    """Whether a softmax over a fixed number of elements is of products of two computed tensors."""
    source = node.args[0]
    while isinstance(source, Node) and source.op == "call_function" and source.target not in PRODUCTS:
        computed = [n for n in source.all_input_nodes if n.op == "call_function"]
        if source.target is aten.where.self:
            computed = [n for n in source.args[1:] if isinstance(n, Node) and n.op == "call_function"]
        if not computed:
            return False
        source = computed[0]
    if not isinstance(source, Node) or source.target not in PRODUCTS:
        return False
    return any(n.target is aten.index_put.default for n in _behind(source.args[1]))


def _behind(node: Any, most: int = 8) -> Iterator[Node]:
    """A node, and what it is a view or a copy of."""
    while isinstance(node, Node) and most:
        yield node
        node, most = node.args[0] if node.args else None, most - 1


class _Attention:
    """One attention, from its softmax."""

    def __init__(self, program: ExportedProgram, mutations: Mutations, node: Node, whole: bool) -> None:
        self.program, self.mutations, self.softmax, self.whole = program, mutations, node, whole
        changed = {name for names in mutations.values() for name in names}
        self.position = _position_of(program)
        self.at_start = Evaluated(program, changed, self._given(0))
        self.takes_context = False
        scores, product = scores_of(node, self.at_start), product_of(node, self.at_start)
        if scores is None or product is None:
            raise self._refused("the softmax along the tokens is of no attention that is known")
        self.scores, self.result = scores, product
        self.q, self.keys = (node_of(argument) for argument in scores.product.args[-2:])
        self.values = node_of(product.args[1])
        self.written: tuple[Written, Written] | None = None
        if not whole or not str(node.meta["val"].shape[-1]).startswith("s"):
            self.written = self._written()
        self.slopes: torch.Tensor | None = None  #: of the heads of q, or one for all
        self.window = self._window()

    def _given(self, position: int) -> Mapping[str, torch.Tensor]:
        return {} if self.position is None else {self.position: torch.tensor(position, dtype=torch.int32)}

    def _refused(self, message: str) -> UserError:
        return UserError("CHM224", message, hint=FORM)

    # ---- what is seen ----

    def _written(self) -> tuple[Written, Written]:
        keys, values = (
            written(self.program, self.mutations, node) for node in ungrouped(plain(self.keys), self.values)
        )
        if keys is None or values is None or keys.rows != values.rows:
            if str(self.softmax.meta["val"].shape[-1]).startswith("s"):
                raise self._refused("attention to the tokens of the call only, and not to those before")
            raise self._refused("attention over buffers that index_copy_ or index_put_ does not write")
        return keys, values

    def _window(self) -> int:
        """Tokens that each sees, itself among them; 0: all before it."""
        lengths = (2, 3) if self.written is None else (1, 2, 3)
        places = [0] if self.written is None else [0, 5, self.written[0].rows - 3]
        windows = {self._window_of(n, p) for n in lengths for p in places if p >= 0}
        return max(windows)

    def _window_of(self, tokens: int, position: int) -> int:
        """The window in a text: 0 where nothing before a token is hidden from it."""
        size = self.written[0].rows if self.written is not None else tokens
        evaluated = self.at_start if not position else Evaluated(self.program, self._changed(), self._given(position))
        if self.written is not None:
            for one in self.written:
                if not one.at(evaluated, tokens, position):
                    raise self._refused("a cache is written at other places than the positions of the tokens")
        mask = torch.zeros(tokens, size)
        try:
            for step in self.scores.steps:
                mask = step(mask, evaluated, tokens)
        except (RuntimeError, IndexError, TypeError, ValueError):
            raise self._refused(f"the mask of attention has no value for a text of {tokens} tokens") from None
        mask = mask.reshape(-1, *mask.shape[-2:])
        hidden = (mask <= HIDDEN)[0]
        if mask.shape[-2:] != (tokens, size) or not bool(((mask <= HIDDEN) == hidden).all()):
            raise self._refused("attention whose mask differs by head")
        ages = position + torch.arange(tokens)[:, None] - torch.arange(size)
        if bool((hidden != (ages < 0))[ages < 0].any()):
            raise self._refused("attention to later tokens, which a text that grows does not have yet")
        rows = list(range(tokens)) if tokens <= SHORT else [tokens // 2, tokens - 1]
        self._take_slopes(mask[:, rows], hidden[rows], ages[rows])
        before = hidden & (ages >= 0)
        window = int(ages[before].min()) if bool(before.any()) else 0
        if window and bool(((ages >= window) & ~hidden).any()):
            raise self._refused("attention that skips tokens")
        if bool(before.any()) and not window:
            raise self._refused("attention of a token that does not see itself")
        return window

    def _take_slopes(self, mask: torch.Tensor, hidden: torch.Tensor, ages: torch.Tensor) -> None:
        """What is added to scores [H or 1, T, S] must be a slope by distance, but for a number for each token, which
        changes no weight."""
        seen = ~hidden & (ages >= 0)
        own = mask[:, ages == 0][..., None]  # of each token to itself
        relative = torch.where(seen, mask - torch.where(own <= HIDDEN, 0.0, own), 0.0).double()
        before = seen & (ages > 0)
        if bool(before.any()) and self.slopes is None:
            nearest = before & (ages == ages[before].min())
            slopes = -(relative / ages.clamp(min=1))[:, nearest][:, 0].float()
            heads = self.q.meta["val"].shape[-3] if self.q.meta["val"].dim() > 2 else 1
            if len(slopes) not in (1, heads):
                raise self._refused("attention with a bias of another number of heads")
            self.slopes = slopes.expand(heads)
        slopes = self.slopes[: len(mask)].double() if self.slopes is not None else torch.zeros(len(mask))
        differ = (relative + slopes[:, None, None] * ages.clamp(min=0)).abs()
        largest = torch.where(seen, mask, 0.0).abs().max()
        if bool((differ[:, seen] > 1e-6 * largest).any()):
            raise self._refused("attention with a bias that is no slope by distance (ALiBi)")

    def _changed(self) -> set[str]:
        return {name for names in self.mutations.values() for name in names}

    def rows(self, block: int, context: int | None, limit: int | None) -> int:
        """Rows of the cache. Raises UserError CHM224 if nothing says how many."""
        if self.written is not None:
            return self.written[0].rows
        longest = min(context or limit or LONGEST, LONGEST)
        if self._slopes():
            longest = min(longest, math.isqrt(MOST_BIASES // len(self._slopes())))
        self.window = max(self.window, self._window_of(longest, 0))
        if self.window:
            return self.window + block - 1
        self.takes_context = True
        if context is None and limit is None:
            hint = "give --context N, or compile(context=N): the most tokens of a text"
            raise UserError(
                "CHM224", "attention to all tokens before, and nothing says how many there may be", hint=hint
            )
        if context is not None and limit is not None and context > limit:
            hint = "give a smaller one"
            raise UserError("CHM224", f"a context of {context} tokens; there are positions for {limit}", hint=hint)
        found = context or limit
        assert found is not None
        for number in self._compared():
            if longest <= number < found:  # the mask of so long a text would take gigabytes
                hint = f"give a context of at most {number}, or a window of less than {longest}"
                message = (
                    f"the mask of attention compares with {number}: windows of {longest} tokens and more are not seen"
                )
                raise UserError("CHM224", message, hint=hint)
        return found

    def _compared(self) -> Iterator[int]:
        """The whole numbers that places are compared with, or moved by, on the way to the mask."""
        waiting, seen = list(self.softmax.all_input_nodes), {self.scores.product}
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            waiting += node.all_input_nodes
            if node.target in COMPARISONS:
                for argument in node.args:
                    number = self._number(argument)
                    if number is not None:
                        yield abs(number)

    def _number(self, argument: Any) -> int | None:
        """A whole number that an op is given, or a free tensor of one."""
        if isinstance(argument, Node):
            held = argument.meta.get("val")
            if not isinstance(held, torch.Tensor) or held.dim() or not self.at_start.is_free(argument):
                return None
            argument = self.at_start.of(argument).item()
        return argument if isinstance(argument, int) and not isinstance(argument, bool) else None

    def _slopes(self) -> list[float]:
        """Of the heads; none where they are all 0."""
        return self.slopes.tolist() if self.slopes is not None and bool(self.slopes.any()) else []

    # ---- the op in its place ----

    def replace(self, rows: int) -> None:
        """Put the op in place of the product with v."""
        graph, result = self.program.graph, self.result
        with graph.inserting_before(result):
            if self.written is not None:
                keys, values = (one.new_rows(graph) for one in self.written)
            else:
                keys, values = ungrouped(swapped(graph, self.keys), self.values)
            arguments = (self.q, keys, values, self.scores.scale, self.window, rows, self._slopes())
            made = graph.call_function(causal_attention, arguments)
            made.meta = dict(result.meta)
        result.replace_all_uses_with(made)
        for one in self.written or ():
            one.forget()


def _position_of(program: ExportedProgram) -> str | None:
    """The placeholder of the position: the second input, a number."""
    inputs = [spec.arg.name for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT]
    if len(inputs) < 2:
        return None
    node = next(n for n in program.graph.nodes if n.name == inputs[1])
    held = node.meta.get("val")
    return inputs[1] if isinstance(held, torch.Tensor) and held.dim() == 0 else None
