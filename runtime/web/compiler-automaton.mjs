// Expressions over bytes → a deterministic pushdown automaton: their nodes, then states, which are sets of nodes. As Python's
// passes/grammar_fst/determinise.py, for grammars whose frames all end with a byte of their own.
import { refuse } from "./compiler-characters.mjs";
import { MARK, NONE, Nodes, SPACE, ascending } from "./compiler-nodes.mjs";

const MOST_STATES = 40_000;
const MOST_COPIES = 400; // of rules that are copied to tell calls apart

/** The ranges of edges, by their first bytes, with the number of the edge. */
const spansOf = (edges) => edges.flatMap(({ set }, edge) => set.ranges.map(([first, last]) => ({ first, last, edge }))).sort((a, b) => a.first - b.first);

/** Where edges hold: `groups` of them that hold together, and ranges of bytes { first, last, group }. */
function partedBy(edges) {
  const waiting = spansOf(edges);
  const [groups, spans, known] = [[], [], new Map()];
  let active = [];
  for (let place = 0, first = 0, last; place < waiting.length || active.length; first = last + 1) {
    if (!active.length) first = waiting[place].first;
    for (; place < waiting.length && waiting[place].first === first; place += 1) active.push(waiting[place]);
    last = place < waiting.length ? waiting[place].first - 1 : 255;
    for (const span of active) if (span.last < last) last = span.last;
    const members = active.map(({ edge }) => edge).sort(ascending);
    const key = String(members);
    if (!known.has(key)) known.set(key, groups.push(members) - 1);
    spans.push({ first, last, group: known.get(key) });
    active = active.filter((span) => span.last > last);
  }
  return { groups, spans };
}

/** Whether two lists of ranges of bytes have a byte in common. */
const meet = (some, others) => some.some((one) => others.some((other) => one.first <= other.last && other.first <= one.last));

/**
 * The automaton of a rule: its states, the first one being where it starts. Found by found(rule). Each has its machine, whether it is an end, and segments
 * { first byte, last byte, step }; a step has `mark`, `space`, `push` (the state to come back to, or -1), `pop`, and `target`, -1 after a pop.
 */
export class States {
  states = [];
  #nodes = new Nodes();
  #numbers = new Map(); // nodes as text → state
  #steps = new Map(); // targets and action → step
  #parts = new Map(); // sets as text → the ranges that they part bytes into
  #copied = new Set();
  #running = new Set();

  /** Find all states, in steps: those of the rule `start` first. */
  *found(start) {
    this.#nodes.machine(null, start);
    yield* this.#nodes.finish();
    this.#start(null, start);
    for (let number = 0; number < this.states.length; number += 1) {
      yield* this.#nodes.finish();
      this.#process(number);
      yield;
    }
    return this.states;
  }

