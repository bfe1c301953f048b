import { Chimera } from "./home/chimera.mjs";

const output = document.querySelector("output");
const model = await Chimera.load(new URL("./home/", import.meta.url));
for await (const { text } of model.generate("turn off the lights in the bedroom", { maxTokens: 64 })) output.append(text);
output.dataset.done = model.variant;
