// The real binary on a free port, with a data folder of its own that goes when it ends.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export async function startService(binary) {
  const data = mkdtempSync(join(tmpdir(), 'meme-maker-uploads-'));
  const child = spawn(binary, ['serve', '--bind', '127.0.0.1:0', '--data-dir', data], {
    env: {
      ...process.env,
      MEME_MAKER__MONITOR__FLOOR: '1 MB',
      // An answer that is lost makes the client begin anew, so there are more uploads than files.
      MEME_MAKER__LIMITS__UPLOADS_PER_VISITOR: '100000',
      MEME_MAKER__LIMITS__UPLOADS_PER_MINUTE: '0',
      MEME_MAKER__LIMITS__UPLOAD_BYTES_PER_VISITOR: '100 GB',
    },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let log = '';
  const ended = new Promise((resolve) => child.once('exit', resolve));
  process.once('exit', () => {
    child.kill('SIGKILL');
    rmSync(data, { recursive: true, force: true });
  });
  const address = await new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      log += `${line}\n`;
      const [, address] = /listening address=(\S+)/.exec(line) ?? [];
      if (address) resolve(address);
    });
    ended.then(() => reject(new Error(`The service did not start:\n${log}`)));
  });
  const [host, port] = address.split(':');
  return {
    host,
    port: Number(port),
    data,
    log: () => log,
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
