import { Inject, Injectable } from '@nestjs/common';
import type { ResolvedOptions } from '../options.js';
import { SessionStore } from '../ports/ports.js';
import { SessionCache } from '../sessions/sessions.js';
import { withinTime } from '../time-limit.js';
import { RESOLVED_OPTIONS } from '../tokens.js';

export interface SealwireHealth {
  readonly status: 'up' | 'down';
  /** sessions in this process's memory */
  readonly hotSessions: number;
  readonly message?: string;
}

/** For `@nestjs/terminus`: `health.check([() => sealwire.check('sealwire')])`. */
@Injectable()
export class SealwireHealthIndicator {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(SessionStore) private readonly store: SessionStore,
    @Inject(SessionCache) private readonly sessions: SessionCache,
  ) {}

  /** Up while calls are accepted and the store answers. */
  async check<K extends string>(key: K): Promise<Record<K, SealwireHealth>> {
    const result = (status: 'up' | 'down', message?: string) =>
      ({ [key]: { status, hotSessions: this.sessions.size, ...(message && { message }) } }) as Record<
        K,
        SealwireHealth
      >;
    if (!this.sessions.accepting) return result('down', 'no calls are accepted');
    try {
      await withinTime(this.store.count({ module: '' }), this.options.storeTimeout);
      return result('up');
    } catch {
      return result('down', 'the session store does not answer');
    }
  }
}
