import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DemoKeys } from '../src/web/demo.controller.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const TIME = 240_000;
let folder: string;
let occupant: Server;
let child: ChildProcessWithoutNullStreams;
let output: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sealwire-start-'));
  occupant = createServer().listen(0, '127.0.0.1');
  await once(occupant, 'listening');
});

afterEach(async () => {
  occupant.close();
  if (child.exitCode === null && child.signalCode === null) {
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    await exited;
  }
  rmSync(folder, { recursive: true, force: true });
});

/** As `npm start` runs it, on a port that is taken. */
function start(...options: string[]): void {
  const { DATABASE_URL: _, SEALWIRE_KEK: __, SEALWIRE_SECURE_KEY: ___, ...env } = process.env;
  output = '';
  child = spawn(process.execPath, ['scripts/start.mjs', ...options], {
    cwd: root,
    env: {
      ...env,
      PORT: `${(occupant.address() as AddressInfo).port}`,
      SEALWIRE_DATA: join(folder, 'data'),
      TMPDIR: folder,
    },
  });
  const read = (text: string) => {
    output += text;
  };
  child.stdout.setEncoding('utf8').on('data', read);
  child.stderr.setEncoding('utf8').on('data', read);
}

function printed(pattern: RegExp): Promise<RegExpExecArray> {
  return new Promise((resolve, reject) => {
    const look = () => {
      const found = pattern.exec(output);
      if (found) resolve(found);
    };
    child.stdout.on('data', look);
    child.once('close', (code) => reject(new Error(`ended with exit code ${code}\n${output}`)));
  });
}

it('shows the whole transcript once and leaves nothing behind', { timeout: TIME }, async () => {
  start('--once');
  const [code] = await once(child, 'close');
  expect(output).not.toContain('FAILED');
  expect(code, output).toBe(0);
  for (const landmark of [
    /Port \d+ is taken/,
    /step 1 -> +1360 bytes/,
    /step 4 <- +\d+ bytes/,
    /transfer\(\{ from: '\w{8}\.\.\.', .* amount: 2550n/,
    /ok +the failing call did not swallow its neighbours/,
    /bad_request: .*amount must be a bigint of cents/,
    /insufficient_funds: \{ balance: 7450n/,
    /bytes of JSON: .*0\.94/,
    /"code":"encryption_required"/,
    /ok +a tampered frame is refused/,
    /ok +a replayed frame does not run again/,
    /ok +the proxy cut the stream, and it went on/,
    /npm run sealwire -- decode 11010[0-9a-f]+/,
    /ok +the document came back as it was sent/,
    /down and up again in \d+ ms/,
    /ok +the client went on in its session, without a handshake/,
    /All \d+ checks behaved as promised/,
  ]) {
    expect(output).toMatch(landmark);
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: no colours outside a terminal
  expect(output).not.toMatch(/\u001b/);
  expect(output.split('\n').length).toBeLessThan(90);
  expect(readdirSync(folder)).toEqual([]);
  const [, url = ''] = /-> server (http\S+)/.exec(output) ?? [];
  await expect(fetch(`${url}/health`)).rejects.toThrow();
});

it('keeps the server running until it is interrupted', { timeout: TIME }, async () => {
  start();
  const [, url = ''] = await printed(/keeps running at (http\S+)/);
  expect((await fetch(`${url}/health`)).status).toBe(200);
  const [, address = ''] = /Open (http\S+) in a browser/.exec(output) ?? [];
  const page = await (await fetch(address)).text();
  const [, script = ''] = /<script src="(main-\w+\.js)"/.exec(page) ?? [];
  expect((await fetch(`${address}/${script}`)).headers.get('content-type')).toContain('javascript');
  expect(existsSync(join(folder, 'data', 'secure-key'))).toBe(true);
  child.kill('SIGINT');
  const [code] = await once(child, 'close');
  expect(code).toBe(0);
  await expect(fetch(`${url}/health`)).rejects.toThrow();
  expect(readdirSync(join(folder, 'data')).filter((name) => name.startsWith('lock'))).toEqual([]);
});

describe('a restart that the page asks for', () => {
  const headers = { 'x-sealwire-demo': '1' };
  let url: string;
  /** Asks, and tells which process has taken it. */
  async function ask(): Promise<number> {
    const answer = await fetch(`${url}/demo/restart`, { method: 'POST', headers });
    expect(answer.status).toBe(202);
    const { process } = (await answer.json()) as Pick<DemoKeys, 'process'>;
    return process;
  }
  const answering = async (): Promise<number | undefined> => {
    const answer = await fetch(`${url}/demo`, { headers }).catch(() => undefined);
    return ((await answer?.json()) as DemoKeys | undefined)?.process;
  };
  /** Of the process after that one. */
  async function next(former: number): Promise<number> {
    await expect.poll(answering, { timeout: 60_000 }).toSatisfy((now) => now !== undefined && now !== former);
    return (await answering()) ?? 0;
  }
  const restarts = () => output.match(/The page asked for a restart: the server was down for \d+ ms/g)?.length ?? 0;

  it('while the transcript is shown is not forgotten, and disturbs nothing in it', { timeout: TIME }, async () => {
    start();
    const [, client = '', at = ''] = await printed(/client \(process (\d+)\) -> recording proxy -> server (http\S+)/);
    url = at;
    const first = await ask();
    await printed(/9\. The server is stopped/);
    await expect.poll(answering, { interval: 5, timeout: 60_000 }).not.toBe(first);
    // the client, which had the server ended, shows nothing more until the next one was asked
    process.kill(Number(client), 'SIGSTOP');
    const second = await next(first);
    expect(await ask()).toBe(second);
    process.kill(Number(client), 'SIGCONT');
    await printed(/keeps running at/);
    expect(output).toMatch(/All \d+ checks behaved as promised/);
    await next(second);
    await expect.poll(restarts).toBe(1);
  });

  it('twice of one process is one restart, and of the next one another', { timeout: TIME }, async () => {
    start();
    [, url = ''] = await printed(/keeps running at (http\S+)/);
    const [first, same] = await Promise.all([ask(), ask()]);
    expect(same).toBe(first);
    const second = await next(first);
    expect(await ask()).toBe(second);
    await next(second);
    await expect.poll(restarts).toBe(2);
  });
});
