// node test/compat/run.mjs <folder with sealwire-*.tgz>
//
// Installs the packed packages into a CommonJS application of Nest 11 and TypeORM 0.3 and runs it, then the same by Jest with
// ts-jest and with @swc/jest; and into an application of Angular 22, which the compiler of Angular checks and which renders a page.
// Everything happens in temporary folders, far from the node_modules of this repository.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const tarballs = resolve(process.argv[2] ?? '.');
const packed = (pattern) =>
  readdirSync(tarballs)
    .filter((name) => pattern.test(name))
    .map((name) => join(tarballs, name));
if (packed(/^sealwire-.*\.tgz$/).length === 0) {
  console.error(`There is no sealwire-*.tgz in ${tarballs}.`);
  process.exit(2);
}
const here = fileURLToPath(new URL('.', import.meta.url));

const npm = (...args) => ['npm', [...args, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']];
const node = (...args) => [process.execPath, args];
const jest = (config, test, ...flags) =>
  node(...flags, 'node_modules/jest/bin/jest.js', '--ci', '--runInBand', '-c', `jest/${config}.config.js`, test);

/** As an application does it: a peer that does not fit is an error. */
const install = (pattern) => [
  ['npm ci', npm('ci')],
  ['install the packages', npm('install', '--no-save', '--no-package-lock', '--strict-peer-deps', ...packed(pattern))],
];
const nest = [
  ...install(/^sealwire-(core|client|nest|typeorm)-.*\.tgz$/),
  ['types for module commonjs', node('node_modules/typescript/bin/tsc')],
  ['the application', node('dist/main.js')],
  ['the command line', node('node_modules/.bin/sealwire', 'keygen', 'kek')],
  ['ts-jest', jest('ts-jest', 'memory')],
  ['@swc/jest', jest('swc', 'memory')],
  // PGlite needs the flag, the packages do not
  ['@swc/jest with a database', jest('swc', 'database', '--experimental-vm-modules')],
];

const angular = [
  ...install(/^sealwire-(core|client|angular)-.*\.tgz$/),
  ['types and templates', node('node_modules/@angular/compiler-cli/bundles/src/bin/ngc.js')],
  ['the application', node('dist/main.js')],
];

/** Says how a step went, and what it said where it failed. */
function run(cwd, [name, [command, args]]) {
  const start = performance.now();
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, NODE_ENV: 'test' },
    timeout: 180_000,
  });
  const done = status === 0;
  console.log(`${done ? 'ok    ' : 'FAIL  '}${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  const said = `${stdout ?? ''}${done ? '' : `${stderr ?? ''}${error ?? ''}`}`;
  if (!done) console.log(said);
  else for (const line of said.matchAll(/^ok .*$/gm)) console.log(`      ${line[0]}`);
  return done;
}

let failed = 0;
for (const [title, path, steps] of [
  ['Nest 11', here, nest],
  ['Angular 22', join(here, 'angular'), angular],
]) {
  console.log(title);
  const folder = mkdtempSync(join(tmpdir(), 'sealwire-compat-'));
  try {
    const others = path === here ? /[\\/](node_modules|dist|angular)$/ : /[\\/](node_modules|dist)$/;
    cpSync(path, folder, { recursive: true, filter: (file) => !others.test(file) });
    for (const [index, step] of steps.entries()) {
      if (run(folder, step)) continue;
      failed += 1;
      // nothing else can run without the packages or without the compiled application
      if (index < 3) break;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
process.exitCode = failed > 0 ? 1 : 0;
