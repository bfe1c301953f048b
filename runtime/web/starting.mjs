// Starting worker.mjs, wherever it is: beside this file, put elsewhere by a bundler, or imported by a script of the caller.
import { started, workerFrom } from "./workers.mjs";

const OWN_NAMES = ["/starting.mjs", "/chimera-shared.mjs"]; // of this file, unless a bundler has put it into another

/** Whether an address is that of this file, as it was. webpack puts the file's own address in its place, where it was built. */
function isOwn(address) {
  const built = address.startsWith("file:") && globalThis.location?.protocol.startsWith("http");
  return !built && OWN_NAMES.some((name) => address.split(/[?#]/)[0].endsWith(name));
}

function start(workerUrl) {
  if (workerUrl) return workerFrom(workerUrl);
  const here = import.meta.url;
  if (isOwn(here)) return workerFrom(new URL("worker.mjs", here));
  return new Worker(new URL("./worker.mjs", import.meta.url), { type: "module" }); // in this form bundlers know it
}

/** A worker that runs worker.mjs; workerUrl: the address of a script that imports it. */
export const startWorker = (workerUrl) => started(() => start(workerUrl));
