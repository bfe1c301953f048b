// A thread of a model: an instance of its module over the same memory, which computes what the others leave to it.
// Messages: { module, memory, stack } → "ready", then { bundle }; it ends when the model is disposed.
const port = globalThis.process?.getBuiltinModule?.("worker_threads")?.parentPort;
const post = (message) => (port ?? globalThis).postMessage(message);
let exports = null;

async function receive({ module, memory, stack, bundle }) {
  if (bundle !== undefined) {
    exports.chm_worker_run(bundle);
    return;
  }
  ({ exports } = await WebAssembly.instantiate(module, { env: { memory } }));
  exports.__stack_pointer.value = stack;
  post("ready");
}

if (port) port.on("message", receive);
else addEventListener("message", ({ data }) => receive(data));
