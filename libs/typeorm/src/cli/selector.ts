import { fromHex } from '@sealwire/core';
import type { SessionSelector } from '@sealwire/nest/ports';
import { hexadecimal, type Invocation, textOption, UsageError } from './command.js';

export const SELECTOR_OPTIONS = { key: { type: 'string' }, module: { type: 'string' } } as const;

/** The sessions that `--key` or `--module` name; undefined where neither is given. */
export function selectorOf(invocation: Invocation): SessionSelector | undefined {
  const key = textOption(invocation, 'key');
  const module = textOption(invocation, 'module');
  if (key !== undefined && module !== undefined) throw new UsageError('Give --key or --module, not both.');
  if (key !== undefined) return { keyId: fromHex(hexadecimal(key, 8, 'The id of a SecureKey')) };
  return module === undefined ? undefined : { module };
}
