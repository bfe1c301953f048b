// Asks the home page's examples and prints the answers, what happened and what the drawing says as JSON.
// usage: node house.mjs URL CHROMIUM '{}' [SCREENSHOT]
import { open } from "./browser.mjs";

const [url, executablePath, , screenshot] = process.argv.slice(2);
const { page, messages, close } = await open(executablePath);
try {
  await page.goto(url);
  await page.waitForSelector('main[data-state="ready"] .examples', { timeout: 60_000 });
  const before = await page.getAttribute(".house", "aria-label");
  const steps = [];
  for (const button of await page.$$(".examples button")) {
    await page.evaluate(() => { document.getElementById("said").textContent = ""; });
    await button.click();
    await page.waitForFunction(() => document.getElementById("said").textContent);
    await page.waitForSelector('main[data-state="ready"]');
    steps.push([await page.textContent("#output"), await page.textContent(".happened"), await page.getAttribute(".house", "aria-label"), await page.textContent("#said")]);
  }
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  console.log(JSON.stringify({ before, steps, messages }));
} finally {
  await close();
}
