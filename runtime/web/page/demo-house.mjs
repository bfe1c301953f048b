// What an answer of the home model does to a house: pure functions of states, without any drawing.

export const ROOMS = ["bedroom", "bathroom", "office", "living room", "kitchen", "garage"];
const SAME = { lounge: "living room", "sitting room": "living room", "family room": "living room", "dining room": "kitchen", study: "office", bath: "bathroom", "master bedroom": "bedroom" };
const BLINDS = ["blind", "curtain", "shade", "shutter", "awning"];
const FULL = 100;
const WARM = 21; // °C, before anybody asks for another temperature

/** A house at the beginning: all off, blinds open. */
export function newHouse() {
  const rooms = ROOMS.map((name) => [name, { light: 0, color: "", blind: FULL, heat: WARM, music: "", volume: 40, fan: 0 }]);
  return { rooms: Object.fromEntries(rooms), garage: 0, locked: true, vacuum: "", timers: [], list: [], others: {} };
}

const simple = (name) => String(name ?? "").toLowerCase().replace(/^(the|my|our) /, "");
const roomOf = (area) => { const name = simple(area); return SAME[name] ?? name; };
const has = (text, ...words) => words.some((word) => simple(text).includes(word));

/** The rooms that slots mean: the one named, else all; none where the named one is not drawn. */
function roomsOf({ area, name }) {
  const room = roomOf(area) || ROOMS.find((one) => simple(name).includes(one)) || "";
  if (!room) return ROOMS;
  return ROOMS.includes(room) ? [room] : [];
}

const change = (house, rooms, values) => ({ ...house, rooms: { ...house.rooms, ...Object.fromEntries(rooms.map((room) => [room, { ...house.rooms[room], ...values }])) } });
const place = ({ area, floor }) => (area ? ` in the ${simple(area)}` : floor ? ` on the ${simple(floor)}` : "");
const everywhere = (slots) => place(slots) || (slots.name ? "" : " everywhere");
const other = (house, name, value) => ({ ...house, others: { ...house.others, [name]: value } });

