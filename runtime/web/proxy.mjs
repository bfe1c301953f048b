// The caller's own fetch, used by a host in a worker: requests go out as messages, and bodies come back in pieces.
import { NetworkError } from "./errors.mjs";

/** On the worker's side: { fetch, receive(message) }; send: a message for the other side. */
export function proxiedFetch(send) {
  const open = new Map(); // number → { resolve, reject, controller, asked }
  let last = 0;
  const fetch = (url, { signal, headers, cache } = {}) => new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const number = (last += 1);
    const ask = (action, details) => send({ type: "fetch", number, action, ...details });
    const entry = { resolve, reject, ask };
    open.set(number, entry);
    signal?.addEventListener("abort", () => {
      if (!open.delete(number)) return;
      ask("cancel");
      entry.controller?.error(signal.reason);
      reject(signal.reason);
    }, { once: true });
    ask("begin", { url: String(url), init: { headers, cache } });
  });
  const receive = ({ number, head, bytes, end, error }) => {
    const entry = open.get(number);
    if (!entry) return;
    if (head) {
      const body = new ReadableStream({
        start(controller) { entry.controller = controller; },
        pull() { entry.ask("more"); },
        cancel() { if (open.delete(number)) entry.ask("cancel"); },
      });
      entry.resolve({ ok: head.status >= 200 && head.status < 300, ...head, headers: new Headers(head.headers), body });
    } else if (bytes) entry.controller.enqueue(bytes);
    else {
      open.delete(number);
      if (end) entry.controller.close();
      else {
        const failure = new NetworkError(error);
        entry.controller?.error(failure);
        entry.reject(failure);
      }
    }
  };
  return { fetch, receive };
}

/** On the caller's side: answers the requests with its fetch; post: a message for the worker. */
export function fetchingFor(fetch, post) {
  const open = new Map(); // number → { stop, reader }
  const begin = async (number, url, init) => {
    const stop = new AbortController();
    open.set(number, { stop, reader: null });
    const response = await fetch(url, { ...init, signal: stop.signal });
    const { status, statusText } = response;
    open.get(number).reader = response.body?.getReader() ?? null;
    post({ type: "fetched", number, head: { status, statusText, headers: [...response.headers] } });
  };
  const more = async (number) => {
    const { reader } = open.get(number);
    const { done, value } = reader ? await reader.read() : { done: true };
    if (done) open.delete(number);
    post({ type: "fetched", number, ...(done ? { end: true } : { bytes: value }) });
  };
  return async ({ number, action, url, init }) => {
    try {
      if (action === "begin") await begin(number, url, init);
      else if (open.has(number)) {
        if (action === "more") await more(number);
        else {
          open.get(number).stop.abort();
          open.delete(number);
        }
      }
    } catch (error) {
      if (open.delete(number)) post({ type: "fetched", number, error: String(error?.message ?? error) });
    }
  };
}
