import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

export const root = fileURLToPath(new URL('../../..', import.meta.url));

/** Runs a program of the workspace to its end. */
export async function run(cwd: string, env: Record<string, string>, ...args: string[]) {
  const child = spawn(process.execPath, args, { cwd, env: { ...process.env, NG_CLI_ANALYTICS: 'false', ...env } });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  const [code] = await once(child, 'close');
  return { code, output };
}

/** The packages as they are published, if they are older than their sources. */
export async function buildPackages(): Promise<void> {
  await run(root, {}, 'node_modules/typescript/bin/tsc', '-b', 'libs/core', 'libs/client');
  const built = join(root, 'libs/angular/dist/fesm2022/sealwire-angular.mjs');
  const newest = Math.max(
    ...['angular/src', 'angular/testing', 'angular/inspector', 'client/src'].flatMap((path) =>
      readdirSync(join(root, 'libs', path), { recursive: true, encoding: 'utf8' }).map(
        (file) => statSync(join(root, 'libs', path, file)).mtimeMs,
      ),
    ),
  );
  if (existsSync(built) && statSync(built).mtimeMs > newest) return;
  const ngPackagr = 'node_modules/ng-packagr/src/cli/main.js';
  const done = await run(root, {}, ngPackagr, '-p', 'libs/angular/ng-package.json', '-c', 'libs/angular/tsconfig.json');
  expect(done.code, done.output).toBe(0);
  // it would make the folder a package of its own, whose entries lie elsewhere
  rmSync(join(root, 'libs/angular/dist/package.json'), { force: true });
}
