import { resolve } from 'node:path';
import ts from 'typescript';
import { programOf, root } from './compile.js';

/** The entries of the packages, by the name under which an application imports them. */
const ENTRIES = [
  ['@sealwire/core', 'core/src/index.ts'],
  ['@sealwire/core/node', 'core/src/crypto/node.ts'],
  ['@sealwire/core/noble', 'core/src/crypto/noble.ts'],
  ['@sealwire/core/calls', 'core/src/payload/index.ts'],
  ['@sealwire/core/live', 'core/src/live/index.ts'],
  ['@sealwire/core/webcrypto', 'core/src/crypto/webcrypto.ts'],
  ['@sealwire/client', 'client/src/node.ts'],
  ['@sealwire/client', 'client/src/browser.ts'],
  ['@sealwire/client/http', 'client/src/http.ts'],
  ['@sealwire/client/undici', 'client/src/transport/undici.ts'],
  ['@sealwire/client/persistence', 'client/src/persistence.ts'],
  ['@sealwire/client/testing', 'client/src/testing/index.ts'],
  ['@sealwire/angular', 'angular/src/index.ts'],
  ['@sealwire/angular/testing', 'angular/testing/index.ts'],
  ['@sealwire/angular/inspector', 'angular/inspector/index.ts'],
  ['@sealwire/nest', 'nest/src/index.ts'],
  ['@sealwire/nest/ports', 'nest/src/ports/index.ts'],
  ['@sealwire/typeorm', 'typeorm/src/index.ts'],
] as const;

export interface PublicExport {
  readonly name: string;
  /** the entries that export it, and the file of the first one */
  readonly entries: string[];
  readonly file: string;
  /** `called` for whatever can be called, constructed or used as a decorator */
  readonly kind: 'called' | 'value' | 'type';
  readonly documented: boolean;
  /** text of its `@example` */
  readonly example: string | undefined;
}

/** What the packages export, each once. */
export function publicExports(): PublicExport[] {
  const paths = ENTRIES.map(([, path]) => resolve(root, 'libs', path));
  const program = programOf(paths);
  const checker = program.getTypeChecker();
  const found = new Map<ts.Symbol, PublicExport>();
  ENTRIES.forEach(([entry, file], i) => {
    const source = program.getSourceFile(paths[i] ?? '');
    const module = source && checker.getSymbolAtLocation(source);
    if (!module) throw new Error(`${file} is no module`);
    for (const exported of checker.getExportsOfModule(module)) {
      // Angular's mark for what is no public API
      if (exported.name.startsWith('ɵ')) continue;
      const isAlias = (exported.flags & ts.SymbolFlags.Alias) !== 0;
      const symbol = isAlias ? checker.getAliasedSymbol(exported) : exported;
      const known = found.get(symbol);
      known?.entries.push(entry);
      if (known) continue;
      found.set(symbol, {
        ...{ name: exported.name, entries: [entry], file, kind: kindOf(symbol, checker) },
        documented: symbol.getDocumentationComment(checker).length > 0,
        example: exampleOf(symbol),
      });
    }
  });
  return [...found.values()];
}

/** The compiler would end it at the first decorator, which looks like a tag: an example goes on to the end of its comment. */
function exampleOf(symbol: ts.Symbol): string | undefined {
  const comments = (symbol.declarations ?? []).flatMap(ts.getJSDocCommentsAndTags).filter(ts.isJSDoc);
  const texts = comments.map(
    (comment) =>
      comment
        .getText()
        .replace(/\s*\*\/$/, '')
        .split(/^ \* @example\s/m)[1],
  );
  return texts.find((text) => text !== undefined)?.replaceAll(/^ \*( |$)/gm, '');
}

