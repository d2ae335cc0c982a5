import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));
/** The build writes it last. */
const product = join(root, 'dist/src/main.js');

const libraries = ['libs/core', 'libs/client', 'libs/nest', 'libs/typeorm'];
const sources = [
  ...['src', 'ormconfig.ts', 'package-lock.json', 'nest-cli.json', 'tsconfig.base.json', 'tsconfig.app.json'],
  ...libraries.flatMap((library) => [`${library}/src`, `${library}/tsconfig.json`]),
  ...['src', 'testing', 'tsconfig.json', 'ng-package.json'].map((name) => `libs/angular/${name}`),
];
/** What else says that all was built. */
const built = [...libraries.map((library) => `${library}/dist/.tsbuildinfo`), 'libs/angular/dist/package.json'];

/** Builds the libraries and the application where something is missing or older than its source. */
export function buildIfStale() {
  if (isFresh()) return;
  const release = waitForTurn();
  try {
    if (!isFresh()) build();
  } finally {
    release();
  }
}

function build() {
  process.stderr.write('Building ...\n');
  const started = new Date();
  const { status, output } = spawnSync('npm', ['run', '--silent', 'build'], {
    cwd: root,
    encoding: 'utf8',
    shell: process.platform === 'win32',
  });
  if (status !== 0) throw new Error(`The build failed.\n${output?.join('') ?? 'npm was not found.'}`);
  // what was edited while the compiler ran is newer than this
  utimesSync(product, started, started);
}

function isFresh() {
  const when = modified(product);
  return (
    when > 0 &&
    built.every((path) => modified(join(root, path)) > 0) &&
    sources.every((path) => newest(join(root, path)) < when)
  );
}

/** Two builds at once would delete each other's output. */
function waitForTurn() {
  const turn = join(root, 'node_modules/.sealwire-build');
  for (;;) {
    try {
      mkdirSync(turn);
      return () => rmSync(turn, { recursive: true, force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      if (Date.now() - modified(turn) > 180_000) rmSync(turn, { recursive: true, force: true });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    }
  }
}

/** The folders count too: a removed file changes nothing else. */
function newest(path) {
  const entry = statSync(path);
  if (!entry.isDirectory()) return entry.mtimeMs;
  return Math.max(entry.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))));
}

function modified(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
