// The real binary on a free port, with a data folder of its own that goes when it ends.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/// `settings` are environment variables without their prefix.
export async function startService(binary, settings = {}) {
  const data = mkdtempSync(join(tmpdir(), 'meme-maker-browser-'));
  const child = spawn(binary, ['serve', '--bind', '127.0.0.1:0', '--data-dir', data], {
    env: {
      ...process.env,
      // The media come from loopback.
      MEME_MAKER__EGRESS__ALLOW: '127.0.0.0/8',
      MEME_MAKER__MONITOR__FLOOR: '1 MB',
      // One visitor makes all the clips, faster than people do.
      MEME_MAKER__LIMITS__CLIPS_PER_MINUTE: '0',
      MEME_MAKER__LIMITS__CLIPS_PER_VISITOR: '0',
      ...Object.fromEntries(Object.entries(settings).map(([key, value]) => [`MEME_MAKER__${key}`, value])),
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
  return {
    url: `http://${address}`,
    log: () => log,
    /// A token with these scopes, as the operator makes it.
    token: (scopes) => execFileSync(binary, ['token', 'create', '--scope', scopes, '--data-dir', data], { encoding: 'utf8' }).trim(),
    async stop() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
