import { builtinModules } from 'node:module';
import { posix } from 'node:path';
import ts from 'typescript';

export interface Manifest {
  name: string;
  exports: Record<string, unknown>;
  dependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

type Unit =
  | 'core'
  | 'client'
  | 'nest'
  | 'typeorm'
  | 'typeorm/cli'
  | 'angular'
  | 'angular/testing'
  | 'angular/inspector'
  | 'web'
  | 'app';

/** What a unit may import besides itself. Imports only go down. */
const allowed: Record<Unit, readonly Unit[]> = {
  core: [],
  client: ['core'],
  angular: ['client'],
  'angular/testing': ['angular', 'client'],
  'angular/inspector': ['angular', 'client'],
  web: ['angular', 'angular/inspector'],
  nest: ['core'],
  typeorm: ['nest', 'core'],
  'typeorm/cli': ['typeorm', 'nest', 'core'],
  app: ['core', 'client', 'nest', 'typeorm'],
};
const primitives = 'libs/core/src/crypto/';

/** Every import of `source` that breaks a rule, as `path: reason`. Paths are relative to the root, with `/`. */
export function layerViolations(path: string, source: string, manifests: ReadonlyMap<string, Manifest>): string[] {
  const { importedFiles, referencedFiles } = ts.preProcessFile(source, true, true);
  const specifiers = [
    ...importedFiles.map((file) => file.fileName),
    ...referencedFiles.map((file) => `./${file.fileName}`),
  ];
  const erased = unitOf(path) === 'web' ? typeImports(source) : [];
  return specifiers.flatMap((specifier) => {
    // the page has the types of what it calls, and no more
    if (erased.includes(specifier) && (specifier === '@sealwire/client' || isServer(path, specifier))) return [];
    const reason = violation(path, specifier, manifests);
    return reason ? [`${path}: '${specifier}' ${reason}`] : [];
  });
}

/** What is imported and exported as types alone. */
function typeImports(source: string): string[] {
  const { statements } = ts.createSourceFile('page.ts', source, ts.ScriptTarget.Latest);
  const all = statements.filter((one) => ts.isImportDeclaration(one) || ts.isExportDeclaration(one));
  const specifierOf = (one: (typeof all)[number]): string =>
    one.moduleSpecifier && ts.isStringLiteral(one.moduleSpecifier) ? one.moduleSpecifier.text : '';
  const isType = (one: (typeof all)[number]): boolean =>
    ts.isImportDeclaration(one) ? one.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword : one.isTypeOnly;
  const used = new Set(all.filter((one) => !isType(one)).map(specifierOf));
  return all
    .filter(isType)
    .map(specifierOf)
    .filter((specifier) => !used.has(specifier));
}

function isServer(path: string, specifier: string): boolean {
  return posix.join(posix.dirname(path), specifier).startsWith('src/');
}

function violation(path: string, specifier: string, manifests: ReadonlyMap<string, Manifest>): string | undefined {
  const from = unitOf(path);
  if (!from) return 'is imported by a file outside every layer';
  if (/^[./]/.test(specifier)) {
    const target = posix.join(posix.dirname(path), specifier);
    if (specifier.startsWith('/') || packageRoot(target) !== packageRoot(path)) return 'escapes its package';
    return upward(from, unitOf(target));
  }
  if (isCrypto(specifier)) return path.startsWith(primitives) ? undefined : 'is cryptography outside primitives';
  if (isBuiltin(specifier)) {
    if (from === 'web') return 'is not there in a browser';
    return from === 'core' && !path.startsWith(primitives) ? 'is input or output in core' : undefined;
  }

  const name = packageName(specifier);
  const manifest = manifests.get(name);
  if (manifest) {
    const subpath = `.${specifier.slice(name.length)}`;
    if (!(subpath in manifest.exports)) return 'reaches the inside of a package';
    const inside = /^@sealwire\/angular\/(testing|inspector)$/.exec(specifier)?.[1] ?? 'src';
    return upward(from, unitOf(`libs/${name.replace('@sealwire/', '')}/${inside}/`));
  }
  if (from === 'app' || (from === 'web' && name.startsWith('@angular/'))) return undefined;
  const own = manifests.get(`@sealwire/${from.split('/')[0]}`);
  const declared = { ...own?.dependencies, ...own?.peerDependencies };
  return name in declared ? undefined : 'is not declared in package.json';
}

function upward(from: Unit, to: Unit | undefined): string | undefined {
  if (!to) return 'leads outside every layer';
  return from === to || allowed[from].includes(to) ? undefined : `goes up from ${from} to ${to}`;
}

function unitOf(path: string): Unit | undefined {
  if (path === 'ormconfig.ts' || path.startsWith('src/')) return 'app';
  if (path.startsWith('apps/web/src/')) return 'web';
  const entry = /^libs\/angular\/(testing|inspector)\//.exec(path)?.[1];
  if (entry) return `angular/${entry}` as Unit;
  const inLibrary = /^libs\/(core|client|nest|typeorm|angular)\/src\/(cli\/)?/.exec(path);
  if (!inLibrary) return undefined;
  const [, library, inside] = inLibrary;
  return (inside ? `${library}/cli` : library) as Unit;
}

/** The application's root is the repository's; only its own two places count as inside. */
function packageRoot(path: string): string | undefined {
  if (unitOf(path) === 'web') return 'apps/web/src';
  return unitOf(path) === 'app' ? 'src' : /^libs\/[^/]+\/(src|testing|inspector)(?=\/)/.exec(path)?.[0];
}

function packageName(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function isBuiltin(specifier: string): boolean {
  return specifier.startsWith('node:') || builtinModules.includes(specifier);
}

function isCrypto(specifier: string): boolean {
  return /^(node:)?crypto(\/|$)/.test(specifier) || specifier.startsWith('@noble/');
}

/** The files that exactly one other file imports, unless that is an entry: what an entry publishes has users outside. */
export function usedByOne(sources: ReadonlyMap<string, string>): string[] {
  const users = new Map<string, string[]>();
  for (const [path, source] of sources) {
    for (const { fileName } of ts.preProcessFile(source, true, true).importedFiles) {
      if (!fileName.startsWith('.')) continue;
      const target = posix.join(posix.dirname(path), fileName).replace(/\.js$/, '.ts');
      users.set(target, [...(users.get(target) ?? []), path]);
    }
  }
  return [...sources.keys()].filter((path) => {
    const [only, ...others] = users.get(path) ?? [];
    return only !== undefined && others.length === 0 && posix.basename(only) !== 'index.ts';
  });
}
