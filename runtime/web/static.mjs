// The loader with all that it loads later elsewhere, for service workers, which may not: what computes, and the compiler of grammars.
import { compileGrammar } from "./compiler.mjs";
import { compileWith } from "./compiling.mjs";
import { Host } from "./host.mjs";
import { computeHere } from "./ports.mjs";

computeHere(Host);
compileWith(compileGrammar);

export * from "./chimera.mjs";
export { compileGrammar };
