// Conversations: what stands around messages, by the manifest's chat; messages to tokens; parts of an answer.
import { checkText, kind } from "./arguments.mjs";
import { errorOf } from "./errors.mjs";

/** White space that `trim` leaves out, as in Python: that of Unicode, and four separators. */
const SPACE = "[\\t\\n\\v\\f\\r\\x1c-\\x1f \\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const BEFORE = new RegExp(`^${SPACE}+`, "u");
const ALL = new RegExp(`^${SPACE}*$`, "u");
const isSpace = new RegExp(SPACE, "u");

function trimEnd(text) {
  let end = text.length;
  while (end && isSpace.test(text[end - 1])) end -= 1; // a pattern with $ takes quadratic time
  return text.slice(0, end);
}

/** The content of a message without the white space that the chat leaves out. */
function trimmed({ trim }, { content }) {
  const text = trim === "left" || trim === "both" ? content.replace(BEFORE, "") : content;
  return trim === "right" || trim === "both" ? trimEnd(text) : text;
}

const fail = (what) => {
  throw errorOf("CHM420", what);
};

/** Messages of a supported shape, copied: of the system or none, then of user and assistant in turns, the user's last. */
export function checkMessages(messages, chat) {
  if (!chat?.pieces) {
    const why = chat ? "its template is none of pieces" : "it was built without a chat template";
    throw errorOf("CHM421", `the bundle holds no conversations: ${why}; give generate() a raw prompt`);
  }
  if (!Array.isArray(messages)) fail(`the messages are ${kind(messages)}, not a list`);
  const found = messages.map((message) => {
    if (message === null || typeof message !== "object") fail(`a message is ${kind(message)}, not one with role and content`);
    const { role, content } = message;
    if (typeof role !== "string") fail(`the role of a message is ${kind(role)}, not a text`);
    if (typeof content !== "string") fail(`the content of a message is ${kind(content)}, not a text`);
    checkText(content, "the content of a message");
    return { role, content };
  });
  const first = found[0]?.role === "system" ? 1 : 0;
  if (first && !chat.pieces.system) fail("the model takes no system message");
  found.slice(first).forEach(({ role }, number) => {
    const expected = number % 2 ? "assistant" : "user";
    if (role !== expected) fail(`message ${number + first} is of the role ${JSON.stringify(role.slice(0, 40))}, not ${expected}`);
  });
  if ((found.length - first) % 2 === 0) fail("the last message is not the user's");
  return found;
}

/** A conversation from its beginning to where the answer begins, as tokens and texts. */
function whole(pieces, messages) {
  const rest = [...messages];
  const items = rest[0].role === "system" ? [...pieces.system[0], trimmed(pieces, rest.shift()), ...pieces.system[1]] : [...pieces.opening];
  rest.forEach((message, number) => {
    if (number) items.push(...(number % 2 ? pieces.answer : pieces.next));
    items.push(trimmed(pieces, message));
  });
  return [...items, ...pieces.prompt];
}

/** One more message of the user; `end` is the token that the answer before ended with, which was run already. */
function continued(pieces, message, end) {
  let joint = pieces.next;
  for (const [number, item] of joint.slice(0, 2).entries()) {
    if (item === end) {
      joint = joint.slice(number + 1);
      break;
    }
    if (typeof item === "number" || !ALL.test(item)) break;
  }
  return [...joint, trimmed(pieces, message), ...pieces.prompt];
}

/** What to run of messages, and whether it continues what is held: { messages, end } of the call before, or null. */
export function itemsOf(pieces, messages, held) {
  const same = ({ role, content }, number) => messages[number].role === role && messages[number].content === content;
  const more = held !== null && held.messages.length === messages.length - 1 && held.messages.every(same);
  return { items: more ? continued(pieces, messages.at(-1), held.end) : whole(pieces, messages), more };
}

/** Tokens of items; texts side by side are one. encode takes a text, and whether a sequence begins with it. */
export function tokensOf(items, encode, begins) {
  const tokens = [];
  let text = "";
  let first = begins;
  for (const item of [...items, -1]) {
    if (typeof item === "string") {
      text += item;
      continue;
    }
    if (text) for (const token of encode(text, first)) tokens.push(token);
    if (item >= 0) tokens.push(item);
    text = "";
    first = false;
  }
  return tokens;
}

/** Which part of an answer each token is of, and its text. */
class Parts {
  #begins;
  #ends;
  #part = "answer";
  #atStart;

  constructor({ marks, space, pieces }) {
    this.#begins = new Map(Object.entries(marks).map(([name, [begin]]) => [begin, name]));
    this.#ends = new Map(Object.entries(marks).map(([name, [, end]]) => [end, name]));
    this.#atStart = space;
    for (const item of pieces.prompt) if (typeof item === "number") this.#mark(item);
  }

  #mark(token) {
    const before = this.#part;
    if (this.#begins.has(token)) return (this.#part = this.#begins.get(token));
    if (this.#ends.get(token) === before) this.#part = "answer";
    return before;
  }

  piece({ text, token }) {
    const part = this.#mark(token);
    if (!this.#atStart || !text) return { text, token, part };
    this.#atStart = false;
    return { text: text.startsWith(" ") ? text.slice(1) : text, token, part };
  }
}

/** The steps of a generation with their parts; what was answered is held when it ends, however it does. */
export async function* answerParts(chat, steps, hold) {
  const parts = new Parts(chat);
  let content = "";
  let answered = false;
  try {
    for await (const step of steps) {
      const piece = parts.piece(step);
      answered = true;
      if (piece.part === "answer") content += piece.text;
      yield piece;
    }
  } finally {
    await steps.return();
    if (answered) hold(content);
  }
}
