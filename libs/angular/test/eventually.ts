import { expect } from 'vitest';

/** `expect` of what becomes true, on a machine that is busy too. */
export function eventually<T>(value: () => T) {
  return expect.poll(value, { interval: 5, timeout: 20_000 });
}
