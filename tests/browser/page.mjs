// Opens the page of a served web bundle, generates, and prints what the page shows as JSON.
// usage: node page.mjs URL CHROMIUM '{"prompt": …, "temperature": …, "seed": …, "tokens": …, "loops": …}' [SCREENSHOT]
import { open } from "./browser.mjs";

const [url, executablePath, request, screenshot] = process.argv.slice(2);
const wanted = JSON.parse(request);
const { page, messages, close } = await open(executablePath);
try {
  await page.goto(url);
  await page.waitForSelector('main[data-state="ready"], main[data-state="failed"]', { timeout: 60_000 });
  const result = { error: await page.textContent("#error"), heading: await page.textContent("#failure-title"), title: await page.title(), retry: await page.isVisible("#retry") };
  if (await page.isVisible("#form")) {
    await page.click("#settings > summary");
    await page.fill("#prompt", wanted.prompt);
    await page.fill("#temperature", String(wanted.temperature));
    await page.fill("#seed", String(wanted.seed));
    await page.fill("#tokens", String(wanted.tokens));
    if (await page.isVisible("#loops")) await page.fill("#loops", String(wanted.loops));
    await page.click("#run");
    await page.waitForSelector('#output .text:not(:empty)', { timeout: 60_000 });
    await page.waitForSelector('main[data-state="ready"]', { timeout: 60_000 });
    result.cut = await page.$$eval(".cut", (marks) => marks.map((mark) => { mark.previousSibling.remove(); mark.remove(); return mark.textContent; }));
    result.text = await page.textContent("#output");
    result.figures = await page.$$eval("#figures > div", (rows) => Object.fromEntries(rows.map((row) => [...row.children].map((cell) => cell.textContent))));
    result.error = await page.textContent("#error");
  }
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  console.log(JSON.stringify({ ...result, messages }));
} finally {
  await close();
}
