// A bad network: a relay that breaks connections after a drawn number of bytes, in either direction, politely or not.

import { connect, createServer } from 'node:net';

// Numbers from 0 to 1 that are the same for the same seed (mulberry32).
export function drawnFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export async function startRelay(service, draw) {
  let cuts = 0;
  const server = createServer((near) => {
    const far = connect(service.port, service.host);
    // How many bytes pass before it breaks: most connections break on the way to the service, some on the way back, where an answer
    // is lost.
    const answers = draw() < 0.25;
    const left = {
      there: answers ? Infinity : Math.floor(draw() ** 2 * 400000),
      back: answers ? Math.floor(draw() * 2000) : Infinity,
    };
    const rude = draw() < 0.5;
    const pass = (from, to, way) => {
      from.on('data', (bytes) => {
        // Answers are lost whole: tus-js-client 4.3.1 waits for ever for the rest of one that breaks off in its body.
        const enough = bytes.length <= left[way];
        const part = enough ? bytes : bytes.subarray(0, way === 'there' ? left[way] : 0);
        left[way] -= bytes.length;
        if (part.length && !to.write(part)) {
          from.pause();
          to.once('drain', () => from.resume());
        }
        if (!enough) cut();
      });
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
    };
    let broken = false;
    const cut = () => {
      if (broken) return;
      broken = true;
      cuts += 1;
      for (const end of [near, far]) {
        if (rude) end.resetAndDestroy();
        else end.destroySoon();
      }
    };
    pass(near, far, 'there');
    pass(far, near, 'back');
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cuts: () => cuts,
    close: () => server.close(),
  };
}
