// Opens the page of a served web bundle, generates text with the given options, prints what the page shows as JSON.
// usage: node page.mjs URL CHROMIUM '{"prompt": …, "seed": …, "temperature": …, "tokens": …, "loops": …}' [SCREENSHOT]
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, executablePath, request, screenshot] = process.argv.slice(2);
const wanted = JSON.parse(request);
const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "chimerac-page-")), {
  executablePath,
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const page = await context.newPage();
const messages = [];
page.on("console", (message) => messages.push(message.text()));
page.on("pageerror", (error) => messages.push(String(error)));
try {
  await page.goto(url);
  await page.waitForSelector("#form:not([hidden]), #error:not([hidden])", { timeout: 60_000 });
  const result = { error: await page.textContent("#error"), title: await page.title() };
  if (await page.isVisible("#form")) {
    await page.fill("#prompt", wanted.prompt);
    await page.fill("#temperature", String(wanted.temperature));
    await page.fill("#seed", String(wanted.seed));
    await page.fill("#tokens", String(wanted.tokens));
    if (await page.isVisible("#loops")) await page.fill("#loops", String(wanted.loops));
    await page.click("#generate");
    await page.waitForSelector("#generate:not([disabled])", { timeout: 60_000 });
    result.text = await page.textContent("#output");
    result.speed = await page.textContent("#speed");
    result.error = await page.textContent("#error");
  }
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  console.log(JSON.stringify({ ...result, messages }));
} finally {
  await context.close();
}
