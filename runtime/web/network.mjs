// Bytes from a server that may be slow, cut connections, or answer something else: retried, resumed, never taken on trust.
import { ContentSecurityError, HtmlError, HttpError, IntegrityError, NetworkError } from "./errors.mjs";

const FIRST_WAIT_MS = 250; // before the first retry; doubled for each more
const MOST_WAIT_MS = 8000;
const RETRIED = [408, 425, 429, 500, 502, 503, 504];

/** A server that sends whole files where a part was asked for. */
export class RangesIgnored extends Error {}

/** A wait that an abort ends. */
function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

function refuseHtml(bytes, url) {
  const start = new TextDecoder().decode(bytes.subarray(0, 64)).trimStart().toLowerCase();
  if (start.startsWith("<!doctype") || start.startsWith("<html")) throw new HtmlError(`the server sent an HTML page for ${url}`);
}

export class Network {
  #fetch;
  #signal;
  #retries;
  #stallTimeout;

  /** retries: in a row without a byte in between; stallTimeout: milliseconds without a byte after which a request is given up. */
  constructor({ fetch = globalThis.fetch, signal, retries = 4, stallTimeout = 20000 }) {
    this.#fetch = fetch;
    this.#signal = signal;
    this.#retries = retries;
    this.#stallTimeout = stallTimeout;
  }

  /** With other numbers of retries and milliseconds. */
  patience(retries, stallTimeout) {
    return new Network({ fetch: this.#fetch, signal: this.#signal, retries, stallTimeout });
  }

  /**
   * The bytes of a file from start to end, in pieces. size: of the whole file, at most; cache: as of fetch(); skip: whether to pass
   * over what a server sends too much of, else RangesIgnored is thrown.
   */
  async *pieces(url, { start, end, size, cache, skip }) {
    let at = start;
    let furthest = start;
    for (let failures = 0; at < end;) {
      try {
        for await (const piece of this.#attempt(url, { at, end, size, cache: at === 0 ? cache : cache === "reload" ? cache : "no-store", skip })) {
          at += piece.length;
          yield piece;
        }
        return;
      } catch (error) {
        this.#signal?.throwIfAborted();
        const again = error instanceof NetworkError || (error instanceof HttpError && RETRIED.includes(error.status));
        failures = at > furthest ? 0 : failures;
        furthest = Math.max(at, furthest);
        if (!again || failures >= this.#retries) throw error;
        const wait = Math.min(MOST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures) * (0.75 + Math.random() / 2);
        await sleep(wait, this.#signal);
        failures += 1;
      }
    }
  }

  async *#attempt(url, { at, end, size, cache, skip }) {
    const stop = new AbortController();
    const abort = () => stop.abort(this.#signal.reason);
    this.#signal?.addEventListener("abort", abort, { once: true });
    /** The promise's value, in time: only waiting for the server counts, not what is done with its bytes. */
    const inTime = async (promise) => {
      const late = () => stop.abort(new NetworkError(`${url}: no byte for ${this.#stallTimeout / 1000} s`));
      const timer = setTimeout(late, this.#stallTimeout);
      try {
        return await promise;
      } finally {
        clearTimeout(timer);
      }
    };
    const wrapped = (cause) => {
      this.#signal?.throwIfAborted();
      if (stop.signal.aborted) return stop.signal.reason;
      return cause instanceof NetworkError ? cause : new NetworkError(`cannot fetch ${url}: ${cause.message}`, { cause });
    };
    const part = at > 0 || end < size;
    try {
      const forbidden = watchPolicy(url);
      let response;
      try {
        const headers = part ? { Range: `bytes=${at}-${end === Infinity ? "" : end - 1}` } : {};
        response = await inTime(this.#fetch.call(globalThis, url, { signal: stop.signal, cache, headers }));
      } catch (error) {
        await forbidden.check();
        throw wrapped(error);
      } finally {
        forbidden.end();
      }
      const before = this.#leading(response, url, { at, part, skip, end, size });
      yield* this.#body(response, url, { at, end, size, before, inTime, wrapped });
    } finally {
      this.#signal?.removeEventListener("abort", abort);
      stop.abort(); // a body that nobody reads to its end
    }
  }

  /** How many bytes of a response come before those that were asked for. */
  #leading(response, url, { at, part, skip, end, size }) {
    const { status } = response;
    if (status === 416) throw new IntegrityError(`${url} has fewer than ${end} bytes, the manifest says ${size}`);
    if (!response.ok) {
      const later = RETRIED.includes(status) ? { advice: "the server cannot answer now, try again later" } : {};
      throw Object.assign(new HttpError(`cannot fetch ${url}: ${status} ${response.statusText}`, later), { status });
    }
    if (!part) return 0;
    if (status === 206) {
      const range = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "");
      if (range && Number(range[1]) !== at) throw new IntegrityError(`${url}: the server sent another part than was asked for`);
      return 0;
    }
    if (!skip) throw new RangesIgnored();
    return at;
  }

  async *#body(response, url, { at, end, size, before, inTime, wrapped }) {
    const reader = response.body?.getReader();
    let place = at - before;
    for (;;) {
      let step;
      try {
        step = reader ? await inTime(reader.read()) : { done: true };
      } catch (error) {
        throw wrapped(error);
      }
      if (step.done) break;
      let piece = step.value;
      if (place === 0) refuseHtml(piece, url);
      if (place + piece.length > end) {
        if (end === size) throw new IntegrityError(`${url} has more than the ${size} bytes that the manifest says`);
        throw new IntegrityError(`${url}: the server sent more than was asked for`);
      }
      const from = Math.min(piece.length, Math.max(0, at - place));
      place += piece.length;
      piece = piece.subarray(from);
      if (piece.length) yield piece;
    }
    if (place >= end || end === Infinity) return;
    if (response.status === 206) throw new NetworkError(`${url}: the connection was cut`);
    throw new IntegrityError(`${url} has ${place} bytes, the manifest says ${size}`);
  }

  /** A text of at most so many bytes; more are not read. */
  async text(url, most, cache) {
    const found = new Uint8Array(most + 1);
    let length = 0;
    const add = (piece) => {
      const room = piece.subarray(0, found.length - length);
      found.set(room, length);
      length += room.length;
    };
    for await (const piece of this.pieces(url, { start: 0, end: Infinity, size: Infinity, cache, skip: true })) {
      add(piece);
      if (length === found.length) break;
    }
    return found.subarray(0, length);
  }
}

/** Whether the page's content security policy forbids an address: browsers tell that in an event, not in the error of fetch(). */
function watchPolicy(url) {
  let violation = null;
  const listen = (event) => {
    if (event.effectiveDirective === "connect-src" && String(url).startsWith(event.blockedURI.split("?")[0])) violation = event;
  };
  const target = globalThis.document ?? globalThis;
  target.addEventListener?.("securitypolicyviolation", listen);
  return {
    async check() {
      await new Promise((resolve) => { setTimeout(resolve, 0); }); // the event may come after the error
      if (violation) throw new ContentSecurityError(`the content security policy does not allow to fetch ${url}`, { advice: "add its origin to connect-src" });
    },
    end: () => target.removeEventListener?.("securitypolicyviolation", listen),
  };
}
