// Workers of browsers and of Node, from the address of their script. starting.mjs knows the address of worker.mjs.
import { ContentSecurityError, WorkerError } from "./errors.mjs";

const POLICY = "chimera"; // the name that a page's `trusted-types` has to allow

const nodeThreads = () => (typeof Worker === "function" ? null : globalThis.process?.getBuiltinModule?.("worker_threads") ?? null);

export const hasWorkers = () => typeof Worker === "function" || nodeThreads() !== null;

/** Whether this is a worker already, whose caller is not held up by long calls. */
export function isWorker() {
  const threads = nodeThreads();
  return threads ? !threads.isMainThread : typeof WorkerGlobalScope === "function" && globalThis instanceof WorkerGlobalScope;
}

let policy;
function trusted(url) {
  if (typeof trustedTypes !== "object" || typeof url !== "string") return url;
  try {
    policy ??= trustedTypes.createPolicy(POLICY, { createScriptURL: (text) => text });
    return policy.createScriptURL(url);
  } catch {
    return url; // the page allows no policy of this name; where it demands trusted types, `new Worker` says so
  }
}

/** A worker from the address of a module. */
export function workerFrom(address) {
  const threads = nodeThreads();
  if (threads) return new threads.Worker(new URL(address), { execArgv: [] }); // not `--input-type` and the like
  return new Worker(trusted(address instanceof URL ? address.href : address), { type: "module" });
}

const ADVICE = {
  other: 'give workerUrl, the address of a script of your own origin that says: import "ADDRESS OF worker.mjs"; or worker: false',
  policy: "allow worker-src 'self' and, with Trusted Types, trusted-types chimera; or load with worker: false",
};

/** Whether the page's policy has forbidden a worker: browsers tell that in an event, not in the worker's error. */
let forbidden = false;
globalThis.document?.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => { forbidden ||= effectiveDirective === "worker-src"; });

/** What start() gives; what it throws has a class and advice. */
export function started(start) {
  forbidden = false;
  try {
    return start();
  } catch (cause) {
    if (cause instanceof TypeError) throw new ContentSecurityError("the page's Trusted Types do not allow the worker", { advice: ADVICE.policy, cause });
    throw new WorkerError(`the worker cannot be started: ${cause.message}`, { advice: ADVICE.other, cause });
  }
}

/** Messages and errors of a worker, of the browser or of Node. */
export function listen(worker, onMessage, onError) {
  if (worker.on) {
    worker.on("message", onMessage);
    worker.on("error", (cause) => onError(new WorkerError(`the worker has failed: ${cause.message}`, { cause })));
    return;
  }
  worker.addEventListener("message", ({ data }) => onMessage(data));
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    if (event.message) onError(new WorkerError(`the worker has failed: ${event.message}`));
    else if (forbidden) onError(new ContentSecurityError("the content security policy allows no worker", { advice: ADVICE.policy }));
    else onError(new WorkerError("the worker could not be loaded", { advice: `see that worker.mjs is served beside chimera.mjs as text/javascript, and ${ADVICE.policy}` }));
  });
}
