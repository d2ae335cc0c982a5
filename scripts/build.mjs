// Builds everything, or for `npm start` what is missing or older than its source.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { argv, env, execPath } from 'node:process';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readArguments } from './arguments.mjs';

export const root = fileURLToPath(new URL('..', import.meta.url));

const libraries = ['libs/core', 'libs/client', 'libs/nest', 'libs/typeorm'];
const common = ['package-lock.json', 'tsconfig.base.json'];
/**
 * What is built: `product` is the file that tells the age, `others` must be there too, `after` must be built before. A command is the
 * script of a package in node_modules and its arguments, in the folder `cwd`.
 */
const parts = {
  packages: {
    sources: [...common, ...libraries.flatMap((library) => [`${library}/src`, `${library}/tsconfig.json`])],
    product: 'libs/core/dist/index.js',
    others: libraries.map((library) => `${library}/dist/.tsbuildinfo`),
    after: [],
    command: ['typescript/bin/tsc', '-b', ...libraries],
  },
  application: {
    sources: [...common, 'src', 'ormconfig.ts', 'nest-cli.json', 'tsconfig.app.json'],
    product: 'dist/src/main.js',
    others: [],
    after: ['packages'],
    command: ['@nestjs/cli/bin/nest.js', 'build'],
  },
  angular: {
    sources: [
      ...common,
      ...['src', 'testing', 'inspector', 'tsconfig.json', 'ng-package.json'].map((name) => `libs/angular/${name}`),
    ],
    product: 'libs/angular/dist/fesm2022/sealwire-angular.mjs',
    others: ['testing', 'inspector'].map((entry) => `libs/angular/dist/fesm2022/sealwire-angular-${entry}.mjs`),
    // it would make the folder a package of its own, whose entries lie elsewhere
    surplus: 'libs/angular/dist/package.json',
    after: ['packages'],
    command: ['ng-packagr/src/cli/main.js', '-p', 'libs/angular/ng-package.json', '-c', 'libs/angular/tsconfig.json'],
  },
  page: {
    sources: [...common, 'apps/web/src', 'apps/web/angular.json', 'apps/web/tsconfig.json', 'src/payments'],
    product: 'apps/web/dist/index.html',
    others: [],
    after: ['angular'],
    command: ['@angular/cli/bin/ng.js', 'build'],
    cwd: 'apps/web',
  },
};

if (argv[1] === fileURLToPath(import.meta.url)) {
  readArguments('npm run build');
  const done = await alone(() => build({ everything: true })).catch((error) => error);
  if (done instanceof Error) {
    console.error(done.message);
    process.exitCode = 1;
  }
}

/** Builds the libraries, the application and its page where something is missing or older than its source. */
export async function buildIfStale() {
  if (Object.values(parts).every(isFresh)) return;
  await alone(async () => {
    if (Object.values(parts).every(isFresh)) return;
    process.stderr.write('Building ...\n');
    await build({ everything: false });
  });
}

/** Each part after those that it needs, and beside all others. */
async function build({ everything }) {
  const started = {};
  const make = async (name) => {
    const part = parts[name];
    const before = await Promise.all(part.after.map(begin));
    if (!everything && !before.includes(true) && isFresh(part)) return false;
    await run(name, part);
    return true;
  };
  const begin = (name) => {
    started[name] ??= make(name);
    return started[name];
  };
  const settled = await Promise.allSettled(Object.keys(parts).map(begin));
  const failed = settled.find(({ status }) => status === 'rejected');
  if (failed) throw failed.reason;
}

async function run(name, { command: [script, ...options], cwd = '.', product, surplus }) {
  const began = new Date();
  const child = spawn(execPath, [join(root, 'node_modules', script), ...options], {
    cwd: join(root, cwd),
    env: { ...env, NG_CLI_ANALYTICS: 'false', NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`The build of the ${name} failed.\n${output}`);
  if (surplus) rmSync(join(root, surplus));
  // what was edited while the compiler ran is newer than this
  utimesSync(join(root, product), began, began);
}

function isFresh({ product, others, sources, after }) {
  const when = modified(join(root, product));
  return (
    when > 0 &&
    others.every((path) => modified(join(root, path)) > 0) &&
    sources.every((path) => newest(join(root, path)) < when) &&
    after.every((name) => modified(join(root, parts[name].product)) <= when)
  );
}

/** Two builds at once would delete each other's output. */
async function alone(work) {
  const turn = join(root, 'node_modules/.sealwire-build');
  for (;;) {
    try {
      mkdirSync(turn);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      if (Date.now() - modified(turn) > 180_000) rmSync(turn, { recursive: true, force: true });
      await setTimeout(200);
    }
  }
  const release = () => rmSync(turn, { recursive: true, force: true });
  process.once('exit', release);
  try {
    await work();
  } finally {
    process.off('exit', release);
    release();
  }
}

/** The folders count too: a removed file changes nothing else. */
function newest(path) {
  const entry = statSync(path, { throwIfNoEntry: false });
  if (!entry?.isDirectory()) return entry?.mtimeMs ?? 0;
  return Math.max(entry.mtimeMs, ...readdirSync(path).map((name) => newest(join(path, name))));
}

function modified(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