  #state(machine, nodes) {
    const key = nodes.length === 1 ? nodes[0] : String(nodes);
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.states.length;
      if (number >= MOST_STATES) refuse("a grammar that needs more than 40,000 states");
      const final = nodes.includes(machine.final);
      if (final && !machine.main) refuse("a part that is in itself and has no byte of its own at its end");
      this.#numbers.set(key, number);
      this.states.push({ machine, nodes, final, segments: null });
    }
    return number;
  }

  #start(callee, rule) {
    const machine = this.#nodes.machine(callee, rule);
    if (machine.start < 0) machine.start = this.#state(machine, this.#nodes.closure(machine.entry));
    return machine;
  }

  #startSegments(callee) {
    const { start } = this.#start(callee);
    if (this.#running.has(start)) refuse("a part that begins with itself");
    this.#running.add(start);
    this.#process(start);
    this.#running.delete(start);
    return this.states[start].segments;
  }

  #process(number) {
    const state = this.states[number];
    if (state.segments) return;
    const calls = [].concat(...state.nodes.map((node) => this.#nodes.calls[node]));
    let edges = [].concat(...state.nodes.map((node) => this.#nodes.edges[node]));
    this.#nodes.spend(state.nodes.length + edges.length);
    if (calls.length) edges = this.#settled(edges, calls);
    const segments = this.#swept(state.machine, edges);
    if (calls.length) this.#addCalls(state.machine, calls, segments);
    state.segments = segments;
  }

  /** Put copies of their rules in the place of calls that start like something else, until all differ; `calls` is changed. */
  #settled(edges, calls) {
    const named = ({ set, target, action }) => `${set.id} ${target} ${action}`;
    const known = new Map(edges.map((edge) => [named(edge), edge]));
    for (;;) {
      const starts = new Map();
      for (const { callee } of calls) if (!starts.has(callee)) starts.set(callee, this.#startSegments(callee));
      const edgesNow = [...known.values()];
      const own = spansOf(edgesNow);
      const callees = [...starts.keys()];
      const clashes = (callee) => meet(starts.get(callee), own) || callees.some((other) => other !== callee && meet(starts.get(callee), starts.get(other)));
      const clash = callees.filter(clashes);
      if (!clash.length) return edgesNow;
      const copied = new Set(clash.filter(({ kind }) => kind === "rule"));
      if (!copied.size || this.#copied.size >= MOST_COPIES) refuse("alternatives that begin alike and are counted, or in themselves");
      for (const call of calls.splice(0)) {
        const { callee, target, action } = call;
        if (!copied.has(callee)) {
          calls.push(call);
          continue;
        }
        const within = (own) => (action === NONE ? own : { ...own, action });
        for (const node of this.#nodes.copied(callee, target)) {
          this.#copied.add(node);
          for (const edge of this.#nodes.edges[node].map(within)) known.set(named(edge), edge);
          calls.push(...this.#nodes.calls[node].map(within));
        }
      }
    }
  }

  /** The bytes cut into ranges where the same edges hold, each with its step. */
  #swept(machine, edges) {
    if (edges.length === 1) {
      const [edge] = edges;
      const step = this.#one(machine, edge.target, edge.action);
      return edge.set.ranges.map((range) => ({ first: range[0], last: range[1], step }));
    }
    const key = edges.map(({ set }) => set.id).join();
    let parts = this.#parts.get(key);
    if (!parts) this.#parts.set(key, parts = partedBy(edges));
    const steps = parts.groups.map((members) => this.#several(machine, members.map((member) => edges[member])));
    const segments = [];
    let before = null;
    for (const { first, last, group } of parts.spans) {
      if (before && before.step === steps[group] && before.last === first - 1) before.last = last;
      else segments.push(before = { first, last, step: steps[group] });
    }
    return segments;
  }

  #one(machine, target, action) {
    return this.#keptStep(target * 4 + action, machine, action, [target]);
  }

  #several(machine, edges) {
    let { action } = edges[0];
    for (const edge of edges) {
      if (edge.action === action) continue;
      if (edge.action === MARK || action === MARK) refuse("a counted part that begins like something else");
      action = NONE; // whitespace that may also be meant is not capped
    }
    const targets = edges.length > 1 ? [...new Set(edges.map(({ target }) => target))].sort(ascending) : [edges[0].target];
    return targets.length > 1 ? this.#keptStep(`${action}:${targets}`, machine, action, targets) : this.#one(machine, targets[0], action);
  }

  #keptStep(key, machine, action, targets) {
    let step = this.#steps.get(key);
    if (!step) {
      step = this.#after(machine, action, targets);
      this.#steps.set(key, step);
    }
    return step;
  }

  #after(machine, action, targets) {
    const nodes = this.#nodes.union(targets);
    const pop = !machine.main && nodes.length === 1 && nodes[0] === machine.final;
    return { mark: action === MARK, space: action === SPACE, push: -1, pop, target: pop ? -1 : this.#state(machine, nodes) };
  }

  #addCalls(machine, calls, segments) {
    const merged = new Map();
    for (const { callee, target, action } of calls) {
      const found = merged.get(callee) ?? { targets: [], marks: new Set() };
      merged.set(callee, found);
      found.targets.push(target);
      found.marks.add(action === MARK);
    }
    for (const [callee, { targets, marks }] of merged) {
      if (marks.size > 1) refuse("a part that is counted and not");
      const back = this.#state(machine, this.#nodes.union([...new Set(targets)].sort(ascending)));
      for (const { first, last, step: { mark, pop, push, target } } of this.#startSegments(callee)) {
        if (mark || pop || push >= 0) refuse("a part that begins in no way of its own");
        segments.push({ first, last, step: { mark: marks.has(true), space: false, push: back, pop: false, target } });
      }
    }
  }
}
