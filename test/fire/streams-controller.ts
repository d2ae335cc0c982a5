import { createHash } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { Controller } from '@nestjs/common';
import {
  at,
  type Injected,
  RemoteFile,
  RemoteFunction,
  RemoteFunctions,
  RemoteResume,
  type Resume,
  remoteBytes,
} from '@sealwire/nest';
import { pattern } from './pattern.js';

const PART = 16_384;

/** What streams did in this process. */
export const seen = { made: 0, closed: 0, taken: 0, cut: 0 };

/** Streams both ways, each of which says what it was asked for. */
@RemoteFunctions('trace')
@Controller()
export class StreamsController {
  private release: () => void = () => undefined;

  /** Goes on behind the last number that its consumer saw. @returns numbers with the process that gave each */
  @RemoteFunction({ resumable: true })
  async *numbers(
    to: number,
    milliseconds: number,
    @RemoteResume() resume: Injected<Resume | undefined>,
  ): AsyncGenerator<readonly [number, number]> {
    for (let i = Number(resume?.position ?? -1) + 1; i < to; i++) {
      if (milliseconds > 0) await sleep(milliseconds);
      yield at(i, [i, process.pid] as const);
    }
  }

  @RemoteFunction()
  async *plain(to: number, milliseconds: number): AsyncGenerator<number> {
    for (let i = 0; i < to; i++) {
      if (milliseconds > 0) await sleep(milliseconds);
      yield i;
    }
  }

  /** Gives its second item after somebody called `pass`. */
  @RemoteFunction()
  async *halted(): AsyncGenerator<number> {
    yield 1;
    await new Promise<void>((resolve) => {
      this.release = resolve;
    });
    yield 2;
  }

  @RemoteFunction({ idempotent: true })
  pass(): void {
    this.release();
  }

  @RemoteFunction()
  bytes(length: number): ReadableStream<Uint8Array> {
    return remoteBytes(parts(0, length));
  }

  @RemoteFunction({ resumable: true })
  file(length: number, @RemoteResume() resume: Injected<Resume | undefined>): ReadableStream<Uint8Array> {
    const offset = Number(resume?.position ?? 0);
    return remoteBytes(parts(offset, length), { version: 'pattern', offset });
  }

  /** Commits with the last byte. */
  @RemoteFunction({ exactlyOnce: true })
  async uploadOnce(name: string, content: RemoteFile): Promise<{ length: number; hash: string }> {
    return this.upload(name, content.stream(), 0);
  }

  /** @param milliseconds that it takes for each part @returns length and SHA-256 of what came */
  @RemoteFunction({ maxUpload: 2 ** 40 })
  async upload(
    name: string,
    content: ReadableStream<Uint8Array>,
    milliseconds: number,
  ): Promise<{ length: number; hash: string }> {
    appendFileSync(process.env.FIRE_TRACE ?? '', `${name} ${process.pid}\n`);
    const hash = createHash('sha256');
    let length = 0;
    try {
      for await (const part of content) {
        if (milliseconds > 0) await sleep(milliseconds);
        length += part.length;
        seen.taken += part.length;
        hash.update(part);
      }
    } catch (error) {
      seen.cut++;
      throw error;
    }
    return { length, hash: hash.digest('hex') };
  }
}

async function* parts(from: number, to: number): AsyncGenerator<Uint8Array> {
  try {
    for (let offset = from; offset < to; offset += PART) {
      const part = pattern(offset, Math.min(PART, to - offset));
      seen.made += part.length;
      yield part;
      // other work runs between two parts, as it would between two reads of a file
      await turn();
    }
  } finally {
    seen.closed++;
  }
}
