import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockFolder, privateText } from '../src/data-folder.js';
import { StartupError } from '../src/startup-error.js';

const source = fileURLToPath(new URL('../src/data-folder.ts', import.meta.url));
const holder = `
  import { lockFolder } from ${JSON.stringify(source)};
  try { lockFolder(process.argv[1]); console.log('locked'); } catch (error) { console.log(error.message); }
  process.stdin.resume().once('close', () => process.exit());
`;
let folder: string;
let children: ChildProcess[];

beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'sealwire-folder-')), 'data');
  children = [];
});

afterEach(async () => {
  await Promise.all(
    children.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    }),
  );
  rmSync(join(folder, '..'), { recursive: true, force: true });
});

/** A process that takes the folder, or says why not. */
async function hold(): Promise<{ child: ChildProcess; answer: string }> {
  const args = ['--import', '@oxc-node/core/register', '--input-type=module', '--eval', holder, folder];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  const [text] = await once(child.stdout.setEncoding('utf8'), 'data');
  return { child, answer: String(text).trim() };
}

it('refuses a folder that a living process holds, and names that process', async () => {
  const { child, answer } = await hold();
  expect(answer).toBe('locked');
  expect(() => lockFolder(folder)).toThrow(`in use by process ${child.pid}`);
});

it('refuses the same process a second time', () => {
  const release = lockFolder(folder);
  expect(() => lockFolder(folder)).toThrow(`in use by process ${process.pid}`);
  release();
  lockFolder(folder)();
});

it('takes a folder over from a process that was killed', async () => {
  const { child } = await hold();
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(readdirSync(folder)).toHaveLength(1);
  const release = lockFolder(folder);
  expect(readdirSync(folder)).toHaveLength(1);
  release();
  expect(readdirSync(folder)).toEqual([]);
});

it('never lets two in that start at once, not even over a dead claim', async () => {
  const dead = await hold();
  dead.child.kill('SIGKILL');
  await once(dead.child, 'exit');
  const answers = (await Promise.all(Array.from({ length: 4 }, hold))).map(({ answer }) => answer);
  expect(answers.filter((answer) => answer === 'locked').length).toBeLessThanOrEqual(1);
  expect(answers.filter((answer) => answer !== 'locked').every((answer) => answer.includes('in use'))).toBe(true);
});

it('makes a secret once, readable by its user only', () => {
  const first = privateText(folder, 'secure-key', 'swk1');
  expect(first).toMatch(/^swk1\./);
  expect(statSync(join(folder, 'secure-key')).mode & 0o777).toBe(0o600);
  expect(privateText(folder, 'secure-key', 'swk1')).toBe(first);
});

it.each([
  ['a file', 'EEXIST', () => writeFileSync(folder, '')],
  [
    'below a file',
    'ENOTDIR',
    () => {
      rmSync(join(folder, '..'), { recursive: true });
      writeFileSync(join(folder, '..'), '');
    },
  ],
])('refuses a folder that is %s, and names what to set', (_, code, plant) => {
  plant();
  for (const use of [() => lockFolder(folder), () => privateText(folder, 'secure-key', 'swk1')]) {
    expect(use).toThrow(StartupError);
    expect(use).toThrow(
      new RegExp(`^The data folder cannot be used \\(${code}: .*${folder}.*\\): set SEALWIRE_DATA to `),
    );
  }
});

const root = process.getuid?.() === 0;
const NOBODY = 65_534;
const path = () => join(folder, 'secure-key');
const replace = (plant: () => void) => {
  rmSync(path());
  plant();
};

describe.skipIf(process.platform === 'win32')('a secret that somebody else may have put there is refused', () => {
  it.each<[string, () => void, RegExp, boolean?]>([
    ['a file of another user', () => chownSync(path(), NOBODY, NOBODY), /secure-key belongs to user 65534/, true],
    ['a folder of another user', () => chownSync(folder, NOBODY, NOBODY), /data belongs to user 65534/, true],
    ['a folder that others can write', () => chmodSync(folder, 0o777), /data is open to other users \(mode 777\)/],
    ['a folder that its group can write', () => chmodSync(folder, 0o770), /data is open to other users \(mode 770\)/],
    ['a file that others can write', () => chmodSync(path(), 0o602), /secure-key is open to other users/],
    ['a file that others can read', () => chmodSync(path(), 0o644), /secure-key is open to other users/],
    ['a file with another name', () => linkSync(path(), join(folder, 'other')), /secure-key has another name too/],
    [
      'a link to a file',
      () => {
        renameSync(path(), join(folder, 'other'));
        symlinkSync(join(folder, 'other'), path());
      },
      /secure-key is a link/,
    ],
    ['a link to nowhere', () => replace(() => symlinkSync(join(folder, 'other'), path())), /secure-key is a link/],
    ['a folder in its place', () => replace(() => mkdirSync(path(), { mode: 0o700 })), /secure-key is something else/],
    ['a pipe', () => replace(() => execFileSync('mkfifo', ['-m', '600', path()])), /secure-key is something else/],
    [
      'a link to the folder',
      () => {
        renameSync(folder, `${folder}-other`);
        symlinkSync(`${folder}-other`, folder);
      },
      /data is a link/,
    ],
  ])('%s', (_, plant, sentence, needsRoot) => {
    if (needsRoot && !root) return;
    const secret = privateText(folder, 'secure-key', 'swk1');
    expect(privateText(folder, 'secure-key', 'swk1')).toBe(secret);
    plant();
    expect(() => privateText(folder, 'secure-key', 'swk1')).toThrow(sentence);
  });
});
