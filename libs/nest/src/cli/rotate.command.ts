import { parseSecureKey, toHex } from '@sealwire/core';
import { type Answer, type Command, hexadecimal, type Invocation, textOption, UsageError } from './command.js';
import { withStore } from './store.js';

const KINDS = { 'server-key': rotateServerKey, 'secure-key': rotateSecureKey, kek: rotateKek };

export const rotate: Command = {
  usage: [
    'rotate server-key --valid-until <time>',
    'rotate secure-key --module <module> [--key <keyId>] --valid-until <time>',
    'rotate kek',
  ],
  summary: [
    'Makes a new server key or SecureKey in the database; the old ones stay good until <time> (2027-01-31T00:00:00Z).',
    'Keys that the application configures (serverKey, secureKeys) are rotated there.',
    'rotate kek brings every row under the first key of SEALWIRE_KEK; when it is done the others may go. Put the new key',
    'first on every server before. It can be broken off and run again.',
  ].join('\n'),
  options: { module: { type: 'string' }, key: { type: 'string' }, 'valid-until': { type: 'string' } },
  run(invocation) {
    const [kind = '', ...rest] = invocation.words;
    if (rest.length > 0 || !Object.hasOwn(KINDS, kind)) throw new UsageError(`Say ${Object.keys(KINDS).join(', ')}.`);
    return KINDS[kind as keyof typeof KINDS](invocation);
  },
};

function rotateServerKey(invocation: Invocation): Promise<Answer> {
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
  return withStore(invocation, async ({ admin }) => {
    const result = await admin.rewrap();
    const refused = `${result.unreadable} rows could not be read: altered, or wrapped by a key that SEALWIRE_KEK does not hold`;
    return {
      text: `${result.rewrapped} rows wrapped anew${result.unreadable > 0 ? `\n${refused}` : ''}`,
      value: result,
      exitCode: result.unreadable > 0 ? 1 : 0,
    };
  });
}

function validUntilOf(invocation: Invocation): Date {
  const time = new Date(textOption(invocation, 'valid-until') ?? Number.NaN);
  if (Number.isNaN(time.getTime())) throw new UsageError('--valid-until is a time, such as 2027-01-31T00:00:00Z.');
  return time;
}
