import { readdirSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { House } from './support/house.js';
import { insideUses } from './support/insides.js';
import { layerViolations, type Manifest, usedByOne } from './support/layers.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const libraries = ['libs/core', 'libs/client', 'libs/nest', 'libs/typeorm', 'libs/angular'];
const manifests = new Map<string, Manifest>(
  libraries
    .map((library): Manifest => JSON.parse(readFileSync(join(root, library, 'package.json'), 'utf8')))
    .map((manifest) => [manifest.name, manifest]),
);

function sourcesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.m?ts$/.test(file) && !file.split(sep).includes('node_modules'))
    .map((file) => `${folder}/${file.split(sep).join('/')}`);
}

function read(paths: readonly string[]): Map<string, string> {
  return new Map(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')]));
}

describe('the repository', () => {
  it.each([
    ...libraries.map((library) => `${library}/src`),
    'libs/angular/testing',
    'libs/angular/inspector',
    'apps/web/src',
    'src',
  ])('imports only downwards in %s', (folder) => {
    const files = sourcesBelow(folder);
    expect(files).not.toEqual([]);
    expect(files.flatMap((file) => layerViolations(file, readFileSync(join(root, file), 'utf8'), manifests))).toEqual(
      [],
    );
  });

  it('imports only downwards in ormconfig.ts', () => {
    const source = readFileSync(join(root, 'ormconfig.ts'), 'utf8');
    expect(layerViolations('ormconfig.ts', source, manifests)).toEqual([]);
  });
});

describe('the house', () => {
  const packages = libraries.filter((library) => library !== 'libs/angular');
  const sources = packages.flatMap((library) => sourcesBelow(`${library}/src`));
  const tests = libraries.flatMap((library) => sourcesBelow(`${library}/test`));
  const others = ['libs/angular', 'src', 'test', 'bench', 'scripts'].flatMap(sourcesBelow);

  it('has few files that only one other file uses', () => {
    const house = new House(read(sources), manifests);
    const files = sources.filter((path) => !house.isEntry(path));
    const single = files.filter((path) => {
      const [importer, ...more] = house.importersOf(path);
      return importer !== undefined && importer !== 'everybody' && more.length === 0;
    });
    const listed = single.map((path) => `${path} <- ${[...house.importersOf(path)]}`).join('\n');
    expect(single.length / files.length, listed).toBeLessThanOrEqual(0.15);
  });

  it('exports nothing that nobody uses', () => {
    const house = new House(read([...new Set([...sources, ...tests, ...others])]), manifests);
    expect(sources.flatMap((path) => house.unused(path))).toEqual([]);
  });

  it('shows tests of a package only what it publishes, and the entries of rooms', () => {
    const inside = [...read(tests)].flatMap(([path, source]) =>
      ts
        .preProcessFile(source, true, true)
        .importedFiles.map(({ fileName }) => fileName)
        .filter((name) => /^\..*\/src\//.test(name) && !/\/src\/.+\/index\.js$/.test(name))
        .map((name) => `${path}: ${name}`),
    );
    expect(inside).toEqual([]);
  });

  it.each(['core'])('has few files in %s that only one other file uses', (library) => {
    const sources = read(sourcesBelow(`libs/${library}/src`));
    const used = usedByOne(sources);
    expect(used.length / sources.size, used.join('\n')).toBeLessThanOrEqual(0.15);
  });

  it.each(['nest', 'typeorm'])('touches what others do not document only in quirks/ of %s', (library) => {
    const paths = sourcesBelow(`libs/${library}/src`).filter((path) => !path.includes('/quirks/'));
    expect(insideUses(root, paths)).toEqual([]);
  });
});

describe('the walker', () => {
  it('finds what one file uses, and no more', () => {
    const sources = new Map([
      ['a/index.ts', "export { b } from './b.js';"],
      ['a/b.ts', "import type { c } from './c.js';\nimport { d } from './d.js';\nimport { e } from '../e.js';"],
      ['a/c.ts', "import { d } from './d.js';\nimport 'node:fs';"],
      ['a/d.ts', ''],
      ['e.ts', ''],
    ]);
    expect(usedByOne(sources)).toEqual(['a/c.ts', 'e.ts']);
  });

  it.each([
    ['libs/core/src/a.ts', "import { b } from '@sealwire/client';", 'goes up from core to client'],
    ['libs/core/src/a.ts', "import type { b } from '@sealwire/nest';", 'goes up from core to nest'],
    ['libs/client/src/a.ts', "export * from '@sealwire/nest';", 'goes up from client to nest'],
    ['libs/nest/src/a.ts', "import '@sealwire/client';", 'goes up from nest to client'],
    ['libs/nest/src/a.ts', "import '@sealwire/typeorm';", 'goes up from nest to typeorm'],
    ['libs/typeorm/src/a.ts', "import './cli/main.js';", 'goes up from typeorm to typeorm/cli'],
    ['libs/typeorm/src/a.ts', "import '@sealwire/nest/sessions';", 'reaches the inside of a package'],
    ['libs/nest/src/a.ts', "import { DataSource } from 'typeorm';", 'is not declared in package.json'],
    ['libs/core/src/a.ts', "import '../../client/src/b.js';", 'escapes its package'],
    ['libs/core/src/a.ts', "import '../test/b.js';", 'escapes its package'],
    ['libs/core/src/a.ts', "import '/etc/b.js';", 'escapes its package'],
    ['src/a.ts', "import '../libs/core/src/index.js';", 'escapes its package'],
    ['src/a.ts', "import b = require('../test/b.js');", 'escapes its package'],
    ['src/a.ts', '/// <reference path="../test/b.ts" />', 'escapes its package'],
    ['src/a.ts', "import '@sealwire/core/dist/errors.js';", 'reaches the inside of a package'],
    ['libs/client/src/a.ts', "type B = import('@sealwire/core/primitives').B;", 'reaches the inside of a package'],
    ['libs/core/src/a.ts', "import { hkdfSync } from 'node:crypto';", 'is cryptography outside primitives'],
    ['libs/core/src/a.ts', "import { x25519 } from '@noble/curves/ed25519.js';", 'is cryptography outside primitives'],
    ['libs/client/src/crypto/a.ts', "import 'crypto';", 'is cryptography outside primitives'],
    ['src/a.ts', "const b = require('node:crypto');", 'is cryptography outside primitives'],
    ['libs/core/src/a.ts', "import { readFileSync } from 'node:fs';", 'is input or output in core'],
    ['libs/core/src/a.ts', "import 'fs/promises';", 'is input or output in core'],
    ['libs/core/src/a.ts', "import { Injectable } from '@nestjs/common';", 'is not declared in package.json'],
    ['libs/core/src/a.ts', "import { encode } from 'cborg';", 'is not declared in package.json'],
    ['libs/client/src/a.ts', "import 'rxjs';", 'is not declared in package.json'],
    ['ormconfig.ts', "import './test/b.js';", 'escapes its package'],
    ['libs/client/src/a.ts', "import '@sealwire/angular';", 'goes up from client to angular'],
    ['libs/angular/src/a.ts', "import '@sealwire/core';", 'goes up from angular to core'],
    ['libs/angular/src/a.ts', "import '@sealwire/nest';", 'goes up from angular to nest'],
    ['libs/angular/src/a.ts', "import '@sealwire/angular/testing';", 'goes up from angular to angular/testing'],
    ['libs/angular/src/a.ts', "import '../testing/b.js';", 'escapes its package'],
    ['libs/angular/src/a.ts', "import '@sealwire/angular/inspector';", 'goes up from angular to angular/inspector'],
    ['libs/angular/inspector/a.ts', "import '@sealwire/core';", 'goes up from angular/inspector to core'],
    ['libs/angular/testing/a.ts', "import '../src/b.js';", 'escapes its package'],
    ['libs/angular/src/a.ts', "import '@angular/router';", 'is not declared in package.json'],
    ['apps/web/src/a.ts', "import { decode } from '@sealwire/core';", 'goes up from web to core'],
    ['apps/web/src/a.ts', "import type { a } from '@sealwire/core';", 'goes up from web to core'],
    ['apps/web/src/a.ts', "import type { a } from '@sealwire/nest';", 'goes up from web to nest'],
    ['apps/web/src/a.ts', "import { createRemote } from '@sealwire/client';", 'goes up from web to client'],
    ['apps/web/src/a.ts', "import { type Remote } from '@sealwire/client';", 'goes up from web to client'],
    ['apps/web/src/a.ts', "export * from '@sealwire/client';", 'goes up from web to client'],
    ['apps/web/src/a.ts', "import '@sealwire/angular/testing';", 'goes up from web to angular/testing'],
    ['apps/web/src/a.ts', "import { Keys } from '../../../src/web/a.js';", 'escapes its package'],
    ['apps/web/src/a.ts', "import type { a } from '../../../libs/client/src/a.js';", 'escapes its package'],
    ['apps/web/src/a.ts', "import 'node:fs';", 'is not there in a browser'],
    ['apps/web/src/a.ts', "import 'cborg';", 'is not declared in package.json'],
  ])('refuses in %s: %s', (path, source, reason) => {
    const violations = layerViolations(path, source, manifests);
    expect(violations).toHaveLength(1);
    expect(violations[0]).toContain(reason);
  });

  it.each([
    ['libs/core/src/a.ts', "import { b } from './b.js';\nimport type { c } from './d/c.js';"],
    ['libs/core/src/crypto/node.ts', "import 'node:crypto';\nimport '@noble/post-quantum/ml-kem.js';"],
    ['libs/client/src/a.ts', "import '@sealwire/core';\nimport '@sealwire/core/noble';"],
    ['libs/nest/src/a.ts', "import '@nestjs/common';\nimport '@sealwire/core/node';\nimport 'node:http';"],
    ['libs/typeorm/src/a.ts', "import 'typeorm';\nimport '@sealwire/nest/ports';\nimport '@sealwire/core';"],
    ['libs/typeorm/src/cli/main.ts', "import '../index.js';"],
    ['src/a.ts', "import '@sealwire/typeorm';\nimport '@sealwire/client';\nimport 'pg';\nimport './b/c.js';"],
    ['src/a.ts', "// import 'node:crypto'\nconst text = `import 'node:crypto'`;"],
    [
      'libs/angular/src/a.ts',
      "import '@angular/core';\nimport '@angular/common/http';\nimport '@sealwire/client';\nimport 'rxjs';",
    ],
    ['libs/angular/testing/a.ts', "import '@sealwire/angular';\nimport './b.js';"],
    ['libs/angular/inspector/a.ts', "import '@sealwire/angular';\nimport '@sealwire/client';\nimport './b.js';"],
    ['apps/web/src/a.ts', "import '@angular/router';\nimport '@sealwire/angular';\nimport './b.js';"],
    ['apps/web/src/a.ts', "import '@sealwire/angular/inspector';\nimport type { a } from '@sealwire/client';"],
    ['apps/web/src/a.ts', "import type { Keys } from '../../../src/web/a.js';"],
    ['ormconfig.ts', "import { b } from './src/b.js';"],
  ])('accepts in %s: %s', (path, source) => {
    expect(layerViolations(path, source, manifests)).toEqual([]);
  });
});
