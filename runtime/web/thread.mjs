// A thread of a model: an instance of its module over the same memory, which computes what the others leave to it.
// Messages: { thread, module, memory, stack }, which ready() answers, then { thread, bundle }; it ends with its worker.
let exports = null;

export async function runThread({ module, memory, stack, bundle }, ready) {
  if (bundle !== undefined) {
    exports.chm_worker_run(bundle);
    return;
  }
  ({ exports } = await WebAssembly.instantiate(module, { env: { memory } }));
  exports.__stack_pointer.value = stack;
  ready();
}
