// Expressions over bytes → a deterministic pushdown automaton, in two steps: nodes with edges, then states, which are sets of nodes.
// As Python's passes/grammar_fst/{nfa,determinise}.py, for grammars whose frames all end with a byte of their own.
import { EMPTY, refuse } from "./compiler-characters.mjs";

const MOST_NODES = 150_000;
const MOST_STATES = 40_000;
const MOST_WORK = 500_000; // nodes in states and closures, edges of states: less than a second
const MOST_COPIES = 400; // of rules that are copied to tell calls apart
const MANY_WORDS = 8; // literals of a choice that are put together as one tree

/** What an edge does: nothing, one byte of optional whitespace, or one more of what its frame counts. */
export const [NONE, SPACE, MARK] = [0, 1, 2];

class Nodes {
  epsilon = []; // node → nodes
  edges = []; // node → [first, last, target, action]
  calls = []; // node → [rule or counted expression, target, action]
  #machines = new Map();
  #copies = new Map(); // rule → exit → entry: the same one each time
  #pending = [];
  #closures = [];
  finals = new Set();
  #left = MOST_WORK;

  /** Account for work. */
  spend(pieces) {
    this.#left -= pieces;
    if (this.#left < 0) refuse("a grammar that needs so much work");
  }

  node() {
    if (this.edges.length >= MOST_NODES) refuse("a grammar that needs so many nodes");
    this.epsilon.push([]);
    this.edges.push([]);
    this.calls.push([]);
    return this.edges.length - 1;
  }

  /** The part of the automaton that has a frame of its own; null stands for the main one, of a start rule. */
  machine(of, start) {
    let found = this.#machines.get(of);
    if (!found) {
      const { minimum = 0, maximum = Infinity, frame = 0 } = of ?? {};
      found = { main: of === null, counts: minimum > 0 || maximum < Infinity, minimum, maximum, frame, final: this.node(), entry: -1, start: -1 };
      this.#machines.set(of, found);
      this.finals.add(found.final);
      found.entry = of?.kind === "counted" ? this.#counted(of, found.final) : this.#copy(of ?? start, found.final);
    }
    return found;
  }

  #copy(rule, exit) {
    if (!this.#copies.has(rule)) this.#copies.set(rule, new Map());
    const copies = this.#copies.get(rule);
    if (!copies.has(exit)) {
      copies.set(exit, this.node());
      this.#pending.push([rule, exit]);
    }
    return copies.get(exit);
  }

  /** A copy of a rule that goes on at `exit`. */
  copied(rule, exit) {
    return this.closure(this.#copy(rule, exit));
  }

  /** Build the copies that were asked for: they wait, so that a row of rules is not as many calls deep. */
  #finish() {
    while (this.#pending.length) {
      const [rule, exit] = this.#pending.pop();
      this.epsilon[this.#copy(rule, exit)].push(this.build(rule.expression, exit));
    }
  }

  /** The entry of an expression that goes on at `exit`. */
  build(expression, exit) {
    switch (expression.kind) {
      case "literal":
        return expression.data.reduceRight((target, byte) => this.#edge([[byte, byte]], target, NONE), exit);
      case "bytes":
        return this.#edge(expression.ranges, exit, expression.space ? SPACE : NONE);
      case "sequence":
        return expression.parts.reduceRight((target, part) => this.build(part, target), exit);
      case "choice":
        return this.#choice(expression.options, exit);
      case "repeat":
        return this.#repeat(expression, exit);
      case "graph":
        return this.#graph(expression, exit);
      case "rule":
        return expression.called ? this.#call(expression, exit) : this.#copy(expression, exit);
      default:
        return this.#call(expression, exit);
    }
  }

  #edge(ranges, target, action) {
    const entry = this.node();
    for (const [first, last] of ranges) this.edges[entry].push([first, last, target, action]);
    return entry;
  }

  #call(callee, exit) {
    const entry = this.node();
    this.calls[entry].push([callee, exit, NONE]);
    return entry;
  }

  #choice(options, exit) {
    const words = options.filter(({ kind }) => kind === "literal");
    const entry = this.node();
    const others = words.length < MANY_WORDS ? options : options.filter(({ kind }) => kind !== "literal");
    this.epsilon[entry].push(...others.map((option) => this.build(option, exit)));
    if (others !== options) this.epsilon[entry].push(this.#tree(words.map(({ data }) => data), exit));
    return entry;
  }

  /** One tree of several texts. */
  #tree(words, exit) {
    const root = this.node();
    const after = new Map(); // node · 256 + byte → node
    for (const word of words) {
      let node = root;
      for (const byte of word) {
        const key = node * 256 + byte;
        if (!after.has(key)) {
          after.set(key, this.node());
          this.edges[node].push([byte, byte, after.get(key), NONE]);
        }
        node = after.get(key);
      }
      if (!this.epsilon[node].length) this.epsilon[node].push(exit);
    }
    return root;
  }

