import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  type Stats,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Logger } from '@nestjs/common';
import { generateKeyText, type KeyKind } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { StartupError } from './startup-error.js';

const CLAIM = 'lock-';
/** bits of a mode */
const WRITABLE_BY_OTHERS = 0o022;
const OPEN_TO_OTHERS = 0o077;

/**
 * A secret kept in the data folder, made at the first start. Whoever else could have put the file there knows the secret, so it
 * is taken only where nobody but this user can write.
 *
 * @throws StartupError if the folder cannot be used, or it or the file is another user's, a link, or open to others
 */
export function privateText(folder: string, name: string, kind: KeyKind): string {
  return within(folder, () => readOrMake(folder, name, kind));
}

/** Whoever named the folder can put right what the system refuses there. */
function within<T>(folder: string, work: () => T): T {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return work();
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw new StartupError(
      `The data folder cannot be used (${error.message}): set SEALWIRE_DATA to a folder that this user can write.`,
    );
  }
}

function readOrMake(folder: string, name: string, kind: KeyKind): string {
  const path = join(folder, name);
  assertOwn(folder, lstatSync(folder), 'isDirectory', WRITABLE_BY_OTHERS);
  try {
    writeFileSync(path, `${generateKeyText(kind, nodePrimitives)}\n`, { flag: 'wx', mode: 0o600 });
    new Logger('DataFolder').log(`Made a ${name.replaceAll('-', ' ')} in ${path}; only this user can read it.`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const file = openWithoutLinks(path);
  try {
    // of the opened file: the name may mean another one by now
    assertOwn(path, fstatSync(file), 'isFile', OPEN_TO_OTHERS);
    return readFileSync(file, 'utf8').trim();
  } finally {
    closeSync(file);
  }
}

function openWithoutLinks(path: string): number {
  try {
    // O_NONBLOCK: a pipe in its place would keep the start waiting; both are 0 on Windows
    return openSync(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ELOOP') throw error;
    throw notOwn(path, 'is a link');
  }
}

/** On Windows the folder's access list decides, which Node does not show. */
function assertOwn(path: string, found: Stats, kind: 'isFile' | 'isDirectory', forbidden: number): void {
  if (!found[kind]()) throw notOwn(path, found.isSymbolicLink() ? 'is a link' : 'is something else');
  const user = process.geteuid?.();
  if (user === undefined) return;
  if (found.uid !== user) throw notOwn(path, `belongs to user ${found.uid}, not to ${user}`);
  if ((found.mode & forbidden) !== 0)
    throw notOwn(path, `is open to other users (mode ${(found.mode & 0o777).toString(8)})`);
  if (kind === 'isFile' && found.nlink !== 1) throw notOwn(path, 'has another name too');
}

function notOwn(path: string, why: string): StartupError {
  return new StartupError(
    `${path} ${why}, so somebody else may have put it there: see whose it is, and delete it or set SEALWIRE_DATA to a folder` +
      ' that only this user can write.',
  );
}

/**
 * Claims the folder for this process, or refuses in a sentence; PGlite itself would let a second process in and lose data.
 * Each process first writes a claim under a name that no other process ever has, then looks for others. Of two that start
 * at once at least one sees the other, and a dead claim can be removed without taking a living one's.
 *
 * @returns gives the folder up
 */
export function lockFolder(folder: string): () => void {
  return within(folder, () => claimFolder(folder));
}

function claimFolder(folder: string): () => void {
  const self = processName(process.pid);
  const claim = join(folder, CLAIM + self);
  const release = () => rmSync(claim, { force: true });
  try {
    writeFileSync(claim, '', { flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw inUse(folder, process.pid, claim);
    throw error;
  }
  for (const name of readdirSync(folder)) {
    const other = name.slice(CLAIM.length);
    if (!name.startsWith(CLAIM) || other === self) continue;
    if (mayBeAlive(other)) {
      release();
      throw inUse(folder, Number.parseInt(other, 10), join(folder, name));
    }
    rmSync(join(folder, name), { force: true });
  }
  process.once('exit', release);
  return () => {
    process.off('exit', release);
    release();
  };
}

function inUse(folder: string, pid: number, claim: string): StartupError {
  return new StartupError(
    `The data folder ${folder} is in use by process ${pid}: stop that process, or set SEALWIRE_DATA to another folder` +
      ` (if there is no such process, delete ${claim}).`,
  );
}

/** `<pid>-<start time>-<boot>-<process id namespace>`; where the system tells no more than the id, that must do. */
function processName(pid: number): string {
  if (process.platform !== 'linux') return `${pid}`;
  // The second field, the command, may hold blanks and parentheses; the start time is the 20th after it.
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
  return `${pid}-${started}-${boot}-${namespace()}`;
}

function namespace(): string {
  return readlinkSync('/proc/self/ns/pid').replace(/\D/g, '');
}

/** A process of another container on this machine cannot be seen from here, so it counts as alive. */
function mayBeAlive(name: string): boolean {
  const pid = Number.parseInt(name, 10);
  const [, , boot, otherNamespace] = name.split('-');
  try {
    if (process.platform === 'linux') {
      const [, , thisBoot] = processName(process.pid).split('-');
      return boot === thisBoot && (otherNamespace !== namespace() || processName(pid) === name);
    }
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
