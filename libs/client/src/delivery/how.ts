import type { Call } from '@sealwire/core';
import { type Lower, metadataOf, type Refresher } from '../metadata.js';
import { deadlineOf, milliseconds, type Settings } from '../options.js';
import type { CallOptions } from '../remote.js';
import { checkOptions, FUNCTION, HEADERS, hasMethod, type Rule } from '../transport/transport-options.js';
import type { Settled } from '../types.js';

/** What a call says beside its arguments. */
export interface Added {
  readonly deadline?: number;
  readonly metadata?: Lower;
}

/** How calls are brought to the server: what all calls of one `$call` or of a remote have in common. */
export interface How {
  /** milliseconds */
  readonly timeout: number;
  /** the application set the time for this call, so that it counts while bytes travel too */
  readonly hard?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: CallOptions['onProgress'];
  readonly onSent?: CallOptions['onSent'];
  readonly onSealed?: CallOptions['onSealed'];
  readonly onOpened?: CallOptions['onOpened'];
  /** of a hook of the application: goes before the calls that wait for `onSession` */
  readonly early: boolean;
  /** made for each call; undefined if calls say nothing beside their arguments */
  readonly added?: (() => Added | Promise<Added>) | undefined;
  /** what calls say may be another thing after `onSession`, which they wait for */
  readonly changing?: boolean;
  /** undefined in `refresh` itself, which would wait for its own end */
  readonly refresher?: Refresher | undefined;
  /** told of each outcome as it comes */
  readonly onSettled?: ((place: number, settled: Settled) => void) | undefined;
}

/** What was asked for in one go; a message carries all of it or a part. */
export interface Work {
  readonly calls: readonly Call[];
  readonly settled: Settled[];
  readonly how: How;
  /** answers of `refresh` before the metadata was made; undefined if it is not asked */
  readonly round: number | undefined;
}

const RULES: Record<keyof CallOptions, Rule | undefined> = {
  signal: [(value) => hasMethod(value, 'throwIfAborted'), 'an AbortSignal'],
  timeout: undefined,
  onProgress: FUNCTION,
  onSent: FUNCTION,
  onSealed: FUNCTION,
  onOpened: FUNCTION,
  metadata: HEADERS,
};

/**
 * @param whose the application's own calls, or those of its hooks
 * @throws SealwireError `bad_configuration`
 */
export function howOf(
  settings: Settings,
  given: CallOptions,
  what: string,
  whose: Pick<How, 'early' | 'refresher'>,
): How {
  const options = checkOptions(what, given, RULES);
  const { signal, onProgress, onSent, onSealed, onOpened, metadata } = options;
  const timeout = options.timeout === undefined ? settings.timeout : milliseconds('timeout', options.timeout);
  const deadline = options.timeout === undefined ? settings.deadline : deadlineOf(timeout);
  const { early, refresher } = whose;
  const mayChange = refresher !== undefined || [settings.metadata, metadata].some((one) => typeof one === 'function');
  return {
    timeout,
    hard: options.timeout !== undefined,
    signal,
    onProgress,
    onSent,
    onSealed,
    onOpened,
    ...whose,
    added: adder(settings, metadata, deadline, refresher),
    changing: !early && mayChange,
  };
}

/** The same for who waits for no outcome any more. */
export function unsettled(how: How): How {
  return how.onSettled ? { ...how, onSettled: undefined } : how;
}

function adder(
  settings: Settings,
  metadata: CallOptions['metadata'],
  deadline: number | undefined,
  refresher: Refresher | undefined,
): How['added'] {
  const limited = deadline === undefined ? {} : { deadline };
  if (settings.metadata === undefined && metadata === undefined && !refresher) {
    return deadline === undefined ? undefined : () => limited;
  }
  const over = (given: Lower): Lower => refresher?.layOver(given) ?? given;
  return () => {
    const made = metadataOf(settings.metadata, metadata, over);
    return made instanceof Promise ? made.then((one) => withMetadata(limited, one)) : withMetadata(limited, made);
  };
}

function withMetadata(limited: Added, metadata: Lower): Added {
  return Object.keys(metadata).length > 0 ? { ...limited, metadata } : limited;
}
