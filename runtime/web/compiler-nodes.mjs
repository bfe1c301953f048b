// Expressions over bytes → nodes with edges, as Python's passes/grammar_fst/nfa.py. Most grammars are compiled once, by code that runs for
// the first time: what runs often takes no arrays apart and makes few objects, which cost an interpreter most.
import { EMPTY, refuse, setOf } from "./compiler-characters.mjs";

const MOST_NODES = 150_000;
const MOST_LETTERS = 40_000; // of a tree: each is a state, of which there are no more
const MOST_WORK = 500_000; // nodes in states and closures, edges of states: less than a second
const MANY_WORDS = 8; // literals of a choice that are put together as one tree

/** What an edge does: nothing, one byte of optional whitespace, or one more of what its frame counts. */
export const [NONE, SPACE, MARK] = [0, 1, 2];

const NO = Object.freeze([]); // what most nodes have of most things
export const ascending = (a, b) => a - b;

/** The nodes of an automaton and what leads from one to the next; parts with a frame of their own are machines. */
export class Nodes {
  epsilon = []; // node → nodes
  edges = []; // node → { set, target, action }; a set has `ranges` of bytes, and a number as its `id`
  calls = []; // node → { callee: rule or counted expression, target, action }
  #sets = new Map(); // ranges → set
  #bytes = []; // byte → set
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
    this.epsilon.push(NO);
    this.calls.push(NO);
    return this.edges.push(NO) - 1;
  }

  /** Give a node more of what `lists` has: epsilon, edges or calls. */
  #add(lists, node, ...items) {
    if (lists[node] === NO) lists[node] = items;
    else for (const item of items) lists[node].push(item);
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
    let copies = this.#copies.get(rule);
    if (!copies) this.#copies.set(rule, copies = new Map());
    let copy = copies.get(exit);
    if (copy === undefined) {
      copies.set(exit, copy = this.node());
      this.#pending.push({ rule, exit, copy });
    }
    return copy;
  }

  /** A copy of a rule that goes on at `exit`. */
  copied(rule, exit) {
    return this.closure(this.#copy(rule, exit));
  }

  /** Build the copies that were asked for, in steps: they wait, so that a row of rules is not as many calls deep. */
  *finish() {
    while (this.#pending.length) {
      yield;
      const { rule, exit, copy } = this.#pending.pop();
      this.#add(this.epsilon, copy, this.build(rule.expression, exit));
    }
  }

  /** The entry of an expression that goes on at `exit`. */
  build(expression, exit) {
    switch (expression.kind) {
      case "literal":
        return expression.data.reduceRight((target, byte) => this.#edge(this.#byte(byte), target, NONE), exit);
      case "bytes":
        return this.#edge(this.#set(expression.ranges), exit, expression.space ? SPACE : NONE);
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

  #set(ranges) {
    let set = this.#sets.get(ranges);
    if (!set) this.#sets.set(ranges, set = { id: this.#sets.size, ranges: setOf(ranges) });
    return set;
  }

  #byte(byte) {
    this.#bytes[byte] ??= this.#set([[byte, byte]]);
    return this.#bytes[byte];
  }

  #edge(set, target, action) {
    const entry = this.node();
    this.#add(this.edges, entry, { set, target, action });
    return entry;
  }

  #call(callee, exit) {
    const entry = this.node();
    this.#add(this.calls, entry, { callee, target: exit, action: NONE });
    return entry;
  }

  #choice(options, exit) {
    const words = options.filter(({ kind }) => kind === "literal");
    const entry = this.node();
    const others = words.length < MANY_WORDS ? options : options.filter(({ kind }) => kind !== "literal");
    this.#add(this.epsilon, entry, ...others.map((option) => this.build(option, exit)));
    if (others !== options) this.#add(this.epsilon, entry, this.#tree(words.map(({ data }) => data), exit));
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
        let next = after.get(key);
        if (next === undefined) {
          if (after.size >= MOST_LETTERS) refuse("a grammar that needs more than 40,000 states");
          after.set(key, next = this.node());
          this.#add(this.edges, node, { set: this.#byte(byte), target: next, action: NONE });
        }
        node = next;
      }
      if (!this.epsilon[node].length) this.#add(this.epsilon, node, exit);
    }
    return root;
  }

  #repeat({ item, minimum, maximum }, exit) {
    let entry = exit;
    if (maximum === Infinity) {
      entry = this.node();
      this.#add(this.epsilon, entry, this.build(item, entry), exit);
    } else {
      for (let i = minimum; i < maximum; i += 1) {
        const before = this.node();
        this.#add(this.epsilon, before, this.build(item, entry), exit);
        entry = before;
      }
    }
    for (let i = 0; i < minimum; i += 1) entry = this.build(item, entry);
    return entry;
  }

  #graph({ moves, final }, exit) {
    const entries = moves.map(() => this.node());
    moves.forEach((row, state) => {
      for (const [byte, target] of row) this.#add(this.edges, entries[state], { set: this.#byte(byte), target: entries[target], action: NONE });
      if (final[state]) this.#add(this.epsilon, entries[state], exit);
    });
    return entries[0];
  }

  /** The entry of a counted expression: the first byte of each item, or of the separator before it, is a mark. */
  #counted({ opening, item, separator, closing }, final) {
    const end = this.build(closing, final);
    const after = this.node();
    const first = this.#marked(this.build(item, after));
    const again = separator === EMPTY ? first : this.#marked(this.build(separator, this.build(item, after)));
    this.#add(this.epsilon, after, again, end);
    const begin = this.node();
    this.#add(this.epsilon, begin, first, end);
    return this.build(opening, begin);
  }

  #marked(entry) {
    const node = this.node();
    for (const member of this.closure(entry)) {
      if (this.finals.has(member)) refuse("a counted part that may be empty");
      for (const edge of this.edges[member]) this.#add(this.edges, node, { ...edge, action: MARK });
      for (const call of this.calls[member]) this.#add(this.calls, node, { ...call, action: MARK });
    }
    return node;
  }

  /** The nodes reached without a byte that have edges, calls or an end, ascending. */
  closure(node) {
    if (this.#pending.length) for (const _ of this.finish());
    if (!this.#closures[node]) {
      const seen = this.epsilon[node].length ? new Set([node]) : [node];
      if (seen.size) for (const member of seen) for (const target of this.epsilon[member]) seen.add(target);
      this.spend(seen.size ?? 1);
      const found = [...seen].filter((member) => this.edges[member].length || this.calls[member].length || this.finals.has(member));
      this.#closures[node] = found.sort(ascending);
    }
    return this.#closures[node];
  }

  union(nodes) {
    if (nodes.length === 1) return this.closure(nodes[0]);
    const found = [...new Set([].concat(...nodes.map((node) => this.closure(node))))].sort(ascending);
    this.spend(found.length);
    return found;
  }
}
