// Where a model computes: a worker, or the caller's own thread. Both take the messages of host.mjs.
import { revived } from "./errors.mjs";
import { Host } from "./host.mjs";
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

/** A host in this thread. */
export class LocalPort {
  inThread = true;
  #host;

  constructor(workerUrl, onMessage) {
    this.#host = new Host(onMessage, () => startWorker(workerUrl));
  }

  post(message) {
    this.#host.receive(message);
  }

  hold() {}

  async close() {
    this.#host.dispose();
  }
}
