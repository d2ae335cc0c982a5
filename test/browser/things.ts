import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { ConflictException } from '@nestjs/common';
import {
  at,
  type Injected,
  RemoteFile,
  RemoteFunction,
  RemoteFunctionError,
  RemoteFunctions,
  RemoteProgress,
  RemoteResume,
  RemoteSignal,
  type Resume,
  remoteFile,
} from '@sealwire/nest';

export interface Account {
  name: string;
  cents: bigint;
  since: Date;
  tags: Map<string, string>;
}

/** What the specs call. */
@RemoteFunctions('things')
export class ThingsController {
  @RemoteFunction()
  add(a: number, b: number): number {
    return a + b;
  }

  @RemoteFunction()
  account(name: string): Account {
    const tags = new Map([['kind', 'current']]);
    return { name, cents: 12_345_678_901_234_567n, since: new Date('2026-01-02T03:04:05Z'), tags };
  }

  @RemoteFunction()
  echo(value: unknown): unknown {
    return value;
  }

  @RemoteFunction()
  fail(kind: 'conflict' | 'own'): never {
    if (kind === 'conflict') throw new ConflictException('The account is locked.');
    throw new RemoteFunctionError('no_money', 'There is too little on it.', { missing: 5 });
  }

  @RemoteFunction()
  async *count(to: number): AsyncGenerator<number> {
    for (let i = 0; i < to; i++) yield i;
  }

  @RemoteFunction()
  async *breaks(after: number): AsyncGenerator<number> {
    for (let i = 0; i < after; i++) yield i;
    throw new RemoteFunctionError('no_more', 'The report ends here.', { after });
  }

  /** Numbers from 0, one every few milliseconds; a consumer that lost the connection goes on after the last that it saw. */
  @RemoteFunction({ resumable: true })
  async *watch(to: number, @RemoteResume() resume: Injected<Resume | undefined>): AsyncGenerator<number> {
    for (let i = resume ? (resume.position as number) + 1 : 0; i < to; i++) {
      yield at(i, i);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  @RemoteFunction()
  async after(milliseconds: number): Promise<number> {
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
    return milliseconds;
  }

  @RemoteFunction()
  async job(@RemoteProgress() progress: Injected<(value: unknown) => void>): Promise<string> {
    progress({ percent: 50 });
    await new Promise((resolve) => setTimeout(resolve, 20));
    return 'done';
  }

  @RemoteFunction()
  async waits(@RemoteSignal() signal: Injected<AbortSignal>): Promise<void> {
    state.waiting++;
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    state.aborted++;
  }

  @RemoteFunction()
  async store(file: RemoteFile): Promise<{ name: string; type: string; size: number; sha256: string }> {
    const hash = createHash('sha256');
    let size = 0;
    for await (const part of file.stream()) {
      hash.update(part);
      size += part.length;
    }
    return { name: file.name, type: file.type, size, sha256: hash.digest('hex') };
  }

  @RemoteFunction()
  fetchFile(size: number): RemoteFile {
    const source = Readable.from(parts(size), { objectMode: false });
    return remoteFile(source, { name: 'report.bin', type: 'application/x-report', size });
  }
}

/** What the server saw; of the specs in one file. */
export const state = { waiting: 0, aborted: 0 };

const PART = new Uint8Array(65_536).map((_, i) => i * 31 + (i >> 8));

function* parts(size: number): Generator<Uint8Array> {
  for (let left = size; left > 0; left -= PART.length) yield PART.subarray(0, Math.min(left, PART.length));
}

/** SHA-256 of what `fetchFile` sends, hexadecimal. */
export function fileHash(size: number): string {
  const hash = createHash('sha256');
  for (const part of parts(size)) hash.update(part);
  return hash.digest('hex');
}
