import { Inject, Injectable } from '@nestjs/common';
import type { ResolvedOptions } from '../options.js';
import { SessionDirectory } from '../ports/index.js';
import { Sessions } from '../sessions/sessions.js';
import { withinTime } from '../time-limit.js';
import { RESOLVED_OPTIONS } from '../tokens.js';

/** The answer of {@link SealwireHealthIndicator} under its key. */
export interface SealwireHealth {
  readonly status: 'up' | 'down';
  /** sessions in this process's memory */
  readonly hotSessions: number;
  readonly message?: string;
}

/**
 * A health indicator for `@nestjs/terminus`.
 *
 * @example
 * import { Controller, Get } from '@nestjs/common';
 * import { HealthCheckService } from '@nestjs/terminus';
 *
 * @Controller('health')
 * export class HealthController {
 *   constructor(
 *     private readonly health: HealthCheckService,
 *     private readonly sealwire: SealwireHealthIndicator,
 *   ) {}
 *
 *   @Get()
 *   check() {
 *     return this.health.check([() => this.sealwire.check('sealwire')]);
 *   }
 * }
 */
@Injectable()
export class SealwireHealthIndicator {
  readonly #options: ResolvedOptions;
  readonly #directory: SessionDirectory;
  readonly #sessions: Sessions;

  constructor(
    @Inject(RESOLVED_OPTIONS) options: ResolvedOptions,
    @Inject(SessionDirectory) directory: SessionDirectory,
    @Inject(Sessions) sessions: Sessions,
  ) {
    this.#options = options;
    this.#directory = directory;
    this.#sessions = sessions;
  }

  /** Up while calls are accepted and the store answers. */
  async check<K extends string>(key: K): Promise<Record<K, SealwireHealth>> {
    const result = (status: 'up' | 'down', message?: string) =>
      ({ [key]: { status, hotSessions: this.#sessions.size, ...(message && { message }) } }) as Record<
        K,
        SealwireHealth
      >;
    if (!this.#sessions.accepting) return result('down', 'no calls are accepted');
    try {
      await withinTime(this.#directory.ping(), this.#options.storeTimeout);
      return result('up');
    } catch {
      return result('down', 'the session store does not answer');
    }
  }
}
