"""``chimerac explain``: whether a PyTorch module can be compiled, and all that stands in the way."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chimerac.compiler.build.importing import DEFAULT_BLOCK
from chimerac.compiler.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from chimerac.compiler.ir.module import Op
    from chimerac.frontends.export.examples import Example
    from chimerac.frontends.export.obstacles import Obstacle
    from chimerac.frontends.export.places import Places
    from chimerac.frontends.export.tracing import TracingError

#: Places that are shown of one obstacle.
SHOWN_PLACES = 4
#: Characters of PyTorch's message that are kept.
MOST_SAID = 8000
#: What is said of a module whose every op has a form, by kind.
IMPORTED = {
    "tokens": "Nothing stands in the way: it compiles. A build then compares calls of some tokens with those of one.",
    "tensors": "Nothing stands in the way: it compiles.",
}


@dataclass(frozen=True)
class Explanation:
    """What a module is to the compiler.

    Attributes:
        name: of its class.
        kind: ``tokens`` (a language model by the contract of docs/modules.md) or ``tensors``.
        inputs, results: name and type of each, where they are known.
        ops: of the IR, by how often.
        obstacles: all that stands in the way of its import; empty if every op has a form.
        traced: whether PyTorch could trace it. Where not, there is one obstacle, and others may show later.
        said: PyTorch's whole message where it could not.
        notes: parameters whose type is changed, one line each.
    """

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    ops: tuple[tuple[str, int], ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    traced: bool = True
    said: str = ""
    notes: tuple[str, ...] = ()

    @property
    def compiles(self) -> bool:
        """Whether ``build`` takes it."""
        return not self.obstacles

    def _open_neurons(self) -> Iterator[str]:
        """What is recognised of hidden vectors that are mostly zeros."""
        if sparse := _count_products(self.ops, "sparse_linear"):
            whole = _count_products(self.ops, "linear")
            noun = "product" if sparse == 1 else "products"
            yield f"reads the rows of open neurons only: {sparse} {noun} of {whole} with weights (docs/sparsity.md)"

    def render(self) -> str:
        """A text for a terminal."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        kinds = {"tokens": "a language model, tokens in and logits out", "tensors": "tensors in, tensors out"}
        yield f"{self.name}: {kinds[self.kind]}"
        for title, entries in (("takes", self.inputs), ("returns", self.results)):
            if entries:
                yield f"  {title:<8}{', '.join(entries)}"
        if self.ops:
            yield f"  {'ops':<8}{sum(count for _, count in self.ops)} of {len(self.ops)} kinds"
        yield from (f"  {'note':<8}{note}" for note in self._open_neurons())
        yield from (f"  {'note':<8}{note}" for note in self.notes)
        if not self.obstacles:
            yield IMPORTED[self.kind]
            return
        count = len(self.obstacles)
        yield (
            f"{count} {'thing stands' if count == 1 else 'things stand'} in the way:"
            if self.traced
            else ("PyTorch cannot trace it, and what else may stand in the way shows when it can:")
        )
        heads = [obstacle.op or "-" for obstacle in self.obstacles]
        width, digits = max(map(len, heads)), max(len(f"{o.count}x") for o in self.obstacles)
        for head, obstacle in zip(heads, self.obstacles, strict=True):
            yield ""
            yield f"{obstacle.code}  {f'{obstacle.count}x':>{digits}}  {head:<{width}}  {_said(obstacle)}"
            yield from _places(obstacle)
            if obstacle.advice:
                yield f"    help: {obstacle.advice}"
        if self.said:
            yield from ("", "PyTorch says:", *(f"  {line}" for line in self.said.splitlines()))


def _count_products(ops: Iterable[tuple[str, int]], suffix: str) -> int:
    return sum(count for name, count in ops if name.endswith(suffix))


def _said(obstacle: Obstacle) -> str:
    """The message without the op, which stands before it."""
    return obstacle.message.removeprefix(f"the PyTorch op {obstacle.op} is ")


def _places(obstacle: Obstacle) -> Iterator[str]:
    shown = obstacle.places[:SHOWN_PLACES]
    width = max((len(place.path or "the module") for place in shown), default=0)
    yield from (f"    in {place.path or 'the module':<{width}}  {place.at}".rstrip() for place in shown)
    if more := len(obstacle.places) - len(shown):
        yield f"    and {more} more places"


