import { SessionConflictError } from './remote-function.error.js';
import type { SessionStore } from './session-store.js';

/**
 * The session of a call and the application's data in it, which every instance of the server sees. Values are JSON. Within
 * one call `set` builds on what that call read: it throws a {@link SessionConflictError} if another call wrote in between.
 */
export class CallSession {
  private version: number | undefined;
  private data: Record<string, unknown> = {};

  constructor(
    private readonly store: SessionStore,
    private readonly sessionId: Uint8Array,
    /** hexadecimal */
    readonly id: string,
    readonly module: string,
    /** name of the SecureKey that the client holds, hexadecimal */
    readonly keyId: string | undefined,
  ) {}

  async get<T = unknown>(name: string): Promise<T | undefined> {
    await this.read();
    return (Object.hasOwn(this.data, name) ? this.data[name] : undefined) as T | undefined;
  }

  async set(name: string, value: unknown): Promise<void> {
    const version = this.version ?? (await this.read());
    const data = { ...this.data, [name]: value };
    if (!(await this.store.writeData(this.sessionId, data, version))) throw new SessionConflictError();
    this.data = data;
    this.version = version + 1;
  }

  /** The first version read is the one that `set` defends. */
  private async read(): Promise<number> {
    const row = await this.store.readData(this.sessionId);
    if (!row) throw new SessionConflictError();
    this.data = row.data;
    this.version ??= row.version;
    return this.version;
  }
}
