// States → the tables of docs/fstpack.md, with the fewest bytes and frames from each state to the end of its frame. As Python's
// passes/grammar_fst/{closing,tables}.py; what is counted here can always end, so that only the end of a frame asks for a count.
import { refuse } from "./compiler-characters.mjs";

const REJECT = 0xffffffff;
const RETURN = 0xfffe;
const [CHECK, COUNT, PUSH, POP, SPACE] = [1, 2, 3, 4, 5];
const UNLIMITED = 65535;
const MOST_BYTES = 65535; // of a way to the end
const MOST_FRAMES = 64;
const MOST_ROUNDS = 24;
const MOST_CELLS = 4_000_000;
const MOST_WORDS = 65_535;
const FEW = 64; // states at a time, between which a slice may end
const LETTER = 0x61;
const TAIL = [0x80, 0xbf];
const NARROW = [[0x20, 0x21], [0x23, 0x5b], [0x5d, 0x7f]];
/** Characters of more than one byte, as ranges of their bytes. */
const WIDE = [
  [[0xc2, 0xdf], TAIL], [[0xe0, 0xe0], [0xa0, 0xbf], TAIL], [[0xe1, 0xec], TAIL, TAIL], [[0xed, 0xed], [0x80, 0x9f], TAIL],
  [[0xee, 0xef], TAIL, TAIL], [[0xf0, 0xf0], [0x90, 0xbf], TAIL, TAIL], [[0xf1, 0xf3], TAIL, TAIL, TAIL], [[0xf4, 0xf4], [0x80, 0x8f], TAIL, TAIL],
];

/** What `make` gives for each of a list, in steps. */
function* mapped(list, make) {
  const found = [];
  for (const one of list) {
    if (found.length % FEW === 0) yield;
    found.push(make(one, found.length));
  }
  return found;
}

/** Update states, later ones first, until none changes; `users` has, for each, those that depend on it. */
function* untilSettled(users, update) {
  const waiting = new Uint8Array(users.length).fill(1);
  for (let again = true; again;) {
    again = false;
    for (let state = users.length - 1; state >= 0; state -= 1) {
      if (state % FEW === 0) yield;
      if (!waiting[state]) continue;
      waiting[state] = 0;
      if (!update(state)) continue;
      for (const user of users[state]) {
        waiting[user] = 1;
        again ||= user >= state;
      }
    }
  }
}

/** How texts end: for each state `close` and `room`, for machines what a missing mark costs, and the states that have no mark yet. */
class Ends {
  constructor(states) {
    this.states = states;
    this.users = states.map(() => []); // states with a step to one, or over it
    this.units = new Map();
    for (const { machine } of states) if (machine.minimum) this.units.set(machine, 0);
    this.unmarked = new Set();
  }

  /** Find all of it, in steps. */
  *found() {
    this.ways = yield* mapped(this.states, ({ segments }, state) => {
      const found = [];
      for (const { step } of segments) if (!step.space && !found.includes(step)) found.push(step);
      for (const { push, pop, target } of found) {
        if (!pop) this.users[target].push(state);
        if (push >= 0) this.users[push].push(state);
      }
      return found;
    });
    for (const machine of this.units.keys()) {
      this.#findUnmarked(machine);
      yield;
    }
    yield* this.#settle();
    yield* this.#findRooms();
  }

