// Calls the bundle of the classifier, rightly and wrongly, and prints what comes of it: node called.mjs FOLDER
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const { Chimera } = await import(`${pathToFileURL(folder)}/chimera.mjs`);
const read = (name) => readFile(`${folder}/${name}`);
const parts = { manifest: await read("manifest.json"), wasm: await read("chimera.wasm"), weights: await read("classifier.b158") };
const model = await Chimera.load(parts);
const good = { ids: Int32Array.of(0, 1, 2, 9), kept: [true, false, true, true], scale: [2] };
const changes = [
  { idz: [1] }, { ids: new Float32Array(4) }, { ids: [1.5, 2, 3, 4] }, { ids: [0, 1, 2, 10] }, { ids: new Int32Array(9) },
  { kept: [true] }, { kept: "yes" }, { scale: [true] },
];
const wrong = [
  ...changes.map((change) => () => model.call({ ...good, ...change })),
  () => model.call({}),
  () => model.call(null),
  () => model.call(good, { entry: "main" }),
  () => model.call(good, { n: 0 }),
  () => model.generate("x").next(),
  () => model.prefill([1]),
];
const refused = [];
for (const attempt of wrong) {
  try {
    await attempt();
    refused.push("nothing");
  } catch (error) {
    refused.push(`${error.code}: ${error.message}`);
  }
}
const results = Object.entries(await model.call(good)).map(([name, array]) => [name, [array.constructor.name, ...array]]);
const tested = await model.selfTest();
console.log(JSON.stringify({ refused, tested, position: model.position, results: Object.fromEntries(results) }));
