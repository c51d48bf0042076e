// What a visitor does and sees. Each test is [name, visit options, body].

import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { PHONE } from './browser.mjs';
import { difference, picturesAt, playThrough } from './pictures.mjs';

const REFUSED = /Failed to load resource: the server responded with a status of 4\d\d/;
const NO_NETWORK = /net::ERR_INTERNET_DISCONNECTED/;

export const tests = [];
const test = (name, options, body) => tests.push(body ? [name, options, body] : [name, {}, options]);

async function fill(page, url, start, end, title) {
  await page.getByLabel('Video link').fill(url);
  await page.getByLabel('Start', { exact: true }).fill(start);
  await page.getByLabel('End', { exact: true }).fill(end);
  if (title !== undefined) {
    await page.getByText('Options').click();
    await page.getByLabel('Title').fill(title);
  }
}

const make = (page) => page.getByRole('button', { name: 'Make clip' });
const card = (page) => page.locator('#job');
const recent = (page) => page.locator('#recent-list > li');

/// Makes a clip and waits until its player is there.
async function makeClip({ page, media }, { start = '1', end = '2.5', title } = {}) {
  await page.goto('/');
  await fill(page, media.link('moving.mp4'), start, end, title);
  await make(page).click();
  await card(page).locator('video').waitFor();
}

/// Plays a video and returns what it is like once its time moves on.
function played(video) {
  return video.evaluate(async (element) => {
    element.muted = true;
    await element.play();
    const wait = (ready) => new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`stuck at ${element.currentTime}`)), 20000);
      (function look() {
        if (!ready()) return requestAnimationFrame(look);
        clearTimeout(late);
        return resolve();
      })();
    });
    await wait(() => element.currentTime > 0.3 && element.readyState >= 2);
    element.pause();
    return { width: element.videoWidth, height: element.videoHeight, duration: element.duration, error: element.error?.message ?? null };
  });
}

async function expectPlays(video, seconds) {
  const { width, height, duration, error } = await played(video);
  assert.equal(error, null);
  assert.deepEqual([width, height], [640, 360]);
  assert.ok(Math.abs(duration - seconds) < 0.06, `${duration} s instead of ${seconds} s`);
}

const sideways = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

test('a link becomes a clip that plays, has a page of its own and downloads', async ({ page, media }) => {
  const title = 'Tom <b>&</b> "Jerry"';
  await makeClip({ page, media }, { title });
  await expectPlays(card(page).locator('video'), 1.5);
  await card(page).getByRole('heading', { name: title }).waitFor();

  const downloading = page.waitForEvent('download');
  await card(page).getByRole('link', { name: 'Download' }).click();
  const download = await downloading;
  assert.match(download.suggestedFilename(), /^Tom .*Jerry.*\.mp4$/);
  const { size } = await stat(await download.path());
  const clip = await page.evaluate(() => JSON.parse(localStorage.getItem('meme-maker.clips'))[0].clip);
  assert.equal(size, clip.result.size);

  const link = await card(page).getByLabel('Link to this clip').inputValue();
  assert.equal(link, new URL(clip.urls.page, page.url()).href);
  await page.goto(link);
  assert.equal(await page.title(), `${title} · Meme Maker`);
  await page.getByRole('heading', { name: title }).waitFor();
  await expectPlays(page.locator('video'), 1.5);
  // What is copied from here works anywhere.
  assert.equal(await page.getByLabel('Link to this clip').inputValue(), link);
});

test('the link can be copied', { permissions: ['clipboard-read', 'clipboard-write'] }, async ({ page, media }) => {
  await makeClip({ page, media });
  await card(page).getByRole('button', { name: 'Copy link' }).click();
  await card(page).getByRole('button', { name: 'Copied' }).waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /^http:\/\/127\.0\.0\.1:\d+\/c\/[0-9a-f-]{36}$/);
  await page.goto(copied);
  await page.getByRole('button', { name: 'Copy link' }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), copied);
});

