// Strings that are held to several things at once: regular expressions, and how many characters they have. The automata of the
// expressions, over characters, run side by side with a count, and what they take together is written as rules that go on in each other.
import { EMPTY, NOTHING, choice, counted, intersection, refuse, ruleOf, sequence, setOf } from "./compiler-characters.mjs";
import { QUOTE, encode } from "./compiler-json.mjs";

const MOST_NODES = 20_000;
const MOST_PLACES = 6000; // sets of nodes
const FEW_COPIES = 32; // of places with a count: of characters of one set more are counted in a frame
const MOST_COPIES = 20_000;

/** The automaton of a tree (compiler-regex.mjs): nodes with moves [set of characters, target], and those that need none. */
class Automaton {
  free = []; // node → nodes
  moves = []; // node → [set, target]

  constructor(tree) {
    this.exit = this.#node();
    this.entry = this.#build(tree, this.exit);
  }

  #node() {
    if (this.free.length >= MOST_NODES) refuse("a regular expression of so many parts beside others");
    this.moves.push([]);
    return this.free.push([]) - 1;
  }

  #build(tree, exit) {
    switch (tree.type) {
      case "set": {
        const entry = this.#node();
        this.moves[entry].push([tree.set, exit]);
        return entry;
      }
      case "join":
        return tree.parts.reduceRight((target, part) => this.#build(part, target), exit);
      case "either": {
        const entry = this.#node();
        for (const option of tree.options) this.free[entry].push(this.#build(option, exit));
        return entry;
      }
      case "times":
        return this.#times(tree, exit);
      default:
        return refuse("regular expression: an anchor that is not at an end");
    }
  }

  #times({ item, minimum, maximum }, exit) {
    let entry = this.#node();
    this.free[entry].push(exit);
    if (maximum === Infinity) this.free[entry].push(this.#build(item, entry));
    else for (let rest = maximum - minimum; rest > 0; rest -= 1) {
      const more = this.#node();
      this.free[more].push(exit, this.#build(item, entry));
      entry = more;
    }
    for (let rest = minimum; rest > 0; rest -= 1) entry = this.#build(item, entry);
    return entry;
  }

  /** Nodes, and what they reach without a character, in ascending order. */
  closure(nodes) {
    const found = new Set(nodes);
    for (const node of found) for (const other of this.free[node]) found.add(other);
    return [...found].filter((node) => node === this.exit || this.moves[node].length).sort((a, b) => a - b);
  }

  /** Moves of a set of nodes: [set, nodes], no character in two sets. */
  movesOf(nodes) {
    const moves = nodes.flatMap((node) => this.moves[node]);
    const bounds = new Set(moves.flatMap(([set]) => set.flatMap(([first, last]) => [first, last + 1])));
    const order = [...bounds].sort((a, b) => a - b);
    const found = new Map(); // targets as a text → { ranges, targets }
    order.slice(0, -1).forEach((first, place) => {
      const targets = new Set(moves.filter(([set]) => set.some((range) => range[0] <= first && first <= range[1])).map(([, target]) => target));
      if (!targets.size) return;
      const key = [...targets].sort((a, b) => a - b).join();
      if (!found.has(key)) found.set(key, { ranges: [], targets });
      found.get(key).ranges.push([first, order[place + 1] - 1]);
    });
    return [...found.values()].map(({ ranges, targets }) => [setOf(ranges), this.closure(targets)]);
  }
}

/** Moves that all automata can make: [set, a set of nodes for each]. */
function together(automata, places) {
  return automata.reduce((found, automaton, number) => {
    const own = automaton.movesOf(places[number]);
    return found.flatMap(([left, targets]) => own.map(([right, target]) => [left === null ? right : intersection(left, right), [...targets, target]]).filter(([set]) => set.length));
  }, [[null, []]]);
}

/** The automaton of texts that all trees match as a whole: of each place its moves [set, target] and whether a text may end there. */
function* joined(trees) {
  const automata = trees.map((tree) => new Automaton(tree));
  const known = new Map();
  const order = [];
  const placeOf = (nodes) => {
    const key = nodes.join("|");
    if (!known.has(key)) known.set(key, order.push(nodes) - 1);
    if (order.length > MOST_PLACES) refuse("a regular expression of so many states beside others");
    return known.get(key);
  };
  placeOf(automata.map((automaton) => automaton.closure([automaton.entry])));
  const moves = [];
  for (const nodes of order) {
    moves.push(together(automata, nodes).map(([set, targets]) => [set, placeOf(targets)]));
    yield;
  }
  return { moves, ends: order.map((nodes) => automata.every(({ exit }, number) => nodes[number].includes(exit))) };
}

/** For each place the fewest and the most characters to an end: { need, most }, Infinity where there is none such. */
function measured({ moves, ends }) {
  const before = moves.map(() => []);
  moves.forEach((row, place) => row.forEach(([, target]) => before[target].push(place)));
  const need = ends.map((end) => (end ? 0 : Infinity));
  const reached = ends.flatMap((end, place) => (end ? [place] : []));
  for (const place of reached) {
    for (const source of before[place].filter((one) => need[one] === Infinity)) {
      need[source] = need[place] + 1;
      reached.push(source);
    }
  }
  const goesOn = moves.map((row) => new Set(row.map(([, target]) => target).filter((target) => need[target] < Infinity)));
  const left = goesOn.map(({ size }) => size);
  const most = need.map(() => Infinity);
  const ready = reached.filter((place) => !left[place]);
  for (const place of ready) { // those that no circle can be reached from
    most[place] = Math.max(0, ...[...goesOn[place]].map((target) => most[target] + 1));
    for (const source of new Set(before[place])) if (need[source] < Infinity && (left[source] -= 1) === 0) ready.push(source);
  }
  return { need, most };
}

/** The set of characters of which all texts are made, and 1 where the empty one is none; null where more counts than how many there are. */
function charactersOf({ moves, ends }) {
  const last = moves.length - 1;
  const [[set, target] = []] = moves[last];
  const alike = moves.every((row) => row.length === 1 && row[0][1] === target && String(row[0][0]) === String(set));
  return last <= 1 && alike && target === last && ends[last] ? { set, least: ends[0] ? 0 : 1 } : null;
}

/**
 * The JSON strings of `minimum` to `maximum` characters that all trees match as a whole. Places are told apart by how many characters came
 * before; a frame counts where characters of one set are all there is. Found in steps.
 */
export function* boundedString(trees, minimum, maximum) {
  const automaton = yield* joined(trees);
  const { need, most } = measured(automaton);
  if (need[0] === Infinity || need[0] > maximum || most[0] < minimum) return NOTHING;
  const least = minimum > need[0] ? minimum : 0;
  const largest = maximum < most[0] ? maximum : Infinity;
  const top = largest === Infinity ? least : largest;
  const copies = top ? (top + 1) * automaton.moves.length : 0;
  const plain = copies > FEW_COPIES ? charactersOf(automaton) : null;
  if (plain) return counted(QUOTE, encode(plain.set), EMPTY, QUOTE, Math.max(minimum, plain.least), maximum);
  if (copies > MOST_COPIES) refuse("a string with an expression and so large bounds");
  const spelled = new Map(); // set → its expression, one for all copies
  const spellingOf = (set) => {
    if (!spelled.has(set)) spelled.set(set, encode(set));
    return spelled.get(set);
  };
  const rules = new Map();
  const pending = [];
  const ruleAt = (place, count) => {
    const key = `${place} ${count}`;
    if (!rules.has(key)) {
      rules.set(key, ruleOf());
      pending.push([place, count, rules.get(key)]);
    }
    return rules.get(key);
  };
  const first = ruleAt(0, 0);
  for (const [place, count, rule] of pending) {
    yield;
    const row = automaton.moves[place].filter(([, target]) => count + 1 + need[target] <= largest && count + 1 + most[target] >= least && need[target] < Infinity);
    const goesOn = row.map(([set, target]) => sequence(spellingOf(set), ruleAt(target, Math.min(top, count + 1))));
    rule.expression = choice([...goesOn, ...(automaton.ends[place] && count >= least ? [EMPTY] : [])]);
  }
  return sequence(QUOTE, first, QUOTE);
}
