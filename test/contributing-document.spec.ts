import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { expect, it } from 'vitest';
import { root } from './support/compile.js';

const text = readFileSync(resolve(root, 'CONTRIBUTING.md'), 'utf8');
const packages = readdirSync(resolve(root, 'libs'));

function folders(path: string): string[] {
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
}

it('names every room of the packages, and no other', () => {
  const named = [...text.matchAll(/^\| `(\w+\/\w+)` \|/gm)].flatMap(([, room = '']) =>
    /^(libs|apps)\//.test(room) ? [] : [room],
  );
  const rooms = packages.flatMap((name) => folders(resolve(root, `libs/${name}/src`)).map((room) => `${name}/${room}`));
  expect(named.sort()).toEqual(rooms.sort());
});

it('gives a reason for every dependency', () => {
  const manifests = ['package.json', ...packages.map((name) => `libs/${name}/package.json`)];
  const needed = manifests
    .filter((path) => existsSync(resolve(root, path)))
    .flatMap((path) => {
      const manifest = JSON.parse(readFileSync(resolve(root, path), 'utf8'));
      return Object.keys({ ...manifest.dependencies, ...manifest.devDependencies, ...manifest.peerDependencies });
    })
    .filter((name) => !name.startsWith('@sealwire/'));
  const rows = text.slice(text.indexOf('| package | needed by | reason |'));
  const cells = [...rows.matchAll(/^\| (`.+?) \|/gm)].map(([, cell = '']) => cell);
  const named = cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name));
  const isNamed = (name: string) => named.includes(name) || named.includes(name.replace(/\/.*/, '/*'));
  expect([...new Set(needed)].filter((name) => !isNamed(name))).toEqual([]);
  const isNeeded = (name: string) => needed.some((one) => one === name || one.startsWith(name.replace('*', '')));
  expect(named.filter((name) => !isNeeded(name))).toEqual([]);
});