  #repeat({ item, minimum, maximum }, exit) {
    let entry = exit;
    if (maximum === Infinity) {
      entry = this.node();
      this.epsilon[entry].push(this.build(item, entry), exit);
    } else {
      for (let i = minimum; i < maximum; i += 1) {
        const before = this.node();
        this.epsilon[before].push(this.build(item, entry), exit);
        entry = before;
      }
    }
    for (let i = 0; i < minimum; i += 1) entry = this.build(item, entry);
    return entry;
  }

  #graph({ moves, final }, exit) {
    const entries = moves.map(() => this.node());
    moves.forEach((row, state) => {
      for (const [first, last, target] of row) this.edges[entries[state]].push([first, last, entries[target], NONE]);
      if (final[state]) this.epsilon[entries[state]].push(exit);
    });
    return entries[0];
  }

  /** The entry of a counted expression: the first byte of each item, or of the separator before it, is a mark. */
  #counted({ opening, item, separator, closing }, final) {
    const end = this.build(closing, final);
    const after = this.node();
    const first = this.#marked(this.build(item, after));
    const again = separator === EMPTY ? first : this.#marked(this.build(separator, this.build(item, after)));
    this.epsilon[after].push(again, end);
    const begin = this.node();
    this.epsilon[begin].push(first, end);
    return this.build(opening, begin);
  }

  #marked(entry) {
    const node = this.node();
    for (const member of this.closure(entry)) {
      if (this.finals.has(member)) refuse("a counted part that may be empty");
      for (const [first, last, target] of this.edges[member]) this.edges[node].push([first, last, target, MARK]);
      for (const [callee, target] of this.calls[member]) this.calls[node].push([callee, target, MARK]);
    }
    return node;
  }

  /** The nodes reached without a byte that have edges, calls or an end, ascending. */
  closure(node) {
    this.#finish();
    if (!this.#closures[node]) {
      const seen = new Set([node]);
      for (const member of seen) for (const target of this.epsilon[member]) seen.add(target);
      this.spend(seen.size);
      const found = [...seen].filter((member) => this.edges[member].length || this.calls[member].length || this.finals.has(member));
      this.#closures[node] = found.sort((a, b) => a - b);
    }
    return this.#closures[node];
  }

  union(nodes) {
    if (nodes.length === 1) return this.closure(nodes[0]);
    const found = [...new Set(nodes.flatMap((node) => this.closure(node)))].sort((a, b) => a - b);
    this.spend(found.length);
    return found;
  }
}

const bitsOf = (segments) => {
  const taken = new Uint8Array(256);
  for (const [first, last] of segments) taken.fill(1, first, last + 1);
  return taken;
};

/**
 * The automaton of a rule: its states, the first one being where it starts. Each has its machine, whether it is an end, and segments
 * [first byte, last byte, step]; a step has `mark`, `space`, `push` (the state to come back to, or -1), `pop`, and `target`, -1 after a pop.
 */
export class States {
  states = [];
  #nodes = new Nodes();
  #numbers = new Map(); // nodes as text → state
  #steps = new Map(); // targets and action as text → step
  #copied = new Set();
  #running = new Set();

  constructor(rule) {
    this.#start(null, rule);
    for (let number = 0; number < this.states.length; number += 1) this.#process(number);
  }

