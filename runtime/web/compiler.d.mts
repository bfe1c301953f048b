/**
 * Compile a grammar to bytes for the option `grammar` of generate(): one of a JSON Schema that the text is valid against, a regular
 * expression (of Python's `re`) that the whole text matches, or texts, one of which it is. `whitespace` is the most optional whitespace
 * in a row, 0 to 255, 8 by default. Throws ArgumentError, and GrammarError (CHM433) for what is not compiled in a page yet.
 * It is compiled in slices of some milliseconds: aborting `signal` throws its reason, and what takes longer than `timeout` milliseconds
 * (10,000 by default) is a GrammarError, too.
 */
export function compileGrammar(
  source: { schema?: object | boolean; regex?: string; choices?: string[]; whitespace?: number },
  options?: { signal?: AbortSignal | null; timeout?: number | null },
): Promise<Uint8Array>;