function kindOf(symbol: ts.Symbol, checker: ts.TypeChecker): PublicExport['kind'] {
  const [declaration] = symbol.declarations ?? [];
  if (!declaration || (symbol.flags & ts.SymbolFlags.Value) === 0) return 'type';
  const type = checker.getTypeOfSymbolAtLocation(symbol, declaration);
  return type.getCallSignatures().length + type.getConstructSignatures().length > 0 ||
    (symbol.flags & ts.SymbolFlags.Class) !== 0
    ? 'called'
    : 'value';
}

/** Given to every example: the values that a reader has at hand when the example applies. */
const GIVEN = `
import type * as core from '@sealwire/core';
import type { OutgoingStreams } from '@sealwire/core/live';
import type { PaymentsController } from './payments.controller.js';
import type { RemoteModule } from '@sealwire/angular';
import type { Remote, RemoteApi } from '@sealwire/client';
declare global {
  const primitives: core.Primitives;
  const random: core.Random;
  const suite: core.HandshakeSuite;
  const config: core.ServerHandshakeConfig;
  const cookieKey: core.CookieKey;
  const serverKey: Uint8Array;
  const idKey: Uint8Array;
  const sessionId: Uint8Array;
  const incarnation: Uint8Array;
  const callId: Uint8Array;
  const digest: Uint8Array;
  /** a frame that came */
  const frame: Uint8Array;
  const started: core.StartSent;
  const finishing: core.FinishSent;
  const opened: core.FinishOpened;
  const secrets: core.SessionSecrets;
  const call: core.CallFrame;
  const key: core.MessageKey;
  const number: core.CallNumber;
  /** body of a piece of a live message */
  const body: Uint8Array;
  const streams: OutgoingStreams;
  /** sends bytes, and waits until more may be sent */
  const send: (bytes: Uint8Array) => Promise<void>;
  /** bytes of an HTTP body as they arrive */
  const arriving: AsyncIterable<Uint8Array>;
  const consume: (bytes: Uint8Array) => Promise<void>;
  const payments: Remote<RemoteApi<PaymentsController>>;
  /** the same as a token of Angular */
  const Payments: RemoteModule<RemoteApi<PaymentsController>>;
}
`;

const CONTROLLER = `
export declare class PaymentsController {
  balance(account: string): Promise<bigint>;
  transfer(from: string, to: string, cents: bigint): Promise<void>;
}
`;

/** A module for each example. It has the exports of its own package in scope unless it names them itself. */
export function exampleModules(all: readonly PublicExport[]): Map<string, string> {
  const folder = resolve(root, 'test/examples');
  const files = new Map([
    [resolve(folder, 'given.ts'), GIVEN],
    [resolve(folder, 'payments.controller.ts'), CONTROLLER],
  ]);
  for (const { name, file, entries, example } of all) {
    if (example === undefined) continue;
    const home = packageOf(entries[0] ?? '');
    const own = new Set(namesIn(example));
    const imports = new Map<string, string>();
    for (const one of all) {
      const entry = one.entries.find((candidate) => packageOf(candidate) === home);
      if (
        entry &&
        !own.has(one.name) &&
        new RegExp(`(?<!\\w)${one.name.replaceAll('$', '\\$')}(?![\\w$])`).test(example)
      ) {
        imports.set(one.name, `import { ${one.kind === 'type' ? 'type ' : ''}${one.name} } from '${entry}';\n`);
      }
    }
    const path = resolve(folder, `${file.replaceAll(/\W/g, '-')}-${name}.ts`);
    files.set(path, `${[...imports.values()].join('')}${example}\nexport {};\n`);
  }
  return files;
}

function packageOf(entry: string): string {
  return entry.split('/').slice(0, 2).join('/');
}

/** What an example imports or declares at its top. */
function namesIn(example: string): string[] {
  const imported = [...example.matchAll(/^import (?:type )?\{([^}]*)\}/gm)].flatMap(([, names = '']) =>
    names.split(',').map((name) => name.replace('type ', '').trim()),
  );
  const declared = [...example.matchAll(/^(?:export )?(?:abstract )?(?:class|const|function) (\w+)/gm)];
  return [...imported, ...declared.map(([, name = '']) => name)];
}
