// The grammars that a model is asked for: those of the bundle by name, and compiled ones by their bytes.
import { instead, unknown } from "./arguments.mjs";
import { errorOf } from "./errors.mjs";

const MOST_OPEN = 8;
const SKIP_CHECKSUMS = 1; // the SHA-256 of the bundle's file was compared

export class Grammars {
  #module;
  #bundle;
  #scratch;
  #file; // { pointer, bytes } of the bundle's pack, or null
  #base = 0;
  #open = new Map(); // name or Uint8Array → { grammar, pack, data }

  constructor(module, bundle, scratch, file) {
    this.#module = module;
    this.#bundle = bundle;
    this.#scratch = scratch;
    this.#file = file;
  }

  #handle(name, ...values) {
    this.#module.call(name, ...values, this.#scratch);
    return this.#module.number(this.#scratch);
  }

  /** The bundle's own grammars, with the tokenizer's tables. */
  #pack() {
    const { pointer, bytes } = this.#file ?? { pointer: 0, bytes: 0 };
    this.#base ||= this.#handle("chm_pack_open", this.#bundle, 0, pointer, bytes, SKIP_CHECKSUMS, 0);
    return this.#base;
  }

  #names() {
    const { chm_pack_count, chm_pack_name } = this.#module.exports;
    const pack = this.#pack();
    return Array.from({ length: chm_pack_count(pack) }, (_, i) => this.#module.string(chm_pack_name(pack, i)));
  }

  #named(name) {
    const module = this.#module;
    const names = this.#file ? this.#names() : [];
    if (!names.includes(name)) throw errorOf("CHM431", `${unknown("grammar", name)}: ${instead(name, names)}`);
    const pack = this.#pack();
    const grammar = module.withBytes(new TextEncoder().encode(`${name}\0`), (pointer) => this.#handle("chm_grammar_open", pack, pointer, 0));
    return { grammar, pack: 0, data: null };
  }

  #compiled(bytes) {
    const module = this.#module;
    const data = { pointer: module.allocate(bytes.length), bytes: bytes.length };
    let pack = 0;
    try {
      module.bytes(data.pointer, data.bytes).set(bytes);
      pack = this.#handle("chm_pack_open", this.#bundle, this.#pack(), data.pointer, data.bytes, 0, 0);
      return { grammar: this.#handle("chm_grammar_open", pack, 0, 0), pack, data };
    } catch (error) {
      if (pack) module.exports.chm_pack_close(pack);
      module.release(data.pointer, data.bytes);
      throw error;
    }
  }

  /** The key of a compiled grammar of the same bytes that is open; each message to a worker has a copy of its own. */
  #opened(bytes) {
    const same = ({ data }) => data?.bytes === bytes.length && this.#module.bytes(data.pointer, data.bytes).every((byte, i) => byte === bytes[i]);
    return [...this.#open].find(([, entry]) => same(entry))?.[0] ?? bytes.slice();
  }

  #close(key) {
    const { grammar, pack, data } = this.#open.get(key);
    this.#open.delete(key);
    this.#module.exports.chm_grammar_close(grammar);
    if (pack) this.#module.exports.chm_pack_close(pack);
    if (data) this.#module.release(data.pointer, data.bytes);
  }

  /** Handle of the grammar that a generation is to follow; 0 for none. */
  choose(wanted) {
    let key = wanted instanceof Uint8Array ? this.#opened(wanted) : wanted;
    if (key === "none" || (key === undefined && !this.#file)) return 0;
    if (key === undefined) {
      const index = this.#module.exports.chm_pack_default(this.#pack());
      if (index < 0) return 0;
      key = this.#module.string(this.#module.exports.chm_pack_name(this.#pack(), index));
    }
    let entry = this.#open.get(key);
    if (!entry) {
      while (this.#open.size >= MOST_OPEN) this.#close(this.#open.keys().next().value);
      entry = typeof key === "string" ? this.#named(key) : this.#compiled(key);
    } else {
      this.#open.delete(key); // the last one used is the last to go
    }
    this.#open.set(key, entry);
    return entry.grammar;
  }

  close() {
    for (const key of [...this.#open.keys()]) this.#close(key);
    if (this.#base) this.#module.exports.chm_pack_close(this.#base);
    this.#base = 0;
  }
}