def explain(
    module: nn.Module | str,
    example: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    dynamic_shapes: Any = None,
    block: int = DEFAULT_BLOCK,
    context: int | None = None,
) -> Explanation:
    """Whether a PyTorch module can be compiled, and all that stands in the way; ``render()`` of the result is a text.

    Args:
        module: it is put in eval mode; or ``file.py:Class``, a file that is run and a class that needs no arguments.
        example: the arguments of a call of a module that is no language model, as of ``compile``; None asks the module.
        dynamic_shapes, block, context: as of ``compile``.

    Raises:
        UserError: CHM219 for a source or an example that cannot be used; obstacles of the module are no errors.
    """
    import torch

    from chimerac.frontends.export.examples import example_of
    from chimerac.frontends.export.obstacles import Obstacle, ObstaclesError
    from chimerac.frontends.export.own_form import form_of
    from chimerac.frontends.export.places import Places
    from chimerac.frontends.export.source import load_source
    from chimerac.frontends.export.tracing import TracingError

    if isinstance(module, str):
        module = load_source(module)
    module.eval()
    found = example_of(module, example, dynamic_shapes, block)
    name, kind = type(module).__name__, "tokens" if found is None else "tensors"
    if found is None:
        form = form_of(module, context)
        module, context = form.module, form.context
    places = Places(module)
    try:
        with torch.no_grad(), _quiet(), places.kept():
            return _imported(module, found, block, context)
    except ObstaclesError as error:
        return Explanation(name, kind, obstacles=error.obstacles)
    except TracingError as error:
        failed = error
        try:
            with torch.no_grad(), _quiet():  # once more, or PyTorch would name lines of ours
                _imported(module, found, block, context)
        except TracingError as alone:
            failed = alone
        return _untraced(module, kind, failed, places)
    except UserError as error:
        hint = error.hint or ""
        if error.code == "CHM212" and found is None:
            hint += "; of a module that is no language model, give example= (--example on the command line)"
        return Explanation(name, kind, obstacles=(Obstacle(error.code, error.message, advice=hint),))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch logs of a failure, which its error says, too."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _imported(module: nn.Module, example: Example | None, block: int, context: int | None) -> Explanation:
    """Of a module that can be imported; errors as of ``import_module``."""
    name = type(module).__name__
    if example is None:
        from chimerac.frontends.export.importer import import_module

        notes: list[str] = []
        made = import_module(module, name="module", block=block, notes=notes, context=context)
        graph = made.graphs["main"]
        inputs = tuple(f"{value.name} {value.type}" for value in graph.inputs)
        results = tuple(f"logits {value.type}" for value in graph.results)
        return Explanation(name, "tokens", inputs, results, _ops(graph.ops), notes=tuple(notes))
    from chimerac.frontends.export.plain import import_plain

    plain = import_plain(module, example.arguments, name="module", dynamic_shapes=example.dynamic, block=block)
    inputs, results = (tuple(map(str, ports)) for ports in (plain.inputs, plain.results))
    return Explanation(name, "tensors", inputs, results, _ops(plain.module.graphs["call"].ops), notes=plain.notes)


def _ops(ops: tuple[Op, ...]) -> tuple[tuple[str, int], ...]:
    from chimerac.compiler.ir.module import walk

    return tuple(Counter(op.name for op in walk(ops)).most_common())


def _untraced(module: nn.Module, kind: str, error: TracingError, places: Places) -> Explanation:
    """What PyTorch says of a module that it cannot trace, and what that usually comes from."""
    from chimerac.frontends.export.causes import SHAPES, cause_of, line_of
    from chimerac.frontends.export.obstacles import Obstacle
    from chimerac.frontends.export.places import Place

    said, cause, batched = error.error, cause_of(error.error), error.batched
    attempt = ""
    if batched is not None and cause is not None and cause.name == SHAPES:
        other = cause_of(batched)
        if other is None or other.name != SHAPES:  # with the batch axis it came further
            said, cause, attempt = batched, other, "it takes tokens [1,T], an axis of one in front, and with them: "
    place = line_of(said, module)
    if place is not None and places.last is not None and places.last.at == place.at:
        place = Place(places.last.path, place.file, place.line)
    whole = str(said).strip() or type(said).__name__
    message = f"{attempt}{cause.name}" if cause else f"{attempt}{whole.splitlines()[0]}"
    if cause and not attempt and batched is not None and cause.name == SHAPES:
        message += ", neither for tokens [T] nor for [1,T]"
    obstacle = Obstacle(error.code, message, places=(place,) if place else (), advice=cause.advice if cause else "")
    if len(whole) > MOST_SAID:
        whole = f"{whole[: MOST_SAID // 2]}\n…\n{whole[-MOST_SAID // 2 :]}"
    name = type(module).__name__
    return Explanation(name, kind, obstacles=(obstacle,), traced=False, said=f"{type(said).__name__}: {whole}")
