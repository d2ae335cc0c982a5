import { join } from 'node:path';
import ts from 'typescript';

const PACKAGES = /node_modules\/(@nestjs\/[^/]+|typeorm|pg|@types\/pg)\//;
const SUBPATH = /^(@nestjs\/[^/]+|typeorm|pg|rxjs)\//;

/**
 * Wraps what an injector made. The class is in no entry of `@nestjs/core`, but DiscoveryService gives it out, and its
 * documentation reads these.
 */
const DISCOVERED = new Set(['instance', 'metatype', 'name', 'isAlias', 'id', 'token', 'host']);

/**
 * Where files reach below the documented API of Nest, TypeORM and pg: an import of a path inside of a package, a private member,
 * a name with an underscore in front, or a member of a class that no entry of its package exports.
 */
export function insideUses(root: string, paths: readonly string[]): string[] {
  const config = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config;
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: paths, include: [] }, ts.sys, root);
  const program = ts.createProgram(
    paths.map((path) => join(root, path)),
    options,
  );
  const checker = program.getTypeChecker();
  const exported = new Map<string, Set<ts.Symbol>>();

  function exportsOf(name: string, from: string): Set<ts.Symbol> {
    const known = exported.get(name);
    if (known) return known;
    const entry = ts.resolveModuleName(name, from, options, ts.sys).resolvedModule?.resolvedFileName;
    const source = entry === undefined ? undefined : program.getSourceFile(entry);
    const module = source && checker.getSymbolAtLocation(source);
    const symbols = (module ? checker.getExportsOfModule(module) : []).map((symbol) =>
      symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol,
    );
    exported.set(name, new Set(symbols));
    return exportsOf(name, from);
  }

  /** @returns what is wrong with a member, undefined if nothing is */
  function fault(member: ts.Symbol, from: string): string | undefined {
    const owners = (member.declarations ?? []).flatMap((declaration) => {
      const [, name] = PACKAGES.exec(declaration.getSourceFile().fileName) ?? [];
      const owner = declaration.parent;
      if (!name || !owner || !(ts.isClassDeclaration(owner) || ts.isInterfaceDeclaration(owner)) || !owner.name)
        return [];
      const hidden = ts.getCombinedModifierFlags(declaration) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected);
      const symbol = checker.getSymbolAtLocation(owner.name);
      const documented = symbol && exportsOf(name.replace('@types/', ''), from).has(symbol) && !hidden;
      // no entry exports what a documented method answers; DataSourceOptions is a union of such interfaces
      const given = /^(HttpArgumentsHost|.*DataSourceOptions)$/.test(owner.name.text);
      const discovered = owner.name.text === 'InstanceWrapper' && DISCOVERED.has(member.name);
      return documented || given || discovered ? [] : [owner.name.text];
    });
    return owners[0] === undefined ? undefined : `${owners[0]}.${member.name}`;
  }

  return paths.flatMap((path) => {
    const source = program.getSourceFile(join(root, path));
    const found = new Set<string>();
    const visit = (node: ts.Node): void => {
      if (ts.isStringLiteral(node) && SUBPATH.test(node.text) && isSpecifier(node)) found.add(`imports ${node.text}`);
      const member = memberOf(checker, node);
      const reason = member && fault(member, join(root, path));
      if (reason) found.add(reason);
      if (ts.isPropertyAccessExpression(node) && /^_[^_]/.test(node.name.text)) found.add(node.name.text);
      ts.forEachChild(node, visit);
    };
    if (source) visit(source);
    return [...found].map((what) => `${path}: ${what}`);
  });
}

function isSpecifier({ parent }: ts.Node): boolean {
  return (
    ts.isImportDeclaration(parent) ||
    ts.isExportDeclaration(parent) ||
    ts.isCallExpression(parent) ||
    ts.isLiteralTypeNode(parent)
  );
}

function memberOf(checker: ts.TypeChecker, node: ts.Node): ts.Symbol | undefined {
  if (ts.isPropertyAccessExpression(node)) return checker.getSymbolAtLocation(node.name);
  if (ts.isElementAccessExpression(node)) return checker.getSymbolAtLocation(node.argumentExpression);
  if (!ts.isBindingElement(node) || !ts.isObjectBindingPattern(node.parent)) return undefined;
  const name = node.propertyName ?? node.name;
  return ts.isIdentifier(name) ? checker.getTypeAtLocation(node.parent).getProperty(name.text) : undefined;
}
