"""Nondeterministic machines → one deterministic pushdown automaton, or a conflict with an example."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Final, Generic, TypeVar

from chimerac.compiler.errors import InternalError, UserError
from chimerac.compiler.ir.grammar import BYTES, MAX_STATES, WORK
from chimerac.compiler.ir.ranges import cut
from chimerac.passes.grammar_fst.nfa import MARK, NO_ACTION, POP, PUSH, SPACE_ACTION, Action, Machine, Nfa
from chimerac.passes.grammar_fst.ordered import Contexts
from chimerac.passes.grammar_fst.states import Segment, State, byte_range, bytes_of

Edge = tuple[int, int, int, Action]
#: The actions and the next state after a byte.
Step = tuple[tuple[Action, ...], int]
#: First and last byte, and the places of some edges in a list.
Piece = tuple[int, int, tuple[int, ...]]

_Item = TypeVar("_Item", bound=Hashable)

_MOST_COPIES: Final = 400  #: of rules that are copied to tell calls apart
#: About what a state, a node in it and a segment take, with what later steps make of them.
_STATE_BYTES: Final = 600
_MEMBER_BYTES: Final = 64
_SEGMENT_BYTES: Final = 120


class Conflict(Exception):
    """Two ways to go on with a byte in a state; ``counted`` if writing a repetition out may settle it."""

    def __init__(self, state: int, byte: int, ways: str, counted: bool) -> None:
        super().__init__(ways)
        self.state, self.byte, self.ways, self.counted = state, byte, ways, counted


class Numbered(Generic[_Item]):
    """Different things, numbered."""

    def __init__(self) -> None:
        self.listed: list[_Item] = []
        self._numbers: dict[_Item, int] = {}

    def of(self, item: _Item) -> int:
        """The number of a thing."""
        number = self._numbers.get(item)
        if number is None:
            number = self._numbers[item] = len(self.listed)
            self.listed.append(item)
        return number


class Determiniser:
    """Runs the subset construction over all machines that the start machine reaches."""

    def __init__(self, nfa: Nfa) -> None:
        self.nfa = nfa
        self.states: list[State] = []
        self.preferences: list[Conflict] = []  #: where going on was preferred to ending a frame
        self.call_sites: dict[str, set[int]] = {}  #: machine → return states
        self._numbers: dict[frozenset[int], int] = {}
        self._spans = Numbered[tuple[tuple[int, int], ...]]()  #: the bytes of the edges of a node
        self._goals = Numbered[tuple[int, Action]]()  #: what follows an edge
        self._of_nodes: dict[int, tuple[int, list[int]]] = {}  #: the spans and the goals of a node's edges
        self._steps: dict[int | tuple[int, ...], Step] = {}  #: what becomes of a goal, or several
        self._known_pieces: dict[tuple[int, ...], list[Piece]] = {}
        self._starts: dict[str, int] = {}
        self._done: list[bool] = []
        self._queue: deque[int] = deque()
        self._running: list[str] = []
        self._copies: set[tuple[str, int]] = set()
        self._contexts = Contexts(self.states, self._made, self._of_closure, self._process, nfa.budget)

    def run(self) -> int:
        """Build all states; the number of the start state. Raises Conflict, UserError CHM282."""
        start = self._start("")
        while self._queue:
            self._process(self._queue.popleft())
        self._follow()
        return start

    # -- states

    def _state(self, machine: Machine, nodes: frozenset[int], parent: tuple[int, int]) -> int:
        number = self._numbers.get(nodes)
        if number is None:
            if len(nodes) > 1 and not self.nfa.menus.at.keys().isdisjoint(nodes):  # something else may stand there, too
                return self._state(machine, self.nfa.spelled_out(nodes), parent)
            number = self._numbers[nodes] = self._new(machine, nodes, parent)
            self._queue.append(number)
        return number

    def _new(self, machine: Machine, nodes: frozenset[int], parent: tuple[int, int]) -> int:
        number = len(self.states)
        if number >= MAX_STATES:
            message = f"the grammar {self.nfa.grammar.name} needs more than {MAX_STATES:,} states"
            raise UserError("CHM282", message, hint="make repetitions shorter or the grammar simpler")
        self.nfa.budget.use(BYTES, _STATE_BYTES + _MEMBER_BYTES * len(nodes))
        self.states.append(State(machine, nodes, machine.final in nodes, parent=parent))
        self._done.append(False)
        return number

    def _made(self, machine: Machine, parent: tuple[int, int]) -> int:
        """A state that is made elsewhere."""
        number = self._new(machine, frozenset(), parent)
        self._done[number] = True
        return number

    def _of_closure(self, machine: Machine, node: int, parent: tuple[int, int]) -> int:
        return self._state(machine, self.nfa.closure(node), parent)

    def _start(self, name: str) -> int:
        number = self._starts.get(name)
        if number is None:
            machine = self.nfa.machine(name)
            number = self._state(machine, self.nfa.closure(machine.entry), (-1, 0))
            self._starts[name] = number
        return number

    def _start_segments(self, rule: str) -> list[Segment]:
        number = self._start(rule)
        if not self._done[number]:
            if rule in self._running:
                raise InternalError(f"the rule {rule} starts with itself")
            self._running.append(rule)
            self._process(number)
            self._running.pop()
        return self.states[number].all_segments()

    # -- one state

    def _process(self, number: int) -> None:
        if self._done[number]:
            return
        self._done[number] = True
        state, nfa = self.states[number], self.nfa
        nodes = list(state.nodes)
        if nodes and nodes[0] in nfa.menus.at:  # then it is alone
            self._contexts.enter(number, *nfa.menus.at[nodes[0]])
            return
        calls = [call for node in nodes for call in nfa.calls.get(node, ())]
        if calls:
            edges = self._settle(number, [edge for node in nodes for edge in nfa.edges.get(node, ())], calls)
            self._sweep(number, [self._numbered(edges)])
        else:
            self._sweep(number, [self._of_node(node) for node in nodes if nfa.edges.get(node)])
        self._add_calls(number, calls)

    def _numbered(self, edges: Sequence[Edge]) -> tuple[int, list[int]]:
        """The number of the bytes that edges take, and for each that of what follows it."""
        return self._spans.of(tuple([edge[:2] for edge in edges])), [self._goals.of(edge[2:]) for edge in edges]

    def _of_node(self, node: int) -> tuple[int, list[int]]:
        """The same of a node's edges, which do not change any more: nodes are in many states."""
        found = self._of_nodes.get(node)
        if found is None:
            found = self._of_nodes[node] = self._numbered(self.nfa.edges[node])
        return found

    def _settle(
        self,
        number: int,
        edges: list[Edge],
        calls: list[tuple[str, int, Action]],
    ) -> list[Edge]:
        """Replace calls that start like something else by copies of their rules, until all differ; calls is changed."""
        known = dict.fromkeys(edges)
        waiting = dict.fromkeys(calls)
        while True:
            taken: dict[str, int] = {}
            for rule, _, _ in waiting:
                if rule not in taken:
                    self._start_segments(rule)
                    taken[rule] = bytes_of(self.states[self._starts[rule]].all_segments())
            plain = 0
            for first, last, _, _ in known:
                plain |= byte_range(first, last)
            clash = {rule for rule, bits in taken.items() if bits & _overlap(taken, plain)}
            if not clash:
                calls[:] = waiting
                return list(known)
            copied = {rule for rule in clash if rule in self.nfa.grammar.rules}
            if not copied or len(self._copies) >= _MOST_COPIES:
                byte = _lowest(_overlap(taken, plain))
                counted = any(rule not in self.nfa.grammar.rules for rule in clash)
                raise Conflict(number, byte, self._ways(sorted(clash), bool(plain & 1 << byte)), counted)
            kept = {call: None for call in waiting if call[0] not in copied}
            for rule, target, action in (call for call in waiting if call[0] in copied):
                self._copies.add((rule, target))
                nodes = self.nfa.closure(self.nfa.copy(rule, target))
                self.nfa.budget.use(WORK, len(nodes))
                for node in nodes:
                    for first, last, goal, own in self.nfa.edges.get(node, ()):
                        known[first, last, goal, own if action == NO_ACTION else action] = None
                    for inner, goal, own in self.nfa.calls.get(node, ()):
                        kept[inner, goal, own if action == NO_ACTION else action] = None
            waiting = kept

    @staticmethod
    def _ways(rules: list[str], plain: bool) -> str:
        names = [f"the rule {rule}" if not rule.startswith("#") else "a counted repetition" for rule in rules]
        return " and ".join([*names, "something else"] if plain or len(names) == 1 else names)

    def _sweep(self, number: int, parts: Sequence[tuple[int, list[int]]]) -> None:
        """Cut the bytes into intervals where the same edges hold, and add a segment for each.

        ``parts`` are the numbers of the spans and the goals of some edges after the other.
        """
        goals = parts[0][1] if len(parts) == 1 else [goal for _, listed in parts for goal in listed]
        self.nfa.budget.use(WORK, len(self.states[number].nodes) + len(goals))
        segments: list[Segment] = []
        known = self._steps.get
        end, before = -1, None
        for first, last, active in self._pieces(tuple([spans for spans, _ in parts])):
            if len(active) == 1:
                goal = goals[active[0]]
                step = known(goal) or self._goal(number, first, goal)
            else:
                several = tuple([goals[place] for place in active])
                step = known(several) or self._goals_together(number, first, several)
            if step == before and end == first - 1:
                segments[-1] = (segments[-1][0], last, *step)
            else:
                segments.append((first, last, *step))
            end, before = last, step
        self.nfa.budget.use(BYTES, _SEGMENT_BYTES * len(segments))
        self.states[number].segments = segments

    def _pieces(self, spans: tuple[int, ...]) -> list[Piece]:
        """Where edges hold: ascending ranges of bytes that the same of them take, and their places in the list.

        States have few edges of their own and many that they share (any other character of a text), so the same
        bytes occur again and again.
        """
        found = self._known_pieces.get(spans)
        if found is None:
            listed = [span for number in spans for span in self._spans.listed[number]]
            found = list(cut((first, last, index) for index, (first, last) in enumerate(listed)))
            self._known_pieces[spans] = found
            self.nfa.budget.use(BYTES, _SEGMENT_BYTES * len(found))
        return found

    def _goals_together(self, number: int, first: int, several: tuple[int, ...]) -> Step:
        """The actions and the next state where several edges hold."""
        active = [self._goals.listed[goal] for goal in several]
        targets = dict.fromkeys(target for target, _ in active)
        actions = {action for _, action in active}
        if len(actions) > 1:
            if MARK in actions:
                raise Conflict(number, first, "a counted repetition and something else", True)
            actions.discard(SPACE_ACTION)  # whitespace that may also be meant is not capped
        action = actions.pop()
        if len(targets) == 1:
            goal = self._goals.of((active[0][0], action))
            return self._steps.get(goal) or self._goal(number, first, goal)
        together = [self.nfa.closure(target) for target in targets]
        self.nfa.budget.use(WORK, sum(map(len, together)))
        step = self._steps[several] = self._next(number, first, action, frozenset().union(*together))
        return step

    def _goal(self, number: int, first: int, goal: int) -> Step:
        """What follows an edge alone; a node is of one machine, so that it does not change."""
        target, action = self._goals.listed[goal]
        step = self._steps[goal] = self._next(number, first, action, self.nfa.closure(target))
        return step

    def _next(self, number: int, first: int, action: Action, nodes: frozenset[int]) -> Step:
        machine = self.states[number].machine
        actions = () if action == NO_ACTION else (action,)
        if not machine.main and nodes == {machine.final}:
            return (*actions, (POP, 0)), 0
        return actions, self._state(machine, nodes, (number, first))

    def _add_calls(self, number: int, calls: list[tuple[str, int, Action]]) -> None:
        targets: dict[str, set[int]] = {}
        actions: dict[str, set[Action]] = {}
        for rule, target, action in calls:
            targets.setdefault(rule, set()).add(target)
            actions.setdefault(rule, set()).add(action)
        state = self.states[number]
        for rule in sorted(targets):
            before = actions[rule]
            segments = self._start_segments(rule)
            if len(before) > 1 and MARK in before:
                byte = segments[0][0] if segments else 0
                raise Conflict(number, byte, f"a counted and a free call of the rule {rule}", True)
            nodes = frozenset().union(*(self.nfa.closure(t) for t in targets[rule]))
            back = self._state(state.machine, nodes, (number, -1))
            self.call_sites.setdefault(rule, set()).add(back)
            prefix = (MARK,) if MARK in before else ()
            machine = self.nfa.machines[rule]
            self.nfa.budget.use(WORK, len(segments))
            for first, last, inner, target in segments:
                if inner[-1:] == ((POP, 0),):  # a construct of one byte needs no frame
                    if machine.minimum <= inner.count(MARK) <= machine.maximum:
                        state.segments.append((first, last, prefix, back))
                else:
                    state.segments.append((first, last, (*prefix, (PUSH, back), *inner), target))
            begin = self.states[self._starts[rule]]
            if begin.parent[0] < 0:
                begin.parent = (number, -2)

    # -- ends of frames

    def _follow(self) -> None:
        """Find the bytes at which each frame may end, and the conflicts with going on inside."""
        for state in self.states:
            state.first = bytes_of(state.segments) | (0 if state.shared is None else state.shared.bytes)
        follow: dict[str, int] = dict.fromkeys(self.call_sites, 0)
        users: dict[str, set[str]] = {}
        for name, sites in self.call_sites.items():
            for site in sites:
                state = self.states[site]
                follow[name] |= state.first
                if state.final and not state.machine.main:
                    users.setdefault(state.machine.name, set()).add(name)
        queue = list(follow)
        while queue:
            name = queue.pop()
            for user in users.get(name, ()):
                if follow[name] & ~follow[user]:
                    follow[user] |= follow[name]
                    queue.append(user)
        for number, state in enumerate(self.states):
            if not state.final or state.machine.main:
                continue
            after = follow.get(state.machine.name, 0)
            if after & state.first:
                name = state.machine.name
                what = "a counted repetition" if name.startswith("#") else f"the rule {name}"
                ways = f"more of {what} and what follows it"
                conflict = Conflict(number, _lowest(after & state.first), ways, name.startswith("#"))
                if conflict.counted:
                    raise conflict
                self.preferences.append(conflict)
            state.returns = after & ~state.first

    def prefix(self, number: int) -> str:
        """An example of a text that leads to a state; ``‹rule›`` stands for a whole construct."""
        parts: list[str] = []
        seen: set[int] = set()
        while number >= 0 and number not in seen and len(parts) < 4000:
            seen.add(number)
            number, byte = self.states[number].parent
            if number < 0:
                break
            parts.append("" if byte == -2 else "‹…›" if byte < 0 else bytes([byte]).decode("latin-1"))
        return "".join(reversed(parts))


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _overlap(taken: dict[str, int], plain: int) -> int:
    seen, twice = plain, 0
    for bits in taken.values():
        twice |= seen & bits
        seen |= bits
    return twice
