// Runs a model in a worker; worker-client.mjs is the other side. One message in, any number out, each with its `id`.
import { load } from "./chimera.mjs";

let model = null;
const aborts = new Map();

const describe = (error) => ({ name: error.name, code: error.code ?? null, message: error.message });

/** Send the pieces of a generation as they come. */
async function steps(id, signal, options, begin) {
  const onProgress = (progress) => postMessage({ id, type: "progress", progress });
  for await (const piece of begin({ ...options, signal, onProgress })) postMessage({ id, type: "piece", piece });
  return { finishReason: model.finishReason, position: model.position };
}

const requests = {
  async load(id, { url, options }, signal) {
    model = await load(url, { ...options, signal, onProgress: (progress) => postMessage({ id, type: "progress", progress }) });
    const { manifest, vocabSize, maxLoops, context, threads, variant } = model;
    return { manifest, vocabSize, maxLoops, context, threads, variant };
  },
  generate: (id, { prompt, options }, signal) => steps(id, signal, options, (all) => model.generate(prompt, all)),
  chat: (id, { messages, options }, signal) => steps(id, signal, options, (all) => model.chat(messages, all)),
  async call(id, { inputs, options }) {
    return model.call(inputs, options);
  },
  async reset() {
    model.reset();
  },
  async setNames(id, { home }, signal) {
    await model.setNames(home, { signal });
  },
  async selfTest(id, details, signal) {
    return model.selfTest({ signal, onProgress: (progress) => postMessage({ id, type: "progress", progress }) });
  },
};

async function answer(id, type, details) {
  try {
    postMessage({ id, type: "done", result: await requests[type](id, details, aborts.get(id).signal) });
  } catch (error) {
    postMessage({ id, type: "error", error: describe(error) });
  } finally {
    aborts.delete(id);
  }
}

let last = Promise.resolve(); // one request at a time: an aborted one ends before the next one starts
addEventListener("message", ({ data: { id, type, ...details } }) => {
  if (type === "abort") {
    aborts.get(id)?.abort();
    return;
  }
  aborts.set(id, new AbortController());
  last = last.then(() => answer(id, type, details));
});
