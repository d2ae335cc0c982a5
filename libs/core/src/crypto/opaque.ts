import { SealwireError } from '../errors.js';

/** Runs a primitive. Whatever goes wrong inside becomes one error that says nothing about which check failed. */
export function opaque<T>(operation: () => T): T {
  try {
    return operation();
  } catch {
    throw new SealwireError('open_failed');
  }
}
