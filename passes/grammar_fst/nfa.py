"""Rules → nondeterministic automata over bytes, with calls of other rules as edges."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.grammar import (
    BYTES,
    EMPTY,
    NODES,
    WORK,
    Budget,
    Bytes,
    Call,
    Choice,
    Concat,
    Counted,
    Expression,
    Grammar,
    Graph,
    Literal,
    Ordered,
    Repeat,
    Space,
    sequence,
)
from chimerac.passes.grammar_fst import graphs, lengths
from chimerac.passes.grammar_fst.closures import Closures
from chimerac.passes.grammar_fst.menus import Menus
from chimerac.passes.grammar_fst.tries import Tries

#: Micro-actions of edges: (kind, argument), with the kinds of docs/fstpack.md.
CHECK, COUNT, PUSH, POP, SPACE, LIMIT = 1, 2, 3, 4, 5, 6
Action = tuple[int, int]
NO_ACTION: Action = (0, 0)
SPACE_ACTION: Action = (SPACE, 0)
#: One more of what a machine counts; ``counting`` puts the bounds in.
MARK: Action = (COUNT, 0)

#: A repetition of at most so many copied nodes is written out, a longer one is counted.
UNROLLED_NODES = 96

#: A choice of so many texts is built as one automaton of words.
_MANY_WORDS: Final = 64
_NODE_BYTES: Final = 400  #: of a node with its edges, about
_NODES_AT_ONCE: Final = 64  #: are taken of the budget together

#: Of marks.
UNLIMITED = 65535


def _new_node(budget: Budget) -> int:
    number = budget.used[NODES]
    budget.use(NODES, 1)
    if number % _NODES_AT_ONCE == 0:
        budget.use(BYTES, _NODE_BYTES * _NODES_AT_ONCE)
    return number


def _words(options: Sequence[Expression]) -> tuple[list[bytes], Sequence[Expression]]:
    """The texts among some options, and the other options, if there are many texts."""
    words = [option.data for option in options if isinstance(option, Literal)]
    if len(words) < _MANY_WORDS:
        return [], options
    return words, [option for option in options if not isinstance(option, Literal)]


def _joined(action: Action, own: Action) -> Action:
    return own if action == NO_ACTION else action


@dataclass(slots=True)
class Machine:
    """An automaton that has its own stack frame: ``entry`` to ``final``, both numbers of nodes.

    A way through it has ``minimum`` to ``maximum`` marks.
    """

    name: str
    kind: int
    entry: int = -1
    final: int = -1
    main: bool = False
    minimum: int = 0
    maximum: int = UNLIMITED

    @property
    def counts(self) -> bool:
        """Whether marks matter."""
        return self.minimum > 0 or self.maximum < UNLIMITED

    @property
    def mark(self) -> Action:
        """The action of what it counts."""
        return MARK if self.counts else NO_ACTION


@dataclass
class Nfa:
    """Nodes are numbers; ``edges[n]``: first byte, last byte, target, action; ``calls[n]``: rule, target, action."""

    grammar: Grammar
    called: frozenset[str]  #: rules that are called, not copied, where they occur
    lengths: dict[str, int]  #: fewest bytes of each rule
    budget: Budget
    unrolled_nodes: int = UNROLLED_NODES
    epsilon: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    edges: dict[int, list[tuple[int, int, int, Action]]] = field(default_factory=lambda: defaultdict(list))
    calls: dict[int, list[tuple[str, int, Action]]] = field(default_factory=lambda: defaultdict(list))
    machines: dict[str, Machine] = field(default_factory=dict)
    finals: dict[int, Machine] = field(default_factory=dict)
    menus: Menus = field(init=False)
    _copies: dict[tuple[str, int], int] = field(default_factory=dict)
    _entries: set[int] = field(default_factory=set)  #: of copies
    _pending: list[tuple[str, int, int]] = field(default_factory=list)
    _tries: Tries = field(init=False)
    _counted: dict[Counted | Graph, str] = field(default_factory=dict)
    _closures: Closures = field(init=False)
    _sizes: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tries = Tries(functools.partial(_new_node, self.budget), self.epsilon, self.edges)
        self.menus = Menus(functools.partial(_new_node, self.budget), self.epsilon, self.edges)
        ends = (self.edges, self.calls, self.finals, self.menus.at)
        self._closures = Closures(self.epsilon, ends, self._entries, self._tries, self.budget)

    def node(self) -> int:
        """A new node."""
        return _new_node(self.budget)

    def machine(self, name: str) -> Machine:
        """The machine of a rule, of a counted expression, or "" for the start rule's."""
        found = self.machines.get(name)
        if found is None:
            found = Machine(name, self.grammar.kinds.get(name, 0), main=name == "")
            self.machines[name] = found
            found.final = self.node()
            self.finals[found.final] = found
            found.entry = self.copy(name or self.grammar.start, found.final)
        return found

    def copy(self, rule: str, exit: int) -> int:
        """The entry of a copy of a rule that goes on at ``exit``; the same copy each time, so right recursion loops."""
        key = (rule, exit)
        entry = self._copies.get(key)
        if entry is None:
            entry = self._copies[key] = self.node()
            self._entries.add(entry)
            self._pending.append((rule, exit, entry))
        return entry

    def _finish(self) -> None:
        """Build the copies that were asked for: they wait, so that a row of rules is not as many calls deep."""
        while self._pending:
            rule, exit, entry = self._pending.pop()
            self.epsilon[entry].append(self.build(self.grammar.rules[rule], exit, NO_ACTION))

    def build(self, expression: Expression, exit: int, action: Action) -> int:  # noqa: C901  a case for each kind
        """The entry node of an expression that goes on at ``exit``."""
        match expression:
            case Literal(data):
                for byte in reversed(data):
                    entry = self.node()
                    self.edges[entry] = [(byte, byte, exit, action)]
                    if action == NO_ACTION:
                        self._tries.plain.add(entry)
                    exit = entry
                return exit
            case Bytes(ranges):
                entry = self.node()
                self.edges[entry] = [(first, last, exit, action) for first, last in ranges]
                if action == NO_ACTION:
                    self._tries.plain.add(entry)
                return entry
            case Concat(parts):
                for part in reversed(parts):
                    exit = self.build(part, exit, action)
                return exit
            case Choice(options):
                return self._choice(options, exit, action)
            case Repeat(item, minimum, maximum):
                return self._repeat(expression, item, minimum, maximum, exit, action)
            case Space(item):
                return self.build(item, exit, SPACE_ACTION)
            case Counted():
                written = self._written_out(expression)
                if written is not None:
                    return self.build(written, exit, action)
                return self._call(self._counted_machine(expression), exit)
            case Graph():
                return self._graph(expression, exit)
            case Ordered():
                return self.menus.build(expression, exit, self._plainly, self.closure)
            case Call(rule):
                return self._call(rule, exit) if rule in self.called else self.copy(rule, exit)
        raise AssertionError(expression)

    def _plainly(self, expression: Expression, exit: int) -> int:
        return self.build(expression, exit, NO_ACTION)

    def spelled_out(self, nodes: frozenset[int]) -> frozenset[int]:
        """Nodes with texts in place of those that stand for the choice among entries in order."""
        return self.menus.spelled_out(nodes, self._plainly, self._tries.join, self.closure)

    def _choice(self, options: Sequence[Expression], exit: int, action: Action) -> int:
        words, others = _words(options) if action == NO_ACTION else ([], options)
        entries = [self.build(option, exit, action) for option in others]
        if words:
            entries.append(self._tries.of_words(words, exit))
        plain = [entry for entry in entries if entry in self._tries.plain and entry != exit]
        if len(plain) > 1:  # nothing else leads to them: one node can stand for all
            entries = [self._tries.join(plain), *(entry for entry in entries if entry not in plain)]
        if len(entries) == 1 and entries[0] != exit:
            return entries[0]
        entry = self.node()
        self.epsilon[entry] = entries
        return entry

    def _call(self, rule: str, exit: int) -> int:
        entry = self.node()
        self.calls[entry].append((rule, exit, NO_ACTION))
        if self.length_of(rule) == 0:
            self.epsilon[entry].append(exit)
        return entry

    def length_of(self, rule: str) -> int:
        """Fewest bytes of a rule or of a counted machine."""
        return self.lengths[rule]

    def _repeat(
        self, whole: Repeat, item: Expression, minimum: int, maximum: int | None, exit: int, action: Action
    ) -> int:
        copies = minimum if maximum is None else maximum
        if copies > 4 and copies * self._size(item) > self.unrolled_nodes:
            counted = Counted(Literal(b""), item, Literal(b""), Literal(b""), minimum, maximum)
            return self._call(self._counted_machine(counted), exit)
        if maximum is None:
            loop = self.node()
            self.epsilon[loop] = [self.build(item, loop, action), exit]
            exit = loop
        else:
            end = exit
            for _ in range(maximum - minimum):
                entry = self.node()
                self.epsilon[entry] = [self.build(item, exit, action), end]
                exit = entry
        for _ in range(minimum):
            exit = self.build(item, exit, action)
        return exit

    def _written_out(self, counted: Counted) -> Expression | None:
        """A counted expression without a counter, where that is asked for and it is short enough."""
        copies = counted.minimum if counted.maximum is None else counted.maximum
        size = self._size(counted.item) + self._size(counted.separator)
        if self.unrolled_nodes <= UNROLLED_NODES or copies * size > self.unrolled_nodes:
            return None
        most = None if counted.maximum is None else counted.maximum - 1
        if counted.maximum == 0:
            return sequence(counted.opening, counted.closing)
        more = Repeat(sequence(counted.separator, counted.item), max(0, counted.minimum - 1), most)
        inner = sequence(counted.item, more)
        if not counted.minimum:
            inner = Repeat(inner, 0, 1)
        return sequence(counted.opening, inner, counted.closing)

    def _size(self, expression: Expression) -> int:
        """About how many nodes a copy of an expression takes."""
        known = self._sizes.get(id(expression))
        if known is None:
            match expression:
                case Literal(data):
                    known = len(data)
                case Concat(parts) | Choice(parts):
                    known = 1 + sum(map(self._size, parts))
                case Repeat(item, minimum, maximum):
                    known = 1 + self._size(item) * max(1, minimum, maximum or 0)
                case Space(item):
                    known = self._size(item)
                case Graph(steps, _, least, most):
                    inner = sum(self._size(item) for listed in steps for item, _ in listed)
                    known = 1 + inner if least == 0 and most is None else 1
                case Ordered(entries):
                    known = sum(len(key) for key, _ in entries)
                case Call(rule):
                    known = 1 if rule in self.called else 40
                case _:
                    known = 1
            self._sizes[id(expression)] = known
        return known

    def _counted_machine(self, counted: Counted) -> str:
        name = self._counted.get(counted)
        if name is not None:
            return name
        if self.min_length(counted.item) == 0:
            raise UserError(
                "CHM280",
                f"the grammar {self.grammar.name} repeats something that may be empty many times",
                hint="make the repeated part match at least one character",
            )
        maximum = UNLIMITED if counted.maximum is None else counted.maximum
        machine = self._new_machine(counted, counted.minimum, maximum)
        self.lengths[machine.name] = self.min_length(counted)
        closing = self.build(counted.closing, machine.final, NO_ACTION)
        after = self.node()
        entry = self._first(self.build(counted.item, after, NO_ACTION), machine.mark)
        again = entry
        if counted.separator != EMPTY:
            body = self.build(counted.item, after, NO_ACTION)
            again = self._first(self.build(counted.separator, body, NO_ACTION), machine.mark)
        self.epsilon[after] = [again, closing]
        begin = self.node()
        self.epsilon[begin] = [closing] if maximum == 0 else [entry, closing]
        machine.entry = self.build(counted.opening, begin, NO_ACTION)
        return machine.name

    def _new_machine(self, of: Counted | Graph, minimum: int, maximum: int) -> Machine:
        name = self._counted[of] = f"#{len(self._counted)}"
        machine = self.machines[name] = Machine(name, 0, final=self.node(), minimum=minimum, maximum=maximum)
        self.finals[machine.final] = machine
        return machine

    def _graph(self, graph: Graph, exit: int) -> int:
        """Like ``build``: written out where it is free or short, else with a counter."""
        free = graphs.free(graph, self.unrolled_nodes)
        if free is not None:
            return self._steps(free, exit, NO_ACTION)
        name = self._counted.get(graph)
        if name is None:
            settled = graphs.settled(graph)
            machine = self._new_machine(
                graph, settled.minimum, UNLIMITED if settled.maximum is None else settled.maximum
            )
            self.lengths[machine.name] = self.min_length(graph)
            name = machine.name
            machine.entry = self._steps(settled, machine.final, machine.mark)
        return self._call(name, exit)

    def _steps(self, graph: Graph, exit: int, action: Action) -> int:
        entries = [self.node() for _ in graph.steps]
        known: dict[tuple[int, int], int] = {}  # what two states have in common is built once
        for entry, listed, final in zip(entries, graph.steps, graph.final, strict=True):
            for item, target in listed:
                first = known.get((id(item), target))
                if first is None:
                    first = self.build(item, entries[target], NO_ACTION)
                    first = known[id(item), target] = first if action == NO_ACTION else self._first(first, action)
                self.epsilon[entry].append(first)
            if final:
                self.epsilon[entry].append(exit)
        return entries[0]

    def _first(self, entry: int, action: Action) -> int:
        """A node like ``entry`` whose first bytes have an action."""
        node = self.node()
        for member in self.closure(entry):
            if member in self.finals:
                raise UserError("CHM280", f"the grammar {self.grammar.name}: a counted part may be empty")
            edges, calls = self.edges.get(member, ()), self.calls.get(member, ())
            self.edges[node] += [(first, last, target, _joined(action, own)) for first, last, target, own in edges]
            self.calls[node] += [(rule, target, _joined(action, own)) for rule, target, own in calls]
        self.budget.use(WORK, len(self.edges[node]))
        return node

    def closure(self, node: int) -> frozenset[int]:
        """The nodes reached without a byte that have edges, calls or an end."""
        if self._pending:
            self._finish()
        return self._closures.of(node)

    def min_length(self, expression: Expression) -> int:
        """Fewest bytes of an expression."""
        return lengths.min_length(expression, self.lengths)
