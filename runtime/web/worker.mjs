// The worker of a model, and of its threads: the first message says which. ports.mjs and threads.mjs are the other sides.
import { described } from "./errors.mjs";
import { Host } from "./host.mjs";
import { runThread } from "./thread.mjs";
import { workerFrom } from "./workers.mjs";

const port = globalThis.process?.getBuiltinModule?.("worker_threads")?.parentPort ?? globalThis;
const own = globalThis.location?.href ?? import.meta.url; // threads run this same script
const send = (message) => port.postMessage(message.error ? { ...message, error: described(message.error) } : message);
const host = new Host(send, () => workerFrom(own));

function receive(message) {
  if (message.thread) runThread(message, () => port.postMessage("ready"));
  else host.receive(message);
}

if (port.on) port.on("message", receive);
else addEventListener("message", ({ data }) => receive(data));
