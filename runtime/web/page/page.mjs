// The page of a web bundle: loads the model beside it and lets one try it. demo.mjs adds to it what shows more.
import { Chimera } from "./chimera.mjs";
import { cutOff, element, markCut, show } from "./page-answer.mjs";
import { instructions, setFigures, size, speedOf, threadsOf } from "./page-figures.mjs";

export { element };

export const find = (id) => document.getElementById(id);

/** Tells of "loaded" ({ model }), "begun" ({ prompt }), "text" ({ text }) and "ended" ({ text, reason }), as events' detail. */
export const events = new EventTarget();
const tell = (name, detail) => events.dispatchEvent(new CustomEvent(name, { detail }));

let model = null;
let running = null; // the AbortController of a generation
let messages = []; // of the conversation, where the bundle holds such

const chats = () => Boolean(model.manifest.chat?.pieces);
/** What the button says that runs a prompt. */
export const words = { run: "Generate" };
const PARTS = { user: "You", answer: "Answer", thinking: "Thinking", tool_call: "Call of a tool" };

/** Say something to those who do not see the page: its only live region. */
export function say(text) {
  find("said").textContent = text;
}

function enter(state) {
  document.querySelector("main").dataset.state = state;
  const runs = state === "running";
  find("run").textContent = runs ? "Stop" : words.run;
  find("run").classList.toggle("stop", runs);
}

function fail(error) {
  const what = model ? "That did not work" : "The model could not be loaded";
  find("failure-title").textContent = what;
  find("error").textContent = `${error.message}${error.code ? ` (${error.code})` : ""}`;
  find("failure").hidden = false;
  find("retry").hidden = model !== null;
  say(`${what}. ${find("error").textContent}`);
}

// ---- loading ----

function showProgress({ phase, loaded, total, cached }) {
  if (phase === "compile") {
    find("status").textContent = "Preparing the model…";
    return;
  }
  find("progress").value = total ? loaded / total : 1;
  find("status").textContent = `${cached >= total ? "Reading" : "Downloading"} the model: ${size(loaded)} of ${size(total)}`;
}

function describe() {
  const { manifest, storage, variant } = model;
  const random = manifest.provenance?.weights?.startsWith("random");
  document.title = manifest.name;
  find("title").textContent = manifest.name;
  if (random) find("about").append(" Its weights are random: the text is noise.");
  const kept = storage.cached ? `${size(storage.cached)} kept from before` : "";
  const came = storage.downloaded ? `${size(storage.downloaded)} from the network` : "";
  setFigures(find("figures"), [
    ...speedOf(null),
    ["Downloaded", [came, kept].filter(Boolean).join(", ")],
    ["Memory", size(model.memoryBytes)],
    ["Runs with", instructions(variant)],
    ["Threads", threadsOf(model)],
  ]);
  find("numbers").hidden = false;
}

function prepareForm() {
  const { temperature, max_tokens: most } = model.manifest.generation ?? {};
  find("temperature").value = temperature ?? 0;
  if (most !== undefined) find("tokens").value = Math.max(1, Math.min(most, find("tokens").max));
  find("loops").max = model.maxLoops;
  find("loops-label").hidden = model.maxLoops === 1;
  if (chats()) {
    words.run = "Send";
    find("prompt-label").textContent = "Message";
    find("prompt").placeholder = "Ask something";
    find("keys").textContent = "Enter sends, Escape stops";
    find("answer-title").textContent = "Conversation";
    find("form").before(find("answer"));
    find("restart").hidden = false;
  }
  find("stage").hidden = false;
  enter("ready");
  find("prompt").focus();
}

async function start() {
  find("failure").hidden = true;
  find("loading").hidden = false;
  if (location.protocol === "file:") {
    throw new Error("a browser does not let a page from a file load its model; serve this folder: chimerac serve FOLDER, or python3 -m http.server --directory FOLDER");
  }
  const wanted = new URLSearchParams(location.search); // ?threads=1&variant=chimera.wasm, to compare
  model = await Chimera.load(new URL("./", import.meta.url), {
    threads: Number(wanted.get("threads") ?? 0),
    variant: wanted.get("variant") ?? undefined,
    onProgress: showProgress,
  });
  find("loading").hidden = true;
  describe();
  if (model.manifest.entries?.length) {
    find("about").textContent = "This bundle holds no language model: load it from a program, which calls it with tensors.";
    document.querySelector("main").dataset.state = "ready";
    return;
  }
  prepareForm();
  tell("loaded", { model });
  say(`${model.manifest.name} is ready.`);
}

