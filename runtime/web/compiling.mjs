// Sources of grammars compiled in the thread that asks for it: compiler.mjs is loaded for the first one, and not before.
import { errorOf } from "./errors.mjs";

const MOST_KEPT = 16;
const kept = new Map(); // a source as JSON → its bytes

let known = null; // compileGrammar, once it is here

/** Compile without loading more: static.mjs gives compileGrammar. */
export const compileWith = (compileGrammar) => { known = compileGrammar; };

async function compile(source, signal) {
  try {
    if (!known) compileWith((await import("./compiler.mjs")).compileGrammar);
  } catch (cause) {
    throw errorOf("CHM433", "compiler.mjs cannot be loaded; serve it beside worker.mjs; in a service worker, which loads nothing later, import static.mjs in place of chimera.mjs", cause);
  }
  return known(JSON.parse(source), { signal });
}

/** Options of a generation with bytes as grammar where a source was given (sources.mjs). Aborting `signal` throws its reason. */
export async function withGrammar({ source, ...options }, signal) {
  if (source === undefined) return options;
  if (!kept.has(source)) {
    kept.set(source, await compile(source, signal));
    signal.throwIfAborted();
    if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  }
  return { ...options, grammar: kept.get(source) };
}
