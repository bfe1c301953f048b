// The script of a page under a content security policy, for faults.mjs.
import { Chimera } from "./chimera.mjs";
import { outcome } from "./faults.mjs";

globalThis.loads = (options) => outcome(() => Chimera.load("./", { retries: 0, ...options }));