/** How long, in words. */
function duration({ hours = 0, minutes = 0, seconds = 0, start_hours = hours, start_minutes = minutes, start_seconds = seconds }) {
  const parts = [[start_hours, "h"], [start_minutes, "min"], [start_seconds, "s"]].filter(([count]) => count);
  return parts.map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/** Something with a name, or a kind of device, that is turned on or off. */
function turned(house, slots, on) {
  const { area, domain, device_class: kind, name } = slots;
  const word = on ? "on" : "off";
  if (kind === "garage" || has(name, "garage door")) return [{ ...house, garage: on ? FULL : 0 }, `The garage door is ${on ? "open" : "closed"}.`];
  if (domain === "lock" || has(name, "lock") || (has(name, "front door") && !kind)) return [{ ...house, locked: on }, `The front door is ${on ? "locked" : "unlocked"}.`];
  if (domain === "cover" || BLINDS.includes(kind) || has(name, "blind", "curtain", "shutter", "shade")) {
    return [change(house, roomsOf(slots), { blind: on ? FULL : 0 }), `The ${kind && kind !== "door" ? `${kind}s` : "covers"}${everywhere(slots)} are ${on ? "open" : "closed"}.`];
  }
  if (domain === "light" || has(name, "light", "lamp")) return [change(house, roomsOf(slots), { light: on ? FULL : 0 }), `The lights${everywhere(slots)} are ${word}.`];
  if (domain === "fan" || has(name, "fan")) return [change(house, roomsOf(slots), { fan: on ? FULL : 0 }), `The fan${everywhere(slots)} is ${word}.`];
  if (has(name, "everything", "all")) return [change(house, roomsOf(slots), { light: on ? FULL : 0, music: "", fan: 0 }), `Everything${everywhere(slots)} is ${word}.`];
  const what = simple(name) || domain || "device";
  return [other(house, what, word), `${what}${place({ area })} is ${word}.`];
}

function lit(house, slots) {
  const { brightness, color, temperature } = slots;
  const values = { light: brightness ?? FULL, ...(color ? { color } : {}), ...(temperature ? { color: "" } : {}) };
  const how = [brightness === undefined ? "" : `at ${brightness} %`, color ?? "", temperature ? `at ${temperature} K` : ""].filter(Boolean).join(", ");
  return [change(house, roomsOf(slots), values), `The lights${everywhere(slots)} are ${how || "on"}.`];
}

function covered(house, slots) {
  const { device_class: kind, position, name } = slots;
  if (kind === "garage" || has(name, "garage door")) return [{ ...house, garage: position }, `The garage door is open to ${position} %.`];
  return [change(house, roomsOf(slots), { blind: position }), `The ${kind ? `${kind}s` : "covers"}${everywhere(slots)} are open to ${position} %.`];
}

function playing(house, slots, music, text) {
  const named = roomsOf(slots);
  const sounding = ROOMS.filter((room) => house.rooms[room].music);
  const rooms = slots.area || slots.name ? named : sounding.length ? sounding : ["living room"];
  return [change(house, rooms, music(house.rooms[rooms[0] ?? "living room"])), text];
}

function louder(house, slots) {
  const step = { up: 10, down: -10 }[slots.volume_step] ?? slots.volume_step;
  const values = (room) => ({ volume: Math.max(0, Math.min(FULL, room.volume + step)) });
  return playing(house, slots, values, `The music is ${step > 0 ? "louder" : "quieter"}.`);
}

const list = (item, name) => `${name ? simple(name) : "shopping list"}: ${item}`;
const asks = (house, what) => [house, `A question, about ${what}: nothing changes.`];

const EFFECTS = {
  HassTurnOn: (house, slots) => turned(house, slots, true),
  HassTurnOff: (house, slots) => turned(house, slots, false),
  HassLightSet: lit,
  HassSetPosition: covered,
  HassClimateSetTemperature: (house, slots) => [change(house, roomsOf(slots), { heat: slots.temperature }), `The heating${everywhere(slots)} is set to ${slots.temperature} °C.`],
  HassClimateSetFanMode: (house, slots) => [change(house, roomsOf(slots), { fan: slots.fan_mode === "off" ? 0 : FULL }), `The fan mode is ${slots.fan_mode}.`],
  HassFanSetSpeed: (house, slots) => [change(house, roomsOf(slots), { fan: slots.percentage }), `The fan${everywhere(slots)} runs at ${slots.percentage} %.`],
  HassMediaSearchAndPlay: (house, slots) => playing(house, slots, () => ({ music: slots.search_query ?? "music" }), `${slots.search_query ?? "Music"} plays${place(slots)}.`),
  HassMediaPause: (house, slots) => playing(house, slots, () => ({ music: "" }), "The music is paused."),
  HassMediaUnpause: (house, slots) => playing(house, slots, () => ({ music: "music" }), "The music goes on."),
  HassMediaNext: (house, slots) => playing(house, slots, () => ({ music: "next track" }), "The next track plays."),
  HassMediaPrevious: (house, slots) => playing(house, slots, () => ({ music: "track before" }), "The track before plays."),
  HassMediaPlayerMute: (house, slots) => playing(house, slots, () => ({ volume: 0 }), "The sound is off."),
  HassMediaPlayerUnmute: (house, slots) => playing(house, slots, () => ({ volume: 40 }), "The sound is on."),
  HassSetVolume: (house, slots) => playing(house, slots, () => ({ volume: slots.volume_level }), `The volume is ${slots.volume_level} %.`),
  HassSetVolumeRelative: louder,
  HassStartTimer: (house, slots) => [{ ...house, timers: [...house.timers, duration(slots)] }, `A timer of ${duration(slots)} runs.`],
  HassCancelTimer: (house) => [{ ...house, timers: house.timers.slice(0, -1) }, "The timer is cancelled."],
  HassCancelAllTimers: (house) => [{ ...house, timers: [] }, "All timers are cancelled."],
  HassVacuumStart: (house) => [{ ...house, vacuum: "living room" }, "The vacuum cleaner has started."],
  HassVacuumCleanArea: (house, slots) => [{ ...house, vacuum: roomOf(slots.area) }, `The vacuum cleaner works${place(slots)}.`],
  HassVacuumReturnToBase: (house) => [{ ...house, vacuum: "" }, "The vacuum cleaner goes back."],
  HassShoppingListAddItem: (house, { item }) => [{ ...house, list: [...house.list, list(item)] }, `${item} is on the shopping list.`],
  HassListAddItem: (house, { item, name }) => [{ ...house, list: [...house.list, list(item, name)] }, `${item} is on the list.`],
  HassShoppingListCompleteItem: (house, { item }) => [{ ...house, list: house.list.filter((one) => one !== list(item)) }, `${item} is done.`],
  HassListCompleteItem: (house, { item, name }) => [{ ...house, list: house.list.filter((one) => one !== list(item, name)) }, `${item} is done.`],
  HassListRemoveItem: (house, { item, name }) => [{ ...house, list: house.list.filter((one) => one !== list(item, name)) }, `${item} is off the list.`],
  HassBroadcast: (house, { message }) => [house, `All rooms hear: ${message}`],
  HassGetState: (house, slots) => asks(house, slots.name ?? slots.domain ?? "a state"),
  HassGetWeather: (house) => asks(house, "the weather"),
  HassGetCurrentTime: (house) => asks(house, "the time"),
  HassGetCurrentDate: (house) => asks(house, "the date"),
  HassTimerStatus: (house) => asks(house, "a timer"),
  HassClimateGetTemperature: (house, slots) => asks(house, `the temperature${place(slots)}`),
  HassNevermind: (house) => [house, "Never mind: nothing changes."],
  OutOfDomain: (house) => [house, "Nothing that a home can do."],
  NoSuchDevice: (house) => [house, "There is no such thing in this home."],
  AmbiguousDevice: (house, { name }) => [house, `Several things are called ${simple(name) || "so"}: say where.`],
};

const isAction = (found) => typeof found?.intent === "string" && typeof found.slots === "object";

/** The answer in a text, { intent, slots } or several of them; null where it is none. */
export function readAnswer(text) {
  try {
    const found = JSON.parse(text);
    return isAction(found) || (Array.isArray(found) && found.length && found.every(isAction)) ? found : null;
  } catch {
    return null;
  }
}

/** The house after one action, and what happened in words. */
function done(house, { intent, slots }) {
  const effect = Object.hasOwn(EFFECTS, intent) ? EFFECTS[intent] : () => [house, `${intent}: not drawn.`];
  const [next, text] = effect(house, slots ?? {});
  const missing = slots?.area && roomsOf(slots).length === 0 ? ` There is no ${simple(slots.area)} in the drawing.` : "";
  return [next, text.charAt(0).toUpperCase() + text.slice(1) + missing];
}

/** The house after an answer, and what happened in words. */
export function applied(house, answer) {
  const said = [];
  for (const action of Array.isArray(answer) ? answer : [answer]) {
    const [next, text] = done(house, action);
    house = next;
    said.push(text);
  }
  return [house, said.join(" ")];
}
