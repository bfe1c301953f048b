// Loads a bundle in an extension (Manifest V3) of Chromium, in its service worker and in a page of it; prints what comes of it as JSON.
// usage: node extension.mjs FOLDER CHROMIUM; the folder is the extension
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [folder, executablePath] = process.argv.slice(2);
const context = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), "chimerac-extension-")), {
  executablePath,
  headless: true,
  ignoreDefaultArgs: ["--disable-extensions"],
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", `--disable-extensions-except=${folder}`, `--load-extension=${folder}`],
});
try {
  const background = context.serviceWorkers()[0] ?? (await context.waitForEvent("serviceworker", { timeout: 30_000 }));
  const service = await background.evaluate(() => globalThis.loads());
  const page = await context.newPage();
  await page.goto(new URL("toy/policy.html", background.url()).href);
  await page.waitForFunction(() => globalThis.loads, undefined, { timeout: 30_000 });
  console.log(JSON.stringify({ service, page: await page.evaluate(() => globalThis.loads({})) }));
} finally {
  await context.close();
}
