import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { check, root } from './support/compile.js';
import { exampleModules, publicExports } from './support/examples.js';

/** The documents with snippets: the README, those of docs/, and one for each package. */
async function documents(): Promise<string[]> {
  const docs = await readdir(resolve(root, 'docs'));
  const packages = await readdir(resolve(root, 'libs'));
  return [
    'README.md',
    ...docs.filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`),
    ...packages.map((name) => `libs/${name}/README.md`),
  ];
}

/** A document's TypeScript, one module a side: its blocks are to be read one after the other. */
async function snippets(document: string): Promise<Map<string, string>> {
  const text = await readFile(resolve(root, document), 'utf8');
  const folder = document.replaceAll(/\W/g, '-');
  const files = new Map<string, string>();
  for (const [, name = '', code = ''] of text.matchAll(/^```ts (\w+)\n(.*?)^```$/gms)) {
    const path = resolve(root, `test/${folder}/${name}.ts`);
    files.set(path, `${files.get(path) ?? ''}${code}`);
  }
  return files;
}

it('compiles every TypeScript snippet of the documents', async () => {
  const all = await Promise.all((await documents()).map(snippets));
  const files = new Map(all.flatMap((one) => [...one]));
  expect(files.size).toBeGreaterThanOrEqual(6);
  expect(check(files)).toEqual([]);
});

it('would notice a snippet that does not compile', async () => {
  const files = await snippets('README.md');
  const client = [...files.keys()].find((path) => path.endsWith('client.ts')) ?? '';
  files.set(client, `${files.get(client)}await greetings.helo('typing error');`);
  expect(check(files).join()).toContain('helo');
});

it('shows a server whose options may come from an environment variable where optional properties are exact', async () => {
  expect(check(await snippets('README.md'), { exactOptionalPropertyTypes: true })).toEqual([]);
});

it('names every entry of a package in its own document', async () => {
  for (const name of await readdir(resolve(root, 'libs'))) {
    const read = (file: string) => readFile(resolve(root, 'libs', name, file), 'utf8');
    const text = await read('README.md');
    const entries = Object.keys(JSON.parse(await read('package.json')).exports).filter((entry) => !/json$/.test(entry));
    for (const entry of entries)
      expect(text, `libs/${name}`).toMatch(new RegExp(`@sealwire/${name}${entry.slice(1)}(?![/\\w])`));
  }
});

it('has no snippet that nothing compiles', async () => {
  for (const document of await documents()) {
    const text = await readFile(resolve(root, document), 'utf8');
    expect([...text.matchAll(/^```(?:ts|typescript|js|javascript)\s*$/gm)], document).toEqual([]);
  }
});

it('links to what is there', async () => {
  for (const document of await documents()) {
    const text = await readFile(resolve(root, document), 'utf8');
    const targets = [...text.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)].map(([, target = '']) => target);
    for (const target of targets.filter((one) => !/^https?:/.test(one))) {
      // npm shows a package's own document and packs it without the rest of the repository
      if (document.startsWith('libs/')) expect(target, `${document}: name it without a link`).not.toMatch(/^\.\./);
      expect(existsSync(resolve(root, dirname(document), target)), `${document}: ${target}`).toBe(true);
    }
  }
});

it('keeps the README to what one reads at a sitting', async () => {
  expect((await readFile(resolve(root, 'README.md'), 'utf8')).split('\n').length).toBeLessThanOrEqual(181);
});

const all = publicExports();
const label = ({ file, name }: { file: string; name: string }) => `${file}: ${name}`;

it('documents all that the packages export', () => {
  expect(all.length).toBeGreaterThan(150);
  expect(all.filter(({ documented }) => !documented).map(label)).toEqual([]);
});

it('shows an example of every public function, class and decorator', () => {
  const called = all.filter(({ kind }) => kind === 'called');
  expect(called.length).toBeGreaterThan(80);
  expect(called.filter(({ example }) => !example?.trim()).map(label)).toEqual([]);
});

it('compiles every example', () => {
  const files = exampleModules(all);
  expect(files.size).toBeGreaterThan(80);
  expect(check(files)).toEqual([]);
});

it('would notice an example that does not compile', () => {
  const [first] = all;
  if (!first) throw new Error('nothing is exported');
  const broken = [...all.slice(1), { ...first, example: 'concat(1);' }];
  expect(check(exampleModules(broken)).join()).toContain('not assignable');
});
