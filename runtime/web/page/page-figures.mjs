// The figures below the page: what runs, how fast, and what it takes.
import { element } from "./page-answer.mjs";
import { canShareMemory, FEATURES, featuresOf } from "./variants.mjs";

const NONE = "–";

/** Bytes for people. */
export const size = (bytes) => (bytes < 999_500 ? `${Math.max(bytes && 1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** How the model computes: the instructions of its module. */
export function instructions(variant) {
  const features = featuresOf(variant).filter((feature) => feature !== "threads");
  return features.includes("scalar") ? "WebAssembly without SIMD" : FEATURES[features.length > 1 ? "relaxed" : "simd"];
}

/** The number of threads, and why there are no more of them (docs/web.md). */
export function threadsOf({ manifest, threads }) {
  const could = manifest.files.some((file) => file.name.includes(".threads."));
  return threads === 1 && could && !canShareMemory() ? "1 (no cross-origin isolation)" : `${threads}`;
}

/** Set figures, [name, value] each. */
export function setFigures(list, figures) {
  for (const [name, value] of figures) {
    let row = [...list.children].find((one) => one.dataset.name === name);
    if (!row) {
      row = element("div");
      row.dataset.name = name;
      row.append(element("dt", "", name), element("dd"));
      list.append(row);
    }
    row.lastChild.textContent = value;
  }
}

/** The figures of a generation from its result; null where there is none. */
export function speedOf(result) {
  if (!result) return [["Speed", NONE], ["First token", NONE], ["Tokens", NONE]];
  const { promptMs, generateMs, usage } = result;
  const count = usage.completionTokens;
  const rate = count > 1 && generateMs > 0 ? `${((1000 * count) / generateMs).toFixed(0)} tokens/s` : NONE;
  return [["Speed", rate], ["First token", `${promptMs.toFixed(0)} ms`], ["Tokens", `${count}`]];
}
