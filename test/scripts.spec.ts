import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { END_WITH_PARENT } from '../scripts/child.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
/** For the benchmark, which reads its arguments when the packages are built. */
const TIME = 120_000;

it.each([
  [['scripts/build.mjs', '--foo'], "Unknown option '--foo'.\nnpm run build\n"],
  [['scripts/start.mjs', '--onc'], "Unknown option '--onc'.\nnpm start -- [--once]\n"],
  [['scripts/start.mjs', 'once'], "Unexpected argument 'once'.\nnpm start -- "],
  [['scripts/dev.mjs', '--once'], "Unknown option '--once'.\nnpm run dev\n"],
  [['scripts/trace.mjs', '--foo'], "Unknown option '--foo'.\nnpm run trace -- [--json]\n"],
  [['bench/run.mjs', '--lst'], "Unknown option '--lst'.\nnpm run bench -- "],
  [['bench/run.mjs', '--row'], "Option '--row <value>' argument missing.\nnpm run bench -- "],
  [['bench/run.mjs', '--row', 'nope'], "There is no row 'nope'.\nnpm run bench -- "],
  [['bench/run.mjs', '--sessions', 'abc'], "--sessions is 'abc', but it must be a number from 1.\nnpm run bench -- "],
  [['bench/browser.mjs', '--foo'], "Unknown option '--foo'.\nnpm run bench:browser -- "],
])('%j is refused with the usage', { timeout: TIME }, async (command, usage) => {
  const refused = await promisify(execFile)(process.execPath, command, { cwd: root }).catch((error) => error);
  expect(refused).toMatchObject({ code: 1, stdout: '' });
  expect(refused.stderr).toContain(usage);
  expect(refused.stderr).not.toContain(' at ');
});

describe('a child that ends with its parent', () => {
  const start = (code: string) =>
    spawn(process.execPath, ['--import', END_WITH_PARENT, '-e', code], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });

  it('ends by itself when it is done', { timeout: TIME }, async () => {
    expect(await once(start(''), 'exit')).toEqual([0, null]);
  });

  it('may have worker threads', { timeout: TIME }, async () => {
    const worker = `new URL('data:text/javascript,console.log("worked")')`;
    const child = start(`new (require('node:worker_threads').Worker)(${worker}); setInterval(() => undefined, 1_000);`);
    const ended = once(child, 'exit');
    const [said] = await Promise.race([once(child.stdout!.setEncoding('utf8'), 'data'), ended]);
    expect(said).toBe('worked\n');
    child.disconnect();
    expect(await ended).toEqual([null, 'SIGTERM']);
  });
});
