// The names of a home: what a prompt begins with, and the lists that grammars copy from. Python's runtime/names.py has the same.
import { checkName, checkNames, kind, MOST_NAME_BYTES, refuse } from "./arguments.mjs";

const ENTITY = ["name", "aliases", "domain", "area"];
const PLACE = ["name", "aliases"];
const MOST_NAMES = 4096;

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const words = (name) => name.replace(/[=:,;|^]/g, " ").split(/\s+/u).filter(Boolean).join(" ");
const said = ({ name, aliases = [] }) => [name, ...aliases].map(words).join("=");

/** Whether a list can have an alias: of 1 to 255 bytes, no control characters, no space before it. */
const canBeSaid = (alias) => !/[\u0000-\u001f\u007f]|^ |^$/.test(alias) && new TextEncoder().encode(alias).length <= MOST_NAME_BYTES;

/** Each name once, with the other names of all that have it after tabs. */
function lines(rows) {
  const called = new Map();
  for (const { name, aliases = [] } of rows) called.set(name, [...(called.get(name) ?? [name]), ...aliases.filter(canBeSaid)]);
  return [...called.values()].map((names) => names.join("\t"));
}

function listed(what, given) {
  if (!Array.isArray(given)) refuse(`${what} is ${kind(given)}, not a list`);
  if (given.length > MOST_NAMES) refuse(`${given.length} ${what} are over the limit of ${MOST_NAMES}`);
  return given;
}

function checkRow(place, given, keys) {
  const row = typeof given === "string" ? { name: given } : given;
  if (!isObject(row)) refuse(`${place} is ${kind(given)}, not an object with a name`);
  checkNames(row, keys);
  const trimmed = {};
  for (const [key, value] of Object.entries(row)) {
    for (const text of key === "aliases" ? listed(`${place}.${key}`, value) : [value]) {
      if (typeof text !== "string" || (key === "name" && !text.trim())) refuse(`${place}.${key} is ${kind(text)}, not a name`);
    }
    trimmed[key] = typeof value === "string" ? value.trim() : value;
  }
  if (!("name" in trimmed)) refuse(`${place} has no name`);
  return trimmed;
}

/** { prefix, lists } of { entities: [{ name, aliases, domain, area }], areas: [{ name, aliases }], floors: [{ name, aliases }] }. */
export function namesOf(home) {
  if (!isObject(home)) refuse(`the names are ${kind(home)}, not an object with entities and areas`);
  checkNames(home, ["entities", "areas", "floors"]);
  const areas = listed("areas", home.areas ?? []).map((one, n) => checkRow(`areas[${n}]`, one, PLACE));
  const entities = listed("entities", home.entities ?? []).map((one, n) => checkRow(`entities[${n}]`, one, ENTITY));
  const floors = listed("floors", home.floors ?? []).map((one, n) => checkRow(`floors[${n}]`, one, PLACE));
  const heads = new Map(areas.map((row) => [row.name, said(row)]));
  const groups = new Map(areas.map((row) => [row.name, []]));
  for (const row of entities) {
    const area = row.area || "";
    if (!groups.has(area)) groups.set(area, []);
    groups.get(area).push((row.domain ? `${words(row.domain)} ` : "") + said(row));
  }
  const order = [...groups.keys()].filter(Boolean).concat(groups.has("") ? [""] : []);
  const parts = order.map((area) => `${heads.get(area) ?? words(area)}:${groups.get(area).join(",")};`);
  if (floors.length) parts.unshift(`^${floors.map(said).join(",")};`);
  const others = new Map(areas.map(({ name, aliases }) => [name, aliases]));
  const named = order.filter(Boolean).map((name) => ({ name, aliases: others.get(name) }));
  const lists = {};
  for (const [list, rows] of Object.entries({ names: entities, areas: named, floors })) {
    rows.forEach(({ name }) => checkName(list, name));
    if (rows.length) lists[list] = lines(rows);
  }
  return { prefix: parts.length ? `${parts.join("")}|` : "", lists };
}
