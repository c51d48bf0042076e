// Runs the tests one after the other in one browser, each in a fresh profile, and tells how they went.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openBrowser } from './browser.mjs';
import { serveMedia } from './media.mjs';
import { startService } from './service.mjs';
import { tests } from './tests.mjs';

const TEST_MS = 60000;

const { BINARY, CHROMIUM, CACHE, MEDIA } = process.env;
const only = process.argv[2] ?? '';

const media = await serveMedia(MEDIA);
const service = await startService(BINARY);
const closed = await startService(BINARY, { AUTH__CREATE: 'token' });
const browser = await openBrowser(CHROMIUM, CACHE);
const failed = join(CACHE, 'failed');
await mkdir(failed, { recursive: true });

const count = { passed: 0, failed: 0 };
for (const [name, options, body] of tests.filter(([name]) => name.includes(only))) {
  const began = Date.now();
  const visit = await browser.visit(service.url, options);
  let deadline;
  try {
    const late = new Promise((_, reject) => {
      deadline = setTimeout(() => reject(new Error(`not done after ${TEST_MS / 1000} s`)), TEST_MS);
    });
    await Promise.race([body({ ...visit, media, service, closed }), late]);
    visit.expectQuiet();
    count.passed += 1;
    console.log(`ok      ${seconds(began)} ${name}`);
  } catch (error) {
    count.failed += 1;
    const picture = join(failed, `${name.replaceAll(/\W+/g, '-')}.png`);
    await visit.page.screenshot({ path: picture, fullPage: true }).catch(() => {});
    console.log(`FAILED  ${seconds(began)} ${name}\n${error.stack}\nThe page at that moment: ${picture}`);
    console.log(service.log().split('\n').slice(-20).join('\n'));
  } finally {
    clearTimeout(deadline);
    await visit.close();
  }
}

await browser.close();
await service.stop();
await closed.stop();
media.close();
console.log(`${count.passed} passed, ${count.failed} failed`);
process.exitCode = count.failed || !count.passed ? 1 : 0;

function seconds(began) {
  return `${((Date.now() - began) / 1000).toFixed(1)} s`.padStart(7);
}
