import { computed, type Signal, signal } from '@angular/core';
import { RemoteError } from '@sealwire/client';

/** The SecureKey of now. */
export interface Asked {
  readonly key: string | undefined;
  /** the application's function threw, so that nobody knows the key */
  readonly failure: RemoteError | undefined;
}

// without what it threw, in which a key may be
const THREW = 'secureKey() of withModule() threw, so nothing was sent; what it threw is the cause.';

/** Never throws: signals that depend on it are read by templates. */
export function asked(secureKey: string | (() => string | undefined) | undefined): Signal<Asked> {
  if (typeof secureKey !== 'function') return signal({ key: secureKey, failure: undefined }).asReadonly();
  const ask = (): Asked => {
    try {
      return { key: secureKey(), failure: undefined };
    } catch (cause) {
      return { key: undefined, failure: new RemoteError('bad_configuration', THREW, { cause }) };
    }
  };
  const isSame = (one: Asked, other: Asked): boolean => !one.failure && !other.failure && one.key === other.key;
  return computed(ask, { equal: isSame });
}
