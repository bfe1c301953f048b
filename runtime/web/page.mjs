// The page of a web bundle: loads the bundle beside it in a worker and lets one try it.
import { canShareMemory, FEATURES, featuresOf } from "./variants.mjs";
import { loadInWorker } from "./worker-client.mjs";

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

async function start() {
  if (location.protocol === "file:") {
    throw new Error("a browser does not let a page from a file load its model; serve this folder: chimerac serve FOLDER, or python3 -m http.server --directory FOLDER");
  }
  const wanted = new URLSearchParams(location.search); // ?threads=1&variant=chimera.wasm, to compare
  model = await loadInWorker(new URL("./", import.meta.url), {
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
  find("form").hidden = false;
  find("prompt").focus();
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
