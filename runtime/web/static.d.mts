/** All of the loader, for service workers, which may load nothing later. */
export * from "./chimera.mjs";
export { compileGrammar } from "./compiler.mjs";
