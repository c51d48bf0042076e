// Where the videos come from: a server on loopback with ranges, which can also be slow, silent or broken. `/scrolling.mp4` is a video
// of its own; all other names lead to the same one.

import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export async function serveMedia(folder) {
  const moving = readFileSync(join(folder, 'moving.mp4'));
  const scrolling = readFileSync(join(folder, 'scrolling.mp4'));
  // What `/flaky.mp4` answers; a test mends it.
  const state = { broken: true };
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://here');
    if (pathname === '/frame.html') {
      response.setHeader('Content-Type', 'text/html');
      return response.end(`<!doctype html><iframe src="${searchParams.get('src')}" width="640" height="360"></iframe>`);
    }
    const bytes = pathname === '/scrolling.mp4' ? scrolling : moving;
    if (pathname === '/silent.mp4') return undefined;
    if (pathname === '/missing.mp4' || (pathname === '/flaky.mp4' && state.broken)) {
      response.statusCode = 404;
      return response.end();
    }
    const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
    const first = Number(from ?? 0);
    const last = to ? Math.min(Number(to), bytes.length - 1) : bytes.length - 1;
    response.setHeader('Content-Type', 'video/mp4');
    response.setHeader('Accept-Ranges', 'bytes');
    if (first > last) {
      response.writeHead(416, { 'Content-Range': `bytes */${bytes.length}` });
      return response.end();
    }
    response.writeHead(from === undefined ? 200 : 206, {
      'Content-Length': last - first + 1,
      ...(from !== undefined && { 'Content-Range': `bytes ${first}-${last}/${bytes.length}` }),
    });
    const piece = bytes.subarray(first, last + 1);
    if (pathname === '/slow.mp4') return trickle(response, piece, bytes.length / 3);
    return response.end(piece);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const root = `http://127.0.0.1:${server.address().port}`;
  return {
    link: (name) => `${root}/${name}`,
    mend: () => { state.broken = false; },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function trickle(response, bytes, perSecond) {
  const step = Math.ceil(perSecond / 20);
  let at = 0;
  const timer = setInterval(() => {
    response.write(bytes.subarray(at, (at += step)));
    if (at < bytes.length) return;
    clearInterval(timer);
    response.end();
  }, 50);
  response.once('close', () => clearInterval(timer));
}
