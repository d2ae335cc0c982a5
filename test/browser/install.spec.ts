import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { launch, openPage } from '../support/browser.js';
import { chromiumEnvironment, installedChromiums, NO_CHROMIUM, unpackedChromium } from '../support/browser-install.js';
import { startPages } from '../support/browser-site.js';

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sealwire-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

it('says what to install if a machine has no Chromium', () => {
  const empty = { platform: 'linux', arch: 'arm64', env: { PATH: '/nowhere' } };
  expect(() => installedChromiums(empty)).toThrow(NO_CHROMIUM);
  expect(NO_CHROMIUM).toMatch(/Install Chrome or Chromium .* or set CHROMIUM_PATH/);
  expect(() => installedChromiums({ ...empty, env: { CHROMIUM_PATH: '/nowhere/chrome' } })).toThrow('/nowhere/chrome');
});

it('takes the Chromium from npm first, then the one that the machine or CHROMIUM_PATH names', () => {
  const folder = temporaryFolder();
  symlinkSync(process.execPath, join(folder, 'google-chrome'));
  const named = (machine: { arch: string; env: Record<string, string> }) =>
    installedChromiums({ platform: 'linux', ...machine }).map(({ executablePath }) => executablePath);
  expect(named({ arch: 'x64', env: { PATH: folder } })).toEqual([undefined, join(folder, 'google-chrome')]);
  expect(named({ arch: 'arm64', env: { PATH: folder } })).toEqual([join(folder, 'google-chrome')]);
  expect(named({ arch: 'arm64', env: { PATH: folder, CHROMIUM_PATH: process.execPath } })).toEqual([process.execPath]);
});

/** The temporary folder of what runs until the test is over. */
function ownTemporaryFolder(): string {
  const folder = temporaryFolder();
  const before = process.env.TMPDIR;
  process.env.TMPDIR = folder;
  onTestFinished(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  });
  return folder;
}

it.runIf(process.platform === 'linux').each(installedChromiums())(
  'leaves no process and no folder when $name is closed',
  async (installed) => {
    const temporary = ownTemporaryFolder();
    const site = await startPages();
    onTestFinished(() => site.close());
    const browser = await launch(installed);
    expect((await openPage(browser, site.origin)).problems).toEqual([]);
    // its profile names the folder
    const running = () => execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).includes(`=${temporary}/`);
    expect([running(), readdirSync(temporary).length > 0]).toEqual([true, true]);
    await browser.close();
    await expect.poll(running).toBe(false);
    expect(readdirSync(temporary)).toEqual([]);
  },
);

it.runIf(process.platform === 'linux' && process.arch === 'x64')(
  'unpacks once for all, and leaves nothing else',
  { timeout: 120_000 },
  async () => {
    const parent = temporaryFolder();
    const temporary = ownTemporaryFolder();
    const [folder, again] = await Promise.all([unpackedChromium(parent), unpackedChromium(parent)]);
    expect(again).toBe(folder);
    expect(readdirSync(parent)).toHaveLength(1);
    expect(readdirSync(temporary)).toEqual([]);
    // for every user of the machine
    expect(statSync(folder).mode & 0o777).toBe(0o755);
    expect(statSync(join(folder, 'chromium')).mode & 0o777).toBe(0o755);
    const env = { ...process.env, ...(await chromiumEnvironment(folder)) };
    expect(execFileSync(join(folder, 'chromium'), ['--version'], { encoding: 'utf8', env })).toMatch(/^Chromium \d+/);
  },
);
