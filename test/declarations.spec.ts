import { readFileSync } from 'node:fs';
import { relative, resolve } from 'node:path';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { root } from './support/compile.js';

/** As package.json names them; the packages have to be built. */
const declarations = ['core', 'client', 'nest', 'typeorm', 'angular'].flatMap((name) => {
  const folder = resolve(root, 'libs', name);
  const { exports } = JSON.parse(readFileSync(resolve(folder, 'package.json'), 'utf8'));
  return Object.values<{ types?: string; import?: { types?: string } }>(exports)
    .map(({ types, import: only }) => types ?? only?.types)
    .filter((types) => types !== undefined)
    .map((types) => resolve(folder, types));
});

it('declares nothing that an application for the oldest target has no type for', { timeout: 120_000 }, () => {
  const program = ts.createProgram(declarations, {
    target: ts.ScriptTarget.ES2018,
    module: ts.ModuleKind.NodeNext,
    strict: true,
    noEmit: true,
    skipLibCheck: false,
    types: ['node'],
  });
  const own = program.getSourceFiles().filter(({ fileName }) => /\/libs\/\w+\/dist\//.test(fileName));
  expect(own.length).toBeGreaterThan(100);
  const mistakes = own.flatMap((file) =>
    program.getSemanticDiagnostics(file).map(({ messageText }) => {
      const sentence = ts.flattenDiagnosticMessageText(messageText, ' ');
      return `${relative(root, file.fileName)}: ${sentence}`;
    }),
  );
  expect(mistakes).toEqual([]);
});
