// Loads a bundle from a server with faults, for tests in Node and in Chromium: what comes of each, by the name of the fault.

const FAULTS = ["plain", "html404", "html", "no-ranges", "no-ranges-cut", "cut", "stall", "busy", "wrong-once", "wrong", "gone"];

/** [name of the class, code] of what went wrong, or the first tokens of a model that was loaded. */
export async function outcome(load) {
  let model;
  try {
    model = await load();
  } catch (error) {
    return [error.name, error.code, error.message];
  }
  const steps = model.generate("hello", { maxTokens: 8 });
  for await (const piece of steps) void piece;
  const { tokens } = await steps.result;
  await model.dispose();
  return { tokens: [...tokens], storage: model.storage };
}

/** Empty the own cache. */
export async function forgetAll(Chimera) {
  for (const { url } of await Chimera.cached()) await Chimera.delete(url);
}

export async function faults(Chimera, base, options, wanted = FAULTS) {
  const found = {};
  for (const fault of wanted) {
    await forgetAll(Chimera);
    const told = [];
    const onProgress = (progress) => told.push(progress);
    const came = await outcome(() => Chimera.load(`${base}${fault}/`, { retries: 2, stallTimeout: 400, onProgress, ...options }));
    const bytes = told.filter(({ phase }) => phase !== "compile").map(({ loaded }) => loaded);
    found[fault] = { came, rising: bytes.every((loaded, i) => !i || loaded >= bytes[i - 1]), last: bytes.at(-1), total: told.at(-1)?.total };
  }
  return found;
}

/** Aborts in each phase; the tokens of a load after it. */
export async function aborts(Chimera, base, options) {
  const found = {};
  for (const wanted of ["download", "compile"]) {
    const stop = new AbortController();
    const reason = new RangeError("enough");
    const onProgress = ({ phase }) => { if (phase === wanted) stop.abort(reason); };
    const load = (more) => Chimera.load(`${base}slow/`, { ...options, ...more });
    await forgetAll(Chimera);
    const aborted = await load({ signal: stop.signal, onProgress }).then(() => null, (error) => error === reason);
    found[wanted] = [aborted, await outcome(() => load({}))];
  }
  const model = await Chimera.load(`${base}plain/`, options);
  const long = Array.from({ length: 200000 }, (_, i) => i % 288);
  for (const wanted of ["prompt", "generate"]) {
    const stop = new AbortController();
    const onProgress = ({ phase, loaded }) => { if (phase === wanted && loaded) stop.abort(); };
    const run = async (prompt, more) => {
      const steps = model.generate(prompt, more);
      for await (const piece of steps) void piece;
      return [...(await steps.result).tokens];
    };
    const aborted = await run(wanted === "prompt" ? long : "hello", { maxTokens: 100000, signal: stop.signal, onProgress }).then(() => null, (error) => error.name);
    found[wanted] = [aborted, model.position, await run("hello", { maxTokens: 8 })];
  }
  await model.dispose();
  return found;
}
