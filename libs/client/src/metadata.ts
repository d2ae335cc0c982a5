import { encodeCalls, isPending, thrownText } from '@sealwire/core/calls';
import { badConfiguration, RemoteError } from './errors.js';
import { hasNames } from './transport/transport-options.js';

/** Headers that travel under the seal. A name that has no value is left out. */
export type Metadata = Readonly<Record<string, string | undefined>>;

/** The metadata of calls, or what makes it for each call. */
export type MetadataSource = Metadata | (() => Metadata | Promise<Metadata>);

/** Names in lower case, all with a value. */
export type Lower = Readonly<Record<string, string>>;

/** @throws SealwireError `bad_configuration` for an object that cannot travel */
export function checkedSource(source: MetadataSource | undefined): MetadataSource | undefined {
  if (source === undefined || typeof source === 'function') return source;
  try {
    return sendable(source);
  } catch (error) {
    throw badConfiguration(`metadata: ${(error as Error).message}`);
  }
}

/** @throws Error for what cannot travel */
function sendable(given: Metadata): Lower {
  const metadata = lower(given);
  encodeCalls([{ name: 'x', args: [], metadata }]);
  return metadata;
}

function lower(metadata: Metadata): Lower {
  if (!hasNames(metadata) || Object.hasOwn(metadata, '__proto__'))
    throw new TypeError('it must be an object of names and texts');
  const out: Record<string, string> = {};
  for (const [name, value] of Object.entries(metadata)) if (value !== undefined) out[name.toLowerCase()] = value;
  return out;
}

/**
 * What `source` gives now, and `own` over it; a promise only if one of them is asynchronous.
 *
 * @param over puts what was refreshed over what `source` gives
 * @throws RemoteError `metadata_failed`
 */
export function metadataOf(
  source: MetadataSource | undefined,
  own: MetadataSource | undefined,
  over: (given: Lower) => Lower,
): Lower | Promise<Lower> {
  const merge = ([given, mine]: readonly (Metadata | undefined)[]): Lower => ({
    ...over(given ? lower(given) : {}),
    ...(mine && lower(mine)),
  });
  try {
    const given = [source, own].map((one) => (typeof one === 'function' ? one() : one));
    if (!given.some(isPending)) return merge(given as (Metadata | undefined)[]);
    return Promise.all(given).then(merge).catch(failed);
  } catch (error) {
    return failed(error);
  }
}

function failed(error: unknown): never {
  throw new RemoteError('metadata_failed', `The metadata of the call could not be made: ${thrownText(error)}`, {
    cause: error,
    retryable: true,
  });
}

/** Asks the application for new metadata, once for all calls that were refused with the old one. */
export class Refresher {
  /** counts answers, so that a call knows whether its metadata is older than the last one */
  round = 0;
  #fresh: Lower = {};
  /** what `metadata` gave when the question that brought `fresh` was asked, and what it gave last */
  #refused: Lower = {};
  #given: Lower = {};
  #asking: Promise<void> | undefined;
  #askedAt = 0;
  /** when the question was asked whose answer was taken */
  #answeredOf = 0;

  /** @param patience milliseconds after which a question that was not answered is asked anew */
  constructor(
    private readonly refresh: () => unknown,
    private readonly patience: number,
  ) {}

  /** Puts what is fresh over what `metadata` gives. Once that is not what was refused any more, it is newer. */
  layOver(given: Lower): Lower {
    this.#given = given;
    if (Object.keys(this.#fresh).some((name) => given[name] !== this.#refused[name])) this.#fresh = {};
    return { ...given, ...this.#fresh };
  }

  /** @param round the round that the refused call was made in. @throws what the application throws */
  async after(round = 0): Promise<void> {
    if (round < this.round) return;
    const now = performance.now();
    if (!this.#asking || now - this.#askedAt > this.patience) {
      this.#askedAt = now;
      const asking = this.#ask().finally(() => {
        if (this.#asking === asking) this.#asking = undefined;
      });
      this.#asking = asking;
    }
    await this.#asking;
  }

  async #ask(): Promise<void> {
    const askedAt = this.#askedAt;
    const refused = this.#given;
    const answer = (await this.refresh()) as Metadata | undefined;
    // a newer one was answered before
    if (askedAt < this.#answeredOf) return;
    this.#answeredOf = askedAt;
    if (answer !== undefined && answer !== null) {
      this.#fresh = sendable({ ...this.#fresh, ...lower(answer) });
      this.#refused = refused;
    }
    this.round++;
  }
}
