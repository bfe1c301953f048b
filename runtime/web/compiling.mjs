// The options schema, regex and choices as the option grammar: compiler.mjs is asked for when the first one is compiled, and not before.
import { errorOf } from "./errors.mjs";

const MOST_KEPT = 16;
const SOURCES = ["schema", "regex", "choices"];
const kept = new Map(); // a source as JSON → promise of its bytes

async function compile(source) {
  const { compileGrammar } = await import("./compiler.mjs").catch((cause) => {
    const why = "compiler.mjs cannot be loaded now (service workers load nothing later); import compileGrammar from it at the start and give its bytes as grammar";
    throw errorOf("CHM433", why, cause);
  });
  return compileGrammar(source);
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
