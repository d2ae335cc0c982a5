import { toHex } from '@sealwire/core';
import { SessionConflictError } from '../functions/outcome.js';
import type { SessionStore } from '../ports/ports.js';
import { jsonCopy } from './json-copy.js';
import type { LiveSession } from './session.js';

/**
 * The session of a call and the application's data in it, which every instance of the server sees. Values are JSON; `set`
 * refuses others. Within one call `set` builds on what that call read first: it throws a {@link SessionConflictError} if
 * another call wrote in between. In an exactlyOnce function the data belongs to its transaction: what was set is written as the
 * last of it, where such a conflict then becomes the outcome, and is gone with it where the function fails.
 */
export class CallSession {
  /** hexadecimal */
  readonly id: string;
  readonly module: string;
  /** name of the SecureKey that the client holds, hexadecimal */
  readonly keyId: string | undefined;
  private readonly sessionId: Uint8Array;
  /** The first version read is the one that `set` defends. */
  private version: number | undefined;
  /** of that version, with what was set since */
  private data: Record<string, unknown> = {};
  private unsaved = false;

  constructor(
    private readonly store: SessionStore,
    { id, key, module, keyId }: Pick<LiveSession, 'id' | 'key' | 'module' | 'keyId'>,
    /** of an exactlyOnce function */
    private readonly transaction?: unknown,
  ) {
    this.sessionId = id;
    this.id = key;
    this.module = module;
    this.keyId = keyId && toHex(keyId);
  }

  async get<T = unknown>(name: string): Promise<T | undefined> {
    const data = this.unsaved ? this.data : (await this.read()).data;
    return (Object.hasOwn(data, name) ? structuredClone(data[name]) : undefined) as T | undefined;
  }

  /** @throws SessionValueError where the value is not JSON */
  async set(name: string, value: unknown): Promise<void> {
    const entry = jsonCopy({ [name]: value }, name);
    const version = this.version ?? (await this.read()).version;
    const data = { ...this.data, ...entry };
    // written now, the session's row would be locked until the function is done, and the session's next calls wait for it
    if (this.transaction) this.unsaved = true;
    else await this.write(data, version);
    this.data = data;
  }

  /** Writes what was set in a transaction, which is to be committed next. */
  async save(): Promise<void> {
    if (this.unsaved && this.version !== undefined) await this.write(this.data, this.version);
    this.unsaved = false;
  }

  private async write(data: Record<string, unknown>, version: number): Promise<void> {
    const written = await this.store.writeData(this.sessionId, data, version, this.transaction);
    if (!written) throw new SessionConflictError();
    this.version = version + 1;
  }

  private async read(): Promise<{ readonly data: Record<string, unknown>; readonly version: number }> {
    const row = await this.store.readData(this.sessionId, this.transaction);
    if (!row) throw new SessionConflictError();
    if (this.version === undefined) {
      this.data = row.data;
      this.version = row.version;
    }
    return row;
  }
}
