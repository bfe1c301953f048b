// Calls the detector of speech with all chunks of a file of float32 samples: node speech.mjs FOLDER SAMPLES
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [folder, file] = process.argv.slice(2);
const { Chimera } = await import(`${pathToFileURL(folder)}/chimera.mjs`);
const read = (name) => readFile(`${folder}/${name}`);
const model = await Chimera.load({ manifest: await read("manifest.json"), wasm: await read("chimera.wasm"), weights: await read("speech.b158") });
const bytes = await readFile(file);
const samples = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
const found = [];
for (let i = 0; i < samples.length; i += 512) found.push((await model.call({ samples: samples.slice(i, i + 512) })).output[0]);
console.log(JSON.stringify(found));
await model.dispose();
