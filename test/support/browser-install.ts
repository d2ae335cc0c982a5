/** Finds browsers on this machine, and unpacks the Chromium that npm brought. Knows nothing of vitest. */
import { execFile } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { firefox, webkit } from 'playwright-core';

export interface InstalledBrowser {
  readonly name: string;
  readonly engine: 'chromium' | 'firefox' | 'webkit';
  /** undefined: the one from npm, which is unpacked when it is first launched */
  readonly executablePath: string | undefined;
}

export interface Machine {
  readonly platform: string;
  readonly arch: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const run = promisify(execFile);
const packaged = join(dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium')), '../bin');

export const NO_CHROMIUM =
  'The browser tests found no Chromium. Install Chrome or Chromium (Debian: apt-get install chromium), or set CHROMIUM_PATH to the path of its executable.';

/**
 * Every Chromium of the machine, the one from npm first.
 * @throws Error with a sentence that says what to install if there is none
 */
export function installedChromiums(machine: Machine = process): InstalledBrowser[] {
  const { platform, arch, env } = machine;
  const found: InstalledBrowser[] = [];
  if (platform === 'linux' && arch === 'x64') {
    found.push({ name: 'Chromium from npm', engine: 'chromium', executablePath: undefined });
  }
  const asked = env.CHROMIUM_PATH;
  if (asked && !existsSync(asked)) throw new Error(`CHROMIUM_PATH names ${asked}, and no file is there.`);
  const path = asked ?? systemPaths(machine).find(isExecutable);
  if (path) found.push({ name: `Chromium at ${path}`, engine: 'chromium', executablePath: path });
  if (found.length === 0) throw new Error(NO_CHROMIUM);
  return found;
}

/** Firefox and WebKit as Playwright builds them: it drives no others. Looked for where PLAYWRIGHT_BROWSERS_PATH says. */
export function otherBrowsers(): InstalledBrowser[] {
  const engines = { firefox, webkit };
  return (['firefox', 'webkit'] as const).flatMap((engine) => {
    const executablePath = ownPath(engines[engine]);
    return executablePath ? [{ name: `${engine} at ${executablePath}`, engine, executablePath }] : [];
  });
}

function systemPaths({ platform, env }: Machine): string[] {
  if (platform === 'darwin') {
    return ['Google Chrome', 'Chromium', 'Microsoft Edge'].map(
      (name) => `/Applications/${name}.app/Contents/MacOS/${name}`,
    );
  }
  if (platform === 'win32') {
    const folders = [env.ProgramFiles, env['ProgramFiles(x86)'], env.LOCALAPPDATA].filter((one) => one !== undefined);
    const programs = ['Google\\Chrome\\Application\\chrome.exe', 'Chromium\\Application\\chrome.exe'];
    return [...programs, 'Microsoft\\Edge\\Application\\msedge.exe'].flatMap((program) =>
      folders.map((folder) => join(folder, program)),
    );
  }
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'];
  return (env.PATH ?? '').split(delimiter).flatMap((folder) => names.map((name) => join(folder, name)));
}

function ownPath(type: { executablePath(): string }): string | undefined {
  try {
    return isExecutable(type.executablePath()) ? realpathSync(type.executablePath()) : undefined;
  } catch {
    return undefined;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Where the Chromium from npm stays between two runs; `npm ci` removes it. */
const cache = fileURLToPath(new URL('../../node_modules/.cache/sealwire-browser', import.meta.url));

/**
 * The folder of the unpacked Chromium: `chromium`, `fonts.conf`, and `al2023/lib` with libraries that a small machine lacks.
 * The package itself would leave them in the temporary folder, executable by one user only.
 */
export async function unpackedChromium(parent: string = cache): Promise<string> {
  const { version } = createRequire(import.meta.url)(join(packaged, '../package.json')) as { version: string };
  const folder = join(parent, version);
  if (existsSync(folder)) return folder;
  mkdirSync(parent, { recursive: true });
  const staging = mkdtempSync(join(parent, 'unpacking-'));
  try {
    const names = ['chromium.br', 'fonts.tar.br', 'al2023.tar.br'].map((name) => join(packaged, name));
    const script = `import { inflate } from '@sparticuz/chromium';
      await Promise.all(${JSON.stringify(names)}.map(inflate));`;
    // it unpacks to the temporary folder of its process
    const env = { ...process.env, TMPDIR: staging };
    await run(process.execPath, ['--input-type=module', '--eval', script], { cwd: dirname(packaged), env });
    chmodSync(staging, 0o755);
    chmodSync(join(staging, 'chromium'), 0o755);
    const fonts = `<fontconfig><dir>${folder}/fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>\n`;
    writeFileSync(join(staging, 'fonts.conf'), fonts);
    renameSync(staging, folder);
  } catch (error) {
    // another process was first
    if (!existsSync(folder)) throw error;
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return folder;
}

/** The environment under which the Chromium of {@link unpackedChromium} runs on this machine. */
export async function chromiumEnvironment(folder: string): Promise<Record<string, string>> {
  const fonts: Record<string, string> = existsSync('/etc/fonts/fonts.conf')
    ? {}
    : { FONTCONFIG_FILE: join(folder, 'fonts.conf') };
  const starts = (env: Record<string, string>) =>
    run(join(folder, 'chromium'), ['--version'], { env: { ...process.env, ...env } });
  try {
    await starts(fonts);
    return fonts;
  } catch {
    const env = { ...fonts, LD_LIBRARY_PATH: join(folder, 'al2023/lib') };
    await starts(env).catch((cause: unknown) => {
      throw new Error(`The Chromium from npm does not start on this machine. ${NO_CHROMIUM}`, { cause });
    });
    return env;
  }
}
