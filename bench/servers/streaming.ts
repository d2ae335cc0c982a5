import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { Controller, Get, HttpCode, Param, Post, Req, StreamableFile } from '@nestjs/common';
import { RemoteFunction, RemoteFunctions } from '@sealwire/nest';

const PART = new Uint8Array(65_536).fill(7);

/** The same streams for remote callers and for plain requests. */
@RemoteFunctions('bench')
@Controller('streams')
export class StreamingController {
  @RemoteFunction()
  down(length: number): StreamableFile {
    return new StreamableFile(Readable.from(parts(length), { objectMode: false }));
  }

  @Get('down/:length')
  downPlain(@Param('length') length: string): StreamableFile {
    return this.down(Number(length));
  }

  /** @returns bytes that came */
  @RemoteFunction({ maxUpload: 2 ** 40 })
  async up(content: ReadableStream<Uint8Array>): Promise<number> {
    return lengthOf(content);
  }

  @Post('up')
  @HttpCode(200)
  async upPlain(@Req() request: IncomingMessage): Promise<{ length: number }> {
    return { length: await lengthOf(request) };
  }

  @RemoteFunction()
  async *items(count: number): AsyncGenerator<{ id: number; text: string }> {
    for (let id = 0; id < count; id++) yield { id, text: 'a small item' };
  }

  @RemoteFunction()
  item(id: number): { id: number; text: string } {
    return { id, text: 'a small item' };
  }

  /** The same items as one value. */
  @RemoteFunction()
  list(count: number): { id: number; text: string }[] {
    return Array.from({ length: count }, (_, id) => this.item(id));
  }

  /** One item, and then nothing for good. */
  @RemoteFunction()
  async *idle(): AsyncGenerator<number> {
    yield 1;
    await new Promise(() => undefined);
  }

  @Get('idle')
  idlePlain(): StreamableFile {
    const stream = new Readable({ read: () => undefined });
    stream.push('1');
    return new StreamableFile(stream);
  }
}

function* parts(length: number): Generator<Uint8Array> {
  for (let left = length; left > 0; left -= PART.length) yield PART.subarray(0, left);
}

async function lengthOf(content: AsyncIterable<Uint8Array>): Promise<number> {
  let length = 0;
  for await (const part of content) length += part.length;
  return length;
}
