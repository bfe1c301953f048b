// The drawn house: built once, then set to states of demo-house.mjs.
import { ROOMS } from "./demo-house.mjs";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 196;
const HEIGHT = 128;
const LEFT = 26;
const TOP = 92;
const COLORS = { red: "#ff5a4f", orange: "#ff9d3c", yellow: "#ffe14d", green: "#5fd068", blue: "#5b9bff", purple: "#b07bff", pink: "#ff8ac4", turquoise: "#4fd8cf", white: "#ffffff", brown: "#b98555", black: "#777777" };
const LAMP = "#ffd36b";

/** An SVG element with attributes and children. */
function draw(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const rect = (x, y, width, height, kind, more = {}) => draw("rect", { x, y, width, height, class: kind, ...more });
const line = (x1, y1, x2, y2, kind) => draw("line", { x1, y1, x2, y2, class: kind });
const text = (x, y, kind, content, more = {}) => draw("text", { x, y, class: kind, ...more }, content);

/** What comes down in front of something; `open(percent)` lifts it. */
function drawCover(id, [x, y, width, height], slats, kind) {
  const shown = rect(x - 2, y - 2, width + 4, 0, "");
  const lines = Array.from({ length: slats - 1 }, (_, i) => y + ((i + 1) * height) / slats).map((at) => line(x, at, x + width, at, "slat"));
  const cover = draw("g", { "clip-path": `url(#${id})` }, rect(x, y, width, height, kind), ...lines);
  const group = draw("g", {}, draw("clipPath", { id }, shown), cover, rect(x, y, width, height, "pane"));
  return { group, open: (percent) => shown.setAttribute("height", ((height + 4) * (100 - percent)) / 100) };
}

function drawFan(x, y) {
  const blades = draw("g", { class: "blades" }, ...[0, 120, 240].map((angle) => draw("ellipse", { cx: 0, cy: -7, rx: 3.5, ry: 6.5, class: "blade", transform: `rotate(${angle})` })));
  return [draw("g", { class: "fan", transform: `translate(${x} ${y})` }, line(0, 0, 0, 24, "frame"), blades), blades];
}

function drawCar(x, y) {
  const body = draw("path", { d: "M2 26 L10 8 Q12 4 18 4 H62 Q68 4 70 8 L78 26 V38 H2 Z" });
  return draw("g", { class: "car", transform: `translate(${x} ${y})` }, body, ...[18, 62].map((cx) => draw("circle", { cx, cy: 38, r: 6 })));
}

/** Window, radiator and fan of a room, or the garage's door and car; `set(state)` shows a room's state. */
function furnish(name) {
  const opening = name === "garage" ? [22, 42, WIDTH - 44, HEIGHT - 72] : [28, 32, 58, 52];
  const cover = drawCover(`cover-of-${name.replace(" ", "-")}`, opening, name === "garage" ? 4 : 8, "blind");
  const [x, y, width, height] = opening;
  const glass = rect(x, y, width, height, name === "garage" ? "inside" : "glass");
  if (name === "garage") return { parts: [glass, drawCar(x + 36, y + height - 44), cover.group], set: ({ blind }) => cover.open(blind) };
  const radiator = Array.from({ length: 5 }, (_, i) => rect(WIDTH - 58 + 7 * i, HEIGHT - 44, 5, 18, "radiator"));
  const heat = text(WIDTH - 10, HEIGHT - 12, "small", "", { "text-anchor": "end" });
  const [fan, blades] = drawFan(WIDTH - 24, 44);
  const set = (room) => {
    cover.open(room.blind);
    heat.textContent = `${room.heat} °C`;
    fan.setAttribute("visibility", room.fan ? "visible" : "hidden");
    blades.style.animationDuration = room.fan ? `${40 / room.fan}s` : "";
  };
  return { parts: [glass, line(x + width / 2, y, x + width / 2, y + height, "frame"), cover.group, ...radiator, heat, fan], set };
}

/** A room at a place; `set(state)` shows its state. */
function drawRoom(name, x, y) {
  const glow = rect(0, 0, WIDTH, HEIGHT, "glow");
  const bulb = draw("circle", { cx: WIDTH / 2, cy: 25, r: 8, class: "bulb" });
  const music = text(10, HEIGHT - 28, "music", "");
  const furniture = furnish(name);
  const lamp = [glow, line(WIDTH / 2, 0, WIDTH / 2, 18, "frame"), bulb];
  const group = draw("g", { transform: `translate(${x} ${y})` }, rect(0, 0, WIDTH, HEIGHT, "wall"), ...furniture.parts, ...lamp, music, text(10, HEIGHT - 12, "label", name));
  const set = (room) => {
    const shine = COLORS[room.color] ?? LAMP;
    glow.setAttribute("fill", shine);
    glow.setAttribute("opacity", (room.light / 100) * 0.5);
    bulb.setAttribute("fill", room.light ? shine : "transparent");
    const title = room.music.length > 10 ? `${room.music.slice(0, 9)}…` : room.music;
    music.textContent = title ? `${room.volume ? "♪" : "mute"} ${title}` : "";
    furniture.set(room);
  };
  return { group, set };
}

/** The front door with its lock, at the left wall. */
function drawDoor() {
  const shackle = draw("path", { class: "shackle", d: "M-4 0 V-5 A4 4 0 0 1 4 -5 V0" });
  const lock = draw("g", { class: "lock", transform: `translate(${LEFT + 113} ${TOP + 2 * HEIGHT - 46})` }, shackle, rect(-6, 0, 12, 10, "body"));
  return [draw("g", {}, rect(LEFT + 97, TOP + 2 * HEIGHT - 84, 32, 62, "door"), lock), (locked) => shackle.setAttribute("transform", locked ? "" : "translate(0 -4) rotate(-25 -4 0)")];
}

/** What is lit, covered and playing, in words. */
export function inWords(house) {
  const rooms = Object.entries(house.rooms);
  const named = (test, what) => { const found = rooms.filter(([, room]) => test(room)).map(([name]) => name); return found.length ? [`${what}: ${found.join(", ")}`] : []; };
  return ["A house of six rooms", ...named((room) => room.light > 0, "light in"), ...named((room) => room.blind < 100, "blinds down in"), ...named((room) => room.music, "music in"), ...named((room) => room.fan, "a fan in"), `front door ${house.locked ? "locked" : "unlocked"}`, `garage door ${house.garage ? "open" : "closed"}`].join("; ");
}

/** The drawing; `set(house)` shows a state. */
export function drawHouse() {
  const places = ROOMS.map((name, i) => [name, LEFT + (i % 3) * WIDTH, TOP + Math.floor(i / 3) * HEIGHT]);
  const rooms = Object.fromEntries(places.map(([name, x, y]) => [name, drawRoom(name, x, y)]));
  const [door, lock] = drawDoor();
  const vacuum = draw("g", { class: "vacuum", visibility: "hidden" }, draw("ellipse", { cx: 0, cy: 0, rx: 12, ry: 4 }));
  const right = LEFT + 3 * WIDTH;
  const bottom = TOP + 2 * HEIGHT;
  const svg = draw(
    "svg",
    { viewBox: "0 0 640 366", role: "img", class: "house" },
    draw("circle", { cx: 585, cy: 42, r: 20, class: "sun" }),
    draw("path", { d: `M8 ${TOP} L${(LEFT + right) / 2} 8 L${right + 18} ${TOP} Z`, class: "roof" }),
    ...places.map(([name]) => rooms[name].group),
    door,
    vacuum,
    line(0, bottom, 640, bottom, "ground"),
  );
  const set = (house) => {
    for (const name of ROOMS) rooms[name].set(name === "garage" ? { ...house.rooms.garage, blind: house.garage } : house.rooms[name]);
    lock(house.locked);
    const cleaned = places.find(([name]) => name === house.vacuum) ?? (house.vacuum ? places[3] : null);
    vacuum.setAttribute("visibility", cleaned ? "visible" : "hidden");
    if (cleaned) vacuum.setAttribute("transform", `translate(${cleaned[1] + 60} ${cleaned[2] + HEIGHT - 4})`);
    svg.setAttribute("aria-label", inWords(house));
  };
  return { svg, set };
}
