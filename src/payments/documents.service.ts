import { Injectable } from '@nestjs/common';
import type { RemoteFile } from '@sealwire/core';
import { RemoteFunctionError } from '@sealwire/nest';
import { DataSource, MoreThanOrEqual } from 'typeorm';
import { Document, DocumentPart } from './document.entity.js';

/** Bytes of a row: as many as the server keeps of a document in memory. */
const PART = 256 * 1024;

@Injectable()
export class DocumentsService {
  constructor(private readonly database: DataSource) {}

  /**
   * Writes the file part by part as it arrives. There is a document once all of it is written; if it breaks off, its parts are
   * deleted. It takes no transaction: a slow caller would keep a connection of the database for as long.
   */
  async attach(account: string, file: RemoteFile): Promise<Document> {
    const { manager } = this.database;
    const { name, type } = file;
    const id = crypto.randomUUID();
    let size = 0;
    try {
      for await (const part of parts(file.stream())) {
        await manager.insert(DocumentPart, { document: id, position: size, bytes: part });
        size += part.length;
      }
      return await manager.save(Document, { id, account, name, type, size });
    } catch (error) {
      await manager.delete(DocumentPart, { document: id });
      throw error;
    }
  }

  async find(id: string): Promise<Document> {
    const found = await this.database.manager.findOneBy(Document, { id });
    if (!found) throw new RemoteFunctionError('document_unknown', 'There is no such document.', { document: id });
    return found;
  }

  /** The bytes from that offset on; a part is read when the one before it was taken. */
  async *read(document: string, offset: number): AsyncGenerator<Uint8Array> {
    let at = offset - (offset % PART);
    for (;;) {
      const part = await this.database.manager.findOne(DocumentPart, {
        where: { document, position: MoreThanOrEqual(at) },
        order: { position: 'ASC' },
      });
      if (!part) return;
      yield part.bytes.subarray(Math.max(0, offset - part.position));
      at = part.position + 1;
    }
  }
}

/** The same bytes, cut into parts of one size. */
async function* parts(stream: ReadableStream<Uint8Array>): AsyncGenerator<Buffer> {
  let waiting: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of stream) {
    waiting.push(chunk);
    length += chunk.length;
    while (length >= PART) {
      const all = Buffer.concat(waiting);
      yield all.subarray(0, PART);
      waiting = [all.subarray(PART)];
      length -= PART;
    }
  }
  if (length > 0) yield Buffer.concat(waiting);
}
