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
 * What the sources say now, later ones over earlier ones; a promise only if one of them is asynchronous.
 *
 * @throws RemoteError `metadata_failed`
 */
export function metadataOf(...sources: readonly (MetadataSource | undefined)[]): Lower | Promise<Lower> {
  try {
    const given = sources.map((source) => (typeof source === 'function' ? source() : source));
    if (!given.some(isPending)) return merged(given as (Metadata | undefined)[]);
    return Promise.all(given).then(merged).catch(failed);
  } catch (error) {
    return failed(error);
  }
}

function merged(all: readonly (Metadata | undefined)[]): Lower {
  return Object.assign({}, ...all.map((one) => one && lower(one)));
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
  #fresh: Metadata | undefined;
  #asking: Promise<void> | undefined;

  constructor(private readonly refresh: () => unknown) {}

  /** over what `createRemote` was given */
  get fresh(): Metadata | undefined {
    return this.#fresh;
  }

  /** @param round the round that the refused call was made in. @throws what the application throws */
  async after(round: number): Promise<void> {
    if (round < this.round) return;
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    await this.#asking;
  }

  async #ask(): Promise<void> {
    const given = (await this.refresh()) as Metadata | undefined;
    if (given !== undefined && given !== null) this.#fresh = sendable({ ...this.#fresh, ...lower(given) });
    this.round++;
  }
}
