// Uses the demo page of a served web bundle as people do, and prints what was found as JSON.
// usage: node demo.mjs URL CHROMIUM '{"prompt": …}' [SCREENSHOT]
import { readFileSync } from "node:fs";
import { open } from "./browser.mjs";

const [url, executablePath, request, screenshot] = process.argv.slice(2);
const { prompt } = JSON.parse(request);
const axe = readFileSync(new URL("../bundlers/node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const LIVE = "[aria-live]:not([aria-live=off]), [role=status], [role=alert], [role=log], output";
const { page, messages, close } = await open(executablePath);

const ready = () => page.waitForSelector('main[data-state="ready"]', { timeout: 60_000 });
const running = () => page.waitForSelector('main[data-state="running"]', { timeout: 60_000 });
// without chance this model never ends by itself: there is something to stop, however slow the machine
const choose = (tokens) => page.evaluate((most) => { document.getElementById("tokens").value = most; document.getElementById("temperature").value = 0; }, tokens);
const focused = () => page.evaluate(() => document.activeElement.id);
async function violations() {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run());
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 80)).join(" ")}`);
}

const found = {};
try {
  await page.addInitScript(() => {
    globalThis.violated = [];
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => globalThis.violated.push(`${violatedDirective} ${blockedURI}`));
  });
  await page.addInitScript(() => {
    // a recognition that hears the same again and again, until it is not allowed to
    let times = 0;
    globalThis.SpeechRecognition = class extends EventTarget {
      static available = async () => "available";
      start() {
        times += 1;
        const heard = times === 1 ? Object.assign(new Event("result"), { results: [[{ transcript: " Once upon a TIME" }]] }) : Object.assign(new Event("error"), { error: "not-allowed" });
        setTimeout(() => { this.dispatchEvent(heard); this.dispatchEvent(new Event("end")); });
      }
    };
  });
  await page.goto(url);
  await ready();
  found.axe = [await violations()];
  found.focus = [await focused()];
  found.examples = await page.$$eval(".examples button", (buttons) => buttons.map((button) => button.textContent));
  found.live = await page.$$eval(LIVE, (regions) => regions.map(({ id }) => id));
  await page.evaluate(() => {
    globalThis.said = [];
    new MutationObserver(() => globalThis.said.push(document.getElementById("said").textContent)).observe(document.getElementById("said"), { childList: true });
  });

  // Escape stops, and the focus stays
  await choose(65536);
  await page.fill("#prompt", prompt);
  await page.press("#prompt", "Enter");
  await running();
  await page.waitForSelector("#output .text:not(:empty)");
  await page.keyboard.press("Escape");
  await ready();
  found.focus.push(await focused());
  found.stopped = await page.$$eval(".cut", (marks) => marks.map((mark) => mark.textContent));
  found.said = await page.evaluate(() => globalThis.said.filter(Boolean));

  // so does the button, with the keyboard
  await page.focus("#run");
  await page.keyboard.press("Space");
  await running();
  found.button = [await page.textContent("#run")];
  await page.keyboard.press("Space");
  await ready();
  found.button.push(await page.textContent("#run"));
  found.focus.push(await focused());

  // a text that ends for want of tokens says so
  await choose(7);
  await page.press("#prompt", "Enter");
  await page.waitForFunction(() => document.querySelector(".cut")?.textContent.includes("most tokens"));
  await ready();
  found.text = await page.$eval("#output .text", (place) => place.firstChild.textContent);
  found.axe.push(await violations());
  await page.emulateMedia({ colorScheme: "dark" });
  found.axe.push(await violations());
  await page.setViewportSize({ width: 320, height: 640 });
  found.axe.push(await violations());
  found.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });

  // spoken
  found.speech = [await page.textContent("#speech-note")];
  await page.click(".speak");
  await page.waitForFunction(() => document.getElementById("prompt").value === "once upon a time");
  await page.waitForSelector(".cut");
  await ready();
  await page.click(".speak");
  await page.waitForFunction((before) => document.getElementById("speech-note").textContent !== before, found.speech[0]);
  found.speech.push(await page.textContent("#speech-note"), await page.textContent(".speak"), await page.textContent("#said"));

  // without a network
  await page.check(".offline input");
  await page.waitForFunction(() => document.querySelector(".offline .note").textContent === "kept");
  await page.context().setOffline(true);
  await page.reload();
  await ready();
  found.downloaded = await page.$eval('[data-name="Downloaded"] dd', (cell) => cell.textContent);
  found.switched = await page.isChecked(".offline input");
  await choose(7);
  await page.fill("#prompt", prompt);
  await page.press("#prompt", "Enter");
  await page.waitForSelector(".cut");
  found.offline = await page.$eval("#output .text", (place) => place.firstChild.textContent);
  await page.context().setOffline(false);
  await page.uncheck(".offline input");
  await page.waitForFunction(() => document.querySelector(".offline .note").textContent === "no longer kept");
  found.left = await page.evaluate(async () => [(await caches.keys()).filter((name) => name.startsWith("chimera-page")), (await navigator.serviceWorker.getRegistrations()).length]);
  found.violated = await page.evaluate(() => globalThis.violated);
  console.log(JSON.stringify({ ...found, messages }));
} finally {
  await close();
}
