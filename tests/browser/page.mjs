// Opens the page of a served web bundle, generates text with the given options, prints what the page shows as JSON.
// usage: node page.mjs URL CHROMIUM '{"prompt": …, "seed": …, "temperature": …, "tokens": …, "loops": …}' [SCREENSHOT]
import { open } from "./browser.mjs";

const [url, executablePath, request, screenshot] = process.argv.slice(2);
const wanted = JSON.parse(request);
const { page, messages, close } = await open(executablePath);
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
    result.info = await page.textContent("#info");
    result.text = await page.textContent("#output");
    result.speed = await page.textContent("#speed");
    result.error = await page.textContent("#error");
  }
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  console.log(JSON.stringify({ ...result, messages }));
} finally {
  await close();
}
