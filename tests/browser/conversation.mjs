// Opens the page of a served web bundle that holds conversations, sends messages, prints what the page shows as JSON.
// usage: node conversation.mjs URL CHROMIUM '{"messages": […], "seed": …, "temperature": …, "tokens": …}' [SCREENSHOT]
import { open } from "./browser.mjs";

const [url, executablePath, request, screenshot] = process.argv.slice(2);
const wanted = JSON.parse(request);
const { page, messages, close } = await open(executablePath);
try {
  await page.goto(url);
  await page.waitForSelector('main[data-state="ready"]', { timeout: 60_000 });
  await page.click("#settings > summary");
  await page.fill("#temperature", String(wanted.temperature));
  await page.fill("#seed", String(wanted.seed));
  await page.fill("#tokens", String(wanted.tokens));
  let turns = 0;
  for (const message of wanted.messages) {
    await page.fill("#prompt", message);
    await page.press("#prompt", "Enter");
    await page.waitForFunction((before) => document.querySelectorAll(".turn.user").length > before, turns);
    await page.waitForSelector('main[data-state="ready"]', { timeout: 60_000 });
    turns += 1;
  }
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  const cut = await page.$$eval(".cut", (marks) => marks.map((mark) => mark.closest(".turn").className));
  await page.$$eval(".cut", (marks) => marks.forEach((mark) => { mark.previousSibling.remove(); mark.remove(); }));
  const shown = await page.$$eval("#output > .turn", (parts) => parts.map((part) => [part.className.replace("turn ", ""), part.querySelector(".text").textContent]));
  const [label, left, error] = [await page.textContent("#prompt-label"), await page.inputValue("#prompt"), await page.textContent("#error")];
  await page.click("#restart");
  const emptied = await page.textContent("#output");
  console.log(JSON.stringify({ turns: shown, cut, label, left, error, emptied, messages }));
} finally {
  await close();
}
