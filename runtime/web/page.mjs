// The page of a web bundle: loads the bundle beside it in a worker and lets one try it.
import { loadInWorker } from "./worker-client.mjs";

const find = (id) => document.getElementById(id);
const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

function showError(error) {
  find("error").textContent = `${error.code ? `${error.code}: ` : ""}${error.message}`;
  find("error").hidden = false;
}

let model = null;
let running = null;

async function start() {
  if (location.protocol === "file:") {
    throw new Error("a browser does not let a page from a file load its model; serve this folder, for example: python3 -m http.server");
  }
  model = await loadInWorker(new URL("./", import.meta.url), {
    onProgress({ loaded, total }) {
      find("progress").value = total ? loaded / total : 1;
      find("status").textContent = `Loading… ${megabytes(loaded)} of ${megabytes(total)} MB`;
    },
  });
  document.title = model.manifest.name;
  find("title").textContent = model.manifest.name;
  if (model.manifest.provenance?.weights?.startsWith("random")) find("about").append(" Its weights are random: the text is noise.");
  find("loops").max = model.maxLoops;
  find("loops-label").hidden = model.maxLoops === 1;
  find("loading").hidden = true;
  find("form").hidden = false;
  find("prompt").focus();
}

async function generate() {
  const options = {
    temperature: find("temperature").valueAsNumber,
    topP: 0.95,
    seed: find("seed").valueAsNumber,
    maxTokens: find("tokens").valueAsNumber,
    loops: find("loops").valueAsNumber,
  };
  running = new AbortController();
  find("error").hidden = true;
  find("output").textContent = "";
  find("speed").textContent = "";
  find("generate").disabled = true;
  find("stop").disabled = false;
  let tokens = 0;
  let first = 0;
  try {
    for await (const { text, token } of model.generate(find("prompt").value, { ...options, signal: running.signal })) {
      find("output").append(text);
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
