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
const LETTER = 0x61;
const TAIL = [0x80, 0xbf];
/** Characters of more than one byte, as ranges of their bytes. */
const WIDE = [
  [[0xc2, 0xdf], TAIL], [[0xe0, 0xe0], [0xa0, 0xbf], TAIL], [[0xe1, 0xec], TAIL, TAIL], [[0xed, 0xed], [0x80, 0x9f], TAIL],
  [[0xee, 0xef], TAIL, TAIL], [[0xf0, 0xf0], [0x90, 0xbf], TAIL, TAIL], [[0xf1, 0xf3], TAIL, TAIL, TAIL], [[0xf4, 0xf4], [0x80, 0x8f], TAIL, TAIL],
];

/** How texts end: for each state `close` and `room`, for machines what a missing mark costs, and the states that have no mark yet. */
class Ends {
  constructor(states) {
    this.states = states;
    this.ways = states.map(({ segments }) => [...new Set(segments.map(([, , step]) => step))].filter(({ space }) => !space));
    this.units = new Map(states.filter(({ machine }) => machine.minimum).map(({ machine }) => [machine, 0]));
    this.unmarked = new Set();
    for (const machine of this.units.keys()) this.#findUnmarked(machine);
    this.#settle();
    this.#findRooms();
  }

  /** The states of a machine in which nothing was counted, if they are no others' too: there the missing marks are known. */
  #findUnmarked({ start }) {
    const reach = (from, marks) => {
      const seen = new Set(from);
      for (const state of seen) {
        for (const { mark, push, pop, target } of this.states[state].segments.map(([, , step]) => step)) {
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

  #shortest(state) {
    const { machine, final } = this.states[state];
    if (final) return 0;
    const unmarked = this.unmarked.has(state);
    let least = Infinity;
    for (const step of this.ways[state]) {
      if (unmarked ? step.pop : step.mark) continue; // else a mark is never on the shortest way
      const more = step.mark ? this.units.get(machine) * (machine.minimum - 1) : 0;
      least = Math.min(least, this.own(step) + (step.pop ? 0 : this.close[this.goal(step)]) + more);
    }
    return least;
  }

  #settle() {
    for (let round = 0; ; round += 1) {
      if (round > MOST_ROUNDS) refuse("a grammar without a short text");
      this.close = new Array(this.states.length).fill(Infinity);
      for (let changed = true; changed;) {
        changed = false;
        for (let state = this.states.length - 1; state >= 0; state -= 1) {
          const found = this.#shortest(state);
          if (found < this.close[state]) {
            this.close[state] = found;
            changed = true;
          }
        }
      }
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

  #findRooms() {
    const chosen = this.states.map((_, state) => this.ways[state].filter((step) => {
      const { machine } = this.states[state];
      const unmarked = this.unmarked.has(state);
      if (this.states[state].final || (unmarked ? step.pop : step.mark)) return false;
      const more = step.mark ? this.units.get(machine) * (machine.minimum - 1) : 0;
      return this.own(step) + (step.pop ? 0 : this.close[this.goal(step)]) + more === this.close[state];
    }));
    const pumps = this.states.map(({ machine }, state) => (machine.minimum ? this.#pumps(state) : []));
    this.room = new Array(this.states.length).fill(0);
    const need = ({ push, pop, target }) => (push >= 0 ? Math.max(1 + this.room[target], this.room[push]) : pop ? 0 : this.room[target]);
    for (let changed = true; changed;) {
      changed = false;
      this.states.forEach((_, state) => {
        const least = (steps) => (steps.length ? Math.min(...steps.map(need)) : 0);
        const found = Math.max(least(chosen[state]), least(pumps[state]));
        if (found > MOST_FRAMES) refuse("a grammar whose shortest text needs more than 64 frames");
        if (found > this.room[state]) {
          this.room[state] = found;
          changed = true;
        }
      });
    }
  }

  /** What a state's row of the table `loop` is: marks that are wanted, the most that a mark here allows, bytes for each. */
  loop(state) {
    const { machine, segments } = this.states[state];
    if (!machine.counts) return [0, UNLIMITED, 0];
    const wanted = this.unmarked.has(state) ? 0 : machine.minimum;
    const own = segments.some(([, , { mark, push, target }]) => mark && push < 0 && target === state);
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

/** The cells of all states: a column for each range of bytes that no segment cuts, and one for END. */
class Cells {
  constructor(states) {
    const bounds = new Uint8Array(257);
    for (const { segments } of states) for (const [first, last] of segments) bounds[first] = bounds[last + 1] = 1;
    let width = 0;
    this.columns = Uint16Array.from({ length: 256 }, (_, byte) => (width += byte > 0 && bounds[byte]));
    this.width = width + 2;
    this.states = states.length;
    if (this.states * this.width > MOST_CELLS) refuse("a grammar that needs so large tables");
    this.cells = new Uint32Array(this.states * this.width).fill(REJECT);
  }

  fill(state, first, last, cell) {
    this.cells.fill(cell, state * this.width + this.columns[first], state * this.width + this.columns[last] + 1);
  }

  end(state) {
    this.cells[state * this.width + this.width - 1] = RETURN;
  }

  at(state, byte) {
    return this.cells[state * this.width + this.columns[byte]];
  }

  /** Whether all characters of the text slice lead from a state back to it, their first bytes by the same cell. */
  coversText(state, cell) {
    for (let byte = 0x20; byte < 0x80; byte += 1) if (byte !== 0x22 && byte !== 0x5c && this.at(state, byte) !== cell) return false;
    return WIDE.every((path) => {
      let reached = new Set([state]);
      path.forEach(([first, last], index) => {
        const following = new Set();
        for (const from of reached) {
          for (let byte = first; byte <= last; byte += 1) {
            const found = this.at(from, byte);
            const fits = found !== REJECT && (found & 0xffff) !== RETURN && found >>> 16 === (index ? 0 : cell >>> 16);
            following.add(fits ? found & 0xffff : -1);
          }
        }
        reached = following.has(-1) ? new Set() : following;
      });
      return reached.size === 1 && reached.has(state);
    });
  }

  #equal(left, right) {
    for (let row = 0; row < this.cells.length; row += this.width) if (this.cells[row + left] !== this.cells[row + right]) return false;
    return true;
  }

  /** Columns that are equal as one class; END is the last of `delta`. */
  joined() {
    const kept = []; // a column of each class
    const alike = new Map(); // hash of a column → classes
    const classOf = Array.from({ length: this.width - 1 }, (_, column) => {
      let hash = 0;
      for (let row = column; row < this.cells.length; row += this.width) hash = Math.imul(hash ^ this.cells[row], 0x01000193);
      const known = alike.get(hash) ?? [];
      alike.set(hash, known);
      const same = known.find((one) => this.#equal(kept[one], column));
      if (same !== undefined) return same;
      known.push(kept.length);
      return kept.push(column) - 1;
    });
    const columns = [...kept, this.width - 1];
    const delta = new Uint32Array(this.states * columns.length);
    for (let state = 0, to = 0; state < this.states; state += 1) for (const column of columns) delta[to++] = this.cells[state * this.width + column];
    return { classes: Uint8Array.from(this.columns, (column) => classOf[column]), delta, columns: columns.length };
  }
}

/** The tables { classes, delta, op, state, loop, columns, closing } of states, the first of which is where texts start. */
export function tablesOf(states) {
  const ends = new Ends(states);
  const cells = new Cells(states);
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
  states.forEach(({ machine, segments, final }, state) => {
    for (const [first, last, step] of segments) {
      const plain = !step.mark && !step.space && !step.pop && step.push < 0;
      cells.fill(state, first, last, plain ? step.target : (Math.max(step.target, 0) | offsetOf(actionsOf(machine, step)) << 16) >>> 0);
    }
    if (final) cells.end(state);
  });
  if (op.length > MOST_WORDS) refuse("a grammar that needs so many actions");
  const loops = new Numbered();
  loops.of([0, UNLIMITED, 0]);
  const info = new Uint16Array(states.length * 4);
  states.forEach(({ machine }, state) => {
    const loop = ends.loop(state);
    const number = loops.of(loop);
    const cell = cells.at(state, LETTER);
    const counted = number > 0 && cell >>> 16 === offsets.get(String([(COUNT | loop[1] << 16) >>> 0]));
    const slice = cell !== REJECT && (cell & 0xffff) === state && (cell >>> 16 === 0 || counted) && cells.coversText(state, cell);
    info.set([ends.close[state], ends.room[state] | (slice ? (counted ? 2 : 1) : 0) << 8, number, machine.frame], state * 4);
  });
  const loop = Uint16Array.from(loops.listed.flatMap((row) => [...row, 0]));
  return { ...cells.joined(), op: Uint32Array.from(op), state: info, loop, closing: ends.close[0] };
}
