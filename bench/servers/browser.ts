import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { Body, Controller, Get, HttpCode, Post, Req, StreamableFile } from '@nestjs/common';
import { RemoteFile, RemoteFunction, RemoteFunctions, remoteFile } from '@sealwire/nest';

export const MB = 1_000_000;
const PART = Buffer.alloc(MB, 7);

/** The same for remote callers and for plain `fetch`. */
@RemoteFunctions('browser')
@Controller('plain')
export class BrowserController {
  @RemoteFunction()
  @Post('echo')
  @HttpCode(200)
  echo<T>(@Body() value: T): T {
    return value;
  }

  /** @returns bytes that came */
  @RemoteFunction()
  async up(file: RemoteFile): Promise<number> {
    let length = 0;
    for await (const part of file.stream()) length += part.length;
    return length;
  }

  @Post('up')
  @HttpCode(200)
  async upPlain(@Req() request: IncomingMessage): Promise<number> {
    let length = 0;
    for await (const part of request) length += part.length;
    return length;
  }

  @RemoteFunction()
  down(): RemoteFile {
    return remoteFile(content(), { name: 'report', type: 'application/octet-stream', size: 50 * MB });
  }

  @Get('down')
  downPlain(): StreamableFile {
    return new StreamableFile(content());
  }

  @RemoteFunction()
  async *items(): AsyncGenerator<{ id: number; text: string }> {
    yield* this.itemsPlain();
  }

  @Get('items')
  itemsPlain(): { id: number; text: string }[] {
    return Array.from({ length: 1_000 }, (_, id) => ({ id, text: 'a small item' }));
  }
}

function content(): Readable {
  return Readable.from(
    Array.from({ length: 50 }, () => PART),
    { objectMode: false },
  );
}
