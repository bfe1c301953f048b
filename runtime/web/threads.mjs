// The threads of a model: workers that run thread.mjs.

const START_MS = 20000;

function start() {
  const node = globalThis.process?.getBuiltinModule?.("worker_threads");
  if (!node) return new Worker(new URL("./thread.mjs", import.meta.url), { type: "module" });
  return new node.Worker(new URL("./thread.mjs", import.meta.url));
}

/** Messages and errors of a worker, of the browser or of Node. */
function listen(worker, onMessage, onError) {
  if (worker.on) {
    worker.on("message", onMessage);
    worker.on("error", onError);
  } else {
    worker.addEventListener("message", ({ data }) => onMessage(data));
    worker.addEventListener("error", (event) => {
      event.preventDefault();
      onError(new Error(event.message || "a worker could not be loaded"));
    });
  }
}

/** Workers over a module's memory. stacks: the top of each worker's stack. Rejects when one of them does not start. */
export async function startThreads(module, memory, stacks) {
  const workers = stacks.map(start);
  const stop = () => workers.forEach((worker) => worker.terminate());
  let timer;
  try {
    const ready = workers.map((worker, i) => new Promise((resolve, reject) => {
      listen(worker, resolve, reject);
      worker.postMessage({ module, memory, stack: stacks[i] });
    }));
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("the workers do not answer")), START_MS);
    });
    await Promise.race([Promise.all(ready), late]);
    workers.forEach((worker) => worker.unref?.()); // a program in Node may end without disposing the model
  } catch (error) {
    stop();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return { join: (bundle) => workers.forEach((worker) => worker.postMessage({ bundle })), stop };
}
