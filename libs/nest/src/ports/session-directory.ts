import type { CloseReason, SessionSelector, SessionSummary } from './session-types.js';

/**
 * All sessions, for operators and for whoever ends one.
 *
 * @example
 * import { Injectable } from '@nestjs/common';
 * import { SessionDirectory } from '@sealwire/nest/ports';
 *
 * @Injectable()
 * export class Load {
 *   constructor(private readonly directory: SessionDirectory) {}
 *
 *   live(module: string): Promise<number> {
 *     return this.directory.count({ module });
 *   }
 * }
 */
export abstract class SessionDirectory {
  /** Live sessions in the order of their ids; `after` is the last id of the page before, hexadecimal. */
  abstract list(
    filter: SessionSelector,
    page: { readonly limit: number; readonly after?: string },
  ): Promise<SessionSummary[]>;
  abstract count(filter: SessionSelector): Promise<number>;
  /** Ends live sessions and leaves a tombstone for each; answers how many. By id its cost does not grow with the others. */
  abstract end(selector: SessionSelector, reason: CloseReason): Promise<number>;
  /**
   * Ends sessions whose time is over, erases the keys of those that ended 60 seconds ago, deletes old tombstones, accepted
   * numbers out of every window, and old outcomes. Answers rows deleted.
   */
  abstract purge(): Promise<number>;
  /** Rejects if the store does not answer, or takes no writes. It is cheap: no row is read. */
  abstract ping(): Promise<void>;
}
