import { dirname, resolve } from 'node:path';
import ts from 'typescript';

export const root = resolve(import.meta.dirname, '../..');

const { config } = ts.readConfigFile(resolve(root, 'tsconfig.json'), ts.sys.readFile);
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);

/** The repository's own settings, for files of the repository and for others that exist in memory only. */
export function programOf(
  paths: readonly string[],
  files: ReadonlyMap<string, string> = new Map(),
  stricter: ts.CompilerOptions = {},
): ts.Program {
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile: readSource, getSourceFile } = host;
  host.fileExists = (path) => files.has(path) || fileExists(path);
  host.readFile = (path) => files.get(path) ?? readSource(path);
  // the folders of the documents exist in memory only
  host.directoryExists = (path) =>
    [...files.keys()].some((file) => dirname(file) === path) || ts.sys.directoryExists(path);
  host.getSourceFile = (path, language, ...rest) => {
    const text = files.get(path);
    return text === undefined ? getSourceFile(path, language, ...rest) : ts.createSourceFile(path, text, language);
  };
  return ts.createProgram([...paths], { ...options, noUnusedLocals: false, ...stricter }, host);
}

/** Type-checks sources that exist in memory only: a sentence for each mistake, with the name of its file. */
export function check(files: ReadonlyMap<string, string>, stricter?: ts.CompilerOptions): string[] {
  const program = programOf([...files.keys()], files, stricter);
  return [...files.keys()].flatMap((path) =>
    ts
      .getPreEmitDiagnostics(program, program.getSourceFile(path))
      .map(({ messageText }) => `${path}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`),
  );
}
