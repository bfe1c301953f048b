// What the demo page has beside the plain one: examples, a drawn house, speech, and use without a network.
import { drawHouse } from "./demo-drawing.mjs";
import { applied, newHouse, readAnswer } from "./demo-house.mjs";
import { offerOffline } from "./demo-offline.mjs";
import { offerSpeech } from "./demo-speech.mjs";
import { element, events, find, run, say, words } from "./page.mjs";

const EXAMPLES = "examples.json";
const MOST_EXAMPLES = 12;

// ---- examples ----

async function readExamples({ manifest }) {
  if (!manifest.files.some((file) => file.name === EXAMPLES)) return [];
  const response = await fetch(new URL(EXAMPLES, import.meta.url));
  const found = response.ok ? await response.json() : [];
  return found.filter((one) => typeof one === "string").slice(0, MOST_EXAMPLES);
}

function showExamples(examples) {
  const list = element("ul", "examples");
  for (const example of examples) {
    const button = element("button", "", example);
    button.type = "button";
    button.addEventListener("click", () => run(example));
    const item = element("li");
    item.append(button);
    list.append(item);
  }
  const title = element("h2", "", "Or take one of these");
  title.id = "examples-title";
  list.setAttribute("aria-labelledby", title.id);
  const section = element("section", "picks");
  section.append(title, list);
  find("form").after(section);
  find("prompt").placeholder = examples[0];
}

// ---- the house ----

let house = null; // { state, drawing, happened, notes }

function showHouse() {
  const drawing = drawHouse();
  const happened = element("p", "happened", "Ask for something, and see what happens here.");
  const notes = element("ul", "notes");
  const section = element("section");
  section.id = "house";
  section.setAttribute("aria-label", "The house");
  section.append(drawing.svg, happened, notes);
  const side = element("div", "side");
  side.append(section, find("answer"));
  find("stage").append(side);
  find("about").textContent = "Turns a request into what a smart home is to do. The model runs in this page; nothing you type leaves it.";
  find("prompt-label").textContent = "What should the house do?";
  find("answer-title").textContent = "What the model answers";
  words.run = "Ask";
  find("run").textContent = words.run;
  document.querySelector("main").classList.add("wide");
  house = { state: newHouse(), drawing, happened, notes };
  drawing.set(house.state);
}

function showNotes({ timers, list, others }) {
  const rows = [...timers.map((timer) => `Timer: ${timer}`), ...list, ...Object.entries(others).map(([name, value]) => `${name}: ${value}`)];
  house.notes.replaceChildren(...rows.map((row) => element("li", "", row)));
}

function follow({ text, reason }) {
  const answer = readAnswer(text);
  if (!answer || reason === "abort" || reason === "length") {
    if (house) house.happened.textContent = "The answer is not whole: nothing changes.";
    return;
  }
  if (!house) showHouse();
  const [state, happened] = applied(house.state, answer);
  house.state = state;
  house.drawing.set(state);
  house.happened.textContent = happened;
  showNotes(state);
  say(happened);
}

events.addEventListener("loaded", ({ detail: { model } }) => {
  readExamples(model).then((examples) => { if (examples.length) showExamples(examples); }, () => {});
  if (model.manifest.name === "home") showHouse();
  if (!model.manifest.chat?.pieces) events.addEventListener("ended", ({ detail }) => follow(detail));
  offerSpeech(find("run").parentElement, run, say);
  offerOffline(find("numbers"), model.manifest, say);
});
