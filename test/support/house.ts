import { posix } from 'node:path';
import ts from 'typescript';
import type { Manifest } from './layers.js';

interface Import {
  /** path of the file that is imported */
  readonly from: string;
  readonly names: readonly string[];
}

interface File {
  readonly imports: readonly Import[];
  /** what it declares and exports */
  readonly declares: ReadonlySet<string>;
  /** what it hands on, by the name that it has here */
  readonly handsOn: ReadonlyMap<string, { readonly from: string; readonly name: string }>;
  /** files of which it hands everything on */
  readonly handsOnAll: readonly string[];
}

/** Which file of the packages uses what of which other. Something handed on counts for the file that declares it. */
export class House {
  readonly #files: Map<string, File>;
  /** by `path#name` */
  readonly #users = new Map<string, Set<string>>();

  /** @param sources by path, relative to the root, with `/` */
  constructor(
    sources: ReadonlyMap<string, string>,
    private readonly manifests: ReadonlyMap<string, Manifest>,
  ) {
    this.#files = new Map([...sources].map(([path, source]) => [path, this.#read(path, source)]));
    for (const [path, { imports }] of this.#files) {
      for (const { from, names } of imports) {
        const all = names.includes('*') ? this.#namesOf(from) : names;
        for (const name of all) this.#use(from, name, path);
      }
    }
    for (const { name, exports } of manifests.values()) {
      for (const subpath of Object.keys(exports)) {
        for (const entry of this.#entries(`${name}${subpath.slice(1)}`)) {
          for (const exported of this.#namesOf(entry)) this.#use(entry, exported, 'everybody');
        }
      }
    }
  }

  /** Files that use something which that one declares; `everybody` stands for the users of its package. */
  importersOf(path: string): Set<string> {
    const importers = new Set<string>();
    for (const name of this.#files.get(path)?.declares ?? []) {
      for (const user of this.#users.get(`${path}#${name}`) ?? []) importers.add(user);
    }
    return importers;
  }

  /** What a file exports and nobody uses, as `path: name`. */
  unused(path: string): string[] {
    const declares = [...(this.#files.get(path)?.declares ?? [])];
    return declares.filter((name) => !this.#users.has(`${path}#${name}`)).map((name) => `${path}: ${name}`);
  }

  /** Whether a file only hands on what others declare. */
  isEntry(path: string): boolean {
    const file = this.#files.get(path);
    return file !== undefined && file.declares.size === 0 && file.handsOn.size + file.handsOnAll.length > 0;
  }

  #use(path: string, name: string, user: string): void {
    const file = this.#files.get(path);
    if (!file) return;
    const handed = file.handsOn.get(name);
    if (handed) {
      this.#use(handed.from, handed.name, user);
    } else if (file.declares.has(name)) {
      const key = `${path}#${name}`;
      this.#users.set(key, (this.#users.get(key) ?? new Set()).add(user));
    } else {
      for (const from of file.handsOnAll) this.#use(from, name, user);
    }
  }

  #namesOf(path: string): string[] {
    const file = this.#files.get(path);
    if (!file) return [];
    return [...file.declares, ...file.handsOn.keys(), ...file.handsOnAll.flatMap((from) => this.#namesOf(from))];
  }

  #read(path: string, text: string): File {
    const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
    const [imports, declares, handsOnAll]: [Import[], Set<string>, string[]] = [[], new Set(), []];
    const handsOn = new Map<string, { from: string; name: string }>();
    const add = (specifier: ts.Expression | undefined, names: string[]) => {
      if (!specifier || !ts.isStringLiteralLike(specifier)) return;
      for (const from of this.#resolve(path, specifier.text)) imports.push({ from, names });
    };
    const visit = (node: ts.Node): void => {
      if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, namesOf(node.importClause));
      else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
        const name = node.qualifier && (ts.isIdentifier(node.qualifier) ? node.qualifier : node.qualifier.left);
        add(node.argument.literal, [name?.getText() ?? '*']);
      } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
        add(node.arguments[0], ['*']);
      } else if (ts.isExportDeclaration(node)) this.#readExport(path, node, handsOn, handsOnAll, declares);
      else if (isExported(node)) for (const name of declaredNames(node)) declares.add(name);
      ts.forEachChild(node, visit);
    };
    visit(source);
    return { imports, declares, handsOn, handsOnAll };
  }

  #readExport(
    path: string,
    { moduleSpecifier, exportClause }: ts.ExportDeclaration,
    handsOn: Map<string, { from: string; name: string }>,
    handsOnAll: string[],
    declares: Set<string>,
  ): void {
    const specifier = moduleSpecifier && ts.isStringLiteral(moduleSpecifier) ? moduleSpecifier.text : undefined;
    const [from] = specifier === undefined ? [] : this.#resolve(path, specifier);
    if (!exportClause) {
      if (from) handsOnAll.push(from);
      return;
    }
    if (!ts.isNamedExports(exportClause)) return;
    for (const { name, propertyName } of exportClause.elements) {
      if (from) handsOn.set(name.text, { from, name: (propertyName ?? name).text });
      else if (specifier === undefined) declares.add(name.text);
    }
  }

  #resolve(path: string, specifier: string): string[] {
    if (!specifier.startsWith('.')) return this.#entries(specifier);
    const target = posix.join(posix.dirname(path), specifier).replace(/\.js$/, '.ts');
    return [target];
  }

  /** The sources that a package names for such an import. */
  #entries(specifier: string): string[] {
    const name = /^@sealwire\/[^/]+/.exec(specifier)?.[0] ?? '';
    const entry = this.manifests.get(name)?.exports[`.${specifier.slice(name.length)}`];
    if (typeof entry !== 'object' || entry === null) return [];
    const folder = name.replace('@sealwire/', 'libs/');
    const built = Object.entries(entry).flatMap(([condition, file]) => (condition === 'types' ? [] : [String(file)]));
    return [...new Set(built)].map((file) => file.replace('./dist', `${folder}/src`).replace(/\.js$/, '.ts'));
  }
}

function namesOf(clause: ts.ImportClause | undefined): string[] {
  const bindings = clause?.namedBindings;
  if (!bindings) return [];
  if (ts.isNamespaceImport(bindings)) return ['*'];
  return bindings.elements.map(({ name, propertyName }) => (propertyName ?? name).text);
}

function isExported(node: ts.Node): boolean {
  return (
    ts.canHaveModifiers(node) &&
    Boolean(ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword))
  );
}

function declaredNames(node: ts.Node): string[] {
  if (ts.isVariableStatement(node)) {
    return node.declarationList.declarations.flatMap(({ name }) => (ts.isIdentifier(name) ? [name.text] : []));
  }
  const { name } = node as { name?: ts.Node };
  return name && ts.isIdentifier(name) ? [name.text] : [];
}