  /** The states of a machine in which nothing was counted, if they are no others' too: there the missing marks are known. */
  #findUnmarked({ start }) {
    const reach = (from, marks) => {
      const seen = new Set(from);
      for (const state of seen) {
        for (const { step: { mark, push, pop, target } } of this.states[state].segments) {
          if (!pop && (marks || !mark)) seen.add(push >= 0 ? push : target);
        }
      }
      return seen;
    };
    const before = reach([start], false);
    const marked = [...before].flatMap((state) => this.ways[state].filter(({ mark }) => mark).map(({ push, target }) => (push >= 0 ? push : target)));
    const after = reach(marked, true);
    if (![...before].some((state) => after.has(state))) for (const state of before) this.unmarked.add(state);
  }

  goal({ push, target }) {
    return push >= 0 ? push : target;
  }

  /** Bytes up to the end of a frame that was just opened. */
  entry(state) {
    const { machine } = this.states[state];
    return this.close[state] + (machine.minimum && !this.unmarked.has(state) ? this.units.get(machine) * machine.minimum : 0);
  }

  /** Bytes of a step and of the frame that it opens. */
  own({ push, target }) {
    return 1 + (push >= 0 ? this.entry(target) : 0);
  }

  /** Bytes to the end of the frame by a step; Infinity if the shortest way never takes it. */
  #along(state, step, unmarked) {
    if (unmarked ? step.pop : step.mark) return Infinity; // else a mark is never on the shortest way
    const { machine } = this.states[state];
    const more = step.mark ? this.units.get(machine) * (machine.minimum - 1) : 0;
    return this.own(step) + (step.pop ? 0 : this.close[this.goal(step)]) + more;
  }

  #shortest(state) {
    if (this.states[state].final) return 0;
    const unmarked = this.unmarked.has(state);
    let least = Infinity;
    for (const step of this.ways[state]) least = Math.min(least, this.#along(state, step, unmarked));
    return least;
  }

  *#settle() {
    for (let round = 0; ; round += 1) {
      if (round > MOST_ROUNDS) refuse("a grammar without a short text");
      this.close = new Array(this.states.length).fill(Infinity);
      yield* untilSettled(this.users, (state) => {
        const found = this.#shortest(state);
        if (found >= this.close[state]) return false;
        this.close[state] = found;
        return true;
      });
      if (!this.units.size) break;
      const units = new Map([...this.units].map(([machine]) => [machine, 0]));
      this.states.forEach(({ machine }, state) => {
        const pumps = machine.minimum && !this.unmarked.has(state) ? this.#pumps(state) : [];
        if (pumps.length) units.set(machine, Math.max(units.get(machine), this.#cost(state, pumps[0])));
      });
      if ([...units].every(([machine, unit]) => unit === this.units.get(machine))) break;
      this.units = units;
    }
    if (![...this.close, ...this.units.values()].every((bytes) => bytes < MOST_BYTES)) refuse("a grammar with a part that does not end within 65,534 bytes");
  }

  #cost(state, step) {
    return this.own(step) + this.close[this.goal(step)] - this.close[state];
  }

  /** The ways of a state that make one more mark at the least cost. */
  #pumps(state) {
    const found = this.ways[state].filter(({ mark }) => mark);
    const least = Math.min(...found.map((step) => this.#cost(state, step)));
    return found.filter((step) => this.#cost(state, step) === least);
  }

  /** Frames that the shortest ways open: of the best step that ends, and of the best one that counts. */
  *#findRooms() {
    const own = this.states.map(({ final }, state) => {
      const unmarked = this.unmarked.has(state);
      return final ? [] : this.ways[state].filter((step) => this.#along(state, step, unmarked) === this.close[state]);
    });
    const pumps = this.states.map(({ machine }, state) => (machine.minimum ? this.#pumps(state) : []));
    this.room = new Array(this.states.length).fill(0);
    const least = (steps) => {
      let found = steps.length ? Infinity : 0;
      for (const { push, pop, target } of steps) {
        const need = push >= 0 ? Math.max(1 + this.room[target], this.room[push]) : pop ? 0 : this.room[target];
        if (need < found) found = need;
      }
      return found;
    };
    yield* untilSettled(this.users, (state) => {
      const found = Math.max(least(own[state]), pumps[state].length ? least(pumps[state]) : 0);
      if (found > MOST_FRAMES) refuse("a grammar whose shortest text needs more than 64 frames");
      if (found <= this.room[state]) return false;
      this.room[state] = found;
      return true;
    });
  }

  /** What a state's row of the table `loop` is: marks that are wanted, the most that a mark here allows, bytes for each. */
  loop(state) {
    const { machine, segments } = this.states[state];
    if (!machine.counts) return [0, UNLIMITED, 0];
    const wanted = this.unmarked.has(state) ? 0 : machine.minimum;
    const own = segments.some(({ step: { mark, push, target } }) => mark && push < 0 && target === state);
    return [wanted, own ? mostOf(machine) : UNLIMITED, wanted ? this.units.get(machine) : 0];
  }
}

const mostOf = ({ maximum }) => Math.min(maximum, UNLIMITED);

/** The words of a step's actions. */
function actionsOf(machine, { mark, space, push, pop }) {
  const words = [];
  if (mark) words.push(COUNT | mostOf(machine) << 16);
  if (push >= 0) words.push(PUSH | push << 16);
  if (pop && machine.minimum) words.push(CHECK | machine.minimum << 16);
  if (pop) words.push(POP);
  if (space) words.push(SPACE);
  return words.map((word) => word >>> 0);
}

/** Equal things as numbers. */
class Numbered {
  listed = [];
  #numbers = new Map();

  of(item) {
    const key = String(item);
    if (!this.#numbers.has(key)) this.#numbers.set(key, this.listed.push(item) - 1);
    return this.#numbers.get(key);
  }
}

/** The cells of all states: a column for each class of bytes that every state treats alike, and one for END. */
class Cells {
  #segments; // of each state: { first, last, cell }
  #columns;
  #columnOf = new Uint8Array(256); // of ranges that no segment cuts
  #within = new Map(); // first · 256 + last → classes of these bytes

  constructor(segments) {
    this.#segments = segments;
    const bounds = new Uint8Array(257);
    for (const row of segments) for (const { first, last } of row) bounds[first] = bounds[last + 1] = 1;
    let column = 0;
    for (let byte = 0; byte < 256; byte += 1) {
      if (byte && bounds[byte]) column += 1;
      this.#columnOf[byte] = column;
    }
    this.#columns = column + 1;
  }

  /** Find the columns and fill the cells, in steps. */
  *found() {
    this.classOf = yield* this.#parted(this.#columns);
    this.width = Math.max(...this.classOf) + 2;
    this.classes = this.#columnOf.map((one) => this.classOf[one]);
    const states = this.#segments.length;
    if (states * this.width > MOST_CELLS) refuse("a grammar that needs so large tables");
    this.delta = new Uint32Array(states * this.width).fill(REJECT);
    for (let state = 0; state < states; state += 1) {
      if (state % FEW === 0) yield;
      for (const { first, last, cell } of this.#segments[state]) for (const one of this.#classesOf(first, last)) this.delta[state * this.width + one] = cell;
    }
  }

  /** The class of each column, in the order of their first bytes: each way in which a state parts them is looked at once. */
  *#parted(columns) {
    const ways = new Map();
    for (const [state, row] of this.#segments.entries()) {
      if (state % FEW === 0) yield;
      const cells = [];
      const parts = row.map(({ first, last, cell }) => {
        let part = cells.indexOf(cell);
        if (part < 0) part = cells.push(cell) - 1;
        return { first, last, part };
      });
      ways.set(parts.map(({ first, last, part }) => (first * 256 + last) * 256 + part).join(), parts);
    }
    const found = new Array(columns).fill(0);
    let next = 1;
    for (const parts of ways.values()) {
      yield;
      const fresh = new Map(); // part and class until now → class
      for (const { first, last, part } of parts) {
        for (let column = this.#columnOf[first]; column <= this.#columnOf[last]; column += 1) {
          const key = found[column] * 256 + part;
          let one = fresh.get(key);
          if (one === undefined) fresh.set(key, one = next++);
          found[column] = one;
        }
      }
    }
    const order = [...new Set(found)];
    return found.map((one) => order.indexOf(one));
  }

  #classesOf(first, last) {
    const key = first * 256 + last;
    let found = this.#within.get(key);
    if (!found) this.#within.set(key, found = [...new Set(this.classOf.slice(this.#columnOf[first], this.#columnOf[last] + 1))]);
    return found;
  }

  end(state) {
    this.delta[(state + 1) * this.width - 1] = RETURN;
  }

  at(state, byte) {
    return this.delta[state * this.width + this.classes[byte]];
  }

  /** Whether all characters of the text slice lead from a state back to it, their first bytes by the same cell. */
  coversText(state, cell) {
    for (const [first, last] of NARROW) for (const one of this.#classesOf(first, last)) if (this.delta[state * this.width + one] !== cell) return false;
    return WIDE.every((path) => {
      let reached = [state];
      path.forEach((range, index) => {
        const following = new Set();
        for (const from of reached) {
          for (const one of this.#classesOf(range[0], range[1])) {
            const found = this.delta[from * this.width + one];
            const fits = found !== REJECT && (found & 0xffff) !== RETURN && found >>> 16 === (index ? 0 : cell >>> 16);
            following.add(fits ? found & 0xffff : -1);
          }
        }
        reached = following.has(-1) ? [] : [...following];
      });
      return reached.length === 1 && reached[0] === state;
    });
  }
}

/** The tables { classes, delta, op, state, loop, columns, closing } of states, the first of which is where texts start; found in steps. */
export function* tablesOf(states) {
  const ends = new Ends(states);
  yield* ends.found();
  const op = [0];
  const offsets = new Map([["", 0]]);
  const offsetOf = (words) => {
    const key = String(words);
    if (!offsets.has(key)) {
      offsets.set(key, op.length);
      op.push(...words, 0);
    }
    return offsets.get(key);
  };
  const cellOf = (machine, step) => {
    const plain = !step.mark && !step.space && !step.pop && step.push < 0;
    return plain ? step.target : (Math.max(step.target, 0) | offsetOf(actionsOf(machine, step)) << 16) >>> 0;
  };
  const cells = new Cells(yield* mapped(states, ({ machine, segments }) => segments.map(({ first, last, step }) => ({ first, last, cell: cellOf(machine, step) }))));
  yield* cells.found();
  states.forEach(({ final }, state) => {
    if (final) cells.end(state);
  });
  if (op.length > MOST_WORDS) refuse("a grammar that needs so many actions");
  const loops = new Numbered();
  loops.of([0, UNLIMITED, 0]);
  const info = new Uint16Array(states.length * 4);
  for (const [state, { machine }] of states.entries()) {
    if (state % FEW === 0) yield;
    const loop = ends.loop(state);
    const number = loops.of(loop);
    const cell = cells.at(state, LETTER);
    const counted = number > 0 && cell >>> 16 === offsets.get(String([(COUNT | loop[1] << 16) >>> 0]));
    const slice = cell !== REJECT && (cell & 0xffff) === state && (cell >>> 16 === 0 || counted) && cells.coversText(state, cell);
    info.set([ends.close[state], ends.room[state] | (slice ? (counted ? 2 : 1) : 0) << 8, number, machine.frame], state * 4);
  }
  const loop = Uint16Array.from(loops.listed.flatMap((row) => [...row, 0]));
  return { classes: cells.classes, delta: cells.delta, columns: cells.width, op: Uint32Array.from(op), state: info, loop, closing: ends.close[0] };
}
