import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import ts from 'typescript';
import { expect, it } from 'vitest';

const root = resolve(import.meta.dirname, '..');

/** The README's TypeScript, one module a side: its blocks are to be read one after the other. */
async function snippets(): Promise<Map<string, string>> {
  const readme = await readFile(resolve(root, 'README.md'), 'utf8');
  const files = new Map<string, string>();
  for (const [, name = '', code = ''] of readme.matchAll(/^```ts (\w+)\n(.*?)^```$/gms)) {
    const path = resolve(root, `test/${name}.ts`);
    files.set(path, `${files.get(path) ?? ''}${code}`);
  }
  return files;
}

/** Type-checks sources that exist in memory only, with the repository's own settings. */
function check(files: ReadonlyMap<string, string>): string[] {
  const { config } = ts.readConfigFile(resolve(root, 'tsconfig.json'), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile: readSource, getSourceFile } = host;
  host.fileExists = (path) => files.has(path) || fileExists(path);
  host.readFile = (path) => files.get(path) ?? readSource(path);
  host.getSourceFile = (path, language, ...rest) => {
    const text = files.get(path);
    return text === undefined ? getSourceFile(path, language, ...rest) : ts.createSourceFile(path, text, language);
  };
  const program = ts.createProgram([...files.keys()], { ...options, noUnusedLocals: false }, host);
  return [...files.keys()].flatMap((path) =>
    ts
      .getPreEmitDiagnostics(program, program.getSourceFile(path))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, ' ')),
  );
}

it('compiles every TypeScript snippet of the README', async () => {
  const files = await snippets();
  expect(files.size).toBe(2);
  expect(check(files)).toEqual([]);
});

it('would notice a snippet that does not compile', async () => {
  const files = await snippets();
  const client = [...files.keys()].find((path) => path.endsWith('client.ts')) ?? '';
  files.set(client, `${files.get(client)}await greetings.helo('typing error');`);
  expect(check(files).join()).toContain('helo');
});
