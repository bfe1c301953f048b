// Opens pages of examples, one after the other, and prints what each shows as JSON. usage: node pages.mjs CHROMIUM URL…
import { open } from "../browser/browser.mjs";

const [executablePath, ...urls] = process.argv.slice(2);
const { page, messages, close } = await open(executablePath);
try {
  const shown = [];
  for (const url of urls) {
    await page.goto(url);
    await page.waitForSelector("output[data-done]", { timeout: 60_000 }).catch((error) => messages.push(`${url}: ${error.message}`));
    shown.push(await page.textContent("output"));
  }
  console.log(JSON.stringify({ shown, messages }));
} finally {
  await close();
}