function begin() {
  start().catch((error) => {
    find("loading").hidden = true;
    document.querySelector("main").dataset.state = "failed";
    fail(error);
  });
}

// ---- generating ----

function options() {
  return {
    temperature: find("temperature").valueAsNumber,
    topP: model.manifest.generation?.top_p ?? 0.95,
    seed: find("seed").valueAsNumber,
    maxTokens: find("tokens").valueAsNumber,
    loops: find("loops").valueAsNumber,
    signal: running.signal,
  };
}

function restart() {
  messages = [];
  find("output").replaceChildren();
  find("answer").hidden = true;
  find("prompt").focus();
  say("A new conversation.");
}

/** A place in the output for a text of a kind. */
function placeFor(kind) {
  const turn = element("div", `turn ${kind}`);
  const place = element("div", "text");
  turn.append(element("span", "who", PARTS[kind]), place);
  find("output").append(turn);
  return place;
}

/** Show the text after a prompt. */
async function complete(prompt) {
  const place = element("div", "text");
  find("output").replaceChildren(place);
  let text = "";
  const pieces = model.generate(prompt, options());
  pieces.result.catch(() => {}); // the iteration throws the same
  try {
    for await (const { text: more } of pieces) {
      text += more;
      show(place, text);
      tell("text", { text });
    }
  } catch (error) {
    if (!running.signal.aborted) throw error;
    return { text, place, result: null };
  }
  return { text, place, result: await pieces.result };
}

/** Show a message and its answer, part by part. */
async function converse(content) {
  const asked = [...messages, { role: "user", content }];
  const question = placeFor("user");
  question.textContent = content;
  find("prompt").value = "";
  const texts = { answer: "" };
  let place = null;
  let kind = "";
  const pieces = model.chat(asked, options());
  pieces.result.catch(() => {});
  let result = null;
  try {
    for await (const { text, part } of pieces) {
      if (part !== kind && text) place = placeFor((kind = part));
      place?.append(text);
      texts[part] = (texts[part] ?? "") + text;
      place?.scrollIntoView({ block: "nearest" });
    }
    result = await pieces.result;
  } catch (error) {
    if (!running.signal.aborted) {
      if (!place) question.parentElement.remove();
      find("prompt").value = content;
      throw error;
    }
  }
  messages = [...asked, { role: "assistant", content: texts.answer }];
  return { text: texts.answer, place: place ?? placeFor("answer"), result }; // of an answer without a text, too: what is said of it is not said of the question
}

/** Run a prompt, that of the form unless another is given; nothing where one runs already. */
export async function run(prompt = find("prompt").value) {
  if (running || !find("form").reportValidity()) return;
  find("prompt").value = prompt;
  let figures = speedOf(null);
  running = new AbortController();
  find("failure").hidden = true;
  find("answer").hidden = false;
  enter("running");
  say("");
  tell("begun", { prompt });
  try {
    const { text, place, result } = await (chats() ? converse : complete)(prompt);
    const reason = result ? result.finishReason : "abort";
    figures = speedOf(result);
    const cut = cutOff(text, reason);
    markCut(place, cut);
    tell("ended", { text, reason });
    if (!find("said").textContent) say(cut ? `${text} … ${cut}` : text);
  } catch (error) {
    if (!find("output").textContent) find("answer").hidden = true;
    fail(error);
  } finally {
    running = null;
    setFigures(find("figures"), [...figures, ["Memory", size(model.memoryBytes)]]);
    enter("ready");
  }
}

/** Stop what runs; whether there was something. */
export function stop() {
  running?.abort();
  return running !== null;
}

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!stop()) run();
});
find("restart").addEventListener("click", () => {
  if (!running) restart();
});
find("retry").addEventListener("click", begin);
find("prompt").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (!running) run();
});
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && stop()) event.preventDefault();
});
addEventListener("pagehide", (event) => {
  if (!event.persisted) model?.dispose();
});
begin();
