import { bundle, Chimera } from "chimera-home";

const output = document.querySelector("output");
const model = await Chimera.load(bundle);
for await (const { text } of model.generate("turn off the lights in the bedroom", { maxTokens: 64 })) output.append(text);
output.dataset.done = model.variant;
