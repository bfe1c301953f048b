// chat.completions.create: conversations in the shape that many programs know.
import { checkChatOptions, checkNames, kind, refuse } from "./arguments.mjs";
import { checkMessages } from "./chat.mjs";

const NAMES = [
  "model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "n", "response_format",
  "logit_bias", "logprobs", "top_logprobs",
];
/** What the decoder does not give, refused unless it says so little that nothing is to be done. */
const ABSENT = {
  logit_bias: (value) => typeof value === "object" && Object.keys(value).length === 0, logprobs: (value) => value === false, top_logprobs: (value) => value === 0,
};

/** The options of a form of the answer: text, json_object, or json_schema with a schema. */
function formOf(form) {
  if (form === undefined || form === null) return {};
  checkNames(form, ["type", "json_schema"]);
  if (form.type === "json_schema") {
    checkNames(form.json_schema ?? null, ["name", "description", "schema", "strict"]);
    return { schema: form.json_schema.schema ?? {} };
  }
  if (form.type !== "text" && form.type !== "json_object") refuse(`response_format is ${kind(form.type)}, not text, json_object or json_schema`);
  return form.type === "text" ? {} : { schema: { type: "object" } };
}

/** Options of Model.chat, from those of a request. */
function optionsOf(request) {
  const { max_tokens, max_completion_tokens = max_tokens, temperature, top_p: topP, seed, stop } = request;
  return { maxTokens: max_completion_tokens, temperature, topP, seed, stop, ...formOf(request.response_format) };
}

function check(request, options) {
  checkNames(request, NAMES);
  checkNames(options, ["signal"]);
  for (const [name, says] of Object.entries(ABSENT)) {
    const value = request[name];
    if (value !== undefined && value !== null && !says(value)) refuse(`${name} is not possible: the decoder hands out no probabilities, and takes none`);
  }
  const { model, stream, stream_options: more, n } = request;
  if (model !== undefined && typeof model !== "string") refuse(`model is ${kind(model)}, not a name`);
  if (stream !== undefined && stream !== null && typeof stream !== "boolean") refuse(`stream is ${kind(stream)}, not true or false`);
  if (n !== undefined && n !== null && n !== 1) refuse(`n is ${kind(n)}; 1 is possible`);
  if (more !== undefined && more !== null) checkNames(more, ["include_usage"]);
}

const usageOf = ({ promptTokens, completionTokens, totalTokens }) => ({ prompt_tokens: promptTokens, completion_tokens: completionTokens, total_tokens: totalTokens });

let count = 0;

/** What all answers to a request have in common. */
function headOf(model, kindOfObject) {
  count += 1;
  return { id: `chatcmpl-${count}`, object: kindOfObject, created: Math.floor(Date.now() / 1000), model: model.manifest.name };
}

const FIELDS = { answer: "content", thinking: "reasoning_content" };

/** A call of a tool as models write it, { name, arguments }, or null. */
function toolCall(text, index) {
  try {
    const { name, arguments: given = {} } = JSON.parse(text);
    if (typeof name !== "string") return null;
    return { index, id: `call_${index}`, type: "function", function: { name, arguments: typeof given === "string" ? given : JSON.stringify(given) } };
  } catch {
    return null;
  }
}

/** The parts of a message as they come: content, reasoning_content, and whole tool_calls. */
class Deltas {
  #call = null; // the text of a call of a tool that is not over
  #calls = 0;

  get called() {
    return this.#calls > 0;
  }

  *of({ text, part }) {
    if (part === "tool_call") this.#call = (this.#call ?? "") + text;
    else {
      yield* this.end();
      if (text) yield { [FIELDS[part]]: text };
    }
  }

  *end() {
    if (this.#call === null) return;
    const call = toolCall(this.#call, this.#calls);
    if (call) {
      this.#calls += 1;
      yield { tool_calls: [call] };
    } else if (this.#call) yield { content: this.#call };
    this.#call = null;
  }
}

const reasonOf = (deltas, { finishReason }) => (deltas.called && finishReason === "stop" ? "tool_calls" : finishReason);

/** The deltas of a generation; returns what it came to, and why it ended. */
async function* deltasOf(generation) {
  const deltas = new Deltas();
  for await (const piece of generation) yield* deltas.of(piece);
  yield* deltas.end();
  const result = await generation.result;
  return { usage: usageOf(result.usage), reason: reasonOf(deltas, result) };
}

async function whole(model, generation) {
  const message = { role: "assistant", content: "" };
  const steps = deltasOf(generation);
  for (;;) {
    const { done, value } = await steps.next();
    if (done) {
      const choice = { index: 0, message, logprobs: null, finish_reason: value.reason };
      return { ...headOf(model, "chat.completion"), choices: [choice], usage: value.usage };
    }
    for (const [field, part] of Object.entries(value)) {
      message[field] = field === "tool_calls" ? [...(message[field] ?? []), ...part.map(({ index, ...call }) => call)] : (message[field] ?? "") + part;
    }
  }
}

async function* chunks(model, generation, includeUsage) {
  const head = headOf(model, "chat.completion.chunk");
  const chunk = (delta, reason = null) => ({ ...head, choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }] });
  const steps = deltasOf(generation);
  try {
    let first = { role: "assistant" };
    for (;;) {
      const { done, value } = await steps.next();
      if (done) {
        yield chunk(first, value.reason);
        if (includeUsage) yield { ...head, choices: [], usage: value.usage };
        return;
      }
      yield chunk({ ...first, ...value });
      first = {};
    }
  } finally {
    await steps.return();
  }
}

/** A completion, or with `stream: true` an async iterator of its chunks. */
export async function complete(model, request, options = {}) {
  check(request, options);
  const chosen = { ...optionsOf(request), signal: options.signal };
  checkChatOptions(chosen); // at once, not when the first chunk is wanted
  checkMessages(request.messages, model.manifest.chat);
  const generation = model.chat(request.messages, chosen);
  if (request.stream) return chunks(model, generation, request.stream_options?.include_usage ?? false);
  return whole(model, generation);
}
