/* Runs the model of an ONNX bundle in onnxruntime-web and prints the logits of every call as JSON.
 *
 *   node run.mjs FOLDER '[token, …]' disabled|all LOOPS
 *
 * A web page does the same, but that it fetches the two files. The third argument is what onnxruntime-web may change in
 * the graph: nothing, where the model should give the bits of the other targets. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as ort from "onnxruntime-web/wasm";

const [folder, tokenList, graphChanges, loops] = process.argv.slice(2);
const tokens = JSON.parse(tokenList);
const read = (name) => new Uint8Array(readFileSync(join(folder, name)));
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";

const session = await ort.InferenceSession.create(read("model.onnx"), {
  executionProviders: ["wasm"],
  graphOptimizationLevel: graphChanges,
  externalData: [{ path: "model.onnx.data", data: read("model.onnx.data") }],
});

const feeds = {};
for (const { name, shape, type } of session.inputMetadata)
  if (name.startsWith("state.")) {
    const Numbers = type === "int32" ? Int32Array : Float32Array;
    feeds[name] = new ort.Tensor(type, new Numbers(shape.reduce((a, b) => a * b, 1)), shape);
  }
if (session.inputNames.includes("loops")) {
  feeds.loops = new ort.Tensor("int64", BigInt64Array.of(BigInt(loops)), []);
  feeds.exit_threshold = new ort.Tensor("float32", Float32Array.of(0), []);
}

const logits = [];
for (let position = 0, count; position < tokens.length; position += count) {
  count = position === 0 ? Math.min(16, tokens.length) : 1;
  feeds.tokens = new ort.Tensor("int32", Int32Array.from(tokens.slice(position, position + count)), [count]);
  feeds.position = new ort.Tensor("int32", Int32Array.of(position), []);
  const results = await session.run(feeds);
  for (const name of session.outputNames)
    if (name.startsWith("present.")) feeds[name.replace("present.", "state.")] = results[name];
  const { buffer, byteOffset, byteLength } = results.logits.data;
  logits.push(Buffer.from(buffer, byteOffset, byteLength).toString("base64"));
}
console.log(JSON.stringify({ logits }));
