import { SessionConflictError } from '../functions/outcome.js';
import type { SessionData, SessionDataRow } from '../ports/index.js';
import { jsonCopy } from './json-copy.js';
import type { Session } from './session.js';

/**
 * The session of a call and the application's data in it, which every instance of the server sees. Values are JSON; `set`
 * refuses others. Within one call `set` builds on what that call read first: it throws a {@link SessionConflictError} if
 * another call wrote in between. In an exactlyOnce function the data belongs to its transaction: what was set is written as the
 * last of it, in which such a conflict then becomes the outcome, and is gone with it if the function fails.
 */
export class CallSession {
  /** hexadecimal */
  readonly id: string;
  readonly module: string;
  /** name of the SecureKey that the client holds, hexadecimal */
  readonly keyId: string | undefined;
  readonly #sessionId: Uint8Array;
  readonly #store: SessionData;
  /** of an exactlyOnce function */
  readonly #transaction: unknown;
  /** The first version read is the one that `set` defends. */
  #version: number | undefined;
  /** of that version, with what was set since */
  #data: Record<string, unknown> = {};
  #unsaved = false;

  constructor(
    store: SessionData,
    { id, key, module, keyId }: Pick<Session, 'id' | 'key' | 'module' | 'keyId'>,
    transaction?: unknown,
  ) {
    this.#store = store;
    this.#transaction = transaction;
    this.#sessionId = id;
    this.id = key;
    this.module = module;
    this.keyId = keyId;
  }

  async get<T = unknown>(name: string): Promise<T | undefined> {
    const data = this.#unsaved ? this.#data : (await this.#read()).data;
    return (Object.hasOwn(data, name) ? structuredClone(data[name]) : undefined) as T | undefined;
  }

  /** @throws SessionValueError if the value is not JSON */
  async set(name: string, value: unknown): Promise<void> {
    const entry = jsonCopy({ [name]: value }, name);
    const version = this.#version ?? (await this.#read()).version;
    const data = { ...this.#data, ...entry };
    // written now, the session's row would be locked until the function is done, and the session's next calls wait for it
    if (this.#transaction) this.#unsaved = true;
    else await this.#write(data, version);
    this.#data = data;
  }

  /** Writes what was set in a transaction, which is to be committed next. */
  async save(): Promise<void> {
    if (this.#unsaved && this.#version !== undefined) await this.#write(this.#data, this.#version);
    this.#unsaved = false;
  }

  async #write(data: Record<string, unknown>, version: number): Promise<void> {
    const written = await this.#store.write(this.#sessionId, data, version, this.#transaction);
    if (!written) throw new SessionConflictError();
    this.#version = version + 1;
  }

  async #read(): Promise<SessionDataRow> {
    const row = await this.#store.read(this.#sessionId, this.#transaction);
    if (!row) throw new SessionConflictError();
    if (this.#version === undefined) {
      this.#data = row.data;
      this.#version = row.version;
    }
    return row;
  }
}
