// How long schemas take to be compiled in JavaScript: milliseconds of a processor, the first time and as a median of 15 more, each in a process of its own.
// Of two schemas that are as large as may be, how long it takes at most until the event loop has its turn, which is how soon an abort acts.
// usage: node benchmarks/page_grammars.mjs
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { compileGrammar } from "../runtime/web/compiler.mjs";

const object = (properties, required = Object.keys(properties), more = { additionalProperties: false }) => ({ type: "object", properties, required, ...more });
const line = object({ sku: { type: "string", maxLength: 20 }, count: { type: "integer", minimum: 1, maximum: 999 }, kind: { enum: ["a", "b", "c"] } });
const SCHEMAS = {
  person: object({ name: { type: "string" }, age: { type: "integer" }, email: { type: "string", format: "email" }, ok: { type: "boolean" } }, ["name", "age"]),
  open: object({ name: { type: "string" }, age: { type: "integer" }, tags: { type: "array", items: { type: "string" } } }, ["name"], {}),
  order: object({ id: { type: "string", format: "uuid" }, when: { type: "string", format: "date-time" }, items: { type: "array", items: line, minItems: 1, maxItems: 50 } }),
  intents: { anyOf: [object({ intent: { const: "on" }, room: { type: "string" } }), object({ intent: { const: "set" }, value: { type: "number", minimum: 0, maximum: 100 } })] },
};
const LARGE = {
  alternatives: { anyOf: Array.from({ length: 300 }, (_, kind) => object({ kind: { const: `kind-${kind}` }, value: { type: "integer", minimum: kind } })) },
  formats: object(Object.fromEntries(["date-time", "uri", "uri-reference", "email", "ipv6", "duration"].map((format) => [format, { type: "string", format, maxLength: 64 }]))),
};

await globalThis.crypto.subtle.digest("SHA-256", new Uint8Array(1)); // Node loads it at its first use; a loader has used it before

async function milliseconds(schema) {
  const before = process.cpuUsage();
  await compileGrammar({ schema });
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Milliseconds of a processor for a schema, and for what passes at most between two turns of the event loop. */
async function turns(schema) {
  let [ended, most, before] = [false, 0, process.cpuUsage()];
  const turn = () => {
    const { user, system } = process.cpuUsage(before);
    most = Math.max(most, (user + system) / 1000);
    before = process.cpuUsage();
    if (!ended) setImmediate(turn);
  };
  setImmediate(turn);
  const whole = await milliseconds(schema);
  ended = true;
  turn();
  return [whole, most];
}

const [name] = process.argv.slice(2);
if (Object.hasOwn(LARGE, name ?? "")) {
  const [whole, most] = await turns(LARGE[name]);
  console.log(`${name}: ${whole.toFixed(0)} ms, at most ${most.toFixed(0)} until the event loop has its turn`);
} else if (name) {
  const first = await milliseconds(SCHEMAS[name]);
  const later = [];
  for (let i = 0; i < 15; i += 1) later.push(await milliseconds(SCHEMAS[name]));
  console.log(`${name}: ${first.toFixed(0)} ms the first time, then ${later.sort((a, b) => a - b)[7].toFixed(0)}`);
} else for (const one of Object.keys({ ...SCHEMAS, ...LARGE })) process.stdout.write(execFileSync(process.execPath, [fileURLToPath(import.meta.url), one]));
