// The options schema, regex and choices as the option grammar: compiler.mjs is asked for when the first one is compiled, and not before.
import { errorOf } from "./errors.mjs";

const MOST_KEPT = 16;
const SOURCES = ["schema", "regex", "choices"];
const kept = new Map(); // a source as JSON → promise of its bytes

let known = null; // compileGrammar, once it is here

/** Compile without loading more: static.mjs gives compileGrammar. */
export const compileWith = (compileGrammar) => { known = compileGrammar; };

async function compile(source) {
  try {
    if (!known) compileWith((await import("./compiler.mjs")).compileGrammar);
  } catch (cause) {
    throw errorOf("CHM433", "compiler.mjs cannot be loaded; in a service worker, which loads nothing later, import static.mjs in place of chimera.mjs", cause);
  }
  return known(source);
}

/** Options of a generation with bytes as grammar where a source was given. */
export async function withGrammar(options) {
  const name = SOURCES.find((one) => options[one] !== undefined);
  const { [name]: source, ...rest } = options;
  const key = JSON.stringify({ [name]: source });
  if (!kept.has(key)) {
    const bytes = compile({ [name]: source });
    kept.set(key, bytes);
    bytes.catch(() => kept.delete(key));
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }
  return { ...rest, grammar: await kept.get(key) };
}

export const hasSource = (options) => SOURCES.some((name) => options[name] !== undefined);