test('progress is told while the work runs, and a reload picks it up', async ({ page, media }) => {
  await page.goto('/');
  await fill(page, media.link('slow.mp4'), '0:00.5', '0:11.5');
  // The Enter key sends the form as the button does.
  await page.getByLabel('End', { exact: true }).press('Enter');
  await card(page).getByText('Fetching the video').waitFor();
  const id = await page.evaluate(() => JSON.parse(localStorage.getItem('meme-maker.clips'))[0].id);
  await page.reload();
  await card(page).locator('progress').waitFor();
  const told = await card(page).evaluate((root) => new Promise((resolve) => {
    const seen = [];
    const note = () => {
      const words = root.querySelector('.stage-words')?.innerText.replaceAll(/\s+/g, ' ').trim();
      if (words && words !== seen.at(-1)) seen.push(words);
      if (root.querySelector('video, .error-box')) {
        watch.disconnect();
        resolve(seen);
      }
    };
    const watch = new MutationObserver(note);
    watch.observe(root, { childList: true, subtree: true, characterData: true });
    note();
  }));
  assert.ok(told.length >= 3, `only ${told.join(', ')}`);
  assert.ok(told.some((words) => /\d+%/.test(words)), `no percent in ${told.join(', ')}`);
  await expectPlays(card(page).locator('video'), 11);
  const known = await page.evaluate(() => JSON.parse(localStorage.getItem('meme-maker.clips')).map((record) => record.id));
  assert.deepEqual(known, [id], 'the reload made no second clip');
});

test('a wrong time is said at its field', { expected: [REFUSED] }, async ({ page, media }) => {
  await page.goto('/');
  await fill(page, media.link('moving.mp4'), 'soon', '5');
  await make(page).click();
  const start = page.getByLabel('Start', { exact: true });
  await page.locator('#start_time-error').getByText('Write the start as').waitFor();
  assert.equal(await start.getAttribute('aria-invalid'), 'true');
  assert.ok(await start.evaluate((field) => field === document.activeElement), 'the field has the focus');

  await start.fill('6');
  assert.equal(await start.getAttribute('aria-invalid'), null, 'typing takes the complaint away');
  await make(page).click();
  await page.locator('#end_time-error').getByText('after the start').waitFor();

  // What only the server knows is said at the field too.
  await page.getByLabel('End', { exact: true }).fill('1:00:00');
  await make(page).click();
  await page.locator('#end_time-error').filter({ hasText: /\w/ }).waitFor();
  await fill(page, 'http://10.0.0.1/video.mp4', '1', '2');
  await make(page).click();
  await page.locator('#url-error').filter({ hasText: /\w/ }).waitFor();
  assert.equal(await recent(page).count(), 0);
});

test('a failure is told in words with its code, and can be tried again', async ({ page, media }) => {
  await page.goto('/');
  await fill(page, media.link('flaky.mp4'), '1', '2');
  await make(page).click();
  await card(page).getByText('No clip this time').waitFor();
  assert.match(await card(page).locator('.error-box p').first().innerText(), /^[A-Z].{10,}\.$/);
  assert.match(await card(page).locator('.error-code').innerText(), /^Code: [a-z_]+$/);
  await card(page).getByRole('button', { name: 'Change the request' }).click();
  assert.equal(await page.getByLabel('Video link').inputValue(), media.link('flaky.mp4'));
  media.mend();
  await card(page).getByRole('button', { name: 'Try again' }).click();
  await expectPlays(card(page).locator('video'), 1);
});

test('a clip can be cancelled', async ({ page, media }) => {
  await page.goto('/');
  await fill(page, media.link('silent.mp4'), '1', '2');
  await make(page).click();
  await card(page).getByRole('button', { name: 'Cancel' }).click();
  await card(page).getByText('Cancelled', { exact: true }).waitFor();
  await recent(page).getByText('Cancelled').waitFor();
  await card(page).getByRole('button', { name: 'Make again' }).click();
  assert.equal(await page.getByLabel('Video link').inputValue(), media.link('silent.mp4'));
});

