// The figures below the page: what runs, how fast, and what it takes.
import { element } from "./page-answer.mjs";
import { canShareMemory, FEATURES, featuresOf } from "./variants.mjs";

const NONE = "–";

/** Bytes for people. */
export const size = (bytes) => (bytes < 999_500 ? `${Math.max(bytes && 1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** How the model computes: the instructions of its module. */
export function instructions(variant) {
  const features = featuresOf(variant).filter((feature) => feature !== "threads");
  return features.includes("scalar") ? "WebAssembly without SIMD" : FEATURES[features.includes("relaxed") ? "relaxed" : "simd"];
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

/** Measures a generation: `token()` for each, `figures()` at any time. */
export function stopwatch(now = () => performance.now()) {
  const begun = now();
  let tokens = 0;
  let first = 0;
  let last = 0;
  return {
    token() { tokens += 1; last = now(); if (tokens === 1) first = last; },
    figures() {
      const rate = tokens > 1 && last > first ? `${((1000 * (tokens - 1)) / (last - first)).toFixed(0)} tokens/s` : NONE;
      return [["Speed", rate], ["First token", tokens ? `${(first - begun).toFixed(0)} ms` : NONE], ["Tokens", tokens ? `${tokens}` : NONE]];
    },
  };
}
