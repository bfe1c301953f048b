// Where a model computes: a worker, or the caller's own thread. Both take the messages of host.mjs.
import { WorkerError, revived } from "./errors.mjs";
import { startWorker } from "./starting.mjs";
import { listen } from "./workers.mjs";

/** A host in a worker of its own. */
export class WorkerPort {
  inThread = false;
  #worker;

  constructor(workerUrl, onMessage, onError) {
    this.#worker = startWorker(workerUrl);
    listen(this.#worker, (message) => onMessage(message.error ? { ...message, error: revived(message.error) } : message), onError);
  }

  post(message, transfer = []) {
    this.#worker.postMessage(message, transfer);
  }

  /** Whether a program in Node goes on for this worker: while something is asked of it. */
  hold(isBusy) {
    if (isBusy) this.#worker.ref?.();
    else this.#worker.unref?.();
  }

  async close() {
    await this.#worker.terminate();
  }
}

let known = null; // the class Host, once it is here

/** Let models compute in this thread without loading more: static.mjs gives the class Host. */
export const computeHere = (Host) => { known = Host; };

async function loadHost() {
  try {
    computeHere((await import("./host.mjs")).Host); // pages whose models compute in workers need none of it
  } catch (cause) {
    throw new WorkerError("host.mjs cannot be loaded", { advice: "in a service worker, which loads nothing later, import static.mjs in place of chimera.mjs", cause });
  }
}

/** A host in this thread. */
export class LocalPort {
  inThread = true;
  #host = null;
  #waiting = []; // messages before the host is there
  #closed = false;

  constructor(workerUrl, onMessage, onError) {
    const begin = () => {
      if (this.#closed) return;
      this.#host = new known(onMessage, () => startWorker(workerUrl));
      for (const message of this.#waiting.splice(0)) this.#host.receive(message);
    };
    if (known) begin();
    else loadHost().then(begin, onError);
  }

  post(message) {
    if (this.#host) this.#host.receive(message);
    else this.#waiting.push(message);
  }

  hold() {}

  async close() {
    this.#closed = true;
    this.#host?.dispose();
  }
}
