// The page of a web bundle: loads the bundle beside it in a worker and lets one try it.
import { canShareMemory, FEATURES, featuresOf } from "./variants.mjs";
import { Chimera } from "./chimera.mjs";

const find = (id) => document.getElementById(id);
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

/** What was loaded and how it runs: size, instructions, threads, and why there are no more of these. */
function describe({ manifest, variant, threads }) {
  const weights = manifest.files.filter((file) => file.name === variant || ["weights", "tokenizer"].includes(file.role));
  const parts = [`${megabytes(weights.reduce((sum, file) => sum + file.bytes, 0))} MB`];
  const features = featuresOf(variant).filter((feature) => feature !== "threads");
  parts.push(features.includes("scalar") ? "WebAssembly without SIMD" : FEATURES[features.includes("relaxed") ? "relaxed" : "simd"]);
  parts.push(threads > 1 ? `${threads} threads` : "1 thread");
  const couldShare = manifest.files.some((file) => file.name.includes(".threads."));
  if (threads === 1 && couldShare && !canShareMemory()) parts[2] += " (more need a server that sends cross-origin isolation headers, as chimerac serve does)";
  return parts.join(" \u00b7 ");
}

function showError(error) {
  find("error").textContent = `${error.code ? `${error.code}: ` : ""}${error.message}`;
  find("error").hidden = false;
}

let model = null;
let running = null;
let messages = []; // of the conversation, where the bundle holds such

const chats = () => Boolean(model.manifest.chat?.pieces);
const PARTS = { thinking: "Thinking", tool_call: "Call of a tool" };

/** A new place in the output for text of a kind. */
function placeFor(kind) {
  const place = document.createElement("div");
  place.className = kind;
  if (PARTS[kind]) place.title = PARTS[kind];
  find("output").append(place);
  return place;
}

function restart() {
  messages = [];
  find("output").textContent = "";
  find("speed").textContent = "";
  find("prompt").focus();
}

async function start() {
  if (location.protocol === "file:") {
    throw new Error("a browser does not let a page from a file load its model; serve this folder: chimerac serve FOLDER, or python3 -m http.server --directory FOLDER");
  }
  const wanted = new URLSearchParams(location.search); // ?threads=1&variant=chimera.wasm, to compare
  model = await Chimera.load(new URL("./", import.meta.url), {
    threads: Number(wanted.get("threads") ?? 0),
    variant: wanted.get("variant") ?? undefined,
    onProgress({ loaded, total }) {
      find("progress").value = total ? loaded / total : 1;
      find("status").textContent = `Loading… ${megabytes(loaded)} of ${megabytes(total)} MB`;
    },
  });
  document.title = model.manifest.name;
  find("title").textContent = model.manifest.name;
  if (model.manifest.provenance?.weights?.startsWith("random")) find("about").append(" Its weights are random: the text is noise.");
  find("info").textContent = describe(model);
  find("loading").hidden = true;
  if (model.manifest.entries?.length) {
    find("about").textContent = "This bundle holds no language model: load it from a program, which calls it with tensors.";
    return;
  }
  const { temperature, max_tokens: most } = model.manifest.generation ?? {};
  find("temperature").value = temperature ?? 0;
  if (most !== undefined) find("tokens").value = Math.max(1, Math.min(most, find("tokens").max));
  find("loops").max = model.maxLoops;
  find("loops-label").hidden = model.maxLoops === 1;
  if (chats()) {
    find("prompt-label").textContent = "Message";
    find("prompt").placeholder = "Ask something";
    find("keys").textContent = "Enter sends, Shift and Enter begin a new line.";
    find("generate").textContent = "Send";
    find("restart").hidden = false;
  }
  find("form").hidden = false;
  find("prompt").focus();
}

/** Show what is generated after a prompt; yields its tokens. */
async function* prompted(prompt, options) {
  find("output").textContent = "";
  for await (const { text, token } of model.generate(prompt, { ...options, signal: running.signal })) {
    find("output").append(text);
    yield token;
  }
}

/** Show a message and its answer, part by part; yields the answer's tokens. */
async function* converse(content, options) {
  const asked = [...messages, { role: "user", content }];
  const question = placeFor("user");
  question.textContent = content;
  find("prompt").value = "";
  let begun = false;
  let answer = "";
  let place = null;
  let kind = "";
  try {
    for await (const { text, token, part } of model.chat(asked, { ...options, signal: running.signal })) {
      begun = true;
      if (part !== kind && text) place = placeFor((kind = part));
      place?.append(text);
      if (part === "answer") answer += text;
      place?.scrollIntoView({ block: "nearest" });
      yield token;
    }
  } finally {
    if (begun) {
      messages = [...asked, { role: "assistant", content: answer }];
    } else {
      question.remove();
      find("prompt").value = content;
    }
  }
}

async function generate() {
  const options = {
    temperature: find("temperature").valueAsNumber,
    topP: model.manifest.generation?.top_p ?? 0.95,
    seed: find("seed").valueAsNumber,
    maxTokens: find("tokens").valueAsNumber,
    loops: find("loops").valueAsNumber,
  };
  running = new AbortController();
  const steps = chats() ? converse(find("prompt").value, options) : prompted(find("prompt").value, options);
  find("error").hidden = true;
  find("speed").textContent = "";
  find("generate").disabled = true;
  find("stop").disabled = false;
  let tokens = 0;
  let first = 0;
  try {
    for await (const token of steps) {
      if (token < 0) continue;
      tokens += 1;
      if (tokens === 1) first = performance.now();
      const seconds = (performance.now() - first) / 1000;
      if (seconds > 0) find("speed").textContent = `${tokens} tokens, ${((tokens - 1) / seconds).toFixed(1)} per second`;
    }
  } catch (error) {
    if (!running.signal.aborted) showError(error);
  } finally {
    find("generate").disabled = false;
    find("stop").disabled = true;
    running = null;
  }
}

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running && event.target.reportValidity()) generate();
});
find("restart").addEventListener("click", () => {
  if (!running) restart();
});
find("stop").addEventListener("click", () => running?.abort());
find("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  find("form").requestSubmit();
});
addEventListener("pagehide", (event) => {
  if (!event.persisted) model?.dispose();
});
start().catch((error) => {
  find("status").textContent = "The model could not be loaded.";
  showError(error);
});