test('recent clips are remembered, shown and deleted', { expected: [REFUSED] }, async ({ page, media }) => {
  await makeClip({ page, media }, { title: 'First' });
  await makeClip({ page, media }, { start: '3', end: '4', title: 'Second' });
  assert.deepEqual(await recent(page).locator('.recent-title').allInnerTexts(), ['Second', 'First']);
  const poster = recent(page).first().locator('img');
  await poster.scrollIntoViewIfNeeded();
  await page.waitForFunction((image) => image.naturalWidth > 0, await poster.elementHandle());

  await page.reload();
  assert.equal(await recent(page).count(), 2);
  await recent(page).getByRole('button', { name: 'First', exact: true }).click();
  await card(page).getByRole('heading', { name: 'First' }).waitFor();
  const link = await card(page).getByLabel('Link to this clip').inputValue();

  await recent(page).getByRole('button', { name: 'Delete First' }).click();
  await page.getByRole('button', { name: 'Keep it' }).click();
  assert.equal(await recent(page).count(), 2, 'asked, not deleted');
  await recent(page).getByRole('button', { name: 'Delete First' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await recent(page).getByText('First').waitFor({ state: 'detached' });
  assert.equal(await recent(page).count(), 1);
  assert.equal(await card(page).locator('video').count(), 0, 'its player is gone');
  const answer = await page.goto(link);
  assert.equal(answer.status(), 404);
  await page.getByRole('heading', { name: 'There is no clip here' }).waitFor();
});

const token = (page) => page.getByLabel('Access token');

test('where making clips takes a token, the page asks for it once', { expected: [REFUSED] }, async ({ page, context, media, closed }) => {
  const right = closed.token('clip:create');
  const requests = [];
  context.on('request', (request) => requests.push(request));
  await page.goto(`${closed.url}/`);
  assert.ok(await token(page).isHidden(), 'nobody is asked before it is known to be needed');
  await fill(page, media.link('moving.mp4'), '1', '2');
  await make(page).click();
  await page.locator('#token-error').getByText('takes a token here').waitFor();
  assert.ok(await token(page).evaluate((field) => field === document.activeElement), 'the field has the focus');
  assert.equal(await page.getByLabel('Video link').inputValue(), media.link('moving.mp4'), 'nothing typed is lost');

  for (const [typed, told] of [['', 'begins with mm_'], ['☃', 'begins with mm_'], ['mm_wrong', 'does not count'], [closed.token('file:read'), 'not for making clips']]) {
    await token(page).fill(typed);
    await token(page).press('Enter');
    await page.locator('#token-error').getByText(told).waitFor();
  }
  await token(page).fill(` ${right} `);
  assert.equal(await page.locator('#token-error').isHidden(), true, 'typing takes the complaint away');
  await make(page).click();
  await card(page).locator('video').waitFor();
  assert.ok(await token(page).isHidden(), 'it is known now');

  await page.reload();
  await fill(page, media.link('moving.mp4'), '2', '3');
  await make(page).click();
  await card(page).locator('video').waitFor();
  assert.equal(await recent(page).count(), 2, 'remembered');
  assert.ok(await token(page).isHidden());
  // Deleting goes by the clip's own token all the same.
  await recent(page).getByRole('button', { name: /^Delete/ }).first().click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await page.waitForFunction(() => document.querySelectorAll('#recent-list > li').length === 1);

  const elsewhere = requests.filter((request) => request.url().includes(right) || request.postData()?.includes(right));
  assert.deepEqual(elsewhere.map((request) => request.url()), [], 'never in an address or a body');
  const sent = requests.filter((request) => request.headers().authorization?.includes(right));
  assert.ok(sent.length >= 2 && sent.every((request) => request.method() === 'POST' && request.url().endsWith('/api/clips')), 'only where it is needed');
});

test('a token that was revoked is asked for again, also on a phone in the dark', { ...PHONE, colorScheme: 'dark', expected: [REFUSED] }, async ({ page, media, closed }) => {
  await page.addInitScript(() => localStorage.setItem('meme-maker.token', 'mm_0123456789abcdef_gone'));
  await page.goto(`${closed.url}/`);
  await fill(page, media.link('moving.mp4'), '1', '2');
  await make(page).tap();
  await page.locator('#token-error').getByText('not any more').waitFor();
  assert.equal(await sideways(page), 0);
  const { height, contrast } = await token(page).evaluate((field) => {
    const style = getComputedStyle(field);
    return { height: field.getBoundingClientRect().height, contrast: style.color !== style.backgroundColor };
  });
  assert.ok(height >= 43.9 && contrast, `${height}`);
});

test('without a network nothing is lost and nothing is made twice', { expected: [NO_NETWORK] }, async ({ page, context, media }) => {
  await page.goto('/');
  await fill(page, media.link('moving.mp4'), '1', '2');
  await context.setOffline(true);
  await make(page).click();
  await page.getByRole('alert').getByText('could not be reached').waitFor();
  await context.setOffline(false);
  await make(page).click();
  await card(page).locator('video').waitFor();
  assert.equal(await recent(page).count(), 1);
});

test('a clip page that is opened early turns into the clip', async ({ page, context, media }) => {
  await page.goto('/');
  await fill(page, media.link('slow.mp4'), '1', '9');
  await make(page).click();
  await card(page).locator('progress').waitFor();
  const id = await page.evaluate(() => JSON.parse(localStorage.getItem('meme-maker.clips'))[0].id);
  const other = await context.newPage();
  await other.goto(`/c/${id}`);
  await other.locator('progress').waitFor();
  await other.getByRole('link', { name: 'Download' }).waitFor();
  await expectPlays(other.locator('video'), 8);
});

test('a clip plays inside a page of another site, and only its embed page does', { expected: [/frame-ancestors/] }, async ({ page, media, service }) => {
  await makeClip({ page, media });
  const { urls } = await page.evaluate(() => JSON.parse(localStorage.getItem('meme-maker.clips'))[0].clip);
  // Another name for the same machine is another site to the browser.
  const elsewhere = (path) => media.link(`frame.html?src=${encodeURIComponent(service.url + path)}`).replace('127.0.0.1', 'localhost');
  await page.goto(elsewhere(urls.embed));
  await expectPlays(page.frameLocator('iframe').locator('video'), 1.5);
  await page.goto(elsewhere(urls.page));
  assert.equal(await page.frameLocator('iframe').locator('video').count(), 0);
});

test('a phone does it all by touch, without scrolling sideways', PHONE, async ({ page, media }) => {
  await page.goto('/');
  assert.equal(await sideways(page), 0, 'empty');
  await page.getByText('Options').tap();
  assert.equal(await sideways(page), 0, 'with options');
  await page.getByLabel('Mute').tap();
  await fill(page, media.link('slow.mp4'), '0:02', '0:08');
  await make(page).tap();
  await card(page).locator('progress').waitFor();
  assert.equal(await sideways(page), 0, 'running');
  await card(page).locator('video').waitFor();
  assert.equal(await sideways(page), 0, 'ready');
  await expectPlays(card(page).locator('video'), 6);
  const small = await page.locator('button:visible, a.button:visible, summary:visible').evaluateAll((nodes) => nodes
    .map((node) => [node.innerText, node.getBoundingClientRect()])
    .filter(([, { width, height }]) => width < 44 || height < 43.9)
    .map(([text, { width, height }]) => `${text} ${width}x${height}`));
  assert.deepEqual(small, [], 'large enough for a finger');
  await page.goto(await card(page).getByLabel('Link to this clip').inputValue());
  assert.equal(await sideways(page), 0, 'page of the clip');
  await expectPlays(page.locator('video'), 6);
});

test('a spliced clip plays to its end and shows the right frame on both sides of its joints', async ({ page, media, service }) => {
  // Of a video with a keyframe every 60 frames and three B-frames between others: from inside a group to the middle of a run.
  const [first, keyframe, boundary, end] = [37, 60, 141, 143];
  const answer = await fetch(`${service.url}/api/clips`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Prefer: 'wait=30' },
    body: JSON.stringify({ url: media.link('scrolling.mp4'), start_time: first / 30, end_time: end / 30 }),
  });
  const { result, urls } = await answer.json();
  const { method, fallback, frames, frames_copied: copied } = result;
  assert.deepEqual(
    { method, fallback: fallback ?? null, frames, copied },
    { method: 'splice', fallback: null, frames: end - first, copied: boundary - keyframe },
    'the joints are where this test looks',
  );

  await page.goto(urls.page);
  const { seconds, corrupted } = await playThrough(page, urls.file);
  assert.ok(Math.abs(seconds - frames / 30) < 0.06, `played ${seconds} s of ${frames} frames`);
  assert.equal(corrupted, 0);

  const around = (frame) => [frame - 1, frame, frame + 1];
  const places = [first, first + 10, ...around(keyframe), 100, 120, ...around(boundary)];
  const own = await picturesAt(page, urls.file, places.map((frame) => frame - first));
  await page.goto(media.link('frame.html'));
  const wanted = [...new Set(places.flatMap(around))];
  const source = new Map((await picturesAt(page, media.link('scrolling.mp4'), wanted)).map((picture, at) => [wanted[at], picture]));
  places.forEach((frame, at) => {
    const [before, right, after] = around(frame).map((near) => difference(own[at], source.get(near)));
    const told = `frame ${frame}: ${right.toFixed(2)} from its own picture, ${before.toFixed(2)} and ${after.toFixed(2)} from its neighbours'`;
    assert.ok(right < 3 && right * 4 < Math.min(before, after), told);
  });
});
