import { parseSecureKey, toHex } from '@sealwire/core';
import {
  type Answer,
  type Command,
  hexadecimal,
  type Invocation,
  takesOnly,
  textOption,
  UsageError,
} from './command.js';
import { withStore } from './store.js';

const KINDS = { 'server-key': rotateServerKey, 'secure-key': rotateSecureKey, kek: rotateKek };

const DONE = 'Where every server has the first key of SEALWIRE_KEK first, the others may go.';

export const rotate: Command = {
  usage: [
    'rotate server-key --valid-until <time>',
    'rotate secure-key --module <module> [--key <keyId>] --valid-until <time>',
    'rotate kek',
  ],
  summary: [
    'Makes a new server key or SecureKey in the database; the old ones stay good until <time> (2100-01-31T00:00:00Z).',
    'Keys that the application configures (serverKey, secureKeys) are rotated there.',
    'rotate kek brings every row under the first key of SEALWIRE_KEK. To change that key without refusing anybody:',
    '  1. append the new key to SEALWIRE_KEK of every server (old,new) and restart them one by one',
    '  2. put it first on every server (new,old) and restart them one by one',
    '  3. rotate kek, with the same SEALWIRE_KEK; it can be broken off and run again',
    '  4. take the old key away',
    'Between the steps each server has to be through with the one before.',
  ].join('\n'),
  options: { module: { type: 'string' }, key: { type: 'string' }, 'valid-until': { type: 'string' } },
  run(invocation) {
    const [kind = '', ...rest] = invocation.words;
    if (rest.length > 0 || !Object.hasOwn(KINDS, kind)) throw new UsageError(`Say ${Object.keys(KINDS).join(', ')}.`);
    return KINDS[kind as keyof typeof KINDS](invocation);
  },
};

function rotateServerKey(invocation: Invocation): Promise<Answer> {
  takesOnly(invocation, 'valid-until');
  const validUntil = validUntilOf(invocation);
  return withStore(invocation, async ({ admin }) => {
    const publicKey = await admin.rotateServerKey({ validUntil });
    return {
      text: `${publicKey}\nClients pin this key from now on; the old one stays good until ${validUntil.toISOString()}.`,
      value: { serverPublicKey: publicKey, oldValidUntil: validUntil },
    };
  });
}

function rotateSecureKey(invocation: Invocation): Promise<Answer> {
  const validUntil = validUntilOf(invocation);
  const module = textOption(invocation, 'module');
  if (!module) throw new UsageError('--module says whose SecureKey it is.');
  const key = textOption(invocation, 'key');
  const keyId = key === undefined ? undefined : hexadecimal(key, 8, 'The id of a SecureKey');
  return withStore(invocation, async ({ admin }) => {
    const secureKey = await admin.rotateSecureKey(module, { validUntil, ...(keyId && { keyId }) });
    return {
      text: `${secureKey}\nGive it to the client; the old ${keyId ? 'one stays' : 'ones stay'} good until ${validUntil.toISOString()}.`,
      value: { secureKey, keyId: toHex(parseSecureKey(secureKey).keyId), oldValidUntil: validUntil },
    };
  });
}

function rotateKek(invocation: Invocation): Promise<Answer> {
  takesOnly(invocation);
  return withStore(invocation, async ({ admin }) => {
    const result = await admin.rewrap();
    const refused = `${result.unreadable} rows could not be read: altered, or wrapped by a key that SEALWIRE_KEK does not hold`;
    return {
      text: `${result.rewrapped} rows wrapped anew\n${result.unreadable > 0 ? refused : DONE}`,
      value: result,
      exitCode: result.unreadable > 0 ? 1 : 0,
    };
  });
}

function validUntilOf(invocation: Invocation): Date {
  const text = textOption(invocation, 'valid-until') ?? '';
  const [, date] = /^(\d{4}-\d\d-\d\d)T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/.exec(text) ?? [];
  const time = new Date(text);
  // Date takes February 30 for March 2
  const exists = date !== undefined && !Number.isNaN(time.getTime()) && new Date(date).toISOString().startsWith(date);
  if (!exists || time.getTime() <= Date.now()) {
    throw new UsageError(`--valid-until is a time to come, such as 2100-01-31T00:00:00Z, got "${text}".`);
  }
  return time;
}
