// Texts of answers on the page: JSON with its parts marked, anything else as it is, and what was cut off.

const PARTS = /("(?:[^"\\]|\\.)*"?)(\s*:)?|(-?\d[\d.eE+-]*|\b(?:true|false|null)\b)/gy;
const STARTS_JSON = /^\s*[[{]/;

/** Whether a text, perhaps not yet whole, looks like JSON. */
export const looksLikeJson = (text) => STARTS_JSON.test(text);

/** [kind, text] of each part of a JSON text, whole or not: "key", "string", "value" or "". */
export function jsonParts(text) {
  const parts = [];
  let plain = "";
  const end = () => { if (plain) parts.push(["", plain]); plain = ""; };
  for (let at = 0; at < text.length;) {
    PARTS.lastIndex = at;
    const found = PARTS.exec(text);
    if (!found) { plain += text[at++]; continue; }
    end();
    const [all, string, colon, value] = found;
    parts.push(value === undefined ? [colon === undefined ? "string" : "key", string] : ["value", value]);
    plain = colon ?? "";
    at += all.length;
  }
  end();
  return parts;
}

/** An element with a class and a text. */
export function element(name, kind, text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.textContent = text;
  return made;
}

/** Show a text in a place. */
export function show(place, text) {
  if (!looksLikeJson(text)) {
    place.classList.remove("json");
    place.textContent = text;
    return;
  }
  place.classList.add("json");
  // lines may break after what is between the parts, and nowhere within one
  place.replaceChildren(...jsonParts(text).flatMap(([kind, part]) => (kind ? [element("span", kind, part)] : [part, element("wbr")])));
}

/** Why a text that has ended is not whole, in words; "" where it is, or nobody can tell. */
export function cutOff(text, finishReason) {
  if (finishReason === "length") return "cut off: the most tokens are reached";
  if (finishReason === "abort") return "stopped";
  return "";
}

/** Mark a text as not whole. */
export function markCut(place, why) {
  if (why) place.append(" ", element("mark", "cut", `… ${why}`));
}
