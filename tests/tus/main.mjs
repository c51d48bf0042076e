// A client that is not ours uploads a hundred files over a network that breaks all the time; each has to arrive as it was sent.
// SEED=n repeats a draw.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { drawnFrom, startRelay } from './relay.mjs';
import { startService } from './service.mjs';

const FILES = 100;
const AT_ONCE = 8;
const DEADLINE_MS = 120000;

const { BINARY, CACHE } = process.env;
const seed = Number(process.env.SEED ?? 20260101);
const { Upload } = createRequire(join(CACHE, 'package.json'))('tus-js-client');

const began = Date.now();
const draw = drawnFrom(seed);
const service = await startService(BINARY);
const relay = await startRelay(service, drawnFrom(seed + 1));
const deadline = setTimeout(() => {
  console.log(`FAILED: not done after ${DEADLINE_MS / 1000} s, SEED=${seed}\n${service.log().split('\n').slice(-20).join('\n')}`);
  process.exit(1);
}, DEADLINE_MS);

const files = Array.from({ length: FILES }, (_, number) => ({
  number,
  // A few of no bytes, of one, and of just a piece.
  bytes: noise(number < 3 ? 0 : number < 5 ? 1 : number < 8 ? 65536 : Math.floor(draw() * 2000000)),
  chunkSize: draw() < 0.2 ? Infinity : [4096, 65536, 250000, 1048576][Math.floor(draw() * 4)],
  uploadDataDuringCreation: draw() < 0.3,
  overridePatchMethod: draw() < 0.2,
}));

let bytes = 0;
let wrong = 0;
const waiting = [...files];
await Promise.all(Array.from({ length: AT_ONCE }, async () => {
  while (waiting.length) {
    const file = waiting.shift();
    try {
      const url = await send(file);
      const kept = readFileSync(join(service.data, 'uploads', url.split('/').pop(), 'file'));
      if (sha256(kept) !== sha256(file.bytes)) throw new Error(`${kept.length} bytes arrived that are not the ${file.bytes.length} sent`);
      bytes += kept.length;
    } catch (error) {
      wrong += 1;
      console.log(`FAILED file ${file.number}: ${error.message}`);
    }
  }
}));

clearTimeout(deadline);
relay.close();
await service.stop();
const seconds = ((Date.now() - began) / 1000).toFixed(1);
console.log(`${FILES - wrong} of ${FILES} files identical by SHA-256, ${(bytes / 1e6).toFixed(1)} MB, ${relay.cuts()} connections cut, ${seconds} s, SEED=${seed}`);
if (service.log().includes('panicked')) console.log(service.log());
process.exit(wrong || relay.cuts() < FILES || service.log().includes('panicked') ? 1 : 0);

function send({ number, bytes, ...options }) {
  return new Promise((resolve, reject) => {
    const upload = new Upload(bytes, {
      ...options,
      endpoint: `${relay.url}/api/uploads`,
      uploadSize: bytes.length,
      metadata: { filename: `Ünïcode ${number}.mp4`, filetype: 'video/mp4' },
      // It counts attempts anew whenever bytes came through.
      retryDelays: Array(200).fill(5),
      onError: reject,
      onSuccess: () => resolve(upload.url),
    });
    upload.start();
  });
}

function noise(length) {
  const bytes = Buffer.alloc(length);
  const next = drawnFrom(Math.floor(draw() * 4294967296));
  for (let at = 0; at + 4 <= length; at += 4) bytes.writeUInt32LE(Math.floor(next() * 4294967296), at);
  return bytes;
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}
