// The threads of a model: workers that run thread.mjs.
import { listen } from "./workers.mjs";

const START_MS = 20000;

/** Workers, by start(), over a module's memory. stacks: the top of each worker's stack. Rejects when one does not start. */
export async function startThreads(module, memory, stacks, start) {
  const workers = [];
  const stop = () => workers.forEach((worker) => worker.terminate());
  let timer;
  try {
    for (const _ of stacks) workers.push(start());
    const ready = workers.map((worker, i) => new Promise((resolve, reject) => {
      listen(worker, resolve, reject);
      worker.postMessage({ thread: true, module, memory, stack: stacks[i] });
    }));
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("the workers do not answer")), START_MS);
    });
    await Promise.race([Promise.all(ready), late]);
    workers.forEach((worker) => worker.unref?.()); // a program in Node may end without disposing the model
  } catch (cause) {
    stop();
    throw new Error("the threads do not start", { cause });
  } finally {
    clearTimeout(timer);
  }
  return { join: (bundle) => workers.forEach((worker) => worker.postMessage({ thread: true, bundle })), stop };
}