  #state(machine, nodes) {
    const key = String(nodes);
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
    const calls = state.nodes.flatMap((node) => this.#nodes.calls[node]);
    let edges = state.nodes.flatMap((node) => this.#nodes.edges[node]);
    this.#nodes.spend(state.nodes.length + edges.length);
    if (calls.length) edges = this.#settled(edges, calls);
    const segments = this.#swept(state.machine, edges);
    if (calls.length) this.#addCalls(state.machine, calls, segments);
    state.segments = segments;
  }

  /** Put copies of their rules in the place of calls that start like something else, until all differ; `calls` is changed. */
  #settled(edges, calls) {
    const known = new Map(edges.map((edge) => [String(edge), edge]));
    for (;;) {
      const seen = bitsOf(known.values());
      const twice = new Uint8Array(256);
      const taken = new Map();
      for (const [callee] of calls) if (!taken.has(callee)) taken.set(callee, bitsOf(this.#startSegments(callee)));
      for (const bits of taken.values()) {
        bits.forEach((bit, byte) => {
          twice[byte] |= seen[byte] & bit;
          seen[byte] |= bit;
        });
      }
      const clash = new Set([...taken.keys()].filter((callee) => taken.get(callee).some((bit, byte) => bit && twice[byte])));
      if (!clash.size) return [...known.values()];
      const copied = new Set([...clash].filter(({ kind }) => kind === "rule"));
      if (!copied.size || this.#copied.size >= MOST_COPIES) refuse("alternatives that begin alike and are counted, or in themselves");
      for (const [callee, target, action] of calls.splice(0)) {
        if (!copied.has(callee)) {
          calls.push([callee, target, action]);
          continue;
        }
        for (const node of this.#nodes.copied(callee, target)) {
          this.#copied.add(node);
          for (const [first, last, goal, own] of this.#nodes.edges[node]) {
            const edge = [first, last, goal, action === NONE ? own : action];
            known.set(String(edge), edge);
          }
          for (const [inner, goal, own] of this.#nodes.calls[node]) calls.push([inner, goal, action === NONE ? own : action]);
        }
      }
    }
  }

  /** The bytes cut into ranges where the same edges hold, each with its step. */
  #swept(machine, edges) {
    const bounds = new Uint8Array(257);
    for (const [first, last] of edges) bounds[first] = bounds[last + 1] = 1;
    const segments = [];
    for (let first = 0, next; first < 256; first = next) {
      for (next = first + 1; next < 256 && !bounds[next];) next += 1;
      const active = edges.length === 1 && edges[0][0] === first ? edges : edges.filter((edge) => edge[0] <= first && edge[1] >= first);
      if (!active.length) continue;
      const step = this.#step(machine, active);
      const before = segments.at(-1);
      if (before?.[1] === first - 1 && before[2] === step) before[1] = next - 1;
      else segments.push([first, next - 1, step]);
    }
    return segments;
  }

  #step(machine, active) {
    if (active.length === 1) {
      const [[, , target, action]] = active;
      const key = target * 4 + action;
      if (!this.#steps.has(key)) this.#steps.set(key, this.#after(machine, action, [target]));
      return this.#steps.get(key);
    }
    const actions = new Set(active.map(([, , , action]) => action));
    if (actions.size > 1) {
      if (actions.has(MARK)) refuse("a counted part that begins like something else");
      actions.delete(SPACE); // whitespace that may also be meant is not capped
    }
    const [action] = actions;
    const targets = [...new Set(active.map(([, , target]) => target))].sort((a, b) => a - b);
    const key = targets.length === 1 ? targets[0] * 4 + action : `${action}:${targets}`;
    if (!this.#steps.has(key)) this.#steps.set(key, this.#after(machine, action, targets));
    return this.#steps.get(key);
  }

  #after(machine, action, targets) {
    const nodes = this.#nodes.union(targets);
    const pop = !machine.main && nodes.length === 1 && nodes[0] === machine.final;
    return { mark: action === MARK, space: action === SPACE, push: -1, pop, target: pop ? -1 : this.#state(machine, nodes) };
  }

  #addCalls(machine, calls, segments) {
    const merged = new Map();
    for (const [callee, target, action] of calls) {
      const found = merged.get(callee) ?? { targets: [], marks: new Set() };
      merged.set(callee, found);
      found.targets.push(target);
      found.marks.add(action === MARK);
    }
    for (const [callee, { targets, marks }] of merged) {
      if (marks.size > 1) refuse("a part that is counted and not");
      const back = this.#state(machine, this.#nodes.union([...new Set(targets)].sort((a, b) => a - b)));
      for (const [first, last, { mark, pop, push, target }] of this.#startSegments(callee)) {
        if (mark || pop || push >= 0) refuse("a part that begins in no way of its own");
        segments.push([first, last, { mark: marks.has(true), space: false, push: back, pop: false, target }]);
      }
    }
  }
}
