/** The application's data in one session. */
export interface SessionDataRow {
  readonly data: Record<string, unknown>;
  /** counts up with each write */
  readonly version: number;
}

/**
 * The application's data in a session. A store that writes it down wraps it like every secret.
 * `transaction` is that of an exactlyOnce function, as `ExactlyOnce` hands it out: the data is read and written in it.
 *
 * @example
 * import { SessionData, type SessionDataRow } from '@sealwire/nest/ports';
 *
 * // A store without room for data of the application.
 * export class NoSessionData extends SessionData {
 *   async read(): Promise<SessionDataRow> {
 *     return { data: {}, version: 0 };
 *   }
 *
 *   async write(): Promise<boolean> {
 *     return false;
 *   }
 * }
 */
export abstract class SessionData {
  /** Undefined if the session is not live. */
  abstract read(id: Uint8Array, transaction?: unknown): Promise<SessionDataRow | undefined>;
  /** False if `version` is not the session's any more, or it is not live. */
  abstract write(
    id: Uint8Array,
    data: Record<string, unknown>,
    version: number,
    transaction?: unknown,
  ): Promise<boolean>;
}
