import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const script = fileURLToPath(new URL('../bench/run.mjs', import.meta.url));
const bench = (...options: string[]) => promisify(execFile)(process.execPath, [script, ...options]);
const TIME = 120_000;

it(
  'runs one row alone, names the machine and gives the ratio beside its goal',
  async () => {
    const { stdout } = await bench('--quick', '--row', 'sealed-200');
    expect(stdout).toContain(`Node ${process.version}`);
    expect(stdout).toMatch(/^sealed-200 +sealed call against Nest \+ Express, JSON +calls\/s +\d+\.\d\dx +2\.0x/m);
    expect(stdout).not.toContain('guard');
  },
  TIME,
);

it(
  'gives the rate of a stream beside that of the same stream of a plain controller',
  async () => {
    const { stdout } = await bench('--quick', '--row', 'stream-up');
    expect(stdout).toContain('goals: 0.8x, at most 64 MiB more memory');
    expect(stdout).toMatch(/^plain Nest controller +\d+ +1\.00x +[\d.]+ +[\d.]+ +\d+ MiB +\d+ MiB$/m);
    expect(stdout).toMatch(/^remote function +\d+ +\d\.\d\dx +[\d.]+ +[\d.]+ +\d+ MiB +\d+ MiB$/m);
  },
  TIME,
);

it(
  'lists its rows',
  async () => {
    const rows = (await bench('--list')).stdout.trim().split('\n');
    expect(rows).toEqual(
      expect.arrayContaining([
        ...['sealed-64k', 'batch-1k', 'peers-200', 'handshake', 'memory', 'store'],
        ...['stream-down', 'stream-up', 'stream-items', 'stream-first', 'stream-idle'],
      ]),
    );
  },
  TIME,
);
