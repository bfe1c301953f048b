// A model used wrongly, for test_calls.py: in Node, in a page, and in a worker.

export const failure = (promise) => promise.then(() => null, (error) => [error.code ?? error.name, error.message]);

/** What calls at the same time, abandoned generations, aborts and wrong arguments do. */
export async function story(model) {
  const run = async (prompt, options) => {
    const made = [];
    for await (const { token } of model.generate(prompt, options)) made.push(token);
    return made;
  };
  const OPTIONS = { maxTokens: 12, temperature: 1.3, seed: 3 };
  const long = Array.from({ length: 60000 }, (_, i) => i % 288);
  const expected = await run("hello", OPTIONS);
  // two generations in turns: the second is refused, the first goes on
  const first = model.generate("hello", OPTIONS);
  const made = [(await first.next()).value.token];
  const second = await failure(run("other", OPTIONS));
  for await (const { token } of first) made.push(token);
  // abandoned: by break, by an error of the consumer
  for await (const piece of model.generate("hello", OPTIONS)) break;
  const afterBreak = await run("hello", OPTIONS);
  const thrown = await failure((async () => { for await (const piece of model.generate("hello", OPTIONS)) throw new RangeError("mine"); })());
  const afterError = await run("hello", OPTIONS);
  // aborted in the middle of a prompt, by the listener and from the event loop
  const told = [];
  const stop = new AbortController();
  const aborted = await failure(run(long, { ...OPTIONS, signal: stop.signal, onProgress: (p) => { told.push(p); stop.abort(); } }));
  const afterAbort = await run("hello", OPTIONS);
  const early = new AbortController();
  early.abort();
  const never = await failure(run("hello", { ...OPTIONS, signal: early.signal }));
  const listener = await failure(run(long, { ...OPTIONS, onProgress() { throw new RangeError("mine"); } }));
  const last = [];
  const whole = await run(long, { ...OPTIONS, onProgress: (p) => p.phase === "prompt" && last.push(p) });
  const wrong = [];
  for (const [prompt, options] of [[null], [3.5], ["a\udc00b"], [[1, 288]], ["a", { seed: 1.5 }], ["a", { temprature: 1 }],
    ["a", { maxTokens: () => 1 }], ["a", { signal: 5 }], ["a", { onProgress: 5 }]]) wrong.push(await failure(run(prompt, options)));
  return { expected, made, second, afterBreak, thrown, afterError, told, aborted, afterAbort, never, listener, whole, wrong,
    last: last.at(-1), rising: last.every((p, i) => i === 0 || p.loaded > last[i - 1].loaded), pieces: last.length };
}

/** Whatever is no argument of a model, or of loading one. */
export async function wrongArguments(load, url) {
  const model = await load(url);
  const run = async (prompt, options) => { for await (const piece of model.generate(prompt, options)); };
  const prompts = [null, undefined, 3.5, 5, true, {}, new Map(), new Set([1]), () => 1, Symbol.iterator, 5n, [1.5], ["1"], [null], [-1],
    [288], [1, 2 ** 40], [NaN], "a\udc00b", "\ud800"];
  const options = [null, 5, "x", { seed: 1.5 }, { seed: -1 }, { seed: -1n }, { seed: 2n ** 64n }, { seed: 2 ** 60 }, { seed: "5" },
    { temperature: "hot" }, { temperature: NaN }, { topP: Infinity }, { maxTokens: -1 }, { maxTokens: 1.5 }, { maxTokens: 1e300 },
    { reset: 0 }, { mode: 5 }, { mode: "fast" }, { grammar: 5 }, { signal: {} }, { onProgress: 1 }, { max_tokens: 5 },
    { ["x".repeat(5000)]: 1 }, { "\u001b[31m": 1 }, { __proto__: null, temprature: 1 },
    { stop: 5 }, { stop: "" }, { stop: ["a", null] }, { stop: Array(17).fill("a") }, { stop: "a".repeat(1025) }, { ahead: -1 }, { ahead: 1025 }];
  const texts = [null, undefined, 5, 3.5, {}, [97], "\udc00"];
  const calls = [...prompts.map((prompt) => run(prompt)), ...options.map((given) => run("a", given)),
    ...texts.map((text) => model.tokenize(text)), model.tokenize("a", { special: true }), model.tokenize("a", { specials: 1 }),
    ...[null, 5, "x", [1]].map((bytes) => model.restore(bytes)), model.tokenize("a", null),
    ...[5, "x", [1.5], { length: 3 }].map((tokens) => model.prefill(tokens)), model.prefill([1], { onprogress() {} }), model.selfTest({ x: 1 }),
    ...[null, 5, {}, "not a url", { manifest: 5 }].map((source) => load(source)),
    ...[{ thread: 2 }, { threads: 1.5 }, { threads: 65 }, { variant: 5 }, { signal: 5 }, { onProgress: {} },
      { cache: "disk" }, { retries: -1 }, { stallTimeout: 1.5 }, { fetch: 5 }, { worker: 1 }, { workerUrl: 5 }, { cach: "opfs" }].map((given) => load(url, given))];
  const found = await Promise.all(calls.map(failure));
  const names = [];
  for (const name of ["jsn", "json\0", "", "\udc00"]) names.push((await failure(run("a", { grammar: name })))[0]);
  const fine = await failure(run("é", { maxTokens: 2, seed: undefined, mode: null, temperature: null, seed: 2n ** 63n }));
  return { found, names, fine, same: String(await model.tokenize(new TextEncoder().encode("é"))) === String(await model.tokenize("é")),
    any: [...(await model.tokenize(Uint8Array.of(255, 195)))] };
}
