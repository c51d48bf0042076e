// Chromium, and visits to it: a visit is a fresh profile that notes everything a page complains about.

import { createRequire } from 'node:module';
import { join } from 'node:path';

export const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

export async function openBrowser(executablePath, cache) {
  // The driver lies beside the cargo output, not beside this file.
  const { chromium } = createRequire(join(cache, 'package.json'))('playwright-core');
  const browser = await chromium.launch({
    executablePath,
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
  return { visit: (url, options) => visit(browser, url, options), close: () => browser.close() };
}

/// `expected` are complaints that belong to the test, such as a refused request that the console mentions.
async function visit(browser, baseURL, { expected = [], ...options }) {
  const context = await browser.newContext({ baseURL, viewport: { width: 1100, height: 900 }, acceptDownloads: true, ...options });
  context.setDefaultTimeout(30000);
  const complaints = [];
  const complain = (text) => { if (!expected.some((pattern) => pattern.test(text))) complaints.push(text); };
  context.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complain(`${message.type()}: ${message.text()} (${message.location().url})`);
  });
  context.on('weberror', ({ error }) => complain(`uncaught: ${error().message}`));
  await context.exposeFunction('complainOfPolicy', (text) => complain(`policy: ${text}`));
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) => {
      window.complainOfPolicy(`${violatedDirective} blocked ${blockedURI}`);
    });
  });
  return {
    page: await context.newPage(),
    context,
    expectQuiet() {
      if (complaints.length) throw new Error(`The page complained:\n  ${complaints.join('\n  ')}`);
    },
    close: () => context.close(),
  };
}
